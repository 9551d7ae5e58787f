//! Counters of single connections, for those whose configuration asks for them.

use std::time::{Duration, Instant};

use crate::{protocol::framing::MAX_CONTROL_BYTES, reactor::connection::outbound::Outbound, send_status::SendStatus};

/// Counters of one connection, from [`WebSocket::stats`](crate::WebSocket::stats) or
/// [`Hub::connection_stats`](crate::Hub::connection_stats).
///
/// Counted if [`StreamConfig::connection_stats`](field@crate::StreamConfig::connection_stats) is set.
///
/// ```
/// use ws_reactor::{Callbacks, Server};
///
/// let server = Server::new(|_| {
///     Callbacks::new().on_close(|ws, _| {
///         if let Some(stats) = ws.stats() {
///             println!("{} messages in, {} out", stats.messages_in, stats.messages_out);
///         }
///     })
/// })
/// .configure(|config| config.websocket.stream.connection_stats = true);
/// ```
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Messages received. 0 on a raw stream.
    pub messages_in: u64,
    /// Messages queued. 0 on a raw stream.
    pub messages_out: u64,
    /// Bytes read, after TLS decryption. Handshakes and control frames included.
    pub bytes_in: u64,
    /// Bytes written, before TLS encryption. Handshakes and control frames included.
    pub bytes_out: u64,
    /// Messages refused because of [`OutputLimits`](crate::OutputLimits) or
    /// [`ReactorConfig::excess_output_bytes`](crate::ReactorConfig::excess_output_bytes). Pings and writes of a raw
    /// stream do not count.
    pub dropped: u64,
    /// Time between the last answered ping and its pong. `None` before the first pong.
    ///
    /// Measured from the start of the turn that sent the ping to the start of the turn that received the pong. Pings of
    /// [`ping_after`](field@crate::WebSocketConfig::ping_after) and of the application count. A pong answers the ping
    /// with the same data, so pings that may overlap should have different data. Of more than 8 unanswered pings the
    /// oldest are forgotten. The value stays until the next pong.
    pub ping_round_trip: Option<Duration>,
}

/// Counters of a connection, and its pings that are not answered yet.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Counts {
    stats: ConnectionStats,
    pings: Vec<(Instant, Box<[u8]>)>,
}

/// Unanswered pings that are remembered.
const MAX_PINGS: usize = 8;

impl Outbound {
    /// The counters, if the connection is counted.
    #[cold]
    fn counts(&mut self) -> Option<&mut Counts> {
        self.cold.as_mut()?.counts.as_deref_mut()
    }

    /// Starts to count, if the configuration asks for counters or needs them.
    pub(in crate::reactor) fn begin_counts(&mut self) {
        if self.config.connection_stats || self.config.idle_timeout.is_some() {
            self.counted = true;
            self.cold.get_or_insert_default().counts = Some(Box::default());
        }
    }

    #[inline]
    fn count(&mut self, add: impl FnOnce(&mut ConnectionStats)) {
        if self.counted
            && let Some(counts) = self.counts()
        {
            add(&mut counts.stats);
        }
    }

    /// The counters. `None` unless the configuration asks for them.
    pub(in crate::reactor) fn connection_stats(&self) -> Option<ConnectionStats> {
        if !self.config.connection_stats {
            return None;
        }
        Some(self.cold.as_ref()?.counts.as_ref()?.stats)
    }

    /// Bytes read and written, if they are counted.
    pub(in crate::reactor) fn bytes_moved(&self) -> u64 {
        let counts = self.cold.as_ref().and_then(|cold| cold.counts.as_ref());
        counts.map_or(0, |counts| counts.stats.bytes_in + counts.stats.bytes_out)
    }

    /// Counts a received message.
    #[cold]
    pub(in crate::reactor) fn count_received(&mut self) {
        self.count(|stats| stats.messages_in += 1);
    }

    /// Records a pong. A pong answers its ping and all earlier ones (RFC 6455 §5.5.3).
    pub(in crate::reactor) fn note_pong(&mut self, data: &[u8], now: Instant) {
        if self.counted
            && let Some(counts) = self.counts()
            && let Some(answered) = counts.pings.iter().rposition(|(_, ping)| **ping == *data)
        {
            let sent = counts.pings[answered].0;
            counts.pings.drain(..=answered);
            counts.stats.ping_round_trip = Some(now.duration_since(sent));
        }
    }

    /// Counts bytes read.
    #[inline]
    pub(in crate::reactor) fn count_read(&mut self, bytes: usize) {
        self.count(|stats| stats.bytes_in += bytes as u64);
    }

    /// Counts bytes written.
    #[inline]
    pub(in crate::reactor) fn count_written(&mut self, bytes: usize) {
        self.count(|stats| stats.bytes_out += bytes as u64);
    }

    /// Counts a message by the status of its send.
    #[inline]
    pub(in crate::reactor) fn count_sent(&mut self, status: SendStatus) {
        self.count(|stats| match status.is_queued() {
            true => stats.messages_out += 1,
            false => stats.dropped += 1,
        });
    }

    /// Notes a ping that was queued.
    #[inline]
    pub(in crate::reactor) fn note_ping(&mut self, data: &[u8], now: Instant) {
        if self.counted
            && let Some(counts) = self.counts()
        {
            if counts.pings.len() == MAX_PINGS {
                counts.pings.remove(0);
            }
            counts.pings.push((now, data[..data.len().min(MAX_CONTROL_BYTES)].into()));
        }
    }
}
