//! Methods of the [`Hub`] for the protocols on streams: opening handshakes, WebSockets, event streams.

use std::time::Instant;

use super::{
    connection::{encoding::Encoding, outbound::Outbound, ping_mark::PingProgress, state::Phase},
    hub::Hub,
    id::ConnectionId,
};
use crate::{
    buffer::Bytes,
    protocol::{
        Side,
        deflate::{Deflation, SharedContexts},
        encoder::Encoder,
    },
};

impl Hub {
    /// Writes bytes of an opening handshake, even if the output has no room. If the bytes are not `whole`, nothing is
    /// queued between them and the next write.
    pub(crate) fn write_handshake(&mut self, id: ConnectionId, bytes: &[u8], whole: bool) {
        if let Some(outbound) = self.outbounds.open_mut(id) {
            outbound.write(bytes, whole, &mut self.pools);
            self.touch(id.key());
        }
    }

    /// Counts a connection for which a shutdown does not wait.
    #[cfg(feature = "redis")]
    pub(crate) fn add_background_connection(&mut self) {
        self.background_connections += 1;
    }

    #[cfg(feature = "redis")]
    pub(crate) fn remove_background_connection(&mut self) {
        self.background_connections -= 1;
    }

    /// Returns `true` if there are connections besides those in the background.
    #[cfg(feature = "redis")]
    pub(crate) fn has_foreground_connections(&self) -> bool {
        self.outbounds.len() > self.background_connections
    }

    /// Counts a received message.
    pub(crate) fn count_received(&mut self, id: ConnectionId) {
        if let Some(outbound) = self.outbounds.get_mut(id) {
            outbound.count_received();
        }
    }

    /// Records a pong.
    pub(crate) fn note_pong(&mut self, id: ConnectionId, data: &[u8]) {
        if let Some(outbound) = self.outbounds.get_mut(id) {
            outbound.note_pong(data, self.now);
        }
    }

    /// An opening handshake has succeeded that began at this time.
    pub(crate) fn note_handshake(&mut self, began: Instant) {
        self.latencies.handshake.record(self.now.saturating_duration_since(began));
    }

    /// The compressors and decompressors that all connections share.
    pub(crate) fn contexts(&self) -> &SharedContexts {
        &self.pools.contexts
    }

    /// Reserves the output for [`write_handshake`](Self::write_handshake) until the connection is a WebSocket. `side`:
    /// a server answers HTTP requests before.
    pub(crate) fn reserve(&mut self, id: ConnectionId, side: Side) {
        if let Some(outbound) = self.outbounds.open_mut(id) {
            outbound.encoding = if side == Side::Server { Encoding::Http } else { Encoding::Opening };
        }
    }

    /// Queues the bytes that `write` appends, about `expected` of them, even if the output has no room. They count
    /// towards [`excess_output_bytes`](crate::ReactorConfig::excess_output_bytes).
    pub(crate) fn append(&mut self, id: ConnectionId, expected: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(outbound) = self.outbounds.open_mut(id) {
            outbound.append(expected, &mut self.pools, write);
            self.charge_excess(id.key());
            self.touch(id.key());
        }
    }

    /// Queues bytes without a copy, even if the output has no room.
    pub(crate) fn append_shared(&mut self, id: ConnectionId, bytes: Bytes) {
        if let Some(outbound) = self.outbounds.open_mut(id) {
            outbound.append_shared(bytes, &mut self.pools);
            self.charge_excess(id.key());
            self.touch(id.key());
        }
    }

    /// Returns `true` if output of an open connection is below the mark at which reading pauses.
    pub(crate) fn has_room(&self, id: ConnectionId) -> bool {
        let has_room = |outbound: &Outbound| outbound.buffered() < outbound.config.output.pause_reading_bytes.max(1);
        self.outbound(id).is_some_and(|outbound| outbound.state.is_open() && has_room(outbound))
    }

    /// Has `on_drain` called once the output has fallen to the low-water mark, even if it was never above.
    pub(crate) fn await_drain(&mut self, id: ConnectionId) {
        if let Some(outbound) = self.outbounds.open_mut(id) {
            outbound.state.await_drain();
            self.touch(id.key());
        }
    }

    /// Makes the stream a WebSocket, with compression if it was negotiated.
    pub(crate) fn start_websocket(&mut self, id: ConnectionId, encoder: Encoder, deflation: Option<Deflation>) {
        if let Some(outbound) = self.outbounds.open_mut(id) {
            outbound.start_websocket(encoder, deflation);
            self.stats.opened += 1;
            self.on_dialed_open(id);
        }
    }

    /// Makes the stream an event stream: it can subscribe to topics, and gets what is published as events.
    #[cfg(feature = "server")]
    pub(crate) fn start_event_stream(&mut self, id: ConnectionId, in_chunks: bool) {
        if let Some(outbound) = self.outbounds.open_mut(id) {
            outbound.encoding = Encoding::EventStream { in_chunks };
        }
    }

    /// The connection is not being read, so a missing pong means nothing.
    pub(crate) fn is_reading_suspended(&self, id: ConnectionId) -> bool {
        self.outbound(id).is_some_and(|outbound| !outbound.may_read() || outbound.state.is_reread_due())
    }

    /// Pings a silent peer, in `on_deadline`. [`ping_progress`](Self::ping_progress) says when the ping has left.
    pub(crate) fn ping_silent(&mut self, id: ConnectionId, data: &[u8]) {
        if self.ping(id, data).is_queued()
            && let Some(outbound) = self.outbounds.get_mut(id)
        {
            outbound.begin_ping();
            self.callback.has_pinged = true;
        }
    }

    /// How far the last ping of [`ping_silent`](Self::ping_silent) has got.
    pub(crate) fn ping_progress(&self, id: ConnectionId) -> PingProgress {
        self.outbound(id).map_or(PingProgress::LeftAtOnce, |outbound| outbound.ping_progress(self.now))
    }

    /// The phase of a connection, and whether received messages have to wait: the output is above its mark, the
    /// connection is paused, or the delivery budget is used up.
    #[inline(always)]
    pub(crate) fn read_gate(&self, id: ConnectionId) -> (Phase, bool) {
        let Some(outbound) = self.outbound(id) else { return (Phase::Closed, false) };
        // A connection that is closing adds only pongs to its output.
        let above = outbound.state.is_open()
            && outbound.buffered() > outbound.config.output.pause_reading_bytes
            && outbound.allowance() == 0;
        (outbound.state.phase(), above || !outbound.may_read() || self.deliveries_left == 0)
    }
}
