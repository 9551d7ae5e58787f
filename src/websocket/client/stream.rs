//! A client's end of a stream: the handshake, then a WebSocket session.

use std::{any::Any, io, mem, rc::Rc, time::Duration};

use http::Response;

use crate::{
    error::{Error, Refusal},
    http::{Request, body::BodyReader},
    protocol::{
        CloseCode, CloseReason, ClosedBy, Handshake, ProxyError, Side, TimeoutKind,
        handshake::client::{
            ClientRequest, ExpectedReply, Negotiated, ProofReader, ResponseError, ResponseReader, parse_written,
        },
        proxy::Tunnel,
    },
    reactor::{ConnectionId, Hub, Phase, Stream, StreamHandler, TimerId},
    websocket::{
        client::{Client, reconnect::Attempts, route::Route},
        handler::{Handler, WebSocket},
        session::{Session, SessionParams},
    },
};

/// The protocol of a client's connection.
pub(in crate::websocket) struct ClientStream {
    /// The first route, and the present one after redirects.
    home: Rc<Route>,
    route: Rc<Route>,
    redirects: u32,
    client: Client,
    attempts: Attempts,
    /// Number of this reconnect attempt, and the wait before it. `None` for the first connection.
    retry: Option<(u32, Duration)>,
    state: State,
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
    /// The handshake is complete.
    Open(Box<Session>),
    /// The response is a refusal; the start of its body is being read.
    Refused(Box<Refusal>, Box<BodyReader>),
    /// The connection failed, and the handler knows.
    Failed,
    /// `on_reconnect` declined; the handler is not called any more.
    Unwanted,
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
    pub(in crate::websocket) fn new(route: Route, client: Client) -> Self {
        ClientStream::to(Rc::new(route), client, Attempts::default(), None)
    }

    fn to(home: Rc<Route>, client: Client, attempts: Attempts, retry: Option<(u32, Duration)>) -> Self {
        let route = Rc::clone(&home);
        ClientStream { home, route, redirects: 0, client, attempts, retry, state: State::Dialing }
    }

    /// Orders the connection from the Hub.
    pub(in crate::websocket) fn dial(self, hub: &mut Hub) -> ConnectionId {
        let config = Rc::new(self.client.config.websocket.stream.clone());
        hub.dial(self.route.target(), self.wait(), config, Box::new(self))
    }

    /// The wait before dialing.
    fn wait(&self) -> Duration {
        self.retry.map_or(Duration::ZERO, |(_, wait)| wait)
    }

    fn ask<T>(&self, with: impl FnOnce(&ClientRequest<'_>) -> T) -> T {
        let url = &self.route.url;
        let (authority, location) = (url.authority(), url.location());
        let headers = self.route.headers(&self.home.url, &self.client.headers);
        with(&ClientRequest {
            version: self.client.version,
            target: &url.target,
            authority: &authority,
            location: &location,
            host: self.client.host.as_ref(),
            origin: self.client.origin.as_ref(),
            subprotocols: &self.client.subprotocols,
            headers: &headers,
            deflate: self.client.deflate.as_ref().filter(|_| self.client.version.traits().compressible),
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
            Ok(Some(_)) => self.fail(stream, &Error::Proxy(ProxyError::Malformed)),
            Err(error) => self.fail(stream, &Error::Proxy(error)),
        }
        data.len()
    }

    /// The server is reached: sends the request.
    fn send_request(&mut self, stream: &mut Stream<'_>) {
        let mut bytes = Vec::with_capacity(512);
        let masks = &mut stream.hub.pools.masks;
        let proof = self.ask(|ask| ask.write(masks, &mut bytes));
        let named = self.client.server_name.as_deref().filter(|_| self.route.url.same_origin(&self.home.url));
        stream.hub.start_tls(stream.id(), self.route.tls.as_ref(), named.unwrap_or(&self.route.url.host));
        stream.hub.write_handshake(stream.id(), &bytes, true);
        match parse_written(&bytes, &self.client.headers) {
            Ok(request) => {
                let reader = ResponseReader::default();
                self.state = State::Asked(Box::new(Asked { request, proof, reader }));
            }
            Err(error) => self.fail(stream, &Error::Head(error)),
        }
    }

    /// Takes bytes of the response head, and returns how many were used.
    fn read_answer(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let State::Asked(asked) = &mut self.state else { return 0 };
        match asked.reader.read(data, &self.client.config.head) {
            Ok((used, None)) => used,
            Ok((used, Some(response))) => {
                self.on_response(stream, response);
                used
            }
            Err(error) => {
                self.fail(stream, &Error::Response(error));
                data.len()
            }
        }
    }

    fn on_response(&mut self, stream: &mut Stream<'_>, response: Response<()>) {
        let State::Asked(asked) = mem::replace(&mut self.state, State::Failed) else { return };
        match self.ask(|ask| ask.check(&response, &asked.proof)) {
            Ok(agreed) => self.on_accepted(stream, *asked, response, agreed),
            Err(ResponseError::Status(_)) => self.refused(stream, response),
            Err(error) => self.fail(stream, &Error::Response(error)),
        }
    }

    /// The response is not 101: follows a redirect, or starts reading the refusal's body.
    fn refused(&mut self, stream: &mut Stream<'_>, response: Response<()>) {
        if self.redirects < self.client.redirects
            && let Some(route) = self.route.redirected(&response, &self.client)
        {
            let id = stream.id();
            log::debug!(target: "ws_reactor::websocket", "{id} is sent on: {}", route.url.location());
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
        let request = Request { head: asked.request, peer_addr, secured, proxied: false };
        let Negotiated { subprotocol, compression } = agreed;
        let mut handshake = Handshake::new(request, self.client.version, subprotocol, compression);
        handshake.answered_by(response);
        match asked.proof {
            ExpectedReply::Behind(expected) => {
                self.state = State::Proving(Box::new(Proving { handshake, reader: ProofReader::new(expected) }));
            }
            ExpectedReply::Nothing | ExpectedReply::Accept(_) => self.open(stream, &handshake),
        }
    }

    /// Takes bytes of the proof, and returns how many were used.
    fn read_proof(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let State::Proving(proving) = &mut self.state else { return 0 };
        match proving.reader.read(data) {
            Ok(used) if !proving.reader.is_complete() => used,
            Ok(used) => {
                if let State::Proving(proving) = mem::replace(&mut self.state, State::Failed) {
                    self.open(stream, &proving.handshake);
                }
                used
            }
            Err(error) => {
                self.fail(stream, &Error::Response(error));
                data.len()
            }
        }
    }

    /// The handshake is complete.
    fn open(&mut self, stream: &mut Stream<'_>, handshake: &Handshake) {
        self.attempts.note_open(stream.hub.now());
        let handler = mem::replace(&mut self.client.handler, Box::new(NoHandler));
        let config = &Rc::new(self.client.config.websocket.clone());
        let (limits, deflate) = (config.limits, self.client.deflate.as_ref());
        let params = SessionParams { side: Side::Client, limits, config, deflate };
        let session = Session::begin(stream, handler, handshake, params);
        self.state = State::Open(Box::new(session));
        if let State::Open(session) = &mut self.state {
            session.on_open(stream, handshake);
        }
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
            self.fail(stream, &Error::Refused(refusal));
        }
    }

    /// Fails the opening: the connection does not become a WebSocket.
    fn fail(&mut self, stream: &mut Stream<'_>, error: &Error) {
        self.report_error(stream, error);
        let by = match error {
            Error::Refused(refusal) => ClosedBy::Refused { status: refusal.status },
            Error::Response(ResponseError::Tls) => ClosedBy::Tls,
            _ => ClosedBy::Handshake,
        };
        stream.hub.terminate_with(stream.id(), by);
    }

    fn report_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        log::debug!(target: "ws_reactor::websocket", "{} not opened: {error}", stream.id());
        self.state = State::Failed;
        let mut ws = WebSocket::new(stream, self.client.version, self.client.config.websocket.limits);
        self.client.handler.on_error(&mut ws, error);
    }
}

impl StreamHandler for ClientStream {
    fn on_dial(&mut self, stream: &mut Stream<'_>) {
        let allowed = self.wait().saturating_add(self.client.config.opening_timeout);
        let deadline = stream.hub.after(allowed);
        stream.set_deadline(Some(deadline));
        if let Some((attempt, wait)) = self.retry {
            let mut ws = WebSocket::new(stream, self.client.version, self.client.config.websocket.limits);
            if !self.client.handler.on_reconnect(&mut ws, attempt, wait) {
                self.state = State::Unwanted;
                stream.terminate();
            }
        }
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
                State::Open(session) => return session.on_data(stream, &mut data[at..]),
                State::Tunnelling(_) => self.read_proxy(stream, &data[at..]),
                State::Asked(_) => self.read_answer(stream, &data[at..]),
                State::Proving(_) => self.read_proof(stream, &data[at..]),
                State::Refused(..) => self.read_refusal(stream, &data[at..]),
                State::Dialing | State::Failed | State::Unwanted => return,
            };
        }
    }

    fn on_drain(&mut self, stream: &mut Stream<'_>) {
        if let State::Open(session) = &mut self.state {
            session.on_drain(stream);
        }
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, timer: TimerId) {
        match &mut self.state {
            State::Open(session) => session.on_timer(stream, timer),
            State::Unwanted => {}
            // The handler set the timer in `on_reconnect`.
            _ => {
                let mut ws = WebSocket::new(stream, self.client.version, self.client.config.websocket.limits);
                self.client.handler.on_timer(&mut ws, timer);
            }
        }
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: &dyn Any) {
        if let State::Open(session) = &mut self.state {
            session.on_event(stream, event);
        }
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        match &mut self.state {
            State::Open(session) => session.on_deadline(stream),
            State::Refused(..) => self.report_refusal(stream),
            _ => {
                let missed = self.missed(stream);
                stream.hub.terminate_with(stream.id(), ClosedBy::Timeout(missed));
            }
        }
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        match &mut self.state {
            State::Open(session) => session.on_shutdown(stream),
            _ => {
                stream.hub.terminate_with(stream.id(), ClosedBy::Shutdown);
            }
        }
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        match &mut self.state {
            State::Open(session) => session.on_error(stream, error),
            State::Refused(..) => self.report_refusal(stream),
            State::Failed | State::Unwanted => {}
            _ => self.report_error(stream, error),
        }
    }

    fn before_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        match &self.state {
            State::Refused(..) => self.report_refusal(stream),
            State::Tunnelling(_) | State::Asked(_) | State::Proving(_) if reason.by == ClosedBy::Peer => {
                self.report_error(stream, &Error::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            _ => {}
        }
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        debug_assert_eq!(stream.hub.phase(stream.id()), Phase::Closed);
        match &mut self.state {
            State::Open(session) => session.on_close(stream, reason),
            State::Unwanted => {}
            _ => {
                let mut ws = WebSocket::new(stream, self.client.version, self.client.config.websocket.limits);
                self.client.handler.on_close(&mut ws, &CloseReason::abnormal(reason.by));
            }
        }
    }

    fn after_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        match mem::replace(&mut self.state, State::Failed) {
            State::Open(session) => {
                self.client.handler = session.into_handler();
                self.schedule_reconnect(stream, reason);
            }
            State::Unwanted => {}
            _ => self.schedule_reconnect(stream, &CloseReason::abnormal(reason.by)),
        }
    }
}

impl ClientStream {
    /// Dials the next attempt, if the policy asks for one and the end was not wanted.
    fn schedule_reconnect(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        let ended_here = matches!(reason.by, ClosedBy::Application | ClosedBy::Shutdown);
        let wanted = ended_here || stream.hub.is_closed_by_app(stream.id()) || reason.code == CloseCode::NORMAL;
        let Some(policy) = self.client.reconnect.filter(|_| !wanted && stream.hub.may_dial()) else { return };
        let random = u32::from_be_bytes(stream.hub.pools.masks.key());
        let Some((attempt, wait)) = self.attempts.next(&policy, stream.hub.now(), random) else { return };
        let client = mem::replace(&mut self.client, Client::new(NoHandler));
        let attempts = mem::take(&mut self.attempts);
        let next = ClientStream::to(Rc::clone(&self.home), client, attempts, Some((attempt, wait)));
        let (home, id) = (Rc::clone(&self.home), next.dial(stream.hub));
        log::debug!(target: "ws_reactor::websocket", "{} comes back as {id} after {wait:?}: {}", stream.id(), home.url.location());
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

/// Placeholder for the handler while the session owns it.
struct NoHandler;

impl Handler for NoHandler {}
