//! Charging connections for output above their high-water marks, and closing the slowest when the sum is too large.

use std::{cmp::Reverse, time::Duration};

use crate::reactor::{connection::output_rule::OutputRule, hub::Hub, id::ConnectionId};

/// Time between two looks at what a reactor of a group holds.
const GROUP_LOOK_EVERY: Duration = Duration::from_secs(1);

impl Hub {
    /// Charges an open connection for what it holds above its high-water mark.
    ///
    /// Returns `false` if the connection was closed because all connections together hold too much output.
    pub(in crate::reactor) fn charge_excess(&mut self, key: usize) -> bool {
        if self.outbounds[key].above_congestion_mark() > 0 {
            self.charge(key);
            return self.outbounds[key].state.is_open();
        }
        true
    }

    #[cold]
    fn charge(&mut self, key: usize) {
        let outbound = &mut self.outbounds[key];
        if !outbound.congested {
            outbound.congested = true;
            let (id, outbounds) = (outbound.id, &self.outbounds);
            self.excess.add_congested(id, |id| outbounds.get(id).is_some_and(|outbound| outbound.congested));
        }
        self.recharge(key);
        self.watch_group_excess();
        self.end_excess();
    }

    /// Closes connections until the output of all is not too much.
    fn end_excess(&mut self) {
        while self.excess.is_over()
            && let Some(slowest) = self.slowest_congested()
        {
            self.abort_slow_reader(slowest);
        }
    }

    /// Looks once a second what this reactor of a group holds, while it holds anything: payloads leave without a word,
    /// and another reactor may have brought the group above the limit.
    fn watch_group_excess(&mut self) {
        if self.excess.begin_watch() {
            self.add_timer(GROUP_LOOK_EVERY, |hub| {
                hub.excess.end_watch();
                hub.end_excess();
                if hub.excess.holds_any() {
                    hub.watch_group_excess();
                }
            });
        }
    }

    /// Updates the charge of a connection.
    pub(in crate::reactor) fn recharge(&mut self, key: usize) {
        let outbound = &mut self.outbounds[key];
        let above = outbound.own_bytes().saturating_sub(outbound.config.output.congestion_mark());
        let before = outbound.charge_with(above);
        self.excess.recharge(before, above);
    }

    /// Ends the charge of a connection that has ended: its output is lost, and it is not the one to close.
    pub(in crate::reactor) fn discharge(&mut self, key: usize) {
        let outbound = &mut self.outbounds[key];
        outbound.congested = false;
        self.excess.recharge(outbound.charge_with(0), 0);
    }

    /// Frees the room of entries of the past.
    pub(in crate::reactor) fn shrink_excess(&mut self) {
        self.remove_uncongested();
        self.excess.shrink();
    }

    fn remove_uncongested(&mut self) {
        let outbounds = &self.outbounds;
        self.excess.remove_uncongested(|id| outbounds.get(id).is_some_and(|outbound| outbound.congested));
    }

    /// The connection above its mark whose output has made no progress for the longest time. Among connections whose
    /// sockets are not full, the one with the most output.
    fn slowest_congested(&mut self) -> Option<ConnectionId> {
        self.remove_uncongested();
        let now = self.now;
        let ids = self.excess.congested();
        ids.filter_map(|id| {
            let outbound = self.outbounds.get(id)?;
            let since = outbound.rule().map_or(now, OutputRule::progress_at);
            Some((since, Reverse(outbound.buffered()), id))
        })
        .min()
        .map(|(_, _, id)| id)
    }
}
