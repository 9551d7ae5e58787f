//! Counters of a reactor.

use std::iter::Sum;

/// Snapshot of a reactor's counters, from [`Hub::stats`](crate::Hub::stats). `connections`, `pending_handshakes` and
/// `buffered_bytes` are current values; all others only grow.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Current connections, including those that are opening or closing.
    pub connections: usize,
    /// Current connections of clients whose opening handshakes, TLS included, are not finished.
    pub pending_handshakes: usize,
    /// Connections accepted.
    pub accepted: u64,
    /// Outgoing connections established.
    pub connected: u64,
    /// WebSockets opened, as server or client.
    pub opened: u64,
    /// HTTP requests whose heads have arrived, those of opening handshakes included.
    pub requests: u64,
    /// Requests refused: of WebSockets that were not opened, or faulty.
    pub refused: u64,
    /// Connections closed right after accept, because too many handshakes were pending.
    pub turned_away: u64,
    /// Connections ended by a time-out or as slow readers.
    pub timed_out: u64,
    /// Connections ended because the peer violated the protocol.
    pub protocol_errors: u64,
    /// Panics of user code.
    pub panics: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages queued, one per receiver.
    pub messages_out: u64,
    /// Messages compressed. A published message counts once per encoding.
    pub compressions: u64,
    /// Bytes read, after TLS decryption.
    pub bytes_in: u64,
    /// Bytes written, before TLS encryption.
    pub bytes_out: u64,
    /// Bytes currently waiting to be written.
    pub buffered_bytes: usize,
    /// Messages not queued because of [`OutputLimits`](crate::OutputLimits) or
    /// [`ReactorConfig::excess_output_bytes`](crate::ReactorConfig::excess_output_bytes).
    pub dropped: u64,
    /// Messages replaced by a later one of the same key ([`Hub::send_latest`](crate::Hub::send_latest)). They count in
    /// `messages_out`, too.
    pub conflated: u64,
    /// Published messages that another reactor of the [group](crate::ReactorGroup) does not get, because too much
    /// waits for it ([`ReactorConfig::group_backlog`](field@crate::ReactorConfig::group_backlog)).
    pub group_refused: u64,
    /// Turns of the loop.
    pub turns: u64,
}

impl Stats {
    /// Adds the counters of another reactor.
    fn add(&mut self, other: &Stats) {
        // Without `..`, so that no field is forgotten.
        let Stats {
            connections,
            pending_handshakes,
            accepted,
            connected,
            opened,
            requests,
            refused,
            turned_away,
            timed_out,
            protocol_errors,
            panics,
            messages_in,
            messages_out,
            compressions,
            bytes_in,
            bytes_out,
            buffered_bytes,
            dropped,
            conflated,
            group_refused,
            turns,
        } = other;
        self.connections += connections;
        self.pending_handshakes += pending_handshakes;
        self.accepted += accepted;
        self.connected += connected;
        self.opened += opened;
        self.requests += requests;
        self.refused += refused;
        self.turned_away += turned_away;
        self.timed_out += timed_out;
        self.protocol_errors += protocol_errors;
        self.panics += panics;
        self.messages_in += messages_in;
        self.messages_out += messages_out;
        self.compressions += compressions;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        self.buffered_bytes += buffered_bytes;
        self.dropped += dropped;
        self.conflated += conflated;
        self.group_refused += group_refused;
        self.turns += turns;
    }
}

/// The counters of several reactors, such as those of a [group](crate::ReactorGroup).
impl Sum for Stats {
    fn sum<I: Iterator<Item = Stats>>(stats: I) -> Stats {
        stats.fold(Stats::default(), |mut sum, stats| {
            sum.add(&stats);
            sum
        })
    }
}
