//! A client's end of a stream: the handshake, then a WebSocket session.

use std::{
    mem,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use http::{Response, StatusCode};

use crate::{
    error::{Error, Refusal},
    http::{Request, body::BodyReader, retry_after::retry_after},
    net::tls::is_plain_http,
    protocol::{
        CloseReason, ClosedBy, Handshake, MessageLimits, Side, TimeoutKind, Version,
        handshake::client::{
            ClientRequest, ExpectedReply, Negotiated, ProofReader, ResponseError, ResponseReader, parse_written,
        },
    },
    proxy::{ProxyError, Tunnel},
    reactor::{Attempt, ConnectionId, Hub, Retry, Stream, StreamHandler, TimerId},
    websocket::{
        client::{Client, ClientOptions, request::GivenHeaders, route::Route},
        handler::{Handler, NoHandler, WebSocket},
        session::{Session, SessionParams},
    },
};

/// The protocol of a client's connection, until it is handed over to a session.
pub(in crate::websocket) struct ClientStream {
    handler: Box<dyn Handler>,
    home: Rc<Home>,
    /// The present route; after redirects not the first one.
    route: Rc<Route>,
    redirects: u32,
    /// The headers of this attempt, if `on_request` has changed them.
    given: Option<Box<GivenHeaders>>,
    state: State,
    /// The refusal that was reported to the handler.
    refusal: Option<Box<Refusal>>,
    /// Another attempt would most likely fail the same way.
    is_final: bool,
    /// Start of the connection.
    began: Option<Instant>,
}

/// The part of a client that all of its connections share.
pub(in crate::websocket) struct Home {
    /// The first route; each reconnect begins there.
    route: Rc<Route>,
    options: ClientOptions,
}

enum State {
    /// The connection is being made.
    Dialing,
    /// The proxy is opening the tunnel.
    Tunnelling(Box<Tunnel>),
    /// The request is sent; the response head is incomplete.
    Asked(Box<Asked>),
    /// The response head is valid; the proof behind it is incomplete (hixie-76 §1.3).
    Proving(Box<Proving>),
    /// The response is a refusal; the start of its body is being read.
    Refused(Box<Refusal>, Box<BodyReader>),
    /// The connection failed, and the handler knows.
    Failed,
    /// The stream is handed over to a session.
    HandedOver,
}

struct Asked {
    request: http::Request<()>,
    proof: ExpectedReply,
    reader: ResponseReader,
}

struct Proving {
    handshake: Handshake,
    reader: ProofReader,
}

/// Bytes of a refusal's body that are kept.
const REFUSAL_BYTES: usize = 4096;

/// Time for that part of the body to arrive.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);

impl ClientStream {
    /// The first connection of a client.
    pub(in crate::websocket) fn first(route: Route, Client { handler, options }: Client) -> Self {
        ClientStream::new(Rc::new(Home { route: Rc::new(route), options }), handler)
    }

    /// A connection on the first route.
    pub(in crate::websocket) fn new(home: Rc<Home>, handler: Box<dyn Handler>) -> Self {
        let route = Rc::clone(&home.route);
        ClientStream {
            handler,
            home,
            route,
            redirects: 0,
            given: None,
            state: State::Dialing,
            refusal: None,
            is_final: false,
            began: None,
        }
    }

    /// Requests the connection from the Hub.
    pub(in crate::websocket) fn dial(self, hub: &mut Hub) -> ConnectionId {
        let config = Rc::new(self.options().config.websocket.stream.clone());
        hub.dial(self.route.target(), config, Box::new(self))
    }

    fn options(&self) -> &ClientOptions {
        &self.home.options
    }

    fn given(&self) -> &GivenHeaders {
        self.given.as_deref().unwrap_or(&self.options().given)
    }

    fn ask<T>(&self, with: impl FnOnce(&ClientRequest<'_>) -> T) -> T {
        let (url, options, given) = (&self.route.url, self.options(), self.given());
        let (authority, location) = (url.authority(), url.location());
        let headers = self.route.headers(&self.home.route.url, &given.headers);
        with(&ClientRequest {
            version: options.version,
            target: &url.target,
            authority: &authority,
            location: &location,
            host: given.host.as_ref(),
            origin: given.origin.as_ref(),
            subprotocols: &options.subprotocols,
            lenient_subprotocol: options.config.lenient_subprotocol,
            headers: &headers,
            deflate: options.deflate.as_ref().filter(|_| options.version.traits().compressible),
        })
    }

    /// Takes bytes from the proxy, and returns how many were used.
    fn read_proxy(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let State::Tunnelling(tunnel) = &mut self.state else { return 0 };
        let mut answer = Vec::new();
        let tunnel = tunnel.read(data, &mut answer);
        if !answer.is_empty() {
            stream.hub.write_handshake(stream.id(), &answer, true);
        }
        match tunnel {
            Ok(None) => {}
            Ok(Some(used)) if used == data.len() => {
                stream.hub.forget_tls_info(stream.id());
                self.send_request(stream);
            }
            // A WebSocket server does not speak first, so these bytes come from the proxy.
            Ok(Some(_)) => self.fail(stream, Error::Proxy(ProxyError::Malformed)),
            Err(error) => self.fail(stream, Error::Proxy(error)),
        }
        data.len()
    }

    /// The server is reached: sends the request.
    fn send_request(&mut self, stream: &mut Stream<'_>) {
        if self.redirects == 0 {
            self.change_request();
        }
        let mut bytes = Vec::with_capacity(512);
        let masks = &mut stream.hub.pools.masks;
        let proof = self.ask(|ask| ask.write(masks, &mut bytes));
        let home = &self.home.route.url;
        let named = self.options().server_name.as_deref().filter(|_| self.route.url.same_origin(home));
        stream.hub.start_tls(stream.id(), self.route.tls.as_ref(), named.unwrap_or(&self.route.url.host));
        stream.hub.write_handshake(stream.id(), &bytes, true);
        match parse_written(&bytes, &self.given().headers) {
            Ok(request) => {
                let reader = ResponseReader::default();
                self.state = State::Asked(Box::new(Asked { request, proof, reader }));
            }
            Err(error) => self.fail(stream, Error::Head(error)),
        }
    }

    /// Lets the application change the request of this attempt.
    fn change_request(&mut self) {
        let options = self.options();
        if let Some((given, target)) = options.on_request.change(&options.given, &self.route.url.target) {
            self.given = Some(Box::new(given));
            Rc::make_mut(&mut self.route).url.target = target;
        }
    }

    /// Takes bytes of the response head, and returns how many were used.
    fn read_answer(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let State::Asked(asked) = &mut self.state else { return 0 };
        match asked.reader.read(data, &self.home.options.config.head) {
            Ok((used, None)) => used,
            Ok((used, Some(response))) => {
                self.on_response(stream, response);
                used
            }
            Err(error) => {
                self.fail(stream, Error::Response(error));
                data.len()
            }
        }
    }

    fn on_response(&mut self, stream: &mut Stream<'_>, response: Response<()>) {
        let State::Asked(asked) = mem::replace(&mut self.state, State::Failed) else { return };
        match self.ask(|ask| ask.check(&response, &asked.proof)) {
            Ok(agreed) => self.on_accepted(stream, *asked, response, agreed),
            Err(ResponseError::Status(_)) => self.refused(stream, response),
            Err(error) => self.fail(stream, Error::Response(error)),
        }
    }

    /// The response is not 101: follows a redirect, or starts reading the refusal's body.
    fn refused(&mut self, stream: &mut Stream<'_>, response: Response<()>) {
        if self.redirects < self.options().redirects
            && let Some(route) = self.route.redirected(&response, self.options())
        {
            let id = stream.id();
            log::debug!(target: "ws_reactor::websocket", "{id} is redirected to {}", route.url.location());
            stream.hub.redial(id, route.target());
            (self.route, self.redirects, self.state) = (Rc::new(route), self.redirects + 1, State::Dialing);
            return;
        }
        let deadline = stream.hub.after(REFUSAL_DEADLINE);
        stream.set_deadline(Some(deadline));
        let (parts, ()) = response.into_parts();
        let body = BodyReader::new(parts.status, &parts.headers, REFUSAL_BYTES);
        self.state = State::Refused(Box::new(Refusal::new(parts.status, parts.headers)), Box::new(body));
        self.read_refusal(stream, &[]);
    }

    fn on_accepted(&mut self, stream: &mut Stream<'_>, asked: Asked, response: Response<()>, agreed: Negotiated) {
        let (peer_addr, secured) = (stream.peer_addr(), stream.tls_info());
        let request = Request::new(asked.request, peer_addr, secured, false);
        let Negotiated { subprotocol, compression } = agreed;
        let mut handshake = Handshake::new(request, self.options().version, subprotocol, compression);
        handshake.answered_by(response);
        match asked.proof {
            ExpectedReply::Behind(expected) => {
                self.state = State::Proving(Box::new(Proving { handshake, reader: ProofReader::new(expected) }));
            }
            ExpectedReply::Nothing | ExpectedReply::Accept(_) => self.open(stream, handshake),
        }
    }

    /// Takes bytes of the proof, and returns how many were used.
    fn read_proof(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let State::Proving(proving) = &mut self.state else { return 0 };
        match proving.reader.read(data) {
            Ok(used) if !proving.reader.is_complete() => used,
            Ok(used) => {
                if let State::Proving(proving) = mem::replace(&mut self.state, State::Failed) {
                    self.open(stream, proving.handshake);
                }
                used
            }
            Err(error) => {
                self.fail(stream, Error::Response(error));
                data.len()
            }
        }
    }

    /// The handshake is complete.
    fn open(&mut self, stream: &mut Stream<'_>, handshake: Handshake) {
        let handler = mem::replace(&mut self.handler, Box::new(NoHandler));
        let options = self.options();
        let config = &Rc::new(options.config.websocket.clone());
        let params =
            SessionParams { side: Side::Client, limits: config.limits, config, deflate: options.deflate.as_ref() };
        let session = Session::begin(stream, handler, &handshake, params);
        self.state = State::HandedOver;
        if let Some(began) = self.began {
            stream.hub.note_handshake(began);
        }
        stream.hand_over(session.open_on_connect(handshake).reconnect_to(Rc::clone(&self.home)));
    }

    /// Reads the start of a refusal's body, and returns how much of `data` was used.
    fn read_refusal(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let State::Refused(_, body) = &mut self.state else { return 0 };
        body.read(data);
        if body.is_complete() {
            self.report_refusal(stream);
        }
        data.len()
    }

    fn report_refusal(&mut self, stream: &mut Stream<'_>) {
        if let State::Refused(mut refusal, body) = mem::replace(&mut self.state, State::Failed) {
            refusal.body = body.into_body();
            self.fail(stream, Error::Refused(refusal));
        }
    }

    /// Fails the opening: the connection does not become a WebSocket.
    fn fail(&mut self, stream: &mut Stream<'_>, error: Error) {
        self.report_error(stream, &error);
        let by = match error {
            Error::Refused(refusal) => {
                let status = refusal.status;
                if let StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE = status
                    && let Some(wait) = retry_after(&refusal.headers, SystemTime::now())
                {
                    stream.hub.retry_after(stream.id(), wait);
                }
                self.refusal = Some(refusal);
                ClosedBy::Refused { status }
            }
            Error::Response(ResponseError::Tls) => ClosedBy::Tls,
            _ => ClosedBy::Handshake,
        };
        stream.hub.terminate_with(stream.id(), by);
    }

    fn report_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        log::debug!(target: "ws_reactor::websocket", "{} not opened: {error}", stream.id());
        self.state = State::Failed;
        self.is_final = is_final(error);
        self.call(stream, |handler, ws| handler.on_error(ws, error));
    }
}

impl StreamHandler for ClientStream {
    fn on_dial(&mut self, stream: &mut Stream<'_>) {
        self.began.get_or_insert(stream.hub.now());
        let deadline = stream.hub.after(self.options().config.opening_timeout);
        stream.set_deadline(Some(deadline));
    }

    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        match &self.route.proxy {
            Some(proxy) => {
                stream.hub.start_tls(stream.id(), self.route.proxy_tls.as_ref(), &proxy.host);
                let mut bytes = Vec::new();
                let tunnel = Tunnel::new(proxy, &self.route.url, &mut bytes);
                stream.hub.write_handshake(stream.id(), &bytes, true);
                self.state = State::Tunnelling(Box::new(tunnel));
            }
            None => self.send_request(stream),
        }
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let mut at = 0;
        // Bytes behind the response belong to the WebSocket.
        while at < data.len() {
            at += match &mut self.state {
                State::Tunnelling(_) => self.read_proxy(stream, &data[at..]),
                State::Asked(_) => self.read_answer(stream, &data[at..]),
                State::Proving(_) => self.read_proof(stream, &data[at..]),
                State::Refused(..) => self.read_refusal(stream, &data[at..]),
                State::HandedOver => return stream.unread(data.len() - at),
                State::Dialing | State::Failed => return,
            };
        }
    }

    /// The handler set the timer in `on_reconnect`.
    fn on_timer(&mut self, stream: &mut Stream<'_>, timer: TimerId) {
        self.call(stream, |handler, ws| handler.on_timer(ws, timer));
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        match &mut self.state {
            State::Refused(..) => self.report_refusal(stream),
            _ => {
                let missed = self.missed(stream);
                stream.hub.terminate_with(stream.id(), ClosedBy::Timeout(missed));
            }
        }
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        stream.hub.terminate_with(stream.id(), ClosedBy::Shutdown);
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        match &self.state {
            State::Refused(..) => self.report_refusal(stream),
            State::Failed => {}
            // An end by the application is no error, except that it must not hide a refusal.
            _ if matches!(error, Error::Closed(_)) => {}
            _ => self.report_error(stream, error),
        }
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        debug_assert!(!matches!(self.state, State::HandedOver), "the session has the handler");
        // No close frame was exchanged, and the bytes that were not sent are those of the handshake.
        let reason = CloseReason::abnormal(reason.by);
        self.call(stream, |handler, ws| handler.on_close(ws, &reason));
    }

    fn on_reconnect(&mut self, stream: &mut Stream<'_>, attempt: &Attempt<'_>) -> Retry {
        let refusal = self.refusal.take();
        let default = if mem::take(&mut self.is_final) { Retry::No } else { attempt.default };
        let attempt = Attempt { refusal: refusal.as_deref(), default, ..*attempt };
        self.began = None;
        (self.state, self.route, self.redirects) = (State::Dialing, Rc::clone(&self.home.route), 0);
        self.given = None;
        self.call(stream, |handler, ws| handler.on_reconnect(ws, &attempt))
    }
}

/// Returns `true` if another attempt would most likely fail the same way.
fn is_final(error: &Error) -> bool {
    match error {
        Error::Refused(refusal) => is_final_status(refusal.status),
        Error::Proxy(ProxyError::Refused(status)) => is_final_status(*status),
        Error::Proxy(ProxyError::Credentials | ProxyError::TooLong) => true,
        Error::Response(ResponseError::Tls) | Error::Head(_) => true,
        Error::Tls(source) => is_plain_http(source),
        _ => false,
    }
}

fn is_final_status(status: StatusCode) -> bool {
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !passing.contains(&status)
}

impl ClientStream {
    fn call<T>(
        &mut self,
        stream: &mut Stream<'_>,
        callback: impl FnOnce(&mut dyn Handler, &mut WebSocket<'_>) -> T,
    ) -> T {
        let (version, mut limits) = self.view();
        callback(&mut *self.handler, &mut WebSocket::new(stream, version, &mut limits))
    }

    fn view(&self) -> (Version, MessageLimits) {
        (self.options().version, self.options().config.websocket.limits)
    }

    /// The phase that timed out.
    fn missed(&self, stream: &Stream<'_>) -> TimeoutKind {
        let unsecured = stream.tls_info().is_none();
        match &self.state {
            State::Dialing if stream.hub.is_resolving(stream.id()) => TimeoutKind::Resolving,
            State::Dialing => TimeoutKind::Connecting,
            State::Tunnelling(_) if self.route.proxy_tls.is_some() && unsecured => TimeoutKind::Securing,
            State::Tunnelling(_) => TimeoutKind::Tunnelling,
            _ if self.route.tls.is_some() && unsecured => TimeoutKind::Securing,
            _ => TimeoutKind::Opening,
        }
    }
}
