//! The handlers of the server under test, and the state they share.

use std::{
    cell::{RefCell, RefMut},
    collections::BTreeSet,
    rc::Rc,
    time::Duration,
};

use ws_reactor::{
    CloseCode, CloseReason, ClosedBy, ConnectionId, Error, Handler, Handshake, Hub, Message, Overflow, OwnedMessage,
    Published, SendStatus, TimerId, WebSocket, net::sim::Random,
};

use crate::{
    TOPICS,
    link::{is_reported, may_end_live_peer},
    seeds::DELIBERATE,
};

/// What handlers and peers do besides the echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nothing that loses a byte: pauses and slow readers only.
    Echo,
    /// Live peers only, short time-outs, and a server that sends much and closes connections.
    Slow,
    /// Anything.
    Chaos,
}

/// A peer's connection, as the handlers see it.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// The version has no binary messages.
    pub(crate) text_only: bool,
    /// Messages whose first byte may have left the peer.
    pub(crate) sent: usize,
    pub(crate) received: usize,
    /// Messages to this connection alone that a send has accepted.
    pub(crate) accepted: usize,
    /// The connection ended with a closing handshake.
    pub(crate) clean: bool,
    /// The peer has sent random bytes, which may form any message.
    pub(crate) garbled: bool,
    pub(crate) opened: u32,
    pub(crate) closed: u32,
    /// Calls of `on_error`.
    pub(crate) errors: u32,
    /// Closed, terminated or panicked: only `on_error` and `on_close` may follow.
    pub(crate) ended: bool,
    /// The handler has called `close` or `terminate`.
    pub(crate) closing: bool,
}

/// State of all handlers. The reactor would catch an assertion in a handler, so violations are recorded here.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    /// All connections use TLS.
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    pub(crate) secure: bool,
    /// Context takeover of the clients and of the server, with compression.
    pub(crate) compressed: Option<(bool, bool)>,
    pub(crate) mood: Mood,
    pub(crate) random: Random,
    pub(crate) connections: Vec<Connection>,
    /// All ids so far with their peers: stale ids are used, too.
    pub(crate) ids: Vec<(ConnectionId, usize)>,
    /// Number of the last direct or published message. Every receiver gets them in this order.
    pub(crate) sequence: u64,
    pub(crate) subscribed: BTreeSet<(usize, usize)>,
    pub(crate) messages: u64,
    pub(crate) queued: u64,
    pub(crate) dropped: u64,
    pub(crate) overflow: Overflow,
    pub(crate) panics: u64,
    pub(crate) protocol_errors: u64,
    pub(crate) timeouts: u64,
    pub(crate) trace: Vec<String>,
    pub(crate) violations: Vec<String>,
}

pub(crate) type Shared = Rc<RefCell<World>>;

impl World {
    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(what());
        }
    }

    fn count_send(&mut self, sent: SendStatus, open: bool) {
        self.queued += u64::from(sent.is_queued());
        self.dropped += u64::from(open && !sent.is_queued());
    }

    /// Whether a send on an open connection may return this status. Only the overflow policy drops a message. The limit
    /// of the output of all connections may also close a connection.
    fn may_return(&self, sent: SendStatus) -> bool {
        let refused = match sent {
            SendStatus::Dropped => self.overflow == Overflow::DropNewest,
            status => status == SendStatus::Closed,
        };
        sent.is_queued() || self.mood == Mood::Chaos && refused
    }

    fn panic(&mut self) {
        self.panics += 1;
        panic!("{DELIBERATE}");
    }

    fn padding(&mut self) -> String {
        let large = if self.mood == Mood::Slow { 300_000 } else { 40_000 };
        let length = if self.random.one_in(4) { self.random.below(large) } else { self.random.below(200) };
        " ".repeat(length)
    }

    /// Sends to any open or closed connection.
    fn send_to_any(&mut self, hub: &mut Hub) {
        let Some(last) = self.ids.len().checked_sub(1) else { return };
        let (id, peer) = self.ids[self.random.below(last + 1)];
        self.sequence += 1;
        let padding = self.padding();
        let text = format!("sent {} {peer} {padding}", self.sequence);
        let open = hub.is_open(id);
        let sent = match self.random.one_in(2) {
            true => hub.send(id, &text),
            false => hub.send(id, OwnedMessage::text(text)),
        };
        self.count_send(sent, open);
        self.connections[peer].accepted += usize::from(sent.is_queued());
        let allowed = if open { self.may_return(sent) } else { sent == SendStatus::Closed };
        self.check(allowed, || format!("a send to {id} returned {sent:?}, open: {open}"));
        self.check(!open || self.connections[peer].closed == 0, || format!("{id} is open after its on_close"));
    }

    fn publish(&mut self, hub: &mut Hub, except: Option<ConnectionId>) {
        let topic = self.random.below(TOPICS.len());
        self.sequence += 1;
        let padding = self.padding();
        let text = format!("published {} {topic} {padding}", self.sequence);
        let Published { queued, dropped, closed, .. } = match except {
            Some(id) => hub.publish_to_others(id, TOPICS[topic], &text),
            None => hub.publish(TOPICS[topic], OwnedMessage::text(text)),
        };
        (self.queued, self.dropped) = (self.queued + queued as u64, self.dropped + (dropped + closed) as u64);
        let subscribers = hub.subscribers(TOPICS[topic]);
        self.check(queued + dropped <= subscribers, || format!("{queued} + {dropped} of {subscribers} subscribers"));
    }

    /// Closes or terminates an open or closed connection.
    fn end(&mut self, hub: &mut Hub, (id, peer): (ConnectionId, usize)) {
        let (open, terminating) = (hub.is_open(id), self.mood == Mood::Chaos && self.random.one_in(2));
        let ended =
            if terminating { hub.terminate(id) } else { hub.close(id, CloseCode::NORMAL, "enough").is_queued() };
        // A closing connection can still be terminated.
        self.check(ended == open || terminating && ended, || format!("{id} ended: {ended}, open: {open}"));
        self.check(!ended || self.connections[peer].closed == 0, || format!("{id} ended after its on_close"));
        self.connections[peer].ended |= ended;
        self.connections[peer].closing |= ended;
    }
}

/// An echo handler with random other actions.
pub(crate) struct Echo {
    pub(crate) world: Shared,
    pub(crate) peer: usize,
}

impl Echo {
    /// Checks and records a callback.
    fn enter(&self, what: &str, ws: &WebSocket<'_>) -> RefMut<'_, World> {
        let mut world = self.world.borrow_mut();
        let (peer, id) = (self.peer, ws.id());
        // Without the number of the reactor, which differs between runs.
        let local_id = id.to_string().split('.').nth(1).unwrap_or_default().to_owned();
        world.trace.push(format!("{peer} {local_id} {what}"));
        let Connection { opened, closed, ended, .. } = world.connections[peer];
        let ending = what == "closed" || what == "error";
        world.check(opened == 1 && closed == 0, || format!("{what} at {peer}: opened {opened}, closed {closed}"));
        world.check(!ended || ending, || format!("{what} at {peer} after its end"));
        let known = world.ids.contains(&(id, peer));
        world.check(known, || format!("{what}: {id} is not an id of {peer}"));
        world
    }

    fn act(&self, world: &mut World, ws: &mut WebSocket<'_>) {
        let (id, peer) = (ws.id(), self.peer);
        let shared = Rc::clone(&self.world);
        let after = Duration::from_millis(world.random.below(1500) as u64);
        let choices = match world.mood {
            Mood::Echo => 20,
            Mood::Slow => 30,
            Mood::Chaos => 60,
        };
        match world.random.below(choices) {
            0 => {
                ws.pause();
                // Without this, a paused connection would get no callback any more, not even `on_close`.
                ws.hub().add_timer(after, move |hub| {
                    hub.resume(id);
                });
            }
            1 => drop(ws.set_timer(after)),
            2 => drop(ws.ping(b"server")),
            _ if world.mood == Mood::Echo => {}
            3..=7 if world.mood == Mood::Slow => world.send_to_any(ws.hub()),
            // Some connections live to the end.
            8 if world.mood == Mood::Slow && world.random.one_in(4) => world.end(ws.hub(), (id, peer)),
            _ if world.mood == Mood::Slow => {}
            3 | 4 => world.end(ws.hub(), (id, peer)),
            5..=9 => {
                let topic = world.random.below(TOPICS.len());
                if ws.subscribe(TOPICS[topic]) {
                    world.subscribed.insert((peer, topic));
                }
            }
            10 => drop(ws.unsubscribe(TOPICS[1])),
            11..=14 => world.publish(ws.hub(), None),
            15 | 16 => world.publish(ws.hub(), Some(id)),
            17..=21 => world.send_to_any(ws.hub()),
            22 => {
                let index = world.random.below(world.ids.len());
                let target = world.ids[index];
                world.end(ws.hub(), target);
            }
            23 => {
                world.connections[peer].ended = true;
                world.panic();
            }
            24 | 25 => drop(ws.hub().add_timer(after, move |hub| {
                let mut world = shared.borrow_mut();
                if world.random.one_in(5) {
                    world.panic();
                }
                world.send_to_any(hub);
            })),
            26 => ws.hub().next_tick(move |hub| shared.borrow_mut().publish(hub, None)),
            _ => {}
        }
    }
}

impl Handler for Echo {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        let known = (ws.id(), self.peer);
        self.world.borrow_mut().ids.push(known);
        self.world.borrow_mut().connections[self.peer].opened += 1;
        let mut world = self.enter("open", ws);
        self.act(&mut world, ws);
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let mut world = self.enter(&format!("message {}", message.len()), ws);
        let (peer, seed) = (self.peer, world.seed);
        let Connection { sent, received, garbled, text_only, .. } = world.connections[peer];
        let expected = garbled || received < sent && payload(seed, peer, received, text_only) == message;
        world.check(expected, || format!("{peer}: message {received} of {sent} is {:.40?}", message.as_bytes()));
        world.connections[peer].received += 1;
        world.messages += 1;
        let sent = ws.send(message);
        world.count_send(sent, true);
        world.connections[peer].accepted += usize::from(sent.is_queued());
        let allowed = world.may_return(sent);
        world.check(allowed, || format!("{peer}: the echo returned {sent:?}"));
        self.act(&mut world, ws);
    }

    fn on_ping(&mut self, ws: &mut WebSocket<'_>, _: &[u8]) {
        let mut world = self.enter("ping", ws);
        self.act(&mut world, ws);
    }

    fn on_pong(&mut self, ws: &mut WebSocket<'_>, _: &[u8]) {
        drop(self.enter("pong", ws));
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_>) {
        let mut world = self.enter("drain", ws);
        self.act(&mut world, ws);
    }

    fn on_timer(&mut self, ws: &mut WebSocket<'_>, _: TimerId) {
        let mut world = self.enter("timer", ws);
        self.act(&mut world, ws);
    }

    fn on_error(&mut self, ws: &mut WebSocket<'_>, error: &Error) {
        let mut world = self.enter("error", ws);
        world.trace.push(error.to_string());
        world.connections[self.peer].ended = true;
        world.connections[self.peer].errors += 1;
        self.act(&mut world, ws);
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        let mut world = self.enter("closed", ws);
        world.trace.push(reason.to_string());
        let reported = is_reported(&reason.by, world.connections[self.peer].errors);
        world.check(reported, || format!("no on_error before {reason}"));
        let (mood, closing) = (world.mood, world.connections[self.peer].closing);
        if mood != Mood::Chaos {
            let expected = reason.by == ClosedBy::Peer || closing;
            world.check(expected, || format!("on_close without a fault: {reason}"));
            let lawful = may_end_live_peer(&reason.by);
            world.check(lawful, || format!("live peer {} was ended: {reason}", self.peer));
        }
        world.protocol_errors += u64::from(matches!(reason.by, ClosedBy::Protocol(_)));
        world.timeouts += u64::from(matches!(reason.by, ClosedBy::Timeout(_) | ClosedBy::SlowReader));
        let sent = ws.send("too late");
        world.check(sent == SendStatus::Closed, || format!("a send in on_close returned {sent:?}"));
        world.connections[self.peer].closed += 1;
        world.connections[self.peer].clean = reason.clean;
        self.act(&mut world, ws);
    }
}

/// The message `number` of a peer. Both ends compute it, so that each can check what it receives.
pub(crate) fn payload(seed: u64, peer: usize, number: usize, text_only: bool) -> OwnedMessage {
    let mut random = Random::new(seed ^ (peer as u64) << 48 ^ (number as u64) << 32);
    let length = match random.below(16) {
        0 => 0,
        1 => random.below(100 * 1024),
        2 => 16 * 1024 - 2 + random.below(4),
        3 => 124 + random.below(4),
        _ => random.below(400),
    };
    let mut text = format!("#{peer}.{number} ");
    text.push_str(&"Zwölf Boxkämpfer jagen Viktor. ".repeat(length / 30));
    text.truncate(text.floor_char_boundary(length));
    if random.one_in(2) || text_only { OwnedMessage::text(text) } else { OwnedMessage::binary(text.into_bytes()) }
}
