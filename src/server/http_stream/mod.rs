//! A server's connection: HTTP requests, one at a time, until one of them asks for another protocol.

mod answers;
#[cfg(feature = "server")]
mod body_receiver;
mod body_sender;
#[cfg(feature = "server")]
mod cors;
#[cfg(feature = "server")]
mod endpoints;
#[cfg(feature = "server")]
mod events;
mod pending_request;
#[cfg(feature = "server")]
mod polls;
mod wait;
mod waker;

use std::{any::Any, io, mem, rc::Rc};

use http::{HeaderMap, Method, StatusCode};

#[cfg(feature = "server")]
use self::body_receiver::BodyReceiver;
use self::{body_sender::BodySender, pending_request::PendingRequest, wait::Wait};
#[cfg(feature = "server")]
use super::{files, reply::long_poll::LongPoll, site::Target};
use super::{
    preamble::{PreambleScanner, Scan},
    reply::{
        Plain, Reply, ReplyKind,
        body::{Body, Source},
        responder::Deferred,
        upgrade::Upgrade,
    },
    site::{Endpoint, Found, Site},
};
use crate::{
    error::Error,
    http::{
        Request,
        connection::{HttpConnection, HttpEvent, RequestError, ResponseHead, Step},
        forwarded,
        head::HeadError,
        response,
    },
    protocol::Side,
    reactor::{PendingHandshake, Share, Stream, StreamHandler, Wakeup},
};

/// How many messages a request counts as.
const MESSAGES_PER_REQUEST: usize = 8;

/// The protocol of a server's connection.
pub(crate) struct HttpStream<S: Site> {
    site: Rc<S>,
    scanner: PreambleScanner,
    http: HttpConnection,
    state: State<S::Socket>,
    sender: BodySender,
    /// Counts as a pending handshake until the first request is answered.
    pending: Option<PendingHandshake>,
    /// Number of requests whose heads have arrived.
    requests: u64,
    /// The wait that the deadline of the connection ends.
    wait: Wait,
    /// Output waited when the deadline passed last.
    output_waited: bool,
    /// The application, or the output, has kept the body from being read since the deadline passed last. The client
    /// then has the whole time-out once more.
    body_waited: bool,
    /// Headers for the response to the present request, whatever it is.
    added_headers: Option<Box<HeaderMap>>,
    /// The last byte of the input comes again: see [`repeat_last_byte`](Self::repeat_last_byte).
    is_repeated: bool,
}

enum State<S> {
    /// There is no request, or its head is incomplete.
    Head,
    /// The body of a request is being received.
    #[cfg(feature = "server")]
    Body(Box<PendingRequest<S>>, BodyReceiver),
    /// The reply is deferred.
    Deferred(Box<PendingRequest<S>>, Deferred),
    /// The request waits for a message of a topic.
    #[cfg(feature = "server")]
    Polling(Box<PendingRequest<S>>, Box<LongPoll>),
    /// A response is being sent.
    Responding(Box<Source>),
    /// The last response was sent, or another protocol has taken over.
    Ended,
}

impl<S> State<S> {
    /// A request was received, and its response is not complete.
    fn awaits_reply(&self) -> bool {
        match self {
            State::Deferred(..) | State::Responding(_) => true,
            #[cfg(feature = "server")]
            State::Polling(..) => true,
            _ => false,
        }
    }
}

impl<S: Site> HttpStream<S> {
    pub(crate) fn new(site: Rc<S>) -> Self {
        let config = site.config();
        HttpStream {
            scanner: PreambleScanner::Nothing { flash_policy: config.flash_policy, healthcheck: config.healthcheck },
            http: HttpConnection::new(config.head),
            state: State::Head,
            sender: BodySender::default(),
            pending: None,
            requests: 0,
            wait: Wait::Opening,
            output_waited: false,
            body_waited: false,
            added_headers: None,
            is_repeated: false,
            site,
        }
    }

    /// Takes input as far as requests are wanted, and returns how much was used.
    fn read(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let mut at = usize::from(mem::take(&mut self.is_repeated));
        let mut share = Share::new(self.site.config().message_budget);
        while self.reads(stream) && !share.is_spent(&stream.hub.time_slice) {
            if self.requests == 0 && !self.scan(stream, &data[at..]) {
                return data.len();
            }
            let was_answered = self.is_answered();
            let (used, event) = match self.http.read(&data[at..]) {
                Ok(read) => read,
                Err(_) if was_answered => {
                    self.end(stream);
                    return data.len();
                }
                Err(error) => {
                    self.refuse_request(stream, error);
                    return data.len();
                }
            };
            let start = at;
            at += used;
            match event {
                None => break,
                Some(HttpEvent::Request(head)) => {
                    share.spend(MESSAGES_PER_REQUEST);
                    match self.request(stream, head) {
                        Ok(request) => self.on_request(stream, request),
                        Err(error) => self.refuse_request(stream, error),
                    }
                }
                Some(HttpEvent::Data(range)) => self.on_body(stream, &data[start..][range]),
                Some(HttpEvent::End) => self.on_body_end(stream),
            }
        }
        at - self.repeat_last_byte(at == data.len())
    }

    /// A request with the address of its client. Refused if a trusted proxy has passed on a malformed `Forwarded`.
    fn request(&self, stream: &Stream<'_>, head: http::Request<()>) -> Result<Request, RequestError> {
        let (config, peer) = (self.site.config(), stream.peer_addr());
        let is_secure = config.secure_proxy || stream.hub.is_proxied_securely(stream.id());
        let known = self.http.known_headers();
        let mut request = Request { known, ..Request::new(head, peer, stream.tls_info(), is_secure) };
        let client = forwarded::client(request.headers(), peer, &config.trusted_proxies).map_err(RequestError::Head)?;
        if let Some(client) = client {
            (request.peer_addr, request.forwarded_secure) = (client.address, client.is_secure);
        }
        Ok(request)
    }

    /// The rest of the body of an answered request is skipped.
    fn is_answered(&self) -> bool {
        matches!(self.state, State::Head) && self.http.step() == Step::Body
    }

    /// Returns `true` if input is to be taken.
    fn reads(&self, stream: &Stream<'_>) -> bool {
        let (_, held) = stream.hub.read_gate(stream.id());
        !self.state.awaits_reply() && !matches!(self.state, State::Ended) && !held
    }

    /// Looks for what is answered beside HTTP. Returns `true` if the input is HTTP, or may be.
    fn scan(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> bool {
        match self.scanner.read(data) {
            Scan::Http => return true,
            Scan::Policy => {}
            Scan::Nonsense => self.refuse_request(stream, RequestError::Head(HeadError::Malformed)),
            Scan::Tls => {
                let error = io::Error::new(io::ErrorKind::InvalidData, "the client speaks TLS to a plain HTTP port");
                if stream.hub.may_warn() {
                    log::warn!(target: "ws_reactor::server", "{}: {error}", stream.id());
                }
                // In plain text: the client of this crate, for one, recognizes that and names the cause.
                self.fail(stream, StatusCode::BAD_REQUEST, &error.to_string(), &Error::Tls(error));
            }
            Scan::Preamble(preamble) => {
                stream.hub.write_handshake(stream.id(), preamble.answer(), true);
                self.end(stream);
            }
        }
        false
    }

    /// The head of a request is complete.
    fn on_request(&mut self, stream: &mut Stream<'_>, mut request: Request) {
        self.requests += 1;
        self.added_headers = None;
        stream.hub.stats.requests += 1;
        if self.site.config().healthcheck && is_healthcheck(&request) {
            let response = response::with_body(StatusCode::OK, "text/plain", "OK".to_owned());
            return self.respond(stream, response.map(Body::from));
        }
        #[cfg(feature = "server")]
        if self.answers_preflight(stream, &mut request) {
            return;
        }
        let found = self.site.find(&mut request);
        #[cfg(feature = "server")]
        if !self.applies_cors(stream, &request, &found) {
            return;
        }
        let (rules, is_socket) = match &found {
            Found::Endpoint(endpoint) => (Some(&endpoint.rules), endpoint.socket().is_some()),
            #[cfg(feature = "server")]
            Found::Reply(_) => (None, false),
        };
        // Requests of old versions of WebSocket have no `Host`.
        let checked = if is_socket { request.check_host() } else { request.require_host() };
        if let Err(error) = checked {
            return self.refuse_request(stream, RequestError::Head(error));
        }
        if let Err(refusal) = self.site.check(&request, rules, stream.hub) {
            return self.refuse(stream, request.names_websocket(), *refusal);
        }
        self.admit(stream, PendingRequest::new(request, found));
    }

    /// Asks the callbacks ahead of the endpoint, then the endpoint.
    fn admit(&mut self, stream: &mut Stream<'_>, mut pending_request: Box<PendingRequest<S::Socket>>) {
        loop {
            let asked = match pending_request.asked {
                0 => {
                    let site = Rc::clone(&self.site);
                    stream.guard(|hub| site.on_request(&pending_request.request, hub))
                }
                _ => match pending_request.next_callback() {
                    Some(callback) => stream.guard(|hub| Some(callback(&pending_request.request, hub))),
                    None => return self.proceed(stream, pending_request),
                },
            };
            pending_request.asked += 1;
            match asked {
                Ok(None) => {}
                Ok(Some(reply)) => return self.carry_out(stream, pending_request, reply),
                Err(message) => return self.on_panic(stream, message),
            }
        }
    }

    /// Carries out a reply of `on_request` or of an endpoint.
    fn carry_out(
        &mut self,
        stream: &mut Stream<'_>,
        mut pending_request: Box<PendingRequest<S::Socket>>,
        reply: Reply,
    ) {
        match pending_request.with_added_headers(reply).0 {
            ReplyKind::Plain(plain) => {
                self.count_refused(stream, &pending_request.request);
                let Plain { status, content_type, body } = plain;
                let head = ResponseHead { status, content_type: Some(&content_type), headers: None, added: None };
                self.respond_with(stream, head, body);
            }
            ReplyKind::Respond(response) => {
                self.count_refused(stream, &pending_request.request);
                self.respond(stream, *response);
            }
            #[cfg(feature = "server")]
            ReplyKind::File(file) => {
                let response = files::response(*file, &pending_request.request);
                self.respond(stream, response);
            }
            #[cfg(feature = "server")]
            ReplyKind::Events(events) => self.start_events(stream, &pending_request.request, *events),
            #[cfg(feature = "server")]
            ReplyKind::Poll(poll) => self.start_poll(stream, pending_request, poll),
            ReplyKind::Upgrade(upgrade) if !pending_request.is_admitted => {
                pending_request.pass(upgrade);
                self.admit(stream, pending_request);
            }
            ReplyKind::Upgrade(_) => {
                let path = pending_request.request.path();
                log::error!(target: "ws_reactor::server", "the route of {path:?} is no WebSocket");
                self.respond(stream, response::status(StatusCode::INTERNAL_SERVER_ERROR).map(Body::from));
            }
            ReplyKind::Later(deferred) => match deferred.wait(stream.hub.remote(), stream.id()) {
                Some(reply) => self.carry_out(stream, pending_request, reply),
                None => {
                    match deferred.is_held {
                        // The request is complete: it is no handshake that a client delays. The connection is read, so
                        // that its end is noticed.
                        true => self.pending = None,
                        // Bytes behind the request stay in the network until the reply.
                        false => stream.pause(),
                    }
                    self.state = State::Deferred(pending_request, deferred);
                }
            },
        }
    }

    /// Passes a request on to its endpoint.
    fn proceed(&mut self, stream: &mut Stream<'_>, mut pending_request: Box<PendingRequest<S::Socket>>) {
        pending_request.is_admitted = true;
        let endpoint = match &mut pending_request.found {
            Found::Endpoint(endpoint) => Rc::clone(endpoint),
            #[cfg(feature = "server")]
            Found::Reply(reply) => {
                let reply = mem::replace(reply, Reply::empty(StatusCode::NOT_FOUND));
                return self.carry_out(stream, pending_request, reply);
            }
        };
        #[cfg(feature = "server")]
        if !matches!(*endpoint.target, Target::Socket(_)) {
            return self.ask(stream, pending_request, &endpoint);
        }
        let mut upgrade = pending_request.upgrade.map_or_else(Upgrade::new, |upgrade| *upgrade);
        upgrade.extensions = mem::take(pending_request.request.head.extensions_mut());
        self.upgrade(stream, pending_request.request, &endpoint, upgrade);
    }

    /// Hands the stream over to another protocol.
    fn upgrade(&mut self, stream: &mut Stream<'_>, request: Request, endpoint: &Endpoint<S::Socket>, upgrade: Upgrade) {
        let (site, names_websocket) = (Rc::clone(&self.site), request.names_websocket());
        if self.requests > 1 && !matches!(self.wait, Wait::Head(_)) {
            // The rest of a handshake may follow the head: it has the time of a head, and not that of an idle
            // connection.
            let deadline = stream.hub.after(site.config().opening_timeout);
            stream.set_deadline(Some(deadline));
        }
        match site.upgrade(stream, request, endpoint, upgrade, &mut self.pending) {
            Ok(()) => {
                self.http.upgrade();
                self.state = State::Ended;
            }
            Err(refusal) => self.refuse(stream, names_websocket, *refusal),
        }
    }

    /// Carries out a deferred reply. `false` if none was given yet.
    fn carry_out_deferred(&mut self, stream: &mut Stream<'_>) -> bool {
        let State::Deferred(_, deferred) = &self.state else { return false };
        let Some(reply) = deferred.take() else { return false };
        if let State::Deferred(pending_request, _) = mem::replace(&mut self.state, State::Head) {
            stream.resume();
            self.carry_out(stream, pending_request, reply);
        }
        true
    }
}

#[cfg(not(feature = "server"))]
impl<S: Site> HttpStream<S> {
    fn on_body(&mut self, _: &mut Stream<'_>, _: &[u8]) {}

    fn on_body_end(&mut self, _: &mut Stream<'_>) {}

    fn repeat_last_byte(&mut self, _: bool) -> usize {
        0
    }
}

/// The request that em-websocket answers to load balancers.
fn is_healthcheck(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && request.path() == "/healthcheck"
}

impl<S: Site> StreamHandler for HttpStream<S> {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        let config = self.site.config();
        let peer = stream.peer_addr();
        let (all, per_address) = (config.pending_handshakes, config.pending_handshakes_per_address);
        self.pending = stream.hub.begin_handshake(peer, all, per_address);
        if self.pending.is_none() {
            if stream.hub.may_warn() {
                log::warn!(target: "ws_reactor::server", "{peer} rejected: too many handshakes are pending");
            }
            return stream.terminate();
        }
        stream.hub.reserve(stream.id(), Side::Server);
        self.start_timeout(stream);
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let used = self.read(stream, data);
        if used < data.len() && (!matches!(self.state, State::Ended) || stream.is_handed_over()) {
            if self.state.awaits_reply() {
                // The application may have resumed the connection through the Hub.
                stream.pause();
            }
            stream.unread(data.len() - used);
        }
        self.update_deadline(stream);
    }

    fn on_drain(&mut self, stream: &mut Stream<'_>) {
        self.send_body(stream);
        self.update_deadline(stream);
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: &dyn Any) {
        if event.is::<Wakeup>() {
            self.sender.on_wakeup();
            self.carry_out_deferred(stream);
            #[cfg(feature = "server")]
            self.answer_poll(stream, false);
            self.send_body(stream);
            self.update_deadline(stream);
        }
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        self.on_wait_passed(stream);
        self.update_deadline(stream);
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        match &self.state {
            State::Head if self.http.step() == Step::Idle => match self.requests {
                0 => stream.terminate(),
                _ => self.end(stream),
            },
            State::Head if self.is_answered() => self.end(stream),
            State::Responding(_) => self.http.close_after(),
            State::Ended => {}
            _ => {
                self.http.close_after();
                let text = response::text(StatusCode::SERVICE_UNAVAILABLE, "shutting down");
                self.respond(stream, text.map(Body::from));
            }
        }
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        let is_idle = matches!(self.state, State::Head) && self.http.step() == Step::Idle;
        // A failed TLS handshake is reported even before the first byte of a request. An idle connection that ends is
        // not an error, and an answered one was reported before.
        if !is_idle && !matches!(self.state, State::Ended) || matches!(error, Error::Tls(_)) && self.requests == 0 {
            self.report(stream, error);
        }
    }
}
