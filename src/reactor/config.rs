//! Configuration of a reactor and of its streams.

use std::time::Duration;

use crate::{net::SocketOptions, reactor::dial::reconnect::Reconnect, setters::setters};

/// Reaction to a panic in user code, such as a handler, a timer or a tick.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// The panic is logged and ends the connection whose handler panicked. A panic elsewhere ends none. Default.
    ///
    /// A WebSocket of RFC 6455 is closed with 1011. Hybi drafts 06 and later are closed with 3000, earlier hybi drafts
    /// with a close frame without a code. In hixie-75 and hixie-76 the stream ends. A raw stream is terminated.
    ///
    /// Requires `panic = "unwind"`, Rust's default.
    #[default]
    CloseConnection,
    /// The process aborts after the panic is logged.
    Abort,
}

/// Time and memory budgets of a reactor.
///
/// A budget bounds the work between two waits for events. Work above the budget is done in the next turn, which does
/// not wait. A budget of 0 counts as 1.
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
    /// A read asks for 64 KiB, and for 128 KiB after a read that was full. Inside a larger frame, or right after
    /// a large message, a read asks for the expected bytes plus 64 KiB, so a message up to 1 MiB usually arrives in one
    /// read.
    pub read_buffer_bytes: usize,
    /// Bytes read from one connection before other connections are served. Default 1088 KiB.
    ///
    /// The last read may exceed the budget by up to 64 KiB. A frame larger than the read buffer is read 256 KiB at a
    /// time.
    pub read_budget_bytes: usize,
    /// Bytes read in each part of a turn. Default 1 MiB.
    ///
    /// A turn has three such parts: connections with an event, TLS handshakes, and connections left over from earlier
    /// turns, oldest first.
    ///
    /// When the budget of the first part is spent, each further connection with an event is read once, at most 16 KiB;
    /// a connection that expects more than 16 KiB waits for the next turn. Left-over connections beyond the budget wait
    /// for the next turn.
    pub turn_budget_bytes: usize,
    /// Connections accepted per listener and turn. Default 64.
    pub accept_budget: usize,
    /// Steps of TLS handshakes per turn. Default 8.
    ///
    /// A TLS handshake costs as much CPU time as about a hundred messages, so this budget bounds the delay that many
    /// new connections cause to open ones.
    pub tls_handshake_budget: usize,
    /// Bytes of large messages compressed per turn. Default 32 KiB.
    ///
    /// A message up to this length is compressed when it is sent. A longer message is compressed in slices of this
    /// length.
    pub compression_budget_bytes: usize,
    /// Timers called per turn, and [ticks](crate::Hub::next_tick) called per turn, counted separately. Default 1024
    /// each.
    pub timer_budget: usize,
    /// Commands of [`Remote`](crate::Remote)s executed per turn. Default 1024.
    pub command_budget: usize,
    /// Events of the application ([`Hub::notify`](crate::Hub::notify)) delivered per turn. Default 1024.
    pub event_budget: usize,
    /// Messages queued by publishing, plus connections removed, in each part of a turn. Default 32,768.
    ///
    /// The budget is refilled three times per turn: for connections that ended in the previous turn; for commands and
    /// for connections with an event; and for the rest of the turn. While it is used up, received messages, commands,
    /// ticks, timers, events and sources wait. A single publish is never divided and may exceed the budget.
    pub delivery_budget: usize,
    /// Connections written to at the end of a turn. Default 4096. Writes right after a connection's own callback do not
    /// count.
    pub write_budget: usize,
    /// Events taken from the system per poll. Default 1024.
    pub events: usize,
    /// Free buffers kept for reuse, in bytes. Default 32 MiB. Buffers unused for some seconds are freed.
    pub pool_bytes: usize,
    /// Output that all connections together may hold above their [high-water marks](OutputLimits::high_water_bytes), in
    /// bytes. Default 256 MiB. A payload shared by several connections of a reactor counts once.
    ///
    /// When the limit is exceeded, the connection whose output has made no progress for the longest time is closed as a
    /// slow reader. In a [group](crate::ReactorGroup) the limit concerns the output of all reactors, and those close
    /// connections that hold more than an equal share of it.
    pub excess_output_bytes: usize,
    /// Commands of [`Remote`](crate::Remote)s that may wait in the queue. Default 65,536. Commands that the loop has
    /// already taken out of the queue do not count.
    ///
    /// A command beyond the limit is refused with [`RemoteError::Full`](crate::RemoteError::Full).
    pub remote_commands: usize,
    /// Messages published on one reactor of a [group](crate::ReactorGroup) that may wait for another. Default 65,536
    /// for each pair of reactors.
    ///
    /// A message beyond the limit does not reach the subscribers on the other reactor:
    /// [`Published::refused`](crate::Published::refused) counts it.
    pub group_backlog: usize,
    /// Bytes of such messages, with their topics and about 128 bytes each. Default 64 MiB for each pair of reactors. A
    /// message that is larger than the limit is queued if no other waits.
    pub group_backlog_bytes: usize,
    /// Threads for the works of [`Hub::defer`](crate::Hub::defer), at most. Default 4. They start with the first work.
    ///
    /// 0: works are done on the loop, one after the other. For tests in which each run has to be the same.
    pub defer_threads: usize,
    /// Works that may be under way besides one for each thread: those that wait for a thread, and those whose results
    /// wait for their delivery. Default 1024. A further one fails with [`DeferError::Full`](crate::DeferError::Full).
    pub defer_queue: usize,
    /// `true` if a graceful [shutdown](crate::Hub::shutdown) waits for works, within its time-out. Default `true`.
    pub shutdown_awaits_deferred: bool,
    /// Time after which a part of a turn leaves what is left to the next turn. Default 250 µs.
    ///
    /// The parts are: the input of one connection, the input of all, TLS handshakes, commands, timers and ticks,
    /// events, compression, output, and connections that have ended. The clock is looked at after a few items of each,
    /// so that a part takes up to twice as long. A callback is never interrupted.
    pub time_slice: Duration,
    /// Time for which the loop polls for events without sleeping, from the end of the last turn on, before it waits in
    /// the system. Default 0: it waits at once. [`Duration::MAX`]: it never sleeps.
    ///
    /// A message that arrives meanwhile does not wait until the system has woken the thread. In exchange the loop takes
    /// a whole core. See [`guide::latency`](crate::guide::latency) for figures, and for when not to use it.
    pub busy_poll: Duration,
    /// `true` if [`Latencies::callback`](field@crate::Latencies::callback) is measured. Default `false`, because
    /// measuring reads the clock before and after each callback.
    pub time_callbacks: bool,
    /// Reaction to a panic in user code. Default [`PanicPolicy::CloseConnection`].
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
            compression_budget_bytes: 32 * 1024,
            timer_budget: 1024,
            command_budget: 1024,
            event_budget: 1024,
            delivery_budget: 32_768,
            write_budget: 4096,
            events: 1024,
            pool_bytes: 32 * 1024 * 1024,
            excess_output_bytes: 256 * 1024 * 1024,
            remote_commands: 65_536,
            group_backlog: 65_536,
            group_backlog_bytes: 64 * 1024 * 1024,
            defer_threads: 4,
            defer_queue: 1024,
            shutdown_awaits_deferred: true,
            time_slice: Duration::from_micros(250),
            busy_poll: Duration::ZERO,
            time_callbacks: false,
            panic_policy: PanicPolicy::CloseConnection,
        }
    }
}

impl ReactorConfig {
    /// Returns the default configuration.
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
        group_backlog: usize,
        group_backlog_bytes: usize,
        defer_threads: usize,
        defer_queue: usize,
        shutdown_awaits_deferred: bool,
        time_slice: Duration,
        busy_poll: Duration,
        time_callbacks: bool,
        panic_policy: PanicPolicy,
    }
}

/// Reaction to a message for a connection whose output is at [`OutputLimits::limit_bytes`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The connection is closed as a slow reader, and the send returns
    /// [`SendStatus::Closed`](crate::SendStatus::Closed). Default.
    #[default]
    Close,
    /// The message is dropped and counted in [`Stats::dropped`](crate::Stats::dropped), the send returns
    /// [`SendStatus::Dropped`](crate::SendStatus::Dropped), and the connection stays open.
    DropNewest,
}

/// Limits of a connection's output: the bytes queued and not yet taken by the operating system.
///
/// A message that a send has accepted is lost only if the connection ends. The limits, from low to high:
///
/// | output | effect |
/// |---|---|
/// | above `pause_reading_bytes` | the connection is not read, so a peer that does not read slows itself down |
/// | above `high_water_bytes` | sends return [`Congested`](crate::SendStatus::Congested) |
/// | at `limit_bytes` | a send closes the connection or drops the message, depending on [`overflow`](Self::overflow) |
///
/// # Slow readers
///
/// A peer is a slow reader if output waits, at any level, and the peer takes less than 16 KiB of it within
/// `stall_timeout`. If less than 16 KiB waits, the peer has to take all of it. The time counts from the last 16 KiB
/// that the system has taken, so a peer that stops is closed up to twice `stall_timeout` later, once the buffers of
/// both systems are full. As long as these hold all output, nothing waits.
///
/// A slow reader is closed with code 1013, if the socket takes the close frame. The handler's `on_error` receives
/// [`Error::SlowReader`](crate::Error::SlowReader), its `on_close` receives
/// [`ClosedBy::SlowReader`](crate::ClosedBy::SlowReader).
///
/// # Deadlocks
///
/// Two peers that both send more than the network holds, and meanwhile do not read, would wait for each other forever.
/// A connection that is not read because of its output is therefore read all the same: 256 KiB after each second in
/// which its output does not move, and every 5 s while it moves (a quarter of `stall_timeout` if that is shorter).
///
/// The read stops when it adds output above a mark: half of `limit_bytes`, or `high_water_bytes` while output moves.
/// The answers to the requests that are read therefore do not exceed the limit.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use ws_reactor::{OutputLimits, Overflow};
///
/// let limits = OutputLimits::new()
///     .limit_bytes(4 * 1024 * 1024)
///     .stall_timeout(Duration::from_secs(10))
///     .overflow(Overflow::DropNewest);
/// assert_eq!(limits.high_water_bytes, 1024 * 1024);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct OutputLimits {
    /// Output above which the connection is not read, in bytes. Default 64 KiB.
    ///
    /// Reading resumes, and `on_drain` is called, when the output has fallen to the low-water mark. The low-water mark
    /// is half of this value, or half of `limit_bytes` if that is lower.
    pub pause_reading_bytes: usize,
    /// Output above which sends return [`Congested`](crate::SendStatus::Congested), in bytes. Default 1 MiB.
    ///
    /// A congested message is accepted. Wait for `on_drain` before sending more.
    pub high_water_bytes: usize,
    /// Time within which the peer has to take 16 KiB of the waiting output. Default 30 s.
    pub stall_timeout: Duration,
    /// Output at which a send closes the connection or drops the message, in bytes. Default 16 MiB.
    ///
    /// The limit is compared with the output before the message is queued, so one message may exceed it.
    pub limit_bytes: usize,
    /// Reaction to a send at `limit_bytes`. Default [`Overflow::Close`].
    pub overflow: Overflow,
}

impl OutputLimits {
    /// Returns the default limits.
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

    /// The low-water mark: output at or below it has drained.
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

/// Configuration of a stream of any protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct StreamConfig {
    /// Limits of the output.
    pub output: OutputLimits,
    /// Time for the peer to answer the close frame, or to end the stream, once the system has taken all output of this
    /// side. Default 5 s. The connection is terminated when the time-out passes.
    ///
    /// Output that was queued before the close is sent first, under the rule for [slow readers](OutputLimits). Closing
    /// takes at most 60 s in all, or this time-out if it is longer.
    /// [`CloseReason::unsent`](crate::CloseReason::unsent) says how many bytes were not sent.
    pub closing_timeout: Duration,
    /// Time for [`connect_stream`](crate::Hub::connect_stream) to resolve the name and to connect. Default 20 s.
    ///
    /// A WebSocket client uses [`ClientConfig::opening_timeout`](crate::ClientConfig::opening_timeout) instead.
    pub connect_timeout: Duration,
    /// Time for the TLS handshake of a raw stream. Default 10 s. When the time-out passes, the connection ends with
    /// [`TimeoutKind::Securing`](crate::TimeoutKind::Securing).
    ///
    /// The time-out applies only if the connection has no deadline of its own when the handshake begins, for example
    /// one set in `on_connect`.
    pub tls_handshake_timeout: Duration,
    /// Options of the socket of an outgoing connection: buffers, time-outs, the address to connect from. Accepted
    /// connections ignore it: they have those of [`Bind::socket`](crate::Bind::socket).
    pub socket: SocketOptions,
    /// Policy by which an outgoing connection is made again when it is lost or cannot be made. Default `None`: never.
    /// [`Client::reconnect`](crate::Client::reconnect) sets it for a WebSocket;
    /// [`Reactor::connect_stream_with`](crate::Reactor::connect_stream_with) uses it for a raw stream. Accepted
    /// connections ignore it.
    ///
    /// No attempt follows when this application closed the connection, after close code 1000, or at shutdown.
    pub reconnect: Option<Reconnect>,
    /// Time after which a raw stream ends on which nothing was read or written, with
    /// [`TimeoutKind::Idle`](crate::TimeoutKind::Idle) (EventMachine's `comm_inactivity_timeout`). Default `None`:
    /// never.
    ///
    /// It is noticed up to an eighth of the time later. It applies to relayed, paused and half-open streams too, and
    /// from when the stream is connected. WebSockets and HTTP have time-outs of their own. The bytes that are counted
    /// for it take about 200 bytes per connection.
    pub idle_timeout: Option<Duration>,
    /// `true` if a raw stream stays open for output when the peer has ended its side. Default `false`: it is closed
    /// once its output is written.
    ///
    /// [`StreamHandler::on_end`](crate::StreamHandler::on_end) is called then, and the handler ends the stream;
    /// [`idle_timeout`](Self::idle_timeout) ends it for a peer that has gone silently. For protocols whose clients end
    /// their side after the request. [`Hub::end_output`](crate::Hub::end_output) ends this
    /// side first, and needs no option.
    pub allow_half_open: bool,
    /// Counters of messages and bytes for each connection. Default `false`: none. See
    /// [`ConnectionStats`](crate::ConnectionStats).
    ///
    /// Counters take about 200 bytes per connection.
    pub connection_stats: bool,
}

impl StreamConfig {
    /// Returns the default configuration.
    pub fn new() -> Self {
        StreamConfig::default()
    }

    setters! {
        output: OutputLimits,
        closing_timeout: Duration,
        connect_timeout: Duration,
        tls_handshake_timeout: Duration,
        socket: SocketOptions,
        reconnect: Option<Reconnect>,
        idle_timeout: Option<Duration>,
        allow_half_open: bool,
        connection_stats: bool,
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        StreamConfig {
            output: OutputLimits::default(),
            closing_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(20),
            tls_handshake_timeout: Duration::from_secs(10),
            socket: SocketOptions::default(),
            reconnect: None,
            idle_timeout: None,
            allow_half_open: false,
            connection_stats: false,
        }
    }
}
