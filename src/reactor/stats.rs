//! Counters of a reactor.

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
    /// Turns of the loop.
    pub turns: u64,
}
