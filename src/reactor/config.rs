//! Configuration of a reactor, and of the streams on it.

use std::time::Duration;

/// Setters for the public fields of a configuration, so that it can be written as one expression.
macro_rules! setters {
    ($($(#[$meta:meta])* $field:ident: $type:ty),* $(,)?) => {
        $(
            #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
            $(#[$meta])*
            pub fn $field(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )*
    };
}
pub(crate) use setters;

/// What happens when a handler, a timer or a tick panics.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// The connection is closed with 1011, all others go on. A panic that belongs to no connection is logged.
    ///
    /// Drafts before the RFC are closed with 3000, those before hybi-06 with a close frame without a code; in hixie-75 and hixie-76 the stream ends. Needs
    /// `panic = "unwind"`, Rust's default.
    #[default]
    CloseConnection,
    /// The process ends.
    Abort,
}

/// Time and memory budgets of a reactor.
///
/// A budget bounds the work between two waits for events; the rest follows in the next turn. A budget of 0 counts as 1.
///
/// ```
/// use ws_reactor::{Reactor, ReactorConfig};
///
/// let reactor = Reactor::with_config(ReactorConfig::new().events(256).remote_commands(1024))?;
/// # Ok::<(), ws_reactor::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct ReactorConfig {
    /// Size of the read buffer that all connections share, in bytes. Default 1088 KiB.
    ///
    /// A read asks for at most 64 KiB; inside a larger frame, or just after a large message, for that frame or message plus 64 KiB. So messages up to 1 MiB usually
    /// arrive in one read.
    pub read_buffer_bytes: usize,
    /// Bytes read from one connection before the others are served. Default 1088 KiB. A frame larger than the read buffer is read 256 KiB at a time.
    pub read_budget_bytes: usize,
    /// Bytes read per turn from connections with an event, and again as much from connections left over, oldest first. Default 1 MiB.
    ///
    /// When it is spent, each remaining connection is read once, at most 16 KiB; one inside a larger frame waits for the next turn.
    pub turn_budget_bytes: usize,
    /// Connections accepted per listener and turn. Default 64.
    pub accept_budget: usize,
    /// Steps of TLS handshakes per turn. Default 8. It bounds what a storm of new connections costs the open ones.
    pub tls_handshake_budget: usize,
    /// Bytes of large messages compressed per turn. Default 64 KiB. A message up to that length is compressed at once.
    pub compression_budget_bytes: usize,
    /// Timers, and ticks, called per turn. Default 1024.
    pub timer_budget: usize,
    /// Commands of [`Remote`](crate::Remote)s carried out per turn. Default 1024.
    pub command_budget: usize,
    /// Events of the application ([`Hub::notify`](crate::Hub::notify)) delivered per turn. Default 1024.
    pub event_budget: usize,
    /// Messages queued by publishing, and connections ended, per turn. Default 32,768. A single publish is never divided.
    pub delivery_budget: usize,
    /// Connections written to at the end of a turn, beside those written to right after their own callbacks. Default 4096.
    pub write_budget: usize,
    /// Events taken from the system at a time. Default 1024.
    pub events: usize,
    /// Free buffers kept for the next large message or burst of output, in bytes. Default 32 MiB. Buffers unused for some seconds are freed.
    pub pool_bytes: usize,
    /// Output that all connections together may hold above their [high-water marks](OutputLimits::high_water_bytes), in bytes; a payload shared by many counts once.
    /// Default 256 MiB.
    ///
    /// When it is used up, the connection whose output has made no progress for longest is closed as a slow reader.
    pub excess_output_bytes: usize,
    /// Commands of [`Remote`](crate::Remote)s that may wait, beside those that the loop has taken in. Default 65,536. Another is refused: [`RemoteError::Full`](crate::RemoteError::Full).
    pub remote_commands: usize,
    /// Whether [`Stats::longest_callback`](crate::Stats::longest_callback) is kept. Default no: it reads the clock before and after each callback.
    pub time_callbacks: bool,
    /// What a panic in user code does. Default: it closes its connection.
    pub panic_policy: PanicPolicy,
}

impl Default for ReactorConfig {
    fn default() -> Self {
        ReactorConfig {
            read_buffer_bytes: (1024 + 64) * 1024,
            read_budget_bytes: (1024 + 64) * 1024,
            turn_budget_bytes: 1024 * 1024,
            accept_budget: 64,
            tls_handshake_budget: 8,
            compression_budget_bytes: 64 * 1024,
            timer_budget: 1024,
            command_budget: 1024,
            event_budget: 1024,
            delivery_budget: 32_768,
            write_budget: 4096,
            events: 1024,
            pool_bytes: 32 * 1024 * 1024,
            excess_output_bytes: 256 * 1024 * 1024,
            remote_commands: 65_536,
            time_callbacks: false,
            panic_policy: PanicPolicy::CloseConnection,
        }
    }
}

impl ReactorConfig {
    /// The defaults.
    pub fn new() -> Self {
        ReactorConfig::default()
    }

    setters! {
        read_buffer_bytes: usize,
        read_budget_bytes: usize,
        turn_budget_bytes: usize,
        accept_budget: usize,
        tls_handshake_budget: usize,
        compression_budget_bytes: usize,
        timer_budget: usize,
        command_budget: usize,
        event_budget: usize,
        delivery_budget: usize,
        write_budget: usize,
        events: usize,
        pool_bytes: usize,
        excess_output_bytes: usize,
        remote_commands: usize,
        time_callbacks: bool,
        panic_policy: PanicPolicy,
    }
}

/// What happens to a message for a connection whose output is at [`OutputLimits::limit_bytes`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The connection is closed as a slow reader, and the send answers [`SendStatus::Closed`](crate::SendStatus::Closed).
    #[default]
    Close,
    /// The message is dropped and counted, the send answers [`SendStatus::Dropped`](crate::SendStatus::Dropped), and the connection stays.
    DropNewest,
}

/// Limits of the output of a connection: bytes that wait to be written. Bytes that the system has taken are not counted.
///
/// Nothing that a send has accepted is lost unless the connection ends. The marks, in the order in which a growing output passes them:
///
/// | output | what happens |
/// |---|---|
/// | above `pause_reading_bytes` | the connection is not read, so that a peer which sends requests and does not read the responses slows itself down |
/// | above `high_water_bytes` | sends answer [`Congested`](crate::SendStatus::Congested) |
/// | at `limit_bytes` | a send closes the connection as a slow reader, or is dropped, by [`overflow`](Self::overflow) |
///
/// A connection is a slow reader, at whatever level, if output waits and its peer takes less than 16 KiB of it (or less than all of it, if that is less) in
/// `stall_timeout`. A slow reader is closed with 1013 if the socket takes that, `on_error` gets [`Error::SlowReader`](crate::Error::SlowReader), and `on_close`
/// [`ClosedBy::SlowReader`](crate::ClosedBy::SlowReader).
///
/// Two ends that both send more than the network holds, and read nothing meanwhile, would wait for each other. So a connection that is not read because of its output, and whose
/// output has not moved for 1 s, is read all the same: 256 KiB each second.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct OutputLimits {
    /// Output above which the connection is not read, in bytes. Default 64 KiB.
    ///
    /// Reading is resumed, and `on_drain` is called, when the output has fallen to the low-water mark: half of this, or of `limit_bytes` if that is lower.
    pub pause_reading_bytes: usize,
    /// Output above which sends answer [`Congested`](crate::SendStatus::Congested), in bytes. Default 1 MiB. The message is accepted; wait for `on_drain` before the next.
    pub high_water_bytes: usize,
    /// Time in which the peer has to take 16 KiB of what waits. Default 30 s.
    pub stall_timeout: Duration,
    /// Output at which a send closes the connection, in bytes. Default 16 MiB. It is compared before a message is queued, so one message may exceed it.
    pub limit_bytes: usize,
    /// What happens at `limit_bytes`. Default: the connection is closed.
    pub overflow: Overflow,
}

impl OutputLimits {
    /// The defaults.
    pub fn new() -> Self {
        OutputLimits::default()
    }

    setters! {
        pause_reading_bytes: usize,
        high_water_bytes: usize,
        stall_timeout: Duration,
        limit_bytes: usize,
        overflow: Overflow,
    }

    /// Output that has fallen to this mark has drained.
    pub(crate) fn low_mark(&self) -> usize {
        self.pause_reading_bytes.min(self.limit_bytes) / 2
    }
}

impl Default for OutputLimits {
    fn default() -> Self {
        OutputLimits {
            pause_reading_bytes: 64 * 1024,
            high_water_bytes: 1024 * 1024,
            stall_timeout: Duration::from_secs(30),
            limit_bytes: 16 * 1024 * 1024,
            overflow: Overflow::Close,
        }
    }
}

/// Configuration of a stream, whatever protocol it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct StreamConfig {
    /// Limits of the output.
    pub output: OutputLimits,
    /// Time for closing: for the peer's close frame, or for what is still to be written. Default 5 s. Then the connection is terminated.
    pub closing_timeout: Duration,
    /// Time for [`connect_stream`](crate::Hub::connect_stream) to resolve the name and connect. Default 20 s. A WebSocket client has
    /// [`ClientConfig::opening_timeout`](crate::ClientConfig::opening_timeout) instead.
    pub connect_timeout: Duration,
    /// Time for a TLS handshake, where the handler's `on_connect` has set no deadline. Default 10 s. Then `on_deadline` is called.
    pub tls_handshake_timeout: Duration,
}

impl StreamConfig {
    /// The defaults.
    pub fn new() -> Self {
        StreamConfig::default()
    }

    setters! {
        output: OutputLimits,
        closing_timeout: Duration,
        connect_timeout: Duration,
        tls_handshake_timeout: Duration,
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        StreamConfig {
            output: OutputLimits::default(),
            closing_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(20),
            tls_handshake_timeout: Duration::from_secs(10),
        }
    }
}
