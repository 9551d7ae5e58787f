//! The settings of a reactor, and of the streams on it.

use std::time::Duration;

/// What happens when a handler, a timer or a tick panics.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum PanicPolicy {
    /// The connection is closed with 1011 and the rest goes on; a panic that belongs to no connection is logged. Before the RFC the code was 3000,
    /// before hybi-06 a close frame has none, and in the versions of Hixie only the stream ends.
    ///
    /// Needs `panic = "unwind"`, which is Rust's default.
    #[default]
    CloseConnection,
    /// The process ends.
    Abort,
}

/// How a reactor shares its time and memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Size of the one buffer that all connections share, in bytes. Default 1088 KiB, of which 64 KiB are read at once, and as much more as a peer is expected to say who is in
    /// the midst of a longer frame, or has just sent one. So all but the first of its messages are read whole, up to 1 MiB, and are not copied when they are sent back.
    pub read_buffer_bytes: usize,
    /// Bytes read from one connection before the others have their turn. Default 1088 KiB. What is read at once is no more than is left of it, or 64 KiB.
    /// Of a frame that does not fit the buffer 256 KiB come at a time, and then the others.
    pub read_budget_bytes: usize,
    /// Bytes read from all connections together before the reactor looks for news again: from those with news, and as much from those that were left unfinished, the first that
    /// was left first. Beyond it each with news is still read once, but no more than 16 KiB: so a crowd that sends much does not keep the others waiting. (But for those who are in the
    /// midst of a longer frame, or have just sent one: they are the crowd.) Default 1 MiB.
    pub turn_budget_bytes: usize,
    /// Connections accepted from one listener before the others have their turn. Default 64.
    pub accept_budget: usize,
    /// Steps of TLS handshakes made before the others have their turn: what a storm of new connections may cost those that are open. Default 8.
    pub tls_handshake_budget: usize,
    /// Bytes of large messages compressed before the others have their turn. Default 64 KiB. A message up to that length is compressed at once.
    pub compression_budget_bytes: usize,
    /// Timers, and ticks, called before sockets are looked at again. Default 1024.
    pub timer_budget: usize,
    /// Commands of [`Remote`](crate::Remote)s carried out before sockets are looked at again. Default 1024.
    pub command_budget: usize,
    /// Events taken from the system at a time. Default 1024.
    pub events: usize,
    /// Free buffers kept for the next large message or burst of output, in bytes; when nobody has needed them for a while they are freed. Default 32 MiB.
    pub pool_bytes: usize,
    /// Commands of [`Remote`](crate::Remote)s that may wait, beside those that the loop has taken in. Default 65,536; what comes above is answered `Full`.
    pub remote_commands: usize,
    /// Whether [`Stats::longest_callback`](crate::Stats::longest_callback) is kept: a look at the clock before and after each callback. Default: no.
    pub time_callbacks: bool,
    /// What a panic does. Default: it closes its connection.
    pub panic_policy: PanicPolicy,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            read_buffer_bytes: (1024 + 64) * 1024,
            read_budget_bytes: (1024 + 64) * 1024,
            turn_budget_bytes: 1024 * 1024,
            accept_budget: 64,
            tls_handshake_budget: 8,
            compression_budget_bytes: 64 * 1024,
            timer_budget: 1024,
            command_budget: 1024,
            events: 1024,
            pool_bytes: 32 * 1024 * 1024,
            remote_commands: 65_536,
            time_callbacks: false,
            panic_policy: PanicPolicy::CloseConnection,
        }
    }
}

/// What happens to a message that does not fit into the output of a connection whose peer does not read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// It is dropped, and unless the output has fallen to the low mark when the grace is over, the connection is closed with 1013.
    #[default]
    Close,
    /// It is dropped, and the connection stays.
    Drop,
}

/// The output of a connection: what may wait in it, in bytes. What the system has taken is not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLimits {
    /// Above this mark the connection is not read, so that a peer which asks and does not listen slows itself down. Default 64 KiB.
    ///
    /// Reading goes on, and `on_drain` is called, when output has fallen to half of it (or of the limit, if that is lower): the low mark.
    pub pause_reading_bytes: usize,
    /// At this limit messages are refused: `Sent::Full`. Below it a message is taken whatever its size. Default 1 MiB.
    pub limit_bytes: usize,
    /// What becomes of messages that are refused. Default: the connection is closed when the grace is over.
    pub overflow: Overflow,
    /// The grace, from the first refused message. Default 5 s.
    pub grace: Duration,
}

impl OutputLimits {
    /// Output that falls to this mark has drained.
    pub(crate) fn low_mark(&self) -> usize {
        self.pause_reading_bytes.min(self.limit_bytes) / 2
    }
}

impl Default for OutputLimits {
    fn default() -> Self {
        OutputLimits {
            pause_reading_bytes: 64 * 1024,
            limit_bytes: 1024 * 1024,
            overflow: Overflow::Close,
            grace: Duration::from_secs(5),
        }
    }
}

/// The settings of the connections of one listener, whatever they speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// What may wait to be written.
    pub output: OutputLimits,
    /// How long a close may take: the peer's answer, or what is still to be written. Then the connection is cut. Default 5 s.
    pub closing_deadline: Duration,
    /// How long [`connect_stream`](crate::Hub::connect_stream) may take to find an address and connect to it. Default 20 s. (A WebSocket client has a deadline for all of its
    /// opening instead.)
    pub connect_deadline: Duration,
    /// How long a TLS handshake may take, where the handler's `on_connect` has set no deadline. Default 10 s; then `on_deadline` is called.
    pub handshake_deadline: Duration,
}

impl Default for StreamSettings {
    fn default() -> Self {
        StreamSettings {
            output: OutputLimits::default(),
            closing_deadline: Duration::from_secs(5),
            connect_deadline: Duration::from_secs(20),
            handshake_deadline: Duration::from_secs(10),
        }
    }
}
