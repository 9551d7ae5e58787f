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
    config::ReactorConfig,
    dial::Dial,
    encoded::EncodedFrame,
    events::Events,
    excess::Excess,
    id::{ConnectionId, IdSource, ListenerId},
    input::Input,
    listen::Opening,
    outbox::{Outbox, Phase},
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
    net::{Mailbox, Randomness, Wake, tls::TlsConnector},
    protocol::{
        block::SharedBlock,
        deflate::{Deflation, SharedContexts},
        encoder::Encoder,
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
    /// Connections that were closed as slow readers, and are to be terminated.
    pub(super) slow_readers: Vec<ConnectionId>,
    pub(super) excess: Excess,
    /// Events of the application.
    pub(super) events: Events,
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
    pub(super) securing: Vec<(ConnectionId, TlsConnector, String)>,
    /// Connections to be made, which the loop has not taken in.
    pub(super) dials: VecDeque<Dial>,
    /// Connections with messages that wait to be compressed, the first that came first.
    pub(super) compressing: VecDeque<ConnectionId>,
    /// Deliveries and endings that this part of the turn may still make.
    pub(super) deliveries_left: usize,
    /// When a warning was logged that any peer could cause.
    warned: Option<Instant>,
}

/// No connection's callback runs.
pub(super) const NO_CONNECTION: usize = usize::MAX;

impl Hub {
    pub(super) fn new(config: &ReactorConfig, now: Instant, waker: Arc<dyn Wake>, random: Randomness) -> Self {
        let ids = IdSource::new();
        Hub {
            outboxes: Slab::new(),
            timers: Timers::new(ids.clone()),
            topics: Topics::default(),
            pools: Pools::new(config, random),
            now,
            stats: Stats::default(),
            current: NO_CONNECTION,
            lent: None,
            input: Input::default(),
            touched: Vec::new(),
            resumed: Vec::new(),
            slow_readers: Vec::new(),
            events: Events::default(),
            excess: Excess::new(config.excess_output_bytes),
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
            deliveries_left: 0,
            warned: None,
        }
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

    /// Whether a message can be sent: the WebSocket is open, or the raw stream connected, and it is not closing.
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.outbox(id).is_some_and(|outbox| {
            let opening = outbox.dialing || outbox.reserved && outbox.encoder().is_none();
            outbox.phase == Phase::Open && !opening
        })
    }

    /// Whether the connection has neither ended nor begun to close; it may be opening.
    pub(crate) fn is_alive(&self, id: ConnectionId) -> bool {
        self.phase(id) == Phase::Open
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

    /// The phase of a connection, and whether what has come has to wait: for its output to leave, until it is wanted, or for the next turn, because this one has delivered enough.
    pub(crate) fn intake(&self, id: ConnectionId) -> (Phase, bool) {
        let Some(outbox) = self.outbox(id) else { return (Phase::Dead, false) };
        // A connection that is closing adds nothing but pongs.
        let above = outbox.phase == Phase::Open
            && outbox.buffered() > outbox.config.output.pause_reading_bytes
            && outbox.allowance() == 0;
        (outbox.phase, above || !outbox.may_read() || self.deliveries_left == 0)
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

    use crate::{Reactor, ReactorConfig, net::sim::Sim};

    #[test]
    fn a_warning_that_any_peer_can_cause_is_logged_once_in_a_second() {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        assert!(reactor.hub().may_warn() && !reactor.hub().may_warn());
        reactor.kernel_mut().advance(Duration::from_millis(999));
        assert!(!reactor.hub().may_warn());
        reactor.kernel_mut().advance(Duration::from_millis(1));
        assert!(reactor.hub().may_warn() && !reactor.hub().may_warn());
    }
}
