//! TLS handshakes: begun where they are asked for, made in one line, and ended in time.

use std::mem;

use super::{Reactor, outbox::Phase};
use crate::net::Kernel;
#[cfg(feature = "tls")]
use crate::protocol::ClosedBy;

impl<K: Kernel> Reactor<K> {
    /// Sees that the handshake of a transport ends, if its handler does not.
    pub(super) fn time_handshake(&mut self, key: usize) {
        let (link, outbox) = (&mut self.links[key], &self.hub.outboxes[key]);
        if outbox.phase == Phase::Open && outbox.deadline.is_none() && link.transport.is_handshaking() {
            link.timed = true;
            let deadline = self.hub.after(outbox.settings.handshake_deadline);
            self.hub.set_deadline(outbox.id(key), Some(deadline));
        }
    }

    /// Lays TLS on the connections that have asked for it.
    #[cfg(feature = "tls")]
    pub(super) fn start_tls(&mut self) {
        while let Some((id, tls, name)) = self.hub.securing.pop() {
            let (key, alive) = (id.key(), self.hub.phase(id) == Phase::Open);
            let Some(link) = self.links.get_mut(key).filter(|_| alive) else { continue };
            if let Err(error) = link.transport.start_tls(&tls, &name) {
                let kind = error.kind();
                link.fail(error);
                self.hub.kill(key, ClosedBy::Network(kind));
            }
        }
    }

    /// Has a step of the connection's TLS handshake made when those before it have had theirs.
    pub(super) fn queue_handshake(&mut self, key: usize) {
        let link = &mut self.links[key];
        if !link.shaking {
            link.shaking = true;
            self.handshakes.push_back(key);
        }
    }

    /// Makes so many steps of TLS handshakes as the budget allows, in the order in which they were called for.
    pub(super) fn shake_hands(&mut self) {
        for _ in 0..self.config.tls_handshake_budget.max(1) {
            let Some(key) = self.handshakes.pop_front() else { return };
            if let Some(link) = self.links.get_mut(key)
                && mem::take(&mut link.shaking)
            {
                self.handshake_is_due = link.transport.is_handshaking();
                self.read_from(key);
                self.handshake_is_due = false;
            }
        }
    }
}
