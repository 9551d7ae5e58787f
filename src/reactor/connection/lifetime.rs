//! The beginning and the end of a connection in the loop.

use std::{io, rc::Rc};

use crate::{
    error::Error,
    net::{Kernel, PeerRules, tls::TlsAcceptor, transport::Transport},
    peer_addr::PeerAddr,
    protocol::{CloseReason, ClosedBy},
    reactor::{
        Reactor,
        config::StreamConfig,
        connection::{encoding::Encoding, inbound::Inbound, outbound::Outbound},
        dial::reconnect::Reconnection,
        id::ConnectionId,
        listen::Service,
        panic::catch_panic,
        stream::StreamHandler,
        token::Token,
    },
};
#[cfg(feature = "proxy-protocol")]
use crate::{net::ProxyProtocol, reactor::listen::proxied::ProxiedStream};

/// Text of the error of a client whose stream ends before it is a WebSocket.
const EARLY_END: &str = "the peer ended the stream before the opening handshake was complete";

impl<K: Kernel> Reactor<K> {
    /// Adds an accepted connection, if the rules of its listener admit it.
    pub(in crate::reactor) fn admit(
        &mut self,
        stream: K::Stream,
        peer: PeerAddr,
        service: &Rc<dyn Service>,
        rules: &PeerRules,
    ) -> io::Result<()> {
        #[cfg(feature = "proxy-protocol")]
        if let Some(mode) = rules.proxy_protocol {
            // The rules concern the client, and TLS follows the header. Where that may be missing, they concern the
            // peer until it has come.
            let key = self.hub.outbounds.next_key();
            if mode == ProxyProtocol::Optional && !self.hub.admit_peer(key, peer, rules) {
                return Ok(());
            }
            let handler = ProxiedStream::new(Rc::clone(service), mode, rules.clone());
            let begun = self.begin(stream, peer, None, service.config(), Box::new(handler)).map(drop);
            if begun.is_err() {
                self.hub.connection_counts.leave(key);
            }
            return begun;
        }
        let key = self.hub.outbounds.next_key();
        if !self.hub.admit_peer(key, peer, rules) {
            return Ok(());
        }
        let admitted = match catch_panic(self.config.panic_policy, || service.stream(peer)) {
            Ok(handler) => self.begin(stream, peer, service.tls(), service.config(), handler).map(drop),
            Err(_) => {
                self.hub.stats.panics += 1;
                self.hub.connection_counts.leave(key);
                return Ok(());
            }
        };
        if admitted.is_err() {
            self.hub.connection_counts.leave(key);
        }
        admitted
    }

    /// Adds a connected stream.
    pub(in crate::reactor) fn begin(
        &mut self,
        mut stream: K::Stream,
        peer: PeerAddr,
        tls: Option<&TlsAcceptor>,
        config: Rc<StreamConfig>,
        handler: Box<dyn StreamHandler>,
    ) -> io::Result<ConnectionId> {
        let key = self.hub.outbounds.next_key();
        self.kernel.register(&mut stream, Token::Inbound(key).into())?;
        let transport = Transport::accepted(stream, tls.filter(|_| !self.hub.is_playback()))?;
        let id = self.hub.outbounds.insert(|id| Outbound::new(id, peer, config)).id;
        self.inbounds.insert(key, Inbound::new(transport, None, handler));
        self.hub.note(|recording| recording.on_begun(key));
        self.hub.stats.accepted += 1;
        self.call(key, |handler, stream| handler.on_connect(stream));
        self.limit_tls_handshake(key);
        self.hub.begin_idle(key);
        Ok(id)
    }

    /// Reports the end of a connection to its handler, and removes the connection.
    pub(in crate::reactor) fn remove(&mut self, key: usize) {
        let ending = self.hub.outbounds[key].take_ending();
        let mut reason = ending.unwrap_or_else(|| CloseReason::abnormal(ClosedBy::Peer));
        if reason.by != ClosedBy::Tls && self.inbounds[key].transport.holds_output() {
            reason.unsent += self.inbounds[key].transport.drop_held_output();
            reason.clean &= reason.unsent == 0;
        }
        log::debug!(target: "ws_reactor::reactor", "{} closed: {reason}", self.hub.outbounds[key].id);
        let dialing = self.inbounds[key].dialing.take();
        if let Some(dialing) = &dialing {
            self.drop_attempts(self.hub.outbounds[key].id, dialing);
        }
        if self.hub.outbounds[key].reconnection().is_some_and(Reconnection::is_declined) {
            return self.remove_reported(key);
        }
        // The handshake of a client ends early.
        let opening = self.hub.outbounds[key].encoding == Encoding::Opening;
        let error = match (reason.by, dialing) {
            (ClosedBy::Network(kind), Some(dialing)) => Some((*dialing).error(kind)),
            (ClosedBy::Network(io::ErrorKind::UnexpectedEof) | ClosedBy::Peer, None) if opening => {
                Some(Error::Io(io::Error::new(io::ErrorKind::UnexpectedEof, EARLY_END)))
            }
            (ClosedBy::Network(kind), None) => {
                Some(Error::Io(self.hub.outbounds[key].failure().take().unwrap_or(kind.into())))
            }
            // The protocol that found the error has called `on_error` itself.
            (ClosedBy::Tls, _) => self.hub.outbounds[key].failure().take().map(Error::Tls),
            (ClosedBy::Timeout(kind), _) => Some(Error::Timeout(kind)),
            (ClosedBy::SlowReader, _) => Some(Error::SlowReader),
            (ClosedBy::Application | ClosedBy::Shutdown, _) if opening => Some(Error::Closed(reason.clone())),
            _ => None,
        };
        if let Some(error) = error {
            self.call(key, |handler, stream| handler.on_error(stream, &error));
        }
        // A call of its own, so that a panic in `on_error` does not skip it.
        self.call(key, |handler, stream| handler.on_close(stream, &reason));
        if reason.clean {
            // Sends the end of TLS, if the socket has room.
            let _ = self.inbounds[key].transport.finish(&mut self.kernel);
        }
        if !self.reconnect(key, &reason) {
            self.remove_reported(key);
        }
    }

    /// Removes a connection whose end was reported.
    fn remove_reported(&mut self, key: usize) {
        self.forget_events(Token::Inbound(key));
        let inbound = self.inbounds.remove(key);
        let mut outbound = self.hub.outbounds.remove(key);
        self.hub.note(|recording| recording.on_removed(key, outbound.id.to_bits()));
        self.hub.connection_counts.leave(key);
        let hooks = self.hub.take_close_hooks(outbound.id);
        outbound.release(&mut self.hub.pools);
        for timer in outbound.into_timers() {
            self.hub.timers.cancel(timer);
        }
        self.drop_guarded(inbound);
        for (_, call) in hooks {
            self.call_hub(call);
        }
    }
}
