//! The Hub: everything a handler may touch, on its own connection and all others.
//!
//! One law keeps the whole reactor simple: **no method of the Hub calls user code.** Bytes are queued and ends are noted; the loop
//! carries them out later in the same turn. So a borrow may be held across a send, and nothing is ever re-entered.

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use slab::Slab;

use super::{
    config::{Config, Overflow},
    dial::Dial,
    encoded::EncodedFrame,
    id::{ConnectionId, IdSource, ListenerId},
    input::Input,
    listen::Opening,
    outbox::{LARGE_PAYLOAD_BYTES, Outbox, Phase, Sent},
    pending::Pending,
    pools::Pools,
    remote::{Command, Remote},
    stats::Stats,
    stream::StreamHandler,
    task::{Task, Tick},
    timers::Timers,
    topics::Topics,
};
use crate::{
    net::{Mailbox, Randomness, Wake, tls::TlsClient},
    protocol::{
        Message, OwnedMessage,
        block::SharedBlock,
        deflate::{Deflation, SharedContexts},
        encoder::Encoder,
        message::Excerpt,
    },
};

/// How far the reactor is on the way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    Yes,
    /// `shutdown` was called, its deadline given; the loop has yet to act.
    ToldToShutDown(Duration),
    /// Every connection was told; the loop ends with the last.
    ShuttingDown,
    /// `stop` was called, or the deadline of `shutdown` has passed.
    Stopping,
    Stopped,
}

/// All that a handler may touch: the connections of its reactor, timers, topics, the loop itself.
pub struct Hub {
    pub(super) outboxes: Slab<Outbox>,
    pub(super) timers: Timers<Task>,
    pub(super) topics: Topics,
    pub(crate) pools: Pools,
    pub(super) now: Instant,
    pub(crate) stats: Stats,
    /// The connection whose callback runs; it is flushed right after.
    pub(super) current: usize,
    /// The block in which the message lies that is being handled, if it lies in one.
    pub(super) lent: Option<SharedBlock>,
    /// What the current connection has been given to read.
    pub(crate) input: Input,
    /// Connections to flush at the end of the turn.
    pub(super) touched: Vec<usize>,
    /// Connections to read again, though no event will say so.
    pub(super) resumed: Vec<usize>,
    /// Connections to bury at the end of the turn.
    pub(super) dead: Vec<usize>,
    pub(super) ticks: VecDeque<Tick>,
    /// Listeners to open.
    pub(super) openings: Vec<Opening>,
    /// Listeners to close.
    pub(super) closed_listeners: Vec<ListenerId>,
    pub(super) running: Running,
    pub(super) inbox: Arc<Mailbox<Command>>,
    pub(super) ids: IdSource,
    pub(super) frames: Vec<EncodedFrame>,
    contexts: SharedContexts,
    /// Handshakes of clients that are not finished.
    pub(super) pending: Rc<Pending>,
    /// Who takes the current connection over from its handler, once that has returned.
    pub(crate) successor: Option<Box<dyn StreamHandler>>,
    /// Connections on which TLS is to be laid, and as whose client.
    pub(super) securing: Vec<(ConnectionId, TlsClient, String)>,
    /// Connections to be made, which the loop has not taken in.
    pub(super) dials: VecDeque<Dial>,
    /// Connections with messages that wait to be compressed, the first that came first.
    pub(super) compressing: VecDeque<ConnectionId>,
    /// When a warning was logged that any peer could cause.
    warned: Option<Instant>,
}

/// No connection's callback runs.
pub(super) const NOBODY: usize = usize::MAX;

impl Hub {
    pub(super) fn new(config: &Config, now: Instant, waker: Arc<dyn Wake>, random: Randomness) -> Self {
        let ids = IdSource::new();
        Hub {
            outboxes: Slab::new(),
            timers: Timers::new(ids.clone()),
            topics: Topics::default(),
            pools: Pools::new(config, random),
            now,
            stats: Stats::default(),
            current: NOBODY,
            lent: None,
            input: Input::default(),
            touched: Vec::new(),
            resumed: Vec::new(),
            dead: Vec::new(),
            ticks: VecDeque::new(),
            openings: Vec::new(),
            closed_listeners: Vec::new(),
            running: Running::Yes,
            inbox: Arc::new(Mailbox::new(config.remote_commands, waker)),
            ids,
            frames: Vec::new(),
            contexts: SharedContexts::default(),
            pending: Rc::default(),
            successor: None,
            securing: Vec::new(),
            dials: VecDeque::new(),
            compressing: VecDeque::new(),
            warned: None,
        }
    }

    /// Sends a message: `&str` and `&String` as text, bytes as binary. It is compressed if that was agreed upon.
    pub fn send<'m>(&mut self, id: ConnectionId, message: impl Into<Message<'m>>) -> Sent {
        self.say(id, message.into(), true)
    }

    /// Sends a message as it is, even where messages are compressed: one that is compressed already, or has a secret in it.
    pub fn send_uncompressed<'m>(&mut self, id: ConnectionId, message: impl Into<Message<'m>>) -> Sent {
        self.say(id, message.into(), false)
    }

    /// One call, and for a short message nearly all within it inline: what most cost.
    #[inline(never)]
    fn say(&mut self, id: ConnectionId, message: Message<'_>, compress: bool) -> Sent {
        let Some(outbox) = find(&mut self.outboxes, id) else { return Sent::Closed };
        let Some(encoder) = outbox.encoder().filter(|encoder| encoder.can_say(message)) else {
            return Sent::Unsupported;
        };
        if !outbox.has_room() {
            return self.overflow(id.key());
        }
        log::trace!(target: "ws_reactor::reactor", "{id} says {message}");
        if !outbox.short_message(encoder, message, &mut self.pools) {
            self.say_at_length(id, encoder, message, compress);
        }
        self.stats.messages_out += 1;
        self.touch(id.key());
        Sent::Queued
    }

    /// Queues a message of any kind on a connection that is there.
    #[inline(never)]
    fn say_at_length(&mut self, id: ConnectionId, encoder: Encoder, message: Message<'_>, compress: bool) {
        let outbox = &mut self.outboxes[id.key()];
        if message.len() >= LARGE_PAYLOAD_BYTES
            && id.key() == self.current
            && let Some(start) = self.input.send_from(message.as_bytes())
            && outbox.message_in_input(encoder, message, start, &mut self.pools)
        {
            // It leaves from there, right after the callback.
        } else if outbox.message(encoder, message, compress, self.lent.as_ref(), &mut self.pools) {
            self.compressing.push_back(id);
        }
    }

    /// Sends a message that the application owns. A large one is not copied, and may be sent to many from where it lies, unless it is compressed.
    pub fn send_owned(&mut self, id: ConnectionId, message: &OwnedMessage) -> Sent {
        self.lending(message, |hub| hub.send(id, message))
    }

    /// Writes bytes to a raw stream.
    pub fn write(&mut self, id: ConnectionId, bytes: &[u8]) -> Sent {
        let Some(outbox) = find(&mut self.outboxes, id) else { return Sent::Closed };
        if outbox.reserved {
            return Sent::Unsupported;
        }
        if !outbox.has_room() {
            return self.overflow(id.key());
        }
        outbox.write(bytes, true, &mut self.pools);
        self.touch(id.key());
        Sent::Queued
    }

    /// Sends a ping of at most 125 bytes; what is above is left out.
    pub fn ping(&mut self, id: ConnectionId, data: &[u8]) -> Sent {
        let can = |encoder: Encoder| encoder.version().supports_ping();
        if self.outbox(id).is_some_and(|outbox| !outbox.has_room() && outbox.encoder().is_some_and(can)) {
            return Sent::Full;
        }
        log::trace!(target: "ws_reactor::reactor", "{id} pings {}", Excerpt(data));
        self.control(id, |outbox, encoder, pools| outbox.ping(encoder, data, pools))
    }

    /// Sends a pong of at most 125 bytes. Pings are answered without it; a pong unasked for is a sign of life (RFC 6455 §5.5.3).
    pub fn pong(&mut self, id: ConnectionId, data: &[u8]) -> Sent {
        log::trace!(target: "ws_reactor::reactor", "{id} pongs {}", Excerpt(data));
        self.control(id, |outbox, encoder, pools| outbox.pong(encoder, data, pools))
    }

    /// Stops reading from a connection: its peer fills the network's buffers and then waits. Nothing is lost, and no deadline for pongs runs.
    ///
    /// `false` if it has gone.
    pub fn pause(&mut self, id: ConnectionId) -> bool {
        find(&mut self.outboxes, id).map(|outbox| outbox.paused = true).is_some()
    }

    /// Reads on. `false` if it has gone.
    pub fn resume(&mut self, id: ConnectionId) -> bool {
        let Some(outbox) = find(&mut self.outboxes, id) else { return false };
        if outbox.paused {
            outbox.paused = false;
            outbox.resuming = true;
            self.resumed.push(id.key());
        }
        true
    }

    /// Bytes queued and not yet taken by the system, those that wait to be compressed included; under TLS, at most 64 KiB more may have been encrypted already. 0 for a connection that has gone.
    pub fn buffered(&self, id: ConnectionId) -> usize {
        self.outbox(id).map_or(0, Outbox::buffered)
    }

    /// All connections that are there, those of raw streams and those that are opening or closing included.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.outboxes.iter().map(|(_, outbox)| outbox.id)
    }

    /// Whether the connection is open: neither gone nor closing.
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.outbox(id).is_some_and(|outbox| outbox.phase == Phase::Open)
    }

    /// The address of the peer, as it was at accept. `None` once the connection has gone.
    pub fn peer_addr(&self, id: ConnectionId) -> Option<SocketAddr> {
        self.outbox(id).map(Outbox::peer_addr)
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote {
        Remote::new(Arc::clone(&self.inbox))
    }

    /// Ends the loop after this turn: every connection is cut, every `on_close` is called, `run` returns.
    pub fn stop(&mut self) {
        self.running = Running::Stopping;
    }

    /// Ends the loop in order: nothing is accepted any more, every WebSocket is closed with 1001, and when the last has gone,
    /// or after `deadline`, when what is left was cut, `run` returns.
    pub fn shutdown(&mut self, deadline: Duration) {
        if self.running == Running::Yes {
            self.running = Running::ToldToShutDown(deadline);
        }
    }

    /// Stops accepting at a listener. What it has accepted goes on.
    pub fn close_listener(&mut self, listener: ListenerId) {
        self.closed_listeners.push(listener);
    }

    /// The time at the start of this turn.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What the reactor has done so far.
    pub fn stats(&self) -> Stats {
        let buffered_bytes = self.outboxes.iter().map(|(_, outbox)| outbox.buffered()).sum();
        let compressions = self.contexts.borrow().compressed();
        Stats {
            connections: self.outboxes.len(),
            pending_handshakes: self.pending.all(),
            buffered_bytes,
            compressions,
            ..self.stats
        }
    }

    /// The time `duration` from now; so far away that it never comes, if it is longer than the clock reaches.
    pub(crate) fn after(&self, duration: Duration) -> Instant {
        later(self.now, duration)
    }

    // What follows is for the floors that build on streams, and for the loop.

    /// Whether a warning may be logged that any peer could cause: once in a second.
    pub(crate) fn may_warn(&mut self) -> bool {
        let may = self.warned.is_none_or(|warned| self.now.duration_since(warned) >= Duration::from_secs(1));
        if may {
            self.warned = Some(self.now);
        }
        may
    }

    /// Writes what a handshake says to a raw stream, whether or not the output has room. After a part that is not `whole` nothing is put
    /// before the rest.
    pub(crate) fn write_handshake(&mut self, id: ConnectionId, bytes: &[u8], whole: bool) {
        if let Some(outbox) = find(&mut self.outboxes, id) {
            outbox.write(bytes, whole, &mut self.pools);
            self.touch(id.key());
        }
    }

    /// The compressors and decompressors of the reactor.
    pub(crate) fn contexts(&self) -> &SharedContexts {
        &self.contexts
    }

    /// Only [`write_handshake`](Self::write_handshake) writes to the connection, until it speaks WebSocket.
    pub(crate) fn reserve(&mut self, id: ConnectionId) {
        if let Some(outbox) = find(&mut self.outboxes, id) {
            outbox.reserved = true;
        }
    }

    /// From now on the stream speaks WebSocket, and compresses if that was agreed upon.
    pub(crate) fn speak(&mut self, id: ConnectionId, encoder: Encoder, deflation: Option<Deflation>) {
        if let Some(outbox) = find(&mut self.outboxes, id) {
            outbox.speak(encoder, deflation);
            self.stats.opened += 1;
        }
    }

    /// Says in which block the message lies that is being handled, so that sending it on keeps the block instead of copying it.
    pub(crate) fn lend(&mut self, block: Option<SharedBlock>) {
        self.lent = block;
    }

    /// Whether the peer may have said what was not read, so that its silence proves nothing.
    pub(crate) fn is_unheard(&self, id: ConnectionId) -> bool {
        self.outbox(id).is_some_and(|outbox| !outbox.may_read() || outbox.resuming)
    }

    /// The phase of a connection, and whether what has come has to wait: for its output to leave, or until it is wanted.
    pub(crate) fn intake(&self, id: ConnectionId) -> (Phase, bool) {
        let Some(outbox) = self.outbox(id) else { return (Phase::Dead, false) };
        // A connection that is closing adds nothing but pongs.
        let above = outbox.phase == Phase::Open && outbox.buffered() > outbox.settings.output.pause_reading_bytes;
        (outbox.phase, above || !outbox.may_read())
    }

    /// Whether the output is above its mark, and nothing of it has left since this was asked last.
    pub(crate) fn is_stuck(&mut self, id: ConnectionId) -> bool {
        let Some(outbox) = find(&mut self.outboxes, id) else { return false };
        !std::mem::take(&mut outbox.moving) && outbox.above_mark && !outbox.paused && !outbox.is_compressing()
    }

    /// The phase of a connection.
    pub(crate) fn phase(&self, id: ConnectionId) -> Phase {
        self.outbox(id).map_or(Phase::Dead, |outbox| outbox.phase)
    }

    pub(super) fn outbox(&self, id: ConnectionId) -> Option<&Outbox> {
        self.outboxes.get(id.key()).filter(|outbox| outbox.id == id)
    }

    /// Has the connection flushed: right after its own callback, or at the end of the turn.
    pub(super) fn touch(&mut self, key: usize) {
        if key == self.current {
            return;
        }
        let outbox = &mut self.outboxes[key];
        if !outbox.touched {
            outbox.touched = true;
            self.touched.push(key);
        }
    }

    /// A message was refused.
    pub(super) fn overflow(&mut self, key: usize) -> Sent {
        self.stats.dropped += 1;
        let outbox = &mut self.outboxes[key];
        outbox.above_mark = true;
        if outbox.settings.output.overflow == Overflow::Close && outbox.grace_ends().is_none() {
            outbox.set_grace(later(self.now, outbox.settings.output.grace));
            self.set_alarm(key);
        }
        self.touch(key);
        Sent::Full
    }

    fn control(&mut self, id: ConnectionId, queue: impl FnOnce(&mut Outbox, Encoder, &mut Pools)) -> Sent {
        let outbox = self.outboxes.get_mut(id.key()).filter(|outbox| outbox.id == id);
        // A control frame may follow our close frame (RFC 6455 §5.5.1), until the peer's has come.
        let Some(outbox) = outbox.filter(|outbox| matches!(outbox.phase, Phase::Open | Phase::Closing)) else {
            return Sent::Closed;
        };
        match outbox.encoder() {
            Some(encoder) if encoder.version().supports_ping() => queue(outbox, encoder, &mut self.pools),
            _ => return Sent::Unsupported,
        }
        self.touch(id.key());
        Sent::Queued
    }

    /// Runs `send` with the block of an owned message lent to it.
    pub(super) fn lending<T>(&mut self, message: &OwnedMessage, send: impl FnOnce(&mut Self) -> T) -> T {
        let lent = self.lent.take();
        self.lent = super::outbox::foreign(message);
        let sent = send(self);
        self.lent = lent;
        sent
    }
}

/// Longer than anything runs, and shorter than what a clock can hold.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

pub(super) fn later(from: Instant, duration: Duration) -> Instant {
    from + duration.min(NEVER)
}

/// The outbox of an open connection.
pub(super) fn find(outboxes: &mut Slab<Outbox>, id: ConnectionId) -> Option<&mut Outbox> {
    outboxes.get_mut(id.key()).filter(|outbox| outbox.id == id && outbox.phase == Phase::Open)
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hub")
            .field("stats", &self.stats())
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Config, Reactor, net::sim::Sim};

    #[test]
    fn a_warning_that_any_peer_can_cause_is_logged_once_in_a_second() {
        let mut reactor = Reactor::on(Sim::new(), Config::default());
        assert!(reactor.hub().may_warn() && !reactor.hub().may_warn());
        reactor.kernel_mut().advance(Duration::from_millis(999));
        assert!(!reactor.hub().may_warn());
        reactor.kernel_mut().advance(Duration::from_millis(1));
        assert!(reactor.hub().may_warn() && !reactor.hub().may_warn());
    }
}
