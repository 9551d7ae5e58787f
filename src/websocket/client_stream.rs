//! A client's end of a stream: the handshake, then a WebSocket session.

use std::{io, mem, rc::Rc, time::Duration};

use http::{Response, StatusCode, header};

use super::{
    client::Client,
    handler::{Handler, WebSocket},
    reconnect::Attempts,
    session::{Beginning, Habits, Session},
};
use crate::{
    error::{Error, Refusal},
    http::{Request, head::HeadReader, url::Url},
    protocol::{
        CloseCode, CloseReason, ClosedBy, Deadline, Handshake, ProxyError, Side,
        handshake::client::{Agreed, AnswerError, Ask, PROOF_BYTES, Proof},
        proxy::Tunnel,
    },
    reactor::{ConnectionId, Hub, Phase, Place, Stream, StreamHandler, TimerId},
};

/// The protocol of a client's connection.
pub(super) struct ClientStream {
    url: Url,
    client: Client,
    attempts: Attempts,
    state: State,
}

enum State {
    /// The connection is being made.
    Dialing,
    /// The proxy makes the tunnel.
    Tunnelling(Box<Tunnel>),
    /// The request has been sent, the answer is coming.
    Asked(Box<Asked>),
    /// The head of the answer is good; what has to show behind it is coming.
    Proving(Box<Proving>),
    /// The handshake is done.
    Open(Box<Session>),
    /// The answer was another; some of what it says is gathered.
    Refused(Box<Refusal>, usize),
    /// It has failed, and the handler knows.
    Failed,
}

struct Asked {
    request: http::Request<()>,
    proof: Proof,
    reader: HeadReader,
    /// Answers that were none yet (1xx).
    informational: usize,
}

struct Proving {
    handshake: Handshake,
    expected: [u8; PROOF_BYTES],
    received: Vec<u8>,
}

/// How many answers that are none may come before the one that is.
const MOST_INFORMATIONAL: usize = 8;

/// How much of the body of a refusal is kept, in bytes.
const REFUSAL_BYTES: usize = 4096;

/// How long that may take to come.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);

impl ClientStream {
    pub(super) fn new(url: Url, client: Client) -> Self {
        ClientStream { url, client, attempts: Attempts::default(), state: State::Dialing }
    }

    /// Has the connection made.
    pub(super) fn dial(self, hub: &mut Hub) -> ConnectionId {
        let place = match &self.client.proxy {
            Some(proxy) => Place::new(&proxy.host, proxy.port),
            None => Place::new(&self.url.host, self.url.port),
        };
        let settings = Rc::new(self.client.settings.stream.clone());
        hub.dial(place, settings, Box::new(self))
    }

    fn ask<T>(&self, with: impl FnOnce(&Ask<'_>) -> T) -> T {
        let (authority, location) = (self.url.authority(), self.url.location());
        with(&Ask {
            version: self.client.version,
            target: &self.url.target,
            authority: &authority,
            location: &location,
            origin: self.client.origin.as_ref(),
            subprotocols: &self.client.subprotocols,
            headers: &self.client.headers,
            deflate: self.client.deflate.as_ref().filter(|_| self.client.version.traits().compressible),
        })
    }

    /// Takes what the proxy says, and says how much that was.
    fn read_proxy(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let State::Tunnelling(tunnel) = &mut self.state else { return 0 };
        let mut answer = Vec::new();
        let tunnel = tunnel.read(data, &mut answer);
        if !answer.is_empty() {
            stream.hub.write_handshake(stream.id(), &answer, true);
        }
        match tunnel {
            Ok(None) => {}
            Ok(Some(used)) if used == data.len() => self.send_request(stream),
            // A server does not speak first.
            Ok(Some(_)) => self.fail(stream, &Error::Proxy(ProxyError::Malformed)),
            Err(error) => self.fail(stream, &Error::Proxy(error)),
        }
        data.len()
    }

    /// The server is reached: it is asked.
    fn send_request(&mut self, stream: &mut Stream<'_>) {
        let mut bytes = Vec::with_capacity(512);
        let masks = &mut stream.hub.pools.masks;
        let proof = self.ask(|ask| ask.write(masks, &mut bytes));
        #[cfg(feature = "tls")]
        if let Some(tls) = self.client.tls.as_ref().filter(|_| self.url.secure) {
            stream.hub.start_tls(stream.id(), tls, &self.url.host);
        }
        stream.hub.write_handshake(stream.id(), &bytes, true);
        // What was sent can be read: the handler gets it to see.
        let limits = crate::http::HeadLimits { max_bytes: bytes.len() * 2, max_headers: 256 };
        match HeadReader::default().read(&bytes, &limits) {
            Ok(Some((request, _))) => {
                let (reader, informational) = (HeadReader::default(), 0);
                self.state = State::Asked(Box::new(Asked { request, proof, reader, informational }));
            }
            Ok(None) => self.fail(stream, &Error::Head(crate::http::HeadError::Malformed)),
            Err(error) => self.fail(stream, &Error::Head(error)),
        }
    }

    /// Takes what has come of the answer, and says how much that was.
    fn read_answer(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let State::Asked(asked) = &mut self.state else { return 0 };
        match asked.reader.read_response(data, &self.client.settings.head) {
            Ok(None) => data.len(),
            Err(error) => {
                self.fail(stream, &Error::Head(error));
                data.len()
            }
            Ok(Some((response, used))) => {
                self.judge(stream, response);
                used
            }
        }
    }

    fn judge(&mut self, stream: &mut Stream<'_>, response: Response<()>) {
        let State::Asked(asked) = &mut self.state else { return };
        let status = response.status();
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            asked.informational += 1;
            asked.reader = HeadReader::default();
            if asked.informational > MOST_INFORMATIONAL {
                self.fail(stream, &Error::Answer(AnswerError::Status(status)));
            }
            return;
        }
        let State::Asked(asked) = mem::replace(&mut self.state, State::Failed) else { return };
        match self.ask(|ask| ask.check(&response, &asked.proof)) {
            Ok(agreed) => self.agree(stream, *asked, response, agreed),
            Err(AnswerError::Status(_)) => {
                let length = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
                let length = length.and_then(|length| length.parse().ok()).unwrap_or(usize::MAX).min(REFUSAL_BYTES);
                let bodiless = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
                let length = if bodiless { 0 } else { length };
                let deadline = stream.hub.after(REFUSAL_DEADLINE);
                stream.set_deadline(Some(deadline));
                let (parts, ()) = response.into_parts();
                self.state = State::Refused(Box::new(Refusal::new(parts.status, parts.headers)), length);
                self.read_refusal(stream, &[]);
            }
            Err(error) => self.fail(stream, &Error::Answer(error)),
        }
    }

    fn agree(&mut self, stream: &mut Stream<'_>, asked: Asked, response: Response<()>, agreed: Agreed) {
        let (peer_addr, secured) = (stream.peer_addr(), stream.secured());
        let request = Request { head: asked.request, peer_addr, secured, proxied: false };
        let Agreed { subprotocol, compression } = agreed;
        let mut handshake = Handshake::new(request, self.client.version, subprotocol, compression);
        handshake.answered_by(response);
        match asked.proof {
            Proof::Behind(expected) => {
                self.state = State::Proving(Box::new(Proving { handshake, expected, received: Vec::new() }));
            }
            Proof::Nothing | Proof::Accept(_) => self.open(stream, &handshake),
        }
    }

    /// Takes what has come of the proof, and says how much that was.
    fn read_proof(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let State::Proving(proving) = &mut self.state else { return 0 };
        let here = data.len().min(PROOF_BYTES - proving.received.len());
        proving.received.extend_from_slice(&data[..here]);
        if proving.received.len() == PROOF_BYTES {
            let State::Proving(proving) = mem::replace(&mut self.state, State::Failed) else { return here };
            match proving.received == proving.expected {
                true => self.open(stream, &proving.handshake),
                false => self.fail(stream, &Error::Answer(AnswerError::Proof)),
            }
        }
        here
    }

    /// The handshake is done.
    fn open(&mut self, stream: &mut Stream<'_>, handshake: &Handshake) {
        self.attempts.note_open(stream.hub.now());
        let handler = mem::replace(&mut self.client.handler, Box::new(Nobody));
        let habits = &Rc::new(Habits::from(&self.client.settings));
        let (limits, deflate) = (self.client.settings.limits, self.client.deflate.as_ref());
        let beginning = Beginning { side: Side::Client, limits, habits, deflate };
        let session = Session::begin(stream, handler, handshake, beginning);
        self.state = State::Open(Box::new(session));
        if let State::Open(session) = &mut self.state {
            session.on_open(stream, handshake);
        }
    }

    /// Gathers the start of a refusal's body, and says how much of `data` that was.
    fn read_refusal(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let State::Refused(refusal, length) = &mut self.state else { return 0 };
        let here = data.len().min(*length - refusal.body.len());
        refusal.body.extend_from_slice(&data[..here]);
        if refusal.body.len() == *length {
            self.tell_refusal(stream);
        }
        data.len()
    }

    fn tell_refusal(&mut self, stream: &mut Stream<'_>) {
        if let State::Refused(refusal, _) = mem::replace(&mut self.state, State::Failed) {
            self.fail(stream, &Error::Refused(refusal));
        }
    }

    /// The connection does not become a WebSocket.
    fn fail(&mut self, stream: &mut Stream<'_>, error: &Error) {
        self.tell(stream, error);
        stream.hub.cut_by(stream.id(), ClosedBy::Network(io::ErrorKind::ConnectionRefused));
    }

    fn tell(&mut self, stream: &mut Stream<'_>, error: &Error) {
        log::debug!(target: "ws_reactor::websocket", "{} not opened: {error}", stream.id());
        self.state = State::Failed;
        let mut ws = WebSocket::new(stream, self.client.version, self.client.settings.limits);
        self.client.handler.on_error(&mut ws, error);
    }
}

impl StreamHandler for ClientStream {
    fn on_dial(&mut self, stream: &mut Stream<'_>) {
        let deadline = stream.hub.after(self.client.settings.opening_deadline);
        stream.set_deadline(Some(deadline));
    }

    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        match &self.client.proxy {
            Some(proxy) => {
                let mut bytes = Vec::new();
                let tunnel = Tunnel::new(proxy, &self.url, &mut bytes);
                stream.hub.write_handshake(stream.id(), &bytes, true);
                self.state = State::Tunnelling(Box::new(tunnel));
            }
            None => self.send_request(stream),
        }
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let mut at = 0;
        // What came behind the answer belongs to the WebSocket.
        while at < data.len() {
            at += match &mut self.state {
                State::Open(session) => return session.on_data(stream, &mut data[at..]),
                State::Tunnelling(_) => self.read_proxy(stream, &data[at..]),
                State::Asked(_) => self.read_answer(stream, &data[at..]),
                State::Proving(_) => self.read_proof(stream, &data[at..]),
                State::Refused(..) => self.read_refusal(stream, &data[at..]),
                State::Dialing | State::Failed => return,
            };
        }
    }

    fn on_drain(&mut self, stream: &mut Stream<'_>) {
        if let State::Open(session) = &mut self.state {
            session.on_drain(stream);
        }
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, timer: TimerId) {
        if let State::Open(session) = &mut self.state {
            session.on_timer(stream, timer);
        }
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        match &mut self.state {
            State::Open(session) => session.on_deadline(stream),
            State::Refused(..) => self.tell_refusal(stream),
            State::Dialing | State::Tunnelling(_) => {
                stream.hub.cut_by(stream.id(), ClosedBy::Timeout(Deadline::Connecting));
            }
            State::Asked(_) | State::Proving(_) | State::Failed => {
                let secured = !self.url.secure || stream.secured().is_some();
                let missed = if secured { Deadline::Opening } else { Deadline::Securing };
                stream.hub.cut_by(stream.id(), ClosedBy::Timeout(missed));
            }
        }
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        match &mut self.state {
            State::Open(session) => session.on_shutdown(stream),
            _ => {
                stream.hub.cut_by(stream.id(), ClosedBy::Shutdown);
            }
        }
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        match &mut self.state {
            State::Open(session) => session.on_error(stream, error),
            State::Refused(..) => self.tell_refusal(stream),
            State::Failed => {}
            _ => self.tell(stream, error),
        }
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        debug_assert_eq!(stream.hub.phase(stream.id()), Phase::Dead);
        if let State::Refused(..) = &self.state {
            self.tell_refusal(stream);
        }
        match mem::replace(&mut self.state, State::Failed) {
            State::Open(mut session) => {
                session.on_close(stream, reason);
                self.client.handler = session.into_handler();
                return self.come_back(stream, reason);
            }
            State::Tunnelling(_) | State::Asked(_) | State::Proving(_) if reason.by == ClosedBy::Peer => {
                self.tell(stream, &Error::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            _ => {}
        }
        let reason = CloseReason::abnormal(reason.by);
        let mut ws = WebSocket::new(stream, self.client.version, self.client.settings.limits);
        self.client.handler.on_close(&mut ws, &reason);
        self.come_back(stream, &reason);
    }
}

impl ClientStream {
    /// Makes the next attempt after a while, if that is the policy, and there is a reason to.
    fn come_back(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        let ended_here = matches!(reason.by, ClosedBy::Application | ClosedBy::Shutdown);
        let wanted = ended_here || stream.hub.is_given_up(stream.id()) || reason.code == CloseCode::Normal;
        let Some(policy) = self.client.reconnect.filter(|_| !wanted && stream.hub.may_dial()) else { return };
        let random = u32::from_be_bytes(stream.hub.pools.masks.key());
        let Some((attempt, wait)) = self.attempts.next(&policy, stream.hub.now(), random) else { return };
        let (version, limits) = (self.client.version, self.client.settings.limits);
        if !self.client.handler.on_reconnect(&mut WebSocket::new(stream, version, limits), attempt, wait) {
            return;
        }
        log::debug!(target: "ws_reactor::websocket", "{} comes back after {wait:?}: {}", stream.id(), self.url.location());
        let next = ClientStream {
            url: self.url.clone(),
            client: mem::replace(&mut self.client, Client::new(Nobody)),
            attempts: mem::take(&mut self.attempts),
            state: State::Dialing,
        };
        stream.hub.add_timer(wait, move |hub| {
            if hub.may_dial() {
                next.dial(hub);
            }
        });
    }
}

/// Stands where a handler was that the session has now.
struct Nobody;

impl Handler for Nobody {}
