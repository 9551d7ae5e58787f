//! The end of an opening handshake on the server: the response head is sent, and a challenge may follow the request.

use std::rc::Rc;

use super::WebSocketSite;
use crate::{
    error::Error,
    protocol::{ClosedBy, MessageLimits, Side, TimeoutKind, handshake::server::Challenge},
    reactor::{PendingHandshake, Stream, StreamHandler},
    server::Site,
    websocket::{
        server::Factory,
        session::{Session, SessionParams},
    },
};

/// Reads the challenge behind a request (hixie-76 §1.3), and hands the stream over to a session.
pub(super) struct OpeningStream {
    pub(super) site: Rc<WebSocketSite>,
    pub(super) factory: Rc<Factory>,
    /// `None` once it is complete.
    pub(super) challenge: Option<Challenge>,
    pub(super) limits: MessageLimits,
    pub(super) pending: Option<PendingHandshake>,
    pub(super) is_open: bool,
}

impl OpeningStream {
    /// Hands the stream over to a session if the challenge is complete. Returns whether it is.
    pub(super) fn open(&mut self, stream: &mut Stream<'_>) -> bool {
        let Some(challenge) = self.challenge.take_if(|challenge| challenge.is_complete()) else { return false };
        let pending = self.pending.take();
        if !stream.hub.is_alive(stream.id()) {
            // `on_request` may close connections, this one included.
            return true;
        }
        let handler = (self.factory)(&challenge.handshake);
        if let Some(proof) = challenge.proof() {
            stream.hub.write_handshake(stream.id(), &proof, true);
        }
        let handshake = challenge.handshake;
        let (config, deflate) = (&self.site.websocket, self.site.server.deflate.as_ref());
        let params = SessionParams { side: Side::Server, limits: self.limits, config, deflate };
        let session = Session::begin(stream, handler, &handshake, params);
        if let Some(pending) = pending {
            pending.succeed(stream.hub);
        }
        stream.hand_over(session.open_on_connect(handshake));
        self.is_open = true;
        true
    }
}

impl StreamHandler for OpeningStream {
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let used = self.challenge.as_mut().map_or(0, |challenge| challenge.read(data));
        // Bytes behind the challenge belong to the WebSocket.
        stream.unread(data.len() - used);
        self.open(stream);
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        stream.hub.terminate_with(stream.id(), ClosedBy::Timeout(TimeoutKind::Opening));
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        stream.terminate();
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        if !self.is_open {
            log::debug!(target: "ws_reactor::websocket", "{} not opened: {error}", stream.id());
            self.site.report(stream.peer_addr(), error);
        }
    }
}
