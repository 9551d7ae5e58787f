//! The end of raw streams on which nothing moves.

use crate::{
    net::Kernel,
    protocol::{ClosedBy, TimeoutKind},
    reactor::{
        Reactor,
        connection::{encoding::Encoding, outbound::Outbound},
        hub::Hub,
        id::TimerId,
        timer::{idle::Idle, task::Task},
    },
};

impl Hub {
    /// Begins to watch a raw stream that has an idle time-out.
    pub(in crate::reactor) fn begin_idle(&mut self, key: usize) {
        let outbound = &self.outbounds[key];
        if let Some(timeout) = outbound.config.idle_timeout
            && outbound.encoding == Encoding::Raw
            && outbound.state.is_open()
        {
            let (moved, now) = (outbound.bytes_moved(), self.now);
            let mut idle = Idle::new(outbound.id, timeout, moved, now);
            let next = idle.look(moved, now).unwrap_or(now);
            self.insert_connection_timer(idle.id, next, Task::Idle(Box::new(idle)));
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Looks at a raw stream again, and ends it if nothing has moved for its time.
    pub(in crate::reactor) fn check_idle(&mut self, timer: TimerId) {
        let hub = &mut self.hub;
        let Some(Task::Idle(idle)) = hub.timers.value_mut(timer) else { return };
        let id = idle.id;
        let outbound = hub.outbounds.get(id).filter(|outbound| outbound.encoding == Encoding::Raw);
        let Some(moved) = outbound.map(Outbound::bytes_moved) else {
            // The stream speaks another protocol now, with time-outs of its own.
            hub.timers.cancel(timer);
            return hub.forget_timer(id, timer);
        };
        match idle.look(moved, hub.now) {
            Some(next) => _ = hub.timers.reschedule(timer, next),
            None => {
                hub.timers.cancel(timer);
                hub.forget_timer(id, timer);
                hub.terminate_with(id, ClosedBy::Timeout(TimeoutKind::Idle));
            }
        }
    }
}
