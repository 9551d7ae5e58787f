//! Connecting again after the end of a client's connection.

use std::{mem, rc::Rc, time::Duration};

use crate::{
    protocol::{CloseCode, CloseReason, ClosedBy, MessageLimits, Version},
    reactor::Stream,
    websocket::{
        client::{ClientOptions, reconnect::Attempts, route::Route, stream::ClientStream},
        handler::{Handler, NoHandler, WebSocket},
    },
};

/// What outlives a connection of a client, besides its handler.
#[derive(Clone)]
pub(in crate::websocket) struct Reconnector {
    /// The first route; each reconnect begins there.
    pub(super) home: Rc<Route>,
    pub(super) options: Rc<ClientOptions>,
    pub(super) attempts: Attempts,
}

impl Reconnector {
    pub(super) fn new(home: Rc<Route>, options: Rc<ClientOptions>) -> Self {
        Reconnector { home, options, attempts: Attempts::default() }
    }

    /// Calls `on_close`. Then takes the handler and requests the next connection, if the policy asks for one.
    pub(in crate::websocket) fn close(
        self,
        handler: &mut Box<dyn Handler>,
        stream: &mut Stream<'_>,
        (version, mut limits): (Version, MessageLimits),
        reason: &CloseReason,
    ) {
        let closing = Closing { reconnector: self, handler, stream, reason };
        let mut ws = WebSocket::new(closing.stream, version, &mut limits);
        closing.handler.on_close(&mut ws, reason);
    }

    /// Number of the next attempt and the wait before it. `None` if the end was intended, or the policy ends here.
    fn next(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) -> Option<(u32, Duration)> {
        let policy = self.options.reconnect?;
        let ended_here = matches!(reason.by, ClosedBy::Application | ClosedBy::Shutdown);
        let intended = ended_here || stream.hub.is_closed_by_app(stream.id()) || reason.code == CloseCode::NORMAL;
        if intended || !stream.hub.may_dial() {
            return None;
        }
        let random = u32::from_be_bytes(stream.hub.pools.masks.key());
        self.attempts.next(&policy, stream.hub.now(), random)
    }
}

/// A running `on_close`. The next connection is requested when it is dropped, so also if `on_close` panics.
struct Closing<'a, 's> {
    reconnector: Reconnector,
    handler: &'a mut Box<dyn Handler>,
    stream: &'a mut Stream<'s>,
    reason: &'a CloseReason,
}

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        let Some((attempt, wait)) = self.reconnector.next(self.stream, self.reason) else { return };
        let handler = mem::replace(self.handler, Box::new(NoHandler));
        let next = ClientStream::new(self.reconnector.clone(), handler, Some((attempt, wait)));
        let id = next.dial(self.stream.hub);
        log::debug!(
            target: "ws_reactor::websocket",
            "{} reconnects as {id} after {wait:?}: {}",
            self.stream.id(),
            self.reconnector.home.url.location()
        );
    }
}
