//! Connections that begin with a header of the PROXY protocol.

use std::{io, rc::Rc};

use super::Service;
use crate::{
    error::Error,
    net::{
        PeerRules,
        proxy_header::{ProxyHeader, ProxyProtocol},
    },
    peer_addr::PeerAddr,
    protocol::{ClosedBy, TimeoutKind},
    reactor::{
        listen::admission::PendingHandshake,
        stream::{Stream, StreamHandler},
    },
};

/// Reads the header, then hands the connection over to the handler of its service, with the address of the client.
pub(in crate::reactor) struct ProxiedStream {
    service: Rc<dyn Service>,
    mode: ProxyProtocol,
    /// Concern the client.
    rules: PeerRules,
    /// Bytes that may be the start of a header.
    header: Vec<u8>,
    /// The connection counts as an unfinished handshake.
    pending: Option<PendingHandshake>,
}

impl ProxiedStream {
    pub(in crate::reactor) fn new(service: Rc<dyn Service>, mode: ProxyProtocol, rules: PeerRules) -> Self {
        ProxiedStream { service, mode, rules, header: Vec::new(), pending: None }
    }

    /// Applies the rules to the client that the header names.
    fn admit(&self, stream: &mut Stream<'_>, client: PeerAddr) -> bool {
        let key = stream.id().key();
        // Without a header, the peer would have been the client.
        stream.hub.connection_counts.leave(key);
        stream.hub.admit_peer(key, client, &self.rules)
    }

    /// Goes on to the service, which gets these bytes first.
    fn proceed(&mut self, stream: &mut Stream<'_>, rest: Vec<u8>) {
        let (id, peer) = (stream.id(), stream.peer_addr());
        self.pending = None;
        stream.set_deadline(None);
        stream.hub.callback.successor = Some(self.service.stream(peer));
        stream.hub.callback.handed_on = rest;
        if let Some(tls) = self.service.tls() {
            stream.hub.start_tls_as_server(id, tls);
        }
    }

    fn fail(&mut self, stream: &mut Stream<'_>, text: &str) {
        let error = io::Error::new(io::ErrorKind::InvalidData, text);
        log::debug!(target: "ws_reactor::reactor", "{}: {error}", stream.id());
        stream.hub.stats.protocol_errors += 1;
        self.service.report(stream.peer_addr(), &Error::Io(error));
        stream.terminate();
    }
}

impl StreamHandler for ProxiedStream {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        let (all, per_address) = self.service.pending_limits();
        // The peers of a listener with required headers are proxies, with many clients each.
        let per_address = per_address.filter(|_| self.mode == ProxyProtocol::Optional);
        let peer = stream.peer_addr();
        self.pending = stream.hub.begin_handshake(peer, all, per_address);
        if self.pending.is_none() {
            return stream.terminate();
        }
        let deadline = stream.hub.after(self.service.config().tls_handshake_timeout);
        stream.set_deadline(Some(deadline));
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        self.header.extend_from_slice(data);
        match ProxyHeader::read(&self.header) {
            ProxyHeader::Partial => {}
            ProxyHeader::Complete(length, client) => {
                if let Some(address) = client.address
                    && !self.admit(stream, address)
                {
                    return stream.terminate();
                }
                stream.hub.set_client(stream.id(), client.address, client.is_secure);
                let rest = self.header.split_off(length);
                self.proceed(stream, rest);
            }
            ProxyHeader::Absent if self.mode == ProxyProtocol::Optional => {
                let rest = std::mem::take(&mut self.header);
                self.proceed(stream, rest);
            }
            ProxyHeader::Absent => self.fail(stream, "the connection does not begin with a PROXY protocol header"),
            ProxyHeader::Malformed => self.fail(stream, "the PROXY protocol header is malformed"),
        }
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        let id = stream.id();
        _ = stream.hub.terminate_with(id, ClosedBy::Timeout(TimeoutKind::Opening));
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        stream.terminate();
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        // A proxy that only looks whether the port is open sends nothing.
        if !self.header.is_empty() {
            self.service.report(stream.peer_addr(), error);
        }
    }
}
