//! What a reactor has done, in plain counters.

use std::time::Duration;

/// A snapshot of a reactor's counters. All but `connections`, `pending_handshakes` and `buffered_bytes` only grow.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections now, those that are still opening or closing included.
    pub connections: usize,
    /// Clients that have connected and whose handshakes, TLS included, are not finished now.
    pub pending_handshakes: usize,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections made.
    pub connected: u64,
    /// WebSockets opened.
    pub opened: u64,
    /// Requests answered with anything but a WebSocket.
    pub refused: u64,
    /// Connections closed as soon as they were accepted, because so many handshakes were pending.
    pub turned_away: u64,
    /// Connections ended by a deadline, or because the peer did not read.
    pub timed_out: u64,
    /// Connections ended because the peer broke the protocol.
    pub protocol_errors: u64,
    /// Panics of handlers, timers and ticks.
    pub panics: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages queued, one for each receiver.
    pub messages_out: u64,
    /// Messages compressed. What is published counts once for each way in which it was.
    pub compressions: u64,
    /// Bytes read, as the protocols get them: what TLS adds is not counted.
    pub bytes_in: u64,
    /// Bytes written, as the protocols say them.
    pub bytes_out: u64,
    /// Bytes that wait to be written now.
    pub buffered_bytes: usize,
    /// Messages not queued, because their receiver did not read what it had.
    pub dropped: u64,
    /// Messages that a later one of the same key has replaced ([`Hub::send_latest`](crate::Hub::send_latest)). They are counted as sent, too.
    pub conflated: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// The longest callback of a connection. Zero unless
    /// [`ReactorConfig::time_callbacks`](crate::ReactorConfig::time_callbacks) or [`Reactor::on_slow_turn`](crate::Reactor::on_slow_turn) is set.
    pub longest_callback: Duration,
    /// The longest turn, the wait not counted.
    pub longest_turn: Duration,
}
