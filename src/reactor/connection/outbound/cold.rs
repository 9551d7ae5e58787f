//! The rarely used state of a connection, and access to its output rule.

use std::{
    io, mem,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    protocol::{CloseReason, event_stream::LAST_CHUNK},
    reactor::{
        connection::{
            closing_timer::ClosingTimer,
            encoding::Encoding,
            file_transfer::FileTransfer,
            outbound::{Outbound, counts::Counts},
            output_rule::{OutputRule, Passed},
            ping_mark::{PingMark, PingProgress},
            relaying::Relay,
        },
        dial::reconnect::Reconnection,
        id::{ConnectionId, TimerId},
        pools::Pools,
    },
    send_status::SendStatus,
    tls_info::TlsInfo,
};

/// State that few connections need, kept out of the outbound half to save memory on the others.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Cold {
    /// Reason of the end, once the connection is ending.
    pub(in crate::reactor) ending: Option<CloseReason>,
    /// Result of the TLS handshake, once it is done.
    pub(in crate::reactor) tls_info: Option<Rc<TlsInfo>>,
    /// Progress of waiting output.
    pub(in crate::reactor) rule: Option<OutputRule>,
    /// Time-out of closing, once closing has begun.
    pub(in crate::reactor) closing: Option<ClosingTimer>,
    /// Place of the newest ping of this side, if it was queued behind other output.
    pub(in crate::reactor) ping: Option<PingMark>,
    /// Bytes of output that were dropped because the connection ends.
    pub(in crate::reactor) dropped: usize,
    /// Bytes above the high-water mark, as charged to `Excess`.
    pub(in crate::reactor) charged: usize,
    /// Error of the transport.
    pub(in crate::reactor) failure: Option<io::Error>,
    /// The newest pong, while the socket is blocked.
    pub(in crate::reactor) pong: Option<Box<[u8]>>,
    /// Timers that end with the connection.
    pub(in crate::reactor) timers: Vec<TimerId>,
    /// State of a client that connects again after the end.
    pub(in crate::reactor) reconnection: Option<Box<Reconnection>>,
    /// Where the input goes instead of to the handler.
    pub(in crate::reactor) relay: Option<Relay>,
    /// Streams that are relayed to this one.
    pub(in crate::reactor) relay_sources: Vec<ConnectionId>,
    /// A file that is being sent.
    pub(in crate::reactor) file: Option<Box<FileTransfer>>,
    /// Counters, if the configuration asks for them.
    pub(in crate::reactor) counts: Option<Box<Counts>>,
}

/// Most bytes of output that a TLS session holds besides the queue.
const MAX_HELD_BYTES: usize = 64 * 1024;

impl Outbound {
    /// The relay of the input.
    pub(in crate::reactor) fn relay(&self) -> Option<&Relay> {
        self.cold.as_ref()?.relay.as_ref()
    }

    pub(in crate::reactor) fn relay_mut(&mut self) -> Option<&mut Relay> {
        self.cold.as_mut()?.relay.as_mut()
    }

    pub(in crate::reactor) fn set_relay(&mut self, relay: Relay) {
        self.cold.get_or_insert_default().relay = Some(relay);
    }

    pub(in crate::reactor) fn take_relay(&mut self) -> Option<Relay> {
        self.cold.as_mut()?.relay.take()
    }

    pub(in crate::reactor) fn file_mut(&mut self) -> Option<&mut FileTransfer> {
        self.cold.as_mut()?.file.as_deref_mut()
    }

    /// Sets the file that is being sent. Returns the one before.
    pub(in crate::reactor) fn set_file(&mut self, file: Option<Box<FileTransfer>>) -> Option<Box<FileTransfer>> {
        match file {
            Some(_) => mem::replace(&mut self.cold.get_or_insert_default().file, file),
            None => self.cold.as_mut()?.file.take(),
        }
    }

    pub(in crate::reactor) fn has_relay_sources(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| !cold.relay_sources.is_empty())
    }

    pub(in crate::reactor) fn relay_sources_mut(&mut self) -> &mut Vec<ConnectionId> {
        &mut self.cold.get_or_insert_default().relay_sources
    }

    /// Returns `true` if the connection is at either end of a relay.
    pub(in crate::reactor) fn is_relayed(&self) -> bool {
        self.relay().is_some() || self.has_relay_sources()
    }

    /// Result of the TLS handshake.
    pub(in crate::reactor) fn tls_info(&self) -> Option<&Rc<TlsInfo>> {
        self.cold.as_ref()?.tls_info.as_ref()
    }

    pub(in crate::reactor) fn set_tls_info(&mut self, info: TlsInfo) {
        self.cold.get_or_insert_default().tls_info = Some(Rc::new(info));
    }

    pub(in crate::reactor) fn forget_tls_info(&mut self) {
        if let Some(cold) = &mut self.cold {
            cold.tls_info = None;
        }
    }

    /// Reason of the end, once the connection is ending.
    pub(in crate::reactor) fn ending(&self) -> Option<&CloseReason> {
        self.cold.as_ref()?.ending.as_ref()
    }

    pub(in crate::reactor) fn ending_mut(&mut self) -> Option<&mut CloseReason> {
        self.cold.as_mut()?.ending.as_mut()
    }

    pub(in crate::reactor) fn set_ending(&mut self, ending: CloseReason) {
        self.cold.get_or_insert_default().ending = Some(ending);
    }

    pub(in crate::reactor) fn take_ending(&mut self) -> Option<CloseReason> {
        self.cold.as_mut()?.ending.take()
    }

    pub(in crate::reactor) fn failure(&mut self) -> &mut Option<io::Error> {
        &mut self.cold.get_or_insert_default().failure
    }

    /// Progress of waiting output; `None` while the socket takes all output.
    pub(in crate::reactor) fn rule(&self) -> Option<&OutputRule> {
        if self.is_output_watched { self.cold.as_ref()?.rule.as_ref() } else { None }
    }

    pub(in crate::reactor) fn rule_mut(&mut self) -> Option<&mut OutputRule> {
        if self.is_output_watched { self.cold.as_mut()?.rule.as_mut() } else { None }
    }

    /// Sets the rule when the socket is full, and removes it when no output waits.
    pub(in crate::reactor) fn set_rule(&mut self, rule: Option<OutputRule>) {
        if rule.is_some() || self.is_output_watched {
            self.is_output_watched = rule.is_some();
            self.cold.get_or_insert_default().rule = rule;
        }
    }

    /// Starts the time-out of closing, unless it runs. Its deadline changes when the last output has left.
    pub(in crate::reactor) fn begin_closing_timer(&mut self, timeout: Duration, now: Instant) -> Instant {
        self.is_output_watched = true;
        self.cold.get_or_insert_default().closing.get_or_insert_with(|| ClosingTimer::new(timeout, now)).deadline()
    }

    /// The system has taken all output. Returns the new deadline of closing, if the connection is closing.
    pub(in crate::reactor) fn on_all_written(&mut self, now: Instant) -> Option<Instant> {
        self.set_rule(None);
        self.cold.as_mut()?.closing.as_mut()?.on_written(now)
    }

    /// Deadline of closing, if the connection is closing.
    pub(in crate::reactor) fn closing_deadline(&self) -> Option<Instant> {
        self.cold.as_ref()?.closing.as_ref().map(ClosingTimer::deadline)
    }

    /// The peer has taken `moved` bytes of waiting output.
    pub(in crate::reactor) fn on_moved(&mut self, moved: usize, now: Instant) {
        let waiting = self.buffered();
        if let Some(rule) = self.cold.as_mut().and_then(|cold| cold.rule.as_mut()) {
            rule.on_moved(moved, waiting, &self.config.output, now);
        }
    }

    /// Checks whether waiting output has waited too long. A connection whose socket has room is excused: its output
    /// waits for the compressor, or for the writes of this turn. `excused`: nothing was offered to the socket for some
    /// time.
    pub(in crate::reactor) fn check_rule(&mut self, excused: bool, now: Instant) -> Option<Passed> {
        let (waiting, suspended) = (self.buffered(), self.may_be_read_anyway());
        let rule = self.cold.as_mut()?.rule.as_mut()?;
        if excused || !self.blocked {
            rule.excuse(waiting, now);
        }
        rule.on_time(&self.config.output, suspended, waiting, now)
    }

    /// Removes the rule of output that no longer matters, or has a deadline of its own.
    pub(in crate::reactor) fn end_rule(&mut self) {
        self.set_rule(None);
        self.is_output_watched = self.cold.as_ref().is_some_and(|cold| cold.closing.is_some());
    }

    /// A ping was queued. The write that follows takes the ping, or [`mark_ping`](Self::mark_ping) notes its place.
    pub(in crate::reactor) fn begin_ping(&mut self) {
        if let Some(cold) = &mut self.cold {
            cold.ping = None;
        }
    }

    /// Notes the place of a new ping at the end of the output that waits after the write. `held`: the transport holds
    /// some of it.
    pub(in crate::reactor) fn mark_ping(&mut self, held: bool, now: Instant) {
        let held = if held { MAX_HELD_BYTES } else { 0 };
        let mark = PingMark::new(self.queued() + held, now);
        self.cold.get_or_insert_default().ping = Some(mark);
    }

    /// Output that was `before` bytes long has grown at a place that may be before the ping.
    pub(in crate::reactor) fn note_inserted(&mut self, before: usize) {
        let bytes = self.queued().saturating_sub(before);
        if let Some(mark) = self.ping_mark_mut() {
            mark.on_inserted(bytes);
        }
    }

    pub(in crate::reactor) fn ping_mark_mut(&mut self) -> Option<&mut PingMark> {
        self.cold.as_mut()?.ping.as_mut()
    }

    pub(in crate::reactor) fn ping_progress(&self, now: Instant) -> PingProgress {
        let mark = self.cold.as_ref().and_then(|cold| cold.ping.as_ref());
        mark.map_or(PingProgress::LeftAtOnce, |mark| mark.progress(now))
    }

    pub(in crate::reactor) fn set_reconnection(&mut self, reconnection: Reconnection) {
        self.cold.get_or_insert_default().reconnection = Some(Box::new(reconnection));
    }

    pub(in crate::reactor) fn take_reconnection(&mut self) -> Option<Box<Reconnection>> {
        self.cold.as_mut()?.reconnection.take()
    }

    pub(in crate::reactor) fn reconnection(&self) -> Option<&Reconnection> {
        self.cold.as_ref()?.reconnection.as_deref()
    }

    pub(in crate::reactor) fn reconnection_mut(&mut self) -> Option<&mut Reconnection> {
        self.cold.as_mut()?.reconnection.as_deref_mut()
    }

    /// Returns `true` between two connections of a client. Nothing can be sent.
    pub(in crate::reactor) fn is_away(&self) -> bool {
        self.reconnection().is_some_and(Reconnection::is_away)
    }

    /// Number of the current connection of a client that reconnects. 0 for all other connections.
    pub(in crate::reactor) fn life(&self) -> u32 {
        self.reconnection().map_or(0, Reconnection::life)
    }

    /// Notes that output was dropped because the connection ends.
    pub(in crate::reactor) fn note_dropped(&mut self, bytes: usize) {
        if bytes > 0 {
            self.cold.get_or_insert_default().dropped += bytes;
        }
    }

    /// Bytes of output that the system has not taken, dropped ones included.
    pub(in crate::reactor) fn unsent(&self) -> usize {
        self.buffered() + self.cold.as_ref().map_or(0, |cold| cold.dropped)
    }

    /// Most bytes for one read. Without an allowance a read serves the handshake of the transport and is not limited.
    pub(in crate::reactor) fn read_limit(&self) -> usize {
        match self.allowance() {
            allowance if allowance > 0 && self.state.is_held_by_output() => allowance,
            _ => usize::MAX,
        }
    }

    /// Queues the end of the body of an event stream.
    #[cold]
    pub(in crate::reactor) fn end_event_stream(&mut self, pools: &mut Pools) {
        if self.encoding == (Encoding::EventStream { in_chunks: true }) {
            self.append(LAST_CHUNK.len(), pools, |out| out.extend_from_slice(LAST_CHUNK));
        }
    }

    /// Status of a send that the connection cannot carry out: a client between two connections is closed.
    #[cold]
    pub(in crate::reactor) fn unsupported(&self) -> SendStatus {
        if self.is_away() { SendStatus::Closed } else { SendStatus::Unsupported }
    }

    /// Returns `true` if only the output keeps the connection from being read, and the output rule may allow a read all
    /// the same.
    fn may_be_read_anyway(&self) -> bool {
        self.state.is_held_by_output() && !self.encoding.is_http()
    }

    /// Bytes that may be read although the output is above its mark.
    pub(in crate::reactor) fn allowance(&self) -> usize {
        self.rule().map_or(0, |rule| rule.allowance(self.buffered()))
    }

    /// Notes that `bytes` were read although the output is above its mark.
    pub(in crate::reactor) fn use_allowance(&mut self, bytes: usize) {
        if let Some(rule) = self.rule_mut() {
            rule.use_allowance(bytes);
        }
    }

    /// Time of the next check of the output.
    pub(in crate::reactor) fn rule_deadline(&self) -> Option<Instant> {
        Some(self.rule()?.next_deadline(self.config.output.stall_timeout, self.may_be_read_anyway()))
    }

    /// Sets the bytes charged above the high-water mark, and returns the previous value.
    pub(in crate::reactor) fn charge_with(&mut self, bytes: usize) -> usize {
        match &mut self.cold {
            None if bytes == 0 => 0,
            cold => mem::replace(&mut cold.get_or_insert_default().charged, bytes),
        }
    }

    /// Waiting bytes that no other connection shares.
    pub(in crate::reactor) fn own_bytes(&self) -> usize {
        let queued = self.queue.as_ref().map_or(0, |queue| queue.own_bytes());
        queued + self.compression.as_ref().map_or(0, |compression| compression.own_waiting())
    }
}
