//! The outbound half of a connection: encoder, queued bytes, and closing state.

pub(in crate::reactor) mod cold;
pub(in crate::reactor) mod compression;
pub(in crate::reactor) mod counts;
pub(in crate::reactor) mod latest;
pub(in crate::reactor) mod queue;
mod segment;

use std::{io::IoSlice, mem, rc::Rc, time::Instant};

use crate::{
    buffer::{Block, Bytes, LARGE_PAYLOAD_BYTES, SharedBlock, offset_in},
    peer_addr::PeerAddr,
    protocol::{CloseCode, Message, deflate::Deflation, encoder::Encoder, framing::HeaderBytes},
    reactor::{
        config::StreamConfig,
        connection::{
            compact_addr::CompactAddr,
            encoding::Encoding,
            outbound::{
                cold::Cold,
                compression::Compression,
                queue::{MAX_SLICES, Queue},
            },
            state::State,
        },
        id::{ConnectionId, TimerId},
        pools::Pools,
        publish::encoded::{EncodedFrame, SMALL_FRAME_BYTES},
    },
};

/// How a message was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum Queued {
    /// For the socket, or behind messages that wait for compression.
    ToWrite,
    /// As the first message that waits for compression: the connection has to be listed for that.
    ToCompress,
}

/// The outbound half of a connection.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(in crate::reactor) id: ConnectionId,
    pub(in crate::reactor) state: State,
    pub(in crate::reactor) encoding: Encoding,
    /// Output is above the high-water mark, or was at the last check.
    pub(in crate::reactor) congested: bool,
    /// `cold` holds a rule, because output waits that the socket did not take, or the end of the output is awaited.
    pub(in crate::reactor) is_output_watched: bool,
    /// The socket took less than it was offered; an event will report room.
    pub(in crate::reactor) blocked: bool,
    /// The connection is listed in `touched`.
    pub(in crate::reactor) touched: bool,
    /// The connection is listed in `unwritten`: it writes no more in this turn.
    pub(in crate::reactor) is_unwritten: bool,
    /// The counters of the connection are in `cold`.
    pub(in crate::reactor) counted: bool,
    /// The deadline is removed when the TLS handshake is done.
    pub(in crate::reactor) deadline_is_for_tls: bool,
    /// Turns since the deadline has passed in which it could not be judged: the connection had to be read before.
    pub(in crate::reactor) deadline_looks: u8,
    peer_addr: CompactAddr,
    pub(in crate::reactor) config: Rc<StreamConfig>,
    /// `None` unless compression was negotiated.
    pub(in crate::reactor) compression: Option<Box<Compression>>,
    pub(in crate::reactor) queue: Option<Box<Queue>>,
    /// Deadline of the current phase.
    pub(in crate::reactor) deadline: Option<Instant>,
    /// Timer for `deadline` and for the output rule; it fires no later than either.
    pub(in crate::reactor) deadline_timer: Option<TimerId>,
    /// Rarely used state.
    pub(in crate::reactor) cold: Option<Box<Cold>>,
}

impl Outbound {
    pub(in crate::reactor) fn new(id: ConnectionId, peer_addr: PeerAddr, config: Rc<StreamConfig>) -> Self {
        let mut outbound = Outbound {
            id,
            state: State::connected(),
            encoding: Encoding::Raw,
            congested: false,
            is_output_watched: false,
            blocked: false,
            touched: false,
            is_unwritten: false,
            counted: false,
            deadline_is_for_tls: false,
            deadline_looks: 0,
            peer_addr: CompactAddr::new(peer_addr, false),
            config,
            compression: None,
            queue: None,
            deadline: None,
            deadline_timer: None,
            cold: None,
        };
        outbound.begin_counts();
        outbound
    }

    pub(in crate::reactor) fn peer_addr(&self) -> PeerAddr {
        self.peer_addr.get()
    }

    pub(in crate::reactor) fn set_peer_addr(&mut self, address: PeerAddr) {
        self.peer_addr = CompactAddr::new(address, self.peer_addr.is_secure());
    }

    /// Sets the address of the client that a proxy has announced, and whether it uses TLS.
    #[cfg(feature = "proxy-protocol")]
    pub(in crate::reactor) fn set_client(&mut self, address: Option<PeerAddr>, is_secure: bool) {
        self.peer_addr = CompactAddr::new(address.unwrap_or(self.peer_addr()), is_secure);
    }

    /// Returns `true` if a proxy has announced that the client uses TLS.
    pub(in crate::reactor) fn is_proxied_securely(&self) -> bool {
        self.peer_addr.is_secure()
    }

    /// Marks the connection as not established: output waits.
    pub(in crate::reactor) fn await_connection(&mut self) {
        self.blocked = true;
        self.state.connect();
    }

    /// Makes the stream a WebSocket, with compression if it was negotiated.
    pub(in crate::reactor) fn start_websocket(&mut self, encoder: Encoder, deflation: Option<Deflation>) {
        self.encoding = Encoding::WebSocket(encoder);
        self.compression = deflation.map(|deflation| Box::new(Compression::new(deflation)));
    }

    /// The encoder of an open WebSocket.
    #[inline]
    pub(in crate::reactor) fn encoder(&self) -> Option<Encoder> {
        self.encoding.encoder()
    }

    /// Bytes waiting for compression or for the socket.
    pub(in crate::reactor) fn buffered(&self) -> usize {
        self.queued() + self.compression.as_ref().map_or(0, |compression| compression.waiting)
    }

    /// Bytes waiting for the socket.
    pub(in crate::reactor) fn queued(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// Returns `true` if the stream stays open for output when the peer has ended its side.
    pub(in crate::reactor) fn allows_half_open(&self) -> bool {
        self.config.allow_half_open && self.encoding == Encoding::Raw && !self.state.is_connecting()
    }

    /// Returns `true` if the output is neither congested nor at its limit.
    #[inline]
    pub(in crate::reactor) fn has_room(&self) -> bool {
        self.buffered() < self.config.output.congestion_mark()
    }

    /// Bytes above the high-water mark.
    pub(in crate::reactor) fn above_congestion_mark(&self) -> usize {
        self.buffered().saturating_sub(self.config.output.congestion_mark())
    }

    /// Returns `true` if the connection may be read now.
    pub(in crate::reactor) fn may_read(&self) -> bool {
        self.state.may_read(|| self.allowance() > 0)
    }

    /// Queues raw bytes. If the bytes are not `whole`, nothing is put between them and the next write.
    pub(in crate::reactor) fn write(&mut self, bytes: &[u8], whole: bool, pools: &mut Pools) {
        let queue = self.queue.get_or_insert_with(|| pools.take_queue());
        queue.append(&mut pools.blocks, bytes.len(), whole, |out| out.extend_from_slice(bytes));
    }

    /// Queues a message as it is, if it is short, unmasked and uncompressed, as most are. Returns `false` otherwise.
    #[inline(always)]
    pub(in crate::reactor) fn short_message(
        &mut self,
        encoder: Encoder,
        message: Message<'_>,
        pools: &mut Pools,
    ) -> bool {
        if let Some(header) = encoder.short_header(message)
            && self.compression.is_none()
        {
            let queue = self.queue.get_or_insert_with(|| pools.take_queue());
            queue.append_frame(&mut pools.blocks, header, message.as_bytes());
            return true;
        }
        false
    }

    /// Queues a message, compressed if `compress` is set and compression was negotiated. A large message inside the
    /// block `message_buffer` is sent from there.
    #[inline(always)]
    pub(in crate::reactor) fn message(
        &mut self,
        encoder: Encoder,
        message: Message<'_>,
        compress: bool,
        message_buffer: Option<&SharedBlock>,
        pools: &mut Pools,
    ) -> Queued {
        if self.compression.is_some() {
            return self.compressible(encoder, message, compress, message_buffer, pools);
        }
        self.plain(encoder, message, message_buffer, pools);
        Queued::ToWrite
    }

    /// Queues a message as it is.
    #[inline(always)]
    pub(in crate::reactor) fn plain(
        &mut self,
        encoder: Encoder,
        message: Message<'_>,
        message_buffer: Option<&SharedBlock>,
        pools: &mut Pools,
    ) {
        let payload = message.as_bytes();
        if payload.len() >= LARGE_PAYLOAD_BYTES
            && let Some((block, start)) = message_buffer.and_then(|block| Some((block, offset_in(block, payload)?)))
            && let Some(header) = encoder.message_header(message)
        {
            self.begin_frame(&header, pools).append_shared(block, start, start + payload.len(), true);
            return;
        }
        let key = pools.key(encoder);
        self.append(payload.len(), pools, |out| encoder.message(message, key, out));
    }

    /// Queues a large message that lies at `start` of the input being handled. It is sent from there, or copied if it
    /// has to wait. Returns `false` if the encoder cannot do that.
    pub(in crate::reactor) fn message_in_input(
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

    /// Queues a header whose payload follows from its place.
    fn begin_frame(&mut self, header: &HeaderBytes, pools: &mut Pools) -> &mut Queue {
        let queue = self.queue.get_or_insert_with(|| pools.take_queue());
        let header = header.as_bytes();
        queue.append(&mut pools.blocks, header.len(), false, |out| out.extend_from_slice(header));
        queue
    }

    /// Queues an encoded frame, without a copy unless a copy is cheaper.
    pub(in crate::reactor) fn encoded(&mut self, frame: &EncodedFrame, pools: &mut Pools) {
        let queue = self.shared_block(&frame.head, frame.body.is_none(), pools);
        if let Some((block, start, end)) = &frame.body {
            queue.append_shared(block, *start, *end, true);
        }
    }

    /// Queues a block that other connections share, without a copy unless a copy is cheaper.
    #[inline]
    pub(in crate::reactor) fn shared_block(
        &mut self,
        block: &SharedBlock,
        ends_frame: bool,
        pools: &mut Pools,
    ) -> &mut Queue {
        let queue = self.queue.get_or_insert_with(|| pools.take_queue());
        let bytes = block.as_bytes();
        if queue.is_empty() || bytes.len() > SMALL_FRAME_BYTES {
            queue.append_shared(block, 0, bytes.len(), ends_frame);
        } else {
            queue.append(&mut pools.blocks, bytes.len(), ends_frame, |out| out.extend_from_slice(bytes));
        }
        queue
    }

    pub(in crate::reactor) fn ping(&mut self, encoder: Encoder, data: &[u8], pools: &mut Pools) {
        let key = pools.key(encoder);
        self.append(data.len(), pools, |out| encoder.ping(data, key, out));
    }

    /// Queues a pong. While the socket is blocked only the newest is kept.
    pub(in crate::reactor) fn pong(&mut self, encoder: Encoder, data: &[u8], pools: &mut Pools) {
        if self.blocked {
            self.cold.get_or_insert_default().pong = Some(data.into());
            return;
        }
        let key = pools.key(encoder);
        self.append(data.len(), pools, |out| encoder.pong(data, key, out));
    }

    /// Queues the close frame that begins the closing handshake, if the version has one.
    pub(in crate::reactor) fn close_frame(&mut self, code: Option<CloseCode>, reason: &str, pools: &mut Pools) {
        self.take_pong();
        if let Some(encoder) = self.encoder().filter(|encoder| encoder.version().has_closing_handshake()) {
            let key = pools.key(encoder);
            self.append_last(reason.len(), pools, |out| encoder.close(code, reason, key, out));
        }
    }

    /// Queues the close frame of a failed connection, if the version has a frame for that.
    pub(in crate::reactor) fn failure_frame(&mut self, code: CloseCode, reason: &str, pools: &mut Pools) {
        self.take_pong();
        if self.encoder().is_some_and(|encoder| encoder.version().closes_cleanly()) {
            self.close_frame(Some(code), reason, pools);
        }
    }

    /// Queues the answer to a close frame with that body.
    pub(in crate::reactor) fn close_answer(&mut self, body: &[u8], pools: &mut Pools) {
        self.take_pong();
        if let Some(encoder) = self.encoder() {
            let key = pools.key(encoder);
            self.append_last(body.len(), pools, |out| encoder.close_answer(body, key, out));
        }
    }

    /// Drops output of which nothing has been sent.
    pub(in crate::reactor) fn drop_unsent(&mut self, pools: &mut Pools) {
        let before = self.buffered();
        self.forget_uncompressed(pools);
        if let Some(queue) = &mut self.queue {
            queue.keep_begun(&mut pools.blocks);
        }
        self.note_dropped(before - self.buffered());
    }

    /// Notes that the socket has room again. A waiting pong is sent at the next frame boundary.
    pub(in crate::reactor) fn unblock(&mut self, pools: &mut Pools) {
        self.blocked = false;
        if let (Some(pong), Some(encoder)) = (self.take_pong(), self.encoder()) {
            let (key, before) = (pools.key(encoder), self.queued());
            let queue = self.queue.get_or_insert_with(|| pools.take_queue());
            queue.insert_early(&mut pools.blocks, |out| encoder.pong(&pong, key, out));
            self.note_inserted(before);
        }
    }

    fn take_pong(&mut self) -> Option<Box<[u8]>> {
        self.cold.as_mut()?.pong.take()
    }

    /// List of the timers that end with the connection.
    pub(in crate::reactor) fn timers_mut(&mut self) -> &mut Vec<TimerId> {
        &mut self.cold.get_or_insert_default().timers
    }

    /// All timers that end with the connection.
    pub(in crate::reactor) fn into_timers(self) -> impl Iterator<Item = TimerId> + use<> {
        self.cold.map(|cold| cold.timers).into_iter().flatten().chain(self.deadline_timer)
    }

    /// Becomes the half of the next connection of the same id, which is not established. Returns the timers that end.
    pub(in crate::reactor) fn renew(
        &mut self,
        peer_addr: PeerAddr,
        pools: &mut Pools,
    ) -> impl Iterator<Item = TimerId> + use<> {
        self.release(pools);
        let mut next = Outbound::new(self.id, peer_addr, Rc::clone(&self.config));
        if self.encoding != Encoding::Raw {
            next.encoding = Encoding::Opening;
        }
        (next.touched, next.is_unwritten) = (self.touched, self.is_unwritten);
        next.cold.get_or_insert_default().reconnection = self.take_reconnection();
        next.await_connection();
        mem::replace(self, next).into_timers()
    }

    /// Fills `slices` with waiting bytes for one write, and returns their number.
    pub(in crate::reactor) fn slices<'q>(&'q self, input: &'q [u8], slices: &mut [IoSlice<'q>; MAX_SLICES]) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.slices(input, slices))
    }

    /// The waiting bytes, if they lie in one piece.
    pub(in crate::reactor) fn only_slice<'q>(&'q self, input: &'q [u8]) -> Option<&'q [u8]> {
        self.queue.as_ref()?.only_slice(input)
    }

    /// Copies waiting bytes that lie in the input.
    pub(in crate::reactor) fn keep_input(&mut self, input: &[u8], pools: &mut Pools) {
        if let Some(queue) = &mut self.queue {
            queue.keep_input(input, &mut pools.blocks);
        }
    }

    /// Notes that `written` bytes have left. An empty queue returns to the pool.
    pub(in crate::reactor) fn advance(&mut self, written: usize, pools: &mut Pools) {
        if let Some(queue) = &mut self.queue {
            queue.advance(written, &mut pools.blocks);
        }
        if self.queued() == 0 {
            self.release_queue(pools);
        }
    }

    /// Drops all output.
    pub(in crate::reactor) fn release(&mut self, pools: &mut Pools) {
        self.forget_uncompressed(pools);
        self.release_queue(pools);
    }

    fn release_queue(&mut self, pools: &mut Pools) {
        if let Some(queue) = self.queue.take() {
            pools.give_queue(queue);
        }
    }

    /// Queues a frame behind everything sent before.
    fn append_last(&mut self, expected: usize, pools: &mut Pools, write: impl FnOnce(&mut Vec<u8>)) {
        match self.is_compressing() {
            true => self.line_up_frame(pools, write),
            false => self.append(expected, pools, write),
        }
    }

    /// Queues bytes of the application, which are sent from where they lie.
    pub(in crate::reactor) fn append_shared(&mut self, bytes: Bytes, pools: &mut Pools) {
        let (queue, length) = (self.queue.get_or_insert_with(|| pools.take_queue()), bytes.len());
        queue.append_shared(&SharedBlock::new(Block::OwnedBytes(bytes)), 0, length, true);
    }

    #[inline]
    pub(in crate::reactor) fn append(&mut self, expected: usize, pools: &mut Pools, write: impl FnOnce(&mut Vec<u8>)) {
        let queue = self.queue.get_or_insert_with(|| pools.take_queue());
        queue.append(&mut pools.blocks, expected, true, write);
    }
}
