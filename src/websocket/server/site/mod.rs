//! A listening server: its routes, the checks of an opening handshake, and the start of a session.

mod opening;

use std::rc::Rc;

use self::opening::OpeningStream;
use super::{Endpoints, Factory, Server};
#[cfg(feature = "server")]
use crate::http::cors::Cors;
use crate::{
    error::Error,
    http::{Request, origins::Origins},
    peer_addr::PeerAddr,
    protocol::{
        Handshake, HandshakeError,
        handshake::{
            self,
            server::{Challenge, is_offered},
        },
    },
    reactor::{Hub, PendingHandshake, Stream},
    server::{Endpoint, Found, HttpConfig, Refusal, Reply, Rules, Site, Upgrade},
    websocket::config::WebSocketConfig,
};

/// A server that listens.
#[derive(Debug)]
pub(super) struct WebSocketSite {
    pub(super) server: Server,
    pub(super) websocket: Rc<WebSocketConfig>,
    http: HttpConfig,
}

impl WebSocketSite {
    pub(super) fn new(mut server: Server) -> Rc<Self> {
        // `Version` orders by age; the newest comes first where versions are listed.
        server.config.versions.sort_unstable_by(|one, other| other.cmp(one));
        server.config.versions.dedup();
        let websocket = Rc::new(server.config.websocket.clone());
        server.trusted_proxies.headers = server.config.forwarded_headers;
        let http = HttpConfig { trusted_proxies: server.trusted_proxies.clone(), ..server.config.http() };
        Rc::new(WebSocketSite { server, websocket, http })
    }

    fn refusal(&self, error: HandshakeError) -> Box<Refusal> {
        let response = error.response(&self.server.config.versions);
        Box::new(Refusal { response, error: Error::Handshake(error) })
    }

    /// The negotiated subprotocol: the application's choice, else the server's first one that is offered.
    fn subprotocol(&self, request: &Request, chosen: Option<String>) -> Option<String> {
        match chosen {
            Some(chosen) if is_offered(request, &chosen) => Some(chosen),
            Some(chosen) => {
                log::warn!(target: "ws_reactor::websocket", "subprotocol {chosen:?} was not offered and is left out");
                None
            }
            None => self.server.subprotocols.choose(request),
        }
    }
}

impl Site for WebSocketSite {
    type Socket = Rc<Factory>;

    fn config(&self) -> &HttpConfig {
        &self.http
    }

    #[cfg_attr(not(feature = "server"), allow(unused_variables))]
    fn find(&self, request: &mut Request) -> Found<Rc<Factory>> {
        match &self.server.endpoints {
            Endpoints::One(endpoint) => Found::Endpoint(Rc::clone(endpoint)),
            #[cfg(feature = "server")]
            Endpoints::Routes(table) => table.find_endpoint(request),
        }
    }

    /// A WebSocket request whose origin is not allowed is refused. A client without an `Origin` header is not a
    /// browser.
    fn check(&self, request: &Request, rules: Option<&Rules>, hub: &mut Hub) -> Result<(), Box<Refusal>> {
        let origins = rules.and_then(|rules| rules.origins.as_deref()).unwrap_or(&self.server.origins);
        if *origins == Origins::Any || !request.names_origin() {
            return Ok(());
        }
        if request.origin().is_some_and(|origin| origins.allow(origin, request.host()))
            || handshake::detect(request, &self.server.config.versions).is_err()
        {
            return Ok(());
        }
        if hub.may_warn() {
            let (peer, origin) = (request.peer_addr(), request.origin().unwrap_or("that is not ASCII"));
            log::warn!(target: "ws_reactor::websocket", "{peer}: origin {origin:?} is not allowed (Server::origins)");
        }
        Err(self.refusal(HandshakeError::Origin))
    }

    #[cfg(feature = "server")]
    fn cors(&self) -> Option<&Rc<Cors>> {
        self.server.cors.as_ref()
    }

    fn on_request(&self, request: &Request, hub: &mut Hub) -> Option<Reply> {
        self.server.on_request.as_ref().map(|reply| reply(request, hub))
    }

    fn upgrade(
        self: &Rc<Self>,
        stream: &mut Stream<'_>,
        request: Request,
        endpoint: &Endpoint<Rc<Factory>>,
        upgrade: Upgrade,
        pending: &mut Option<PendingHandshake>,
    ) -> Result<(), Box<Refusal>> {
        let version = handshake::detect(&request, &self.server.config.versions).map_err(|error| self.refusal(error))?;
        let Some(factory) = endpoint.socket() else { return Ok(()) };
        let subprotocol = self.subprotocol(&request, upgrade.subprotocol);
        let config = self.server.deflate.as_ref().filter(|_| !upgrade.uncompressed);
        let compression = handshake::compression(&request, version, config).map_err(|error| self.refusal(error))?;
        // The connection belongs to the client that a proxy has named.
        stream.hub.set_peer_addr(stream.id(), request.peer_addr);
        let mut handshake = Handshake::new(request, version, subprotocol, compression);
        handshake.extend(upgrade.extensions);
        let mut answer = Vec::with_capacity(256);
        handshake.answer(&upgrade.headers, &mut answer);
        let challenge = Challenge::new(handshake);
        stream.hub.write_handshake(stream.id(), &answer, challenge.is_complete());
        let limits = upgrade.limits.or(endpoint.rules.limits).unwrap_or(self.server.config.websocket.limits);
        let (site, factory, pending) = (Rc::clone(self), Rc::clone(factory), pending.take());
        let challenge = Some(challenge);
        let mut opening = OpeningStream { site, factory, challenge, limits, pending, is_open: false };
        if !opening.open(stream) {
            stream.hand_over(opening);
        }
        Ok(())
    }

    fn report(&self, peer: PeerAddr, error: &Error) {
        if let Some(callback) = &self.server.on_error {
            callback(peer, error);
        }
    }
}
