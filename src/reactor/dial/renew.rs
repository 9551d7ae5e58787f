//! The next connection of an outgoing connection that has ended, under the same id.

use std::time::Duration;

use crate::{
    net::Kernel,
    protocol::{CloseCode, CloseReason, ClosedBy},
    reactor::{
        Reactor,
        dial::{
            UNCONNECTED,
            dialer::Dialing,
            reconnect::{Attempt, Retry},
        },
        hub::Hub,
        id::ConnectionId,
        timer::task::Task,
        token::Token,
    },
};

impl Hub {
    /// An outgoing connection is open: a WebSocket after its handshake, a raw stream when it is connected.
    pub(in crate::reactor) fn on_dialed_open(&mut self, id: ConnectionId) {
        if let Some(outbound) = self.outbounds.get_mut(id)
            && let Some(reconnection) = outbound.reconnection_mut()
        {
            reconnection.on_open(self.command_queue.pushed(), self.now);
        }
    }

    /// Has the next attempt to reconnect wait at least so long, as the server has asked.
    pub(crate) fn retry_after(&mut self, id: ConnectionId, wait: Duration) {
        if let Some(reconnection) = self.outbounds.get_mut(id).and_then(|outbound| outbound.reconnection_mut()) {
            reconnection.set_retry_after(wait);
        }
    }

    /// Number of the next attempt of a connection that has ended, the wait before it, and the policy's decision. `None`
    /// if this application has ended the connection.
    fn next_attempt(&mut self, key: usize, reason: &CloseReason) -> Option<(u32, Duration, Retry)> {
        let ended_here = matches!(reason.by, ClosedBy::Application | ClosedBy::Shutdown);
        let may_dial = self.may_dial();
        let outbound = &mut self.outbounds[key];
        let intended = ended_here || outbound.state.is_closed_by_app();
        let reconnection = outbound.reconnection_mut().filter(|_| !intended && may_dial)?;
        let (number, wait, decision) = reconnection.next(self.now, u32::from_be_bytes(self.pools.masks.key()));
        Some((number, wait, if reason.code == CloseCode::NORMAL { Retry::No } else { decision }))
    }
}

impl<K: Kernel> Reactor<K> {
    /// Prepares the next connection of an outgoing connection that has ended, if its policy and its handler want one.
    /// The id stays. Queued output, timers and subscriptions have ended with the last connection.
    ///
    /// Returns `false` if the connection is to be removed.
    pub(in crate::reactor) fn reconnect(&mut self, key: usize, reason: &CloseReason) -> bool {
        let Some((number, wait, default)) = self.hub.next_attempt(key, reason) else { return false };
        let id = self.renew(key);
        let attempt = Attempt { number, wait, reason, refusal: None, default };
        let mut answer = None;
        self.call(key, |handler, stream| answer = Some(handler.on_reconnect(stream, &attempt)));
        if answer.unwrap_or(default) == Retry::No
            && let Some(reconnection) = self.hub.outbounds[key].reconnection_mut()
        {
            reconnection.decline();
            self.hub.mark_closed(key, ClosedBy::Application);
        } else {
            log::debug!(target: "ws_reactor::reactor", "{id} reconnects after {wait:?}, attempt {number}");
            self.schedule_dial_step(id, wait, Task::Dial(id));
        }
        true
    }

    /// Replaces both halves of a connection by those of a connection that is not established, under the same id.
    fn renew(&mut self, key: usize) -> ConnectionId {
        self.forget_events(Token::Inbound(key));
        let outbound = &mut self.hub.outbounds[key];
        let id = outbound.id;
        for timer in outbound.renew(UNCONNECTED, &mut self.hub.pools) {
            self.hub.timers.cancel(timer);
        }
        if let Some(reconnection) = self.hub.outbounds[key].reconnection_mut() {
            let home = reconnection.home().clone();
            self.inbounds[key].dial_again(Box::new(Dialing::new(home)));
        }
        id
    }
}
