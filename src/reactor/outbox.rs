//! The outbound half of a connection: encoder, queued bytes, and how far it is on the way to its end.

use std::{
    io::IoSlice,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    cold::Cold,
    compression::Compression,
    config::StreamConfig,
    encoded::EncodedFrame,
    id::{ConnectionId, TimerId},
    peer::PeerAddr,
    pools::Pools,
    queue::{MAX_SLICES, Queue},
};
use crate::protocol::{
    CloseCode, Message,
    block::{SharedBlock, place},
    deflate::Deflation,
    encoder::Encoder,
    framing::HeaderBytes,
};

/// How far a connection is on the way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Bytes go both ways.
    Open,
    /// Our close frame is queued, the peer's has not come.
    Closing,
    /// What is queued still goes out, nothing is read, then the connection ends.
    Draining,
    /// What is queued still goes out, then our side ends, and input is discarded until the peer's does.
    Lingering,
    /// What is queued still goes out, input is discarded, and the peer ends the stream: it is the server (RFC 6455 §7.1.1).
    Parting,
    /// To be buried at the end of the turn.
    Dead,
}

/// From this length on a payload is sent from where it lies, if that is a block or the input that is being handled.
pub(crate) const LARGE_PAYLOAD_BYTES: usize = 16 * 1024;

/// The outbound half.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(super) id: ConnectionId,
    pub(super) phase: Phase,
    /// The application does not want to read.
    pub(super) paused: bool,
    /// It is to be read again, and has not been yet.
    pub(super) resuming: bool,
    /// Output is above the mark, or was refused, and has not drained since.
    pub(super) above_mark: bool,
    /// Output is above the high-water mark, or was when it was last looked at.
    pub(super) congested: bool,
    /// There is a rule: output waits that the socket did not take.
    pub(super) has_rule: bool,
    /// The socket took less than it was offered; an event will tell when there is room.
    pub(super) blocked: bool,
    /// Listed to be flushed at the end of the turn.
    pub(super) touched: bool,
    /// Our side of the stream has ended.
    pub(super) shut: bool,
    /// The connection is being made.
    pub(super) dialing: bool,
    /// The name of its place is being looked up.
    pub(super) resolving: bool,
    /// What it says is for a WebSocket to say, from its handshake on.
    pub(super) reserved: bool,
    /// This application has ended it, or is about to.
    pub(super) given_up: bool,
    /// The deadline goes when the handshake of the transport is done.
    pub(super) deadline_is_for_tls: bool,
    peer_addr: PeerAddr,
    pub(super) config: Rc<StreamConfig>,
    /// None while the stream is raw: what it says is not framed.
    pub(super) encoder: Option<Encoder>,
    /// None unless it was agreed upon.
    pub(super) compression: Option<Box<Compression>>,
    pub(super) queue: Option<Box<Queue>>,
    /// When the current phase must be over.
    pub(super) deadline: Option<Instant>,
    /// The timer that watches this, and the grace of a slow reader: it goes off no later than either.
    pub(super) alarm: Option<TimerId>,
    /// What most connections do without.
    pub(super) cold: Option<Box<Cold>>,
}

impl Outbox {
    pub(super) fn new(id: ConnectionId, peer_addr: SocketAddr, config: Rc<StreamConfig>) -> Self {
        Outbox {
            id,
            phase: Phase::Open,
            paused: false,
            resuming: false,
            above_mark: false,
            congested: false,
            has_rule: false,
            blocked: false,
            touched: false,
            shut: false,
            dialing: false,
            resolving: false,
            reserved: false,
            given_up: false,
            deadline_is_for_tls: false,
            peer_addr: peer_addr.into(),
            config,
            encoder: None,
            compression: None,
            queue: None,
            deadline: None,
            alarm: None,
            cold: None,
        }
    }

    pub(super) fn peer_addr(&self) -> SocketAddr {
        (&self.peer_addr).into()
    }

    pub(super) fn set_peer_addr(&mut self, address: SocketAddr) {
        self.peer_addr = address.into();
    }

    /// There is nothing to write to yet.
    pub(super) fn await_connection(&mut self) {
        (self.blocked, self.dialing) = (true, true);
    }

    /// From now on the stream speaks WebSocket, and compresses if that was agreed upon.
    pub(super) fn speak(&mut self, encoder: Encoder, deflation: Option<Deflation>) {
        self.encoder = Some(encoder);
        self.compression = deflation.map(|deflation| Box::new(Compression::new(deflation)));
    }

    /// How it frames what it says; `None` for a raw stream.
    pub(super) fn encoder(&self) -> Option<Encoder> {
        self.encoder
    }

    /// Bytes that wait, to be compressed or to be written.
    pub(super) fn buffered(&self) -> usize {
        self.queued() + self.compression.as_ref().map_or(0, |compression| compression.waiting)
    }

    /// Bytes that wait to be written.
    pub(super) fn queued(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// Whether the output is neither congested nor at its limit.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.buffered() < self.config.output.congestion_mark()
    }

    /// How far the output is above its high-water mark.
    pub(super) fn above_congestion_mark(&self) -> usize {
        self.buffered().saturating_sub(self.config.output.congestion_mark())
    }

    /// Whether its input is wanted now.
    pub(super) fn may_read(&self) -> bool {
        match self.phase {
            Phase::Open => !self.paused && (!self.above_mark || self.allowance() > 0),
            // The peer's close frame must be found whatever the application wants.
            Phase::Closing | Phase::Lingering | Phase::Parting => true,
            Phase::Draining | Phase::Dead => false,
        }
    }

    /// Queues raw bytes. What is written after a part that is not `whole` belongs to it: nothing is put between.
    pub(super) fn write(&mut self, bytes: &[u8], whole: bool, pools: &mut Pools) {
        let queue = self.queue.get_or_insert_with(|| pools.take_queue());
        queue.append(&mut pools.blocks, bytes.len(), whole, |out| out.extend_from_slice(bytes));
    }

    /// Queues a message as it is, if it is short and nothing has to be asked or put before it; most are. `false` if it is another.
    #[inline(always)]
    pub(super) fn short_message(&mut self, encoder: Encoder, message: Message<'_>, pools: &mut Pools) -> bool {
        if let Some(header) = encoder.short_header(message)
            && self.compression.is_none()
        {
            let queue = self.queue.get_or_insert_with(|| pools.take_queue());
            queue.append_frame(&mut pools.blocks, header, message.as_bytes());
            return true;
        }
        false
    }

    /// Queues a message, compressed if `compress` and that was agreed upon. A large one that lies in the block `lent` is sent from there.
    ///
    /// `true` if it waits to be compressed, and is the first that does.
    #[inline(always)]
    pub(super) fn message(
        &mut self,
        encoder: Encoder,
        message: Message<'_>,
        compress: bool,
        lent: Option<&SharedBlock>,
        pools: &mut Pools,
    ) -> bool {
        if self.compression.is_some() {
            return self.compressible(encoder, message, compress, lent, pools);
        }
        self.plain(encoder, message, lent, pools);
        false
    }

    /// Queues a message as it is.
    #[inline(always)]
    pub(super) fn plain(
        &mut self,
        encoder: Encoder,
        message: Message<'_>,
        lent: Option<&SharedBlock>,
        pools: &mut Pools,
    ) {
        let payload = message.as_bytes();
        if payload.len() >= LARGE_PAYLOAD_BYTES
            && let Some((block, start)) = lent.and_then(|block| Some((block, place(block, payload)?)))
            && let Some(header) = encoder.message_header(message)
        {
            self.begin_frame(&header, pools).append_shared(block, start, start + payload.len(), true);
            return;
        }
        let key = pools.key(encoder);
        self.append(payload.len(), pools, |out| encoder.message(message, key, out));
    }

    /// Queues a large message that lies at `start` of the input that is being handled, from where it leaves unless it has to wait; `false` if the
    /// encoder cannot do that.
    pub(super) fn message_in_input(
        &mut self,
        encoder: Encoder,
        message: Message<'_>,
        start: usize,
        pools: &mut Pools,
    ) -> bool {
        let Some(header) = encoder.message_header(message).filter(|_| self.compression.is_none()) else { return false };
        self.begin_frame(&header, pools).append_input(start, start + message.len());
        true
    }

    /// Queues a header whose payload is to follow from where it lies.
    fn begin_frame(&mut self, header: &HeaderBytes, pools: &mut Pools) -> &mut Queue {
        let queue = self.queue.get_or_insert_with(|| pools.take_queue());
        let header = header.as_bytes();
        queue.append(&mut pools.blocks, header.len(), false, |out| out.extend_from_slice(header));
        queue
    }

    /// Queues what was encoded before, without a copy if that is no dearer.
    pub(super) fn encoded(&mut self, frame: &EncodedFrame, pools: &mut Pools) {
        let queue = self.queue.get_or_insert_with(|| pools.take_queue());
        let head = frame.head.as_bytes();
        if queue.is_empty() || head.len() > SMALL_FRAME_BYTES {
            queue.append_shared(&frame.head, 0, head.len(), frame.body.is_none());
        } else {
            queue.append(&mut pools.blocks, head.len(), frame.body.is_none(), |out| out.extend_from_slice(head));
        }
        if let Some((block, start, end)) = &frame.body {
            queue.append_shared(block, *start, *end, true);
        }
    }

    pub(super) fn ping(&mut self, encoder: Encoder, data: &[u8], pools: &mut Pools) {
        let key = pools.key(encoder);
        self.append(data.len(), pools, |out| encoder.ping(data, key, out));
    }

    /// Queues a pong; while the socket is blocked only the newest is kept.
    pub(super) fn pong(&mut self, encoder: Encoder, data: &[u8], pools: &mut Pools) {
        if self.blocked {
            self.cold.get_or_insert_default().pong = Some(data.into());
            return;
        }
        let key = pools.key(encoder);
        self.append(data.len(), pools, |out| encoder.pong(data, key, out));
    }

    /// Queues what begins the closing handshake, if the version has one.
    pub(super) fn close_frame(&mut self, code: Option<CloseCode>, reason: &str, pools: &mut Pools) {
        self.take_pong();
        if let Some(encoder) = self.encoder.filter(|encoder| encoder.version().has_closing_handshake()) {
            let key = pools.key(encoder);
            self.append_last(reason.len(), pools, |out| encoder.close(code, reason, key, out));
        }
    }

    /// Queues the close frame of a connection that has failed, if there is any that could tell so.
    pub(super) fn failure_frame(&mut self, code: CloseCode, reason: &str, pools: &mut Pools) {
        self.take_pong();
        if self.encoder.is_some_and(|encoder| encoder.version().closes_cleanly()) {
            self.close_frame(Some(code), reason, pools);
        }
    }

    /// Queues the answer to a close frame with that body.
    pub(super) fn close_answer(&mut self, body: &[u8], pools: &mut Pools) {
        self.take_pong();
        if let Some(encoder) = self.encoder {
            let key = pools.key(encoder);
            self.append_last(body.len(), pools, |out| encoder.close_answer(body, key, out));
        }
    }

    /// Drops what has not begun to leave.
    pub(super) fn drop_unsent(&mut self, pools: &mut Pools) {
        self.forget_uncompressed(pools);
        if let Some(queue) = &mut self.queue {
            queue.keep_begun(&mut pools.blocks);
        }
    }

    /// There is room in the socket again: the pong that waited goes out at the next frame boundary.
    pub(super) fn unblock(&mut self, pools: &mut Pools) {
        self.blocked = false;
        if let (Some(pong), Some(encoder)) = (self.take_pong(), self.encoder) {
            let key = pools.key(encoder);
            let queue = self.queue.get_or_insert_with(|| pools.take_queue());
            queue.insert_early(&mut pools.blocks, |out| encoder.pong(&pong, key, out));
        }
    }

    fn take_pong(&mut self) -> Option<Box<[u8]>> {
        self.cold.as_mut()?.pong.take()
    }

    /// The list of the timers that go with the connection.
    pub(super) fn timers_mut(&mut self) -> &mut Vec<TimerId> {
        &mut self.cold.get_or_insert_default().timers
    }

    /// All timers that go with the connection.
    pub(super) fn into_timers(self) -> impl Iterator<Item = TimerId> {
        self.cold.map(|cold| cold.timers).into_iter().flatten().chain(self.alarm)
    }

    /// The bytes that wait, as far as one write takes them, and in how many slices.
    pub(super) fn slices<'q>(&'q self, input: &'q [u8], slices: &mut [IoSlice<'q>; MAX_SLICES]) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.slices(input, slices))
    }

    /// The bytes that wait, if they lie in one piece.
    pub(super) fn only_slice<'q>(&'q self, input: &'q [u8]) -> Option<&'q [u8]> {
        self.queue.as_ref()?.only_slice(input)
    }

    /// Copies what still lies in the input.
    pub(super) fn keep_input(&mut self, input: &[u8], pools: &mut Pools) {
        if let Some(queue) = &mut self.queue {
            queue.keep_input(input, &mut pools.blocks);
        }
    }

    /// Notes that `written` bytes have left. An empty queue goes back to the pool.
    pub(super) fn advance(&mut self, written: usize, pools: &mut Pools) {
        if let Some(queue) = &mut self.queue {
            queue.advance(written, &mut pools.blocks);
        }
        if self.queued() == 0 {
            self.release_queue(pools);
        }
    }

    /// Drops what waits.
    pub(super) fn release(&mut self, pools: &mut Pools) {
        self.forget_uncompressed(pools);
        self.release_queue(pools);
    }

    fn release_queue(&mut self, pools: &mut Pools) {
        if let Some(queue) = self.queue.take() {
            pools.give_queue(queue);
        }
    }

    /// How long an end may take.
    pub(super) fn closing_timeout(&self) -> Duration {
        self.config.closing_timeout
    }

    /// Queues what comes behind all that was said before.
    fn append_last(&mut self, expected: usize, pools: &mut Pools, write: impl FnOnce(&mut Vec<u8>)) {
        match self.is_compressing() {
            true => self.line_up_frame(pools, write),
            false => self.append(expected, pools, write),
        }
    }

    #[inline]
    fn append(&mut self, expected: usize, pools: &mut Pools, write: impl FnOnce(&mut Vec<u8>)) {
        let queue = self.queue.get_or_insert_with(|| pools.take_queue());
        queue.append(&mut pools.blocks, expected, true, write);
    }
}

/// Up to here a published frame is copied behind what is queued already: a segment of its own would cost as much.
pub(super) const SMALL_FRAME_BYTES: usize = 1024;
