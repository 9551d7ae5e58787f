//! A server's connection: HTTP requests, one at a time, until one of them asks for another protocol.

use std::{
    any::Any,
    io, mem,
    rc::Rc,
    sync::Arc,
    task::Context,
    time::{Instant, SystemTime},
};

use http::{Method, Response, StatusCode};

#[cfg(feature = "server")]
use super::{
    files,
    upload::{RequestBody, Upload},
};
use super::{
    preamble::{PreambleScanner, Scan},
    reply::{
        Reply, ReplyKind,
        body::{Body, Part, Source},
        responder::Deferred,
        upgrade::Upgrade,
    },
    site::{Endpoint, Found, Refusal, Site, Target},
    waker::ConnectionWaker,
};
use crate::{
    buffer::{Bytes, LARGE_PAYLOAD_BYTES},
    error::Error,
    http::{
        Request,
        connection::{HttpConnection, HttpEvent, Next, RequestError, Step},
        head::HeadError,
        response,
    },
    protocol::{ClosedBy, Side, TimeoutKind},
    reactor::{PendingHandshake, Stream, StreamHandler, Wakeup},
};

/// Part of a body that restarts its time-out.
const PROGRESS_BYTES: u64 = 4 * 1024;

/// Parts of a body made in one callback.
const MAX_PARTS: usize = 256;

/// The protocol of a server's connection.
pub(crate) struct HttpStream<S: Site> {
    site: Rc<S>,
    scanner: PreambleScanner,
    http: HttpConnection,
    state: State<S::Socket>,
    /// Counts as a pending handshake until the first request is answered.
    pending: Option<PendingHandshake>,
    /// Number of requests whose heads have arrived.
    requests: u64,
    /// Bytes of the present body.
    received: u64,
    /// The wait that the deadline of the connection is for.
    wait: Wait,
    waker: Option<Arc<ConnectionWaker>>,
}

enum State<S> {
    /// There is no request, or its head is incomplete.
    Head,
    /// The body of a request is being collected.
    #[cfg(feature = "server")]
    Collecting(Box<Question<S>>, Vec<u8>),
    /// The body of a request is passed on as it arrives.
    #[cfg(feature = "server")]
    Uploading(Box<dyn Upload>),
    /// The reply is deferred.
    Deferred(Box<Question<S>>, Deferred),
    /// A response is being sent.
    Responding(Box<Source>),
    /// The last response was sent, or another protocol has taken over.
    Ended,
}

/// A request that is not answered yet.
struct Question<S> {
    request: Request,
    found: Found<S>,
    /// The reply comes from the endpoint, and not from `on_request`.
    is_admitted: bool,
}

/// What a connection waits for. The number changes where the time-out starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// The first request, or the reply to a handshake: absolute from accept.
    Opening,
    Request(u64),
    Head(u64),
    Body(u64, u64),
    Reply(u64),
    /// The client takes its response: the output has a rule of its own.
    Output,
}

impl<S: Site> HttpStream<S> {
    pub(crate) fn new(site: Rc<S>) -> Self {
        let config = site.config();
        let scanner = PreambleScanner::Nothing { flash_policy: config.flash_policy, healthcheck: config.healthcheck };
        let http = HttpConnection::new(config.head);
        HttpStream {
            site,
            scanner,
            http,
            state: State::Head,
            pending: None,
            requests: 0,
            received: 0,
            wait: Wait::Opening,
            waker: None,
        }
    }

    /// Takes input as far as requests are wanted, and returns how much was used.
    fn read(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let (mut at, mut budget) = (0, self.site.config().request_budget.max(1));
        while self.reads(stream) && budget > 0 {
            if self.requests == 0 && !self.scan(stream, &data[at..]) {
                return data.len();
            }
            let (used, event) = match self.http.read(&data[at..]) {
                Ok(read) => read,
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
                    budget -= 1;
                    let (peer_addr, secured) = (stream.peer_addr(), stream.tls_info());
                    let proxied = self.site.config().secure_proxy;
                    self.on_request(stream, Request::new(head, peer_addr, secured, proxied));
                }
                Some(HttpEvent::Data(range)) => self.on_body(stream, &data[start..][range]),
                Some(HttpEvent::End) => self.on_body_end(stream),
            }
        }
        at
    }

    /// Returns `true` if input is to be taken.
    fn reads(&self, stream: &Stream<'_>) -> bool {
        let (_, held) = stream.hub.read_gate(stream.id());
        !matches!(self.state, State::Deferred(..) | State::Responding(_) | State::Ended) && !held
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
        (self.requests, self.received) = (self.requests + 1, 0);
        stream.hub.stats.requests += 1;
        if let Err(error) = request.check_host() {
            return self.refuse_request(stream, RequestError::Head(error));
        }
        if self.site.config().healthcheck && is_healthcheck(&request) {
            return self
                .respond(stream, response::with_body(StatusCode::OK, "text/plain", "OK".to_owned()).map(Body::from));
        }
        let found = self.site.find(&mut request);
        let rules = match &found {
            Found::Endpoint(endpoint) => Some(&endpoint.rules),
            #[cfg(feature = "server")]
            Found::Reply(_) => None,
        };
        if let Err(refusal) = self.site.check(&request, rules, stream.hub) {
            return self.refuse(stream, &request, refusal);
        }
        let reply = {
            let site = Rc::clone(&self.site);
            stream.guard(|hub| site.on_request(&request, hub))
        };
        match reply {
            Ok(None) => self.proceed(stream, Question { request, found, is_admitted: false }, Upgrade::new()),
            Ok(Some(reply)) => self.carry_out(stream, Question { request, found, is_admitted: false }, reply),
            Err(message) => self.panicked(stream, message),
        }
    }

    /// Carries out a reply of `on_request` or of an endpoint.
    fn carry_out(&mut self, stream: &mut Stream<'_>, question: Question<S::Socket>, reply: Reply) {
        match reply.0 {
            ReplyKind::Respond(response) => {
                stream.hub.stats.refused += u64::from(question.request.names_websocket());
                if question.request.names_websocket() {
                    // Bytes of a handshake may follow the head.
                    self.http.close_after();
                }
                self.respond(stream, *response);
            }
            #[cfg(feature = "server")]
            ReplyKind::File(file) => {
                let response = files::response(&file.path, &question.request, file.headers);
                self.respond(stream, response);
            }
            ReplyKind::Upgrade(upgrade) if !question.is_admitted => self.proceed(stream, question, *upgrade),
            ReplyKind::Upgrade(_) => {
                log::error!(target: "ws_reactor::server", "the route of {:?} is no WebSocket", question.request.path());
                self.respond_status(stream, StatusCode::INTERNAL_SERVER_ERROR);
            }
            ReplyKind::Later(deferred) => match deferred.wait(stream.hub.remote(), stream.id()) {
                Some(reply) => self.carry_out(stream, question, reply),
                None => {
                    // Bytes behind the request stay in the network until the reply.
                    stream.pause();
                    self.state = State::Deferred(Box::new(question), deferred);
                }
            },
        }
    }

    /// Passes a request on to its endpoint. `upgrade`: what `on_request` has added.
    fn proceed(&mut self, stream: &mut Stream<'_>, mut question: Question<S::Socket>, upgrade: Upgrade) {
        let endpoint = match question.found {
            Found::Endpoint(ref endpoint) => Rc::clone(endpoint),
            #[cfg(feature = "server")]
            Found::Reply(reply) => {
                question.found = Found::Reply(Reply::empty(StatusCode::NOT_FOUND));
                question.is_admitted = true;
                return self.carry_out(stream, question, reply);
            }
        };
        question.is_admitted = true;
        match &*endpoint.target {
            Target::Socket(_) => self.upgrade(stream, question.request, &endpoint, upgrade),
            #[cfg(feature = "server")]
            Target::Respond(_) => {
                question.request.head.extensions_mut().extend(upgrade.extensions);
                self.collect(stream, question, &endpoint);
            }
            #[cfg(feature = "server")]
            Target::Upload(factory) => {
                question.request.head.extensions_mut().extend(upgrade.extensions);
                match stream.guard(|hub| factory(&question.request, hub)) {
                    Ok(Ok(upload)) => {
                        if self.wants_body(stream, &endpoint) {
                            self.state = State::Uploading(upload);
                            if self.http.step() == Step::Response {
                                self.on_body_end(stream);
                            }
                        }
                    }
                    Ok(Err(reply)) => self.carry_out(stream, question, reply),
                    Err(message) => self.panicked(stream, message),
                }
            }
            #[cfg(feature = "server")]
            Target::Files(files, segments) => {
                let response = files.response(&question.request, *segments);
                self.respond(stream, response);
            }
        }
    }

    fn upgrade(&mut self, stream: &mut Stream<'_>, request: Request, endpoint: &Endpoint<S::Socket>, upgrade: Upgrade) {
        let names_websocket = request.names_websocket();
        let site = Rc::clone(&self.site);
        match site.upgrade(stream, request, endpoint, upgrade, &mut self.pending) {
            Ok(()) => {
                self.http.upgrade();
                self.state = State::Ended;
            }
            Err(Refusal { response, error }) => {
                if names_websocket {
                    self.http.close_after();
                }
                stream.hub.stats.refused += 1;
                self.respond(stream, response.map(Body::from));
                self.report(stream, &error);
            }
        }
    }

    /// Collects the body of a request, then asks its endpoint.
    #[cfg(feature = "server")]
    fn collect(&mut self, stream: &mut Stream<'_>, question: Question<S::Socket>, endpoint: &Endpoint<S::Socket>) {
        if !self.wants_body(stream, endpoint) {
            return;
        }
        self.state = State::Collecting(Box::new(question), Vec::new());
        if self.http.step() == Step::Response {
            self.on_body_end(stream);
        }
    }

    /// Asks for the body of the request. Returns `false` if it is known to be too long.
    #[cfg(feature = "server")]
    fn wants_body(&mut self, stream: &mut Stream<'_>, endpoint: &Endpoint<S::Socket>) -> bool {
        let limit = endpoint.rules.max_body_bytes.unwrap_or(self.site.config().max_body_bytes);
        let mut interim = Vec::new();
        match self.http.want_body(limit, &mut interim) {
            Ok(()) => {
                if !interim.is_empty() {
                    stream.hub.write_handshake(stream.id(), &interim, true);
                }
                true
            }
            Err(error) => {
                self.refuse_request(stream, error);
                false
            }
        }
    }

    /// A part of the body of a request.
    #[cfg(feature = "server")]
    fn on_body(&mut self, stream: &mut Stream<'_>, data: &[u8]) {
        self.received += data.len() as u64;
        let (id, received) = (stream.id(), self.received);
        match &mut self.state {
            State::Collecting(_, body) => body.extend_from_slice(data),
            State::Uploading(upload) => {
                match stream.guard(|hub| upload.on_chunk(&mut RequestBody::new(hub, id, received), data)) {
                    Ok(Ok(())) => {}
                    Ok(Err(reply)) => self.carry_out_uploaded(stream, reply),
                    Err(message) => self.panicked(stream, message),
                }
            }
            _ => {}
        }
    }

    #[cfg(not(feature = "server"))]
    fn on_body(&mut self, _: &mut Stream<'_>, _: &[u8]) {}

    /// The body of a request is complete.
    #[cfg(feature = "server")]
    fn on_body_end(&mut self, stream: &mut Stream<'_>) {
        match mem::replace(&mut self.state, State::Head) {
            State::Collecting(mut question, body) => {
                question.request.body = Bytes::from(body);
                let Found::Endpoint(endpoint) = &question.found else { return };
                let Target::Respond(respond) = &*endpoint.target else { return };
                match stream.guard(|hub| respond(&question.request, hub)) {
                    Ok(reply) => self.carry_out(stream, *question, reply),
                    Err(message) => self.panicked(stream, message),
                }
            }
            State::Uploading(mut upload) => {
                let (id, received) = (stream.id(), self.received);
                match stream.guard(|hub| upload.on_end(&mut RequestBody::new(hub, id, received))) {
                    Ok(reply) => self.carry_out_uploaded(stream, reply),
                    Err(message) => self.panicked(stream, message),
                }
            }
            other => self.state = other,
        }
    }

    #[cfg(not(feature = "server"))]
    fn on_body_end(&mut self, _: &mut Stream<'_>) {}

    /// Carries out the reply of an upload, which has no request any more.
    #[cfg(feature = "server")]
    fn carry_out_uploaded(&mut self, stream: &mut Stream<'_>, reply: Reply) {
        let request = Request::new(http::Request::new(()), stream.peer_addr(), None, false);
        let found = Found::Reply(Reply::empty(StatusCode::NOT_FOUND));
        self.state = State::Head;
        self.carry_out(stream, Question { request, found, is_admitted: true }, reply);
    }

    /// Carries out a deferred reply. `false` if none was given yet.
    fn carry_out_deferred(&mut self, stream: &mut Stream<'_>) -> bool {
        let State::Deferred(_, deferred) = &self.state else { return false };
        let Some(reply) = deferred.take() else { return false };
        if let State::Deferred(question, _) = mem::replace(&mut self.state, State::Head) {
            stream.resume();
            self.carry_out(stream, *question, reply);
        }
        true
    }

    /// Begins a response, and sends what there is room for.
    fn respond(&mut self, stream: &mut Stream<'_>, mut response: Response<Body>) {
        self.pending = None;
        if response.status().is_informational() {
            log::error!(target: "ws_reactor::server", "{} does not complete a response", response.status());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        let length = response.body().length();
        let (id, http, site) = (stream.id(), &mut self.http, &self.site);
        let mut next = None;
        stream.hub.append(id, 256, |out| {
            site.config().date.with(SystemTime::now(), |date| http.begin_response(&response, length, date, out));
            let body = if http.takes_body() { response.body().as_short() } else { Some(&[][..]) };
            if let Some(body) = body {
                http.write_body(body, out);
                next = Some(http.end_response(out));
            }
        });
        match next {
            Some(next) => self.on_responded(stream, next),
            None if !stream.hub.is_alive(id) => self.state = State::Ended,
            None => {
                stream.pause();
                self.state = State::Responding(Box::new(response.into_body().0));
                self.send_body(stream);
            }
        }
    }

    /// Sends parts of the body of the present response while there is room for them.
    fn send_body(&mut self, stream: &mut Stream<'_>) {
        let State::Responding(source) = &mut self.state else { return };
        let id = stream.id();
        let connection = self.waker.get_or_insert_with(|| ConnectionWaker::new(stream.hub.remote(), id));
        let waker = connection.waker();
        let mut buffer = Vec::new();
        for _ in 0..MAX_PARTS {
            if !stream.hub.has_room(id) {
                break;
            }
            buffer.clear();
            let part = stream.guard(|_| source.next(&mut Context::from_waker(&waker), &mut buffer));
            let bytes = match part {
                Ok(Ok(Part::Bytes(bytes))) => bytes,
                Ok(Ok(Part::Buffered)) => mem::take(&mut buffer).into(),
                Ok(Ok(Part::Pending)) => return,
                Ok(Ok(Part::End)) => {
                    let (http, mut next) = (&mut self.http, Next::Close);
                    stream.hub.append(id, 8, |out| next = http.end_response(out));
                    stream.resume();
                    return self.on_responded(stream, next);
                }
                Ok(Err(error)) => return self.cut_off(stream, &Error::Io(error)),
                Err(message) => return self.cut_off(stream, &Error::Panic(message)),
            };
            write_part(&self.http, stream, bytes);
        }
        stream.hub.await_drain(id);
    }

    /// Ends a connection whose response cannot be completed, so that the client notices.
    fn cut_off(&mut self, stream: &mut Stream<'_>, error: &Error) {
        self.state = State::Ended;
        stream.terminate();
        self.report(stream, error);
    }

    /// A response is complete.
    fn on_responded(&mut self, stream: &mut Stream<'_>, next: Next) {
        match next {
            Next::Request => self.state = State::Head,
            Next::Close => self.end(stream),
        }
    }

    fn respond_status(&mut self, stream: &mut Stream<'_>, status: StatusCode) {
        let text = status.canonical_reason().unwrap_or_default();
        self.respond(stream, response::text(status, text).map(Body::from));
    }

    /// Answers with an error, closes, and reports the error.
    fn fail(&mut self, stream: &mut Stream<'_>, status: StatusCode, text: &str, error: &Error) {
        self.http.close_after();
        stream.hub.stats.refused += 1;
        self.respond(stream, response::text(status, text).map(Body::from));
        self.report(stream, error);
    }

    /// The request is faulty.
    fn refuse_request(&mut self, stream: &mut Stream<'_>, error: RequestError) {
        let (status, text) = (error.status(), error.to_string());
        self.fail(stream, status, &text, &error.into());
    }

    /// The rules of the server refuse the request.
    fn refuse(&mut self, stream: &mut Stream<'_>, request: &Request, Refusal { response, error }: Refusal) {
        if request.names_websocket() {
            self.http.close_after();
        }
        stream.hub.stats.refused += 1;
        self.respond(stream, response.map(Body::from));
        self.report(stream, &error);
    }

    /// A callback of the application panicked.
    fn panicked(&mut self, stream: &mut Stream<'_>, message: String) {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        self.fail(stream, status, "Internal Server Error", &Error::Panic(message));
    }

    /// Reports an error, after the response: a panic of the callback has no effect on it.
    fn report(&self, stream: &mut Stream<'_>, error: &Error) {
        log::debug!(target: "ws_reactor::server", "{}: {error}", stream.id());
        let peer = stream.peer_addr();
        let _ = stream.guard(|_| self.site.report(peer, error));
    }

    /// Ends our side, and lingers so that the response arrives.
    fn end(&mut self, stream: &mut Stream<'_>) {
        self.state = State::Ended;
        self.pending = None;
        stream.hub.linger(stream.id(), self.site.config().linger_timeout, ClosedBy::Application);
    }

    /// What the connection waits for.
    fn present_wait(&self) -> Wait {
        let is_first = self.requests <= 1;
        match &self.state {
            State::Head if self.requests == 0 => Wait::Opening,
            State::Head => match self.http.step() {
                Step::Idle => Wait::Request(self.requests),
                Step::Head => Wait::Head(self.requests),
                _ => Wait::Body(self.requests, self.received / PROGRESS_BYTES),
            },
            #[cfg(feature = "server")]
            State::Collecting(..) | State::Uploading(_) => Wait::Body(self.requests, self.received / PROGRESS_BYTES),
            State::Deferred(question, _) if is_first && question.request.names_websocket() => Wait::Opening,
            State::Deferred(..) => Wait::Reply(self.requests),
            State::Responding(_) | State::Ended => Wait::Output,
        }
    }

    /// Sets the deadline of the present wait, if the wait has changed.
    fn update_deadline(&mut self, stream: &mut Stream<'_>) {
        let wait = self.present_wait();
        if wait != mem::replace(&mut self.wait, wait) && !matches!(self.state, State::Ended) {
            let deadline = self.deadline(stream);
            stream.set_deadline(deadline);
        }
    }

    fn deadline(&self, stream: &Stream<'_>) -> Option<Instant> {
        let config = self.site.config();
        let timeout = match self.wait {
            Wait::Opening | Wait::Head(_) => config.opening_timeout,
            Wait::Request(_) => config.keep_alive_timeout,
            Wait::Body(..) => config.body_timeout,
            Wait::Reply(_) => config.reply_timeout,
            Wait::Output => return None,
        };
        Some(stream.hub.after(timeout))
    }
}

/// Queues a part of a body, a large one without a copy.
fn write_part(http: &HttpConnection, stream: &mut Stream<'_>, bytes: Bytes) {
    let (id, length) = (stream.id(), bytes.len());
    if length == 0 {
        return;
    }
    if length < LARGE_PAYLOAD_BYTES {
        return stream.hub.append(id, length, |out| http.write_body(&bytes, out));
    }
    let framing = http.chunk_framing(length);
    if let Some((before, _)) = &framing {
        stream.hub.append(id, before.len(), |out| out.extend_from_slice(before.as_bytes()));
    }
    stream.hub.append_shared(id, bytes);
    if let Some((_, after)) = framing {
        stream.hub.append(id, after.len(), |out| out.extend_from_slice(after));
    }
}

/// The request that em-websocket answers to load balancers.
fn is_healthcheck(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && request.path() == "/healthcheck"
}

impl<S: Site> StreamHandler for HttpStream<S> {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        let config = self.site.config();
        let address = stream.peer_addr().ip();
        let (all, per_address) = (config.pending_handshakes, config.pending_handshakes_per_address);
        self.pending = stream.hub.begin_handshake(address, all, per_address);
        if self.pending.is_none() {
            if stream.hub.may_warn() {
                log::warn!(target: "ws_reactor::server", "{address} rejected: too many handshakes are pending");
            }
            return stream.terminate();
        }
        stream.hub.reserve(stream.id(), Side::Server);
        let deadline = stream.hub.after(config.opening_timeout);
        stream.set_deadline(Some(deadline));
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let used = self.read(stream, data);
        if used < data.len() && (!matches!(self.state, State::Ended) || stream.is_handed_over()) {
            if matches!(self.state, State::Deferred(..) | State::Responding(_)) {
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
            if let Some(waker) = &self.waker {
                waker.on_wakeup();
            }
            self.carry_out_deferred(stream);
            self.send_body(stream);
            self.update_deadline(stream);
        }
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        match self.wait {
            // The reply may be given already, and its wake-up still wait in the command queue.
            Wait::Opening | Wait::Reply(_) if matches!(self.state, State::Deferred(..)) => {
                if !self.carry_out_deferred(stream) {
                    let (status, error) = (StatusCode::SERVICE_UNAVAILABLE, Error::Timeout(TimeoutKind::Opening));
                    self.fail(stream, status, "the decision took too long", &error);
                }
            }
            Wait::Opening if self.http.step() == Step::Idle => {
                stream.hub.terminate_with(stream.id(), ClosedBy::Timeout(TimeoutKind::Opening));
            }
            Wait::Request(_) if stream.buffered() == 0 => self.end(stream),
            // Time passes for the client only while nothing waits for it, and while it is read.
            Wait::Body(..) if stream.hub.is_reading_suspended(stream.id()) => self.wait_again(stream),
            Wait::Request(_) => self.wait_again(stream),
            Wait::Opening | Wait::Head(_) | Wait::Body(..) => {
                let error = Error::Timeout(TimeoutKind::Opening);
                self.fail(stream, StatusCode::REQUEST_TIMEOUT, "the request took too long", &error);
            }
            Wait::Reply(_) | Wait::Output => {}
        }
        self.update_deadline(stream);
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        match &self.state {
            State::Head if self.http.step() == Step::Idle => match self.requests {
                0 => stream.terminate(),
                _ => self.end(stream),
            },
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

impl<S: Site> HttpStream<S> {
    /// Starts the time-out of the present wait again.
    fn wait_again(&mut self, stream: &mut Stream<'_>) {
        let deadline = self.deadline(stream);
        stream.set_deadline(deadline);
    }
}
