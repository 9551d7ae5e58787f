//! The side of the handlers: what they do, and what they know of each connection.

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

use crate::{TOPICS, seeds::DELIBERATE};

/// What handlers and peers do besides their duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nothing that loses a byte: pauses and slow readers only.
    Echo,
    /// Anything.
    Chaos,
}

/// What is known of a peer's connection on the side of the handlers.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// Its version has no binary messages.
    pub(crate) text_only: bool,
    /// Messages whose first byte may have left the peer.
    pub(crate) sent: usize,
    pub(crate) received: usize,
    /// Messages to this connection alone that a send has accepted.
    pub(crate) accepted: usize,
    /// How it ended: with a closing handshake.
    pub(crate) clean: bool,
    /// The peer has sent what is no protocol, and might mean anything.
    pub(crate) garbled: bool,
    pub(crate) opened: u32,
    pub(crate) closed: u32,
    /// Closed, cut or panicked: nothing but the end is to be told.
    pub(crate) ended: bool,
}

/// What all handlers share. An assertion in a handler would be caught by the reactor, so what is wrong is noted here.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    /// All of it is inside TLS.
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    pub(crate) secure: bool,
    /// Whether messages are compressed, and refer to those before them: the clients', the server's.
    pub(crate) compressed: Option<(bool, bool)>,
    pub(crate) mood: Mood,
    pub(crate) random: Random,
    pub(crate) connections: Vec<Connection>,
    /// Every id there ever was, so that stale ones are used too.
    pub(crate) ids: Vec<(ConnectionId, usize)>,
    /// Numbers what is told and published: every receiver gets them in this order.
    pub(crate) told: u64,
    pub(crate) subscribed: BTreeSet<(usize, usize)>,
    pub(crate) messages: u64,
    pub(crate) queued: u64,
    pub(crate) dropped: u64,
    pub(crate) overflow: Overflow,
    pub(crate) panics: u64,
    pub(crate) protocol_errors: u64,
    pub(crate) timeouts: u64,
    pub(crate) trace: Vec<String>,
    pub(crate) wrong: Vec<String>,
}

pub(crate) type Shared = Rc<RefCell<World>>;

impl World {
    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }

    fn note_sent(&mut self, sent: SendStatus, open: bool) {
        self.queued += u64::from(sent.is_queued());
        self.dropped += u64::from(open && !sent.is_queued());
    }

    /// Whether a send on an open connection may be answered so. A message is dropped by policy alone; a connection may
    /// also be closed because all of them together hold too much output.
    fn may_answer(&self, sent: SendStatus) -> bool {
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
        let length = if self.random.one_in(4) { self.random.below(40_000) } else { self.random.below(200) };
        " ".repeat(length)
    }

    /// Sends to any connection that is or was.
    fn tell_somebody(&mut self, hub: &mut Hub) {
        let Some(last) = self.ids.len().checked_sub(1) else { return };
        let (id, peer) = self.ids[self.random.below(last + 1)];
        self.told += 1;
        let padding = self.padding();
        let text = format!("told {} {peer} {padding}", self.told);
        let open = hub.is_open(id);
        let sent = match self.random.one_in(2) {
            true => hub.send(id, &text),
            false => hub.send(id, OwnedMessage::text(text)),
        };
        self.note_sent(sent, open);
        self.connections[peer].accepted += usize::from(sent.is_queued());
        let may_be = if open { self.may_answer(sent) } else { sent == SendStatus::Closed };
        self.check(may_be, || format!("a send to {id} is answered {sent:?}, open: {open}"));
        self.check(!open || self.connections[peer].closed == 0, || format!("{id} is open after its on_close"));
    }

    fn publish(&mut self, hub: &mut Hub, except: Option<ConnectionId>) {
        let topic = self.random.below(TOPICS.len());
        self.told += 1;
        let padding = self.padding();
        let text = format!("published {} {topic} {padding}", self.told);
        let Published { queued, dropped, closed, .. } = match except {
            Some(id) => hub.publish_to_others(id, TOPICS[topic], &text),
            None => hub.publish(TOPICS[topic], OwnedMessage::text(text)),
        };
        (self.queued, self.dropped) = (self.queued + queued as u64, self.dropped + (dropped + closed) as u64);
        let subscribers = hub.subscribers(TOPICS[topic]);
        self.check(queued + dropped <= subscribers, || format!("{queued} + {dropped} of {subscribers} subscribers"));
    }

    /// Ends any connection that is or was, in one of two ways.
    fn end_somebody(&mut self, hub: &mut Hub, (id, peer): (ConnectionId, usize)) {
        let (open, cutting) = (hub.is_open(id), self.random.one_in(2));
        let ended = if cutting { hub.terminate(id) } else { hub.close(id, CloseCode::NORMAL, "enough").is_queued() };
        // What is closing already may still be cut.
        self.check(ended == open || cutting && ended, || format!("the end of {id}: {ended}, open: {open}"));
        self.check(!ended || self.connections[peer].closed == 0, || format!("{id} ended after its on_close"));
        self.connections[peer].ended |= ended;
    }
}

/// An echo that does other things at random.
pub(crate) struct Echo {
    pub(crate) world: Shared,
    pub(crate) peer: usize,
}

impl Echo {
    /// Every callback begins here.
    fn enter(&self, what: &str, ws: &WebSocket<'_>) -> RefMut<'_, World> {
        let mut world = self.world.borrow_mut();
        let (peer, id) = (self.peer, ws.id());
        // Without the number of the reactor, which no other has.
        let id_here = id.to_string().split('.').nth(1).unwrap_or_default().to_owned();
        world.trace.push(format!("{peer} {id_here} {what}"));
        let Connection { opened, closed, ended, .. } = world.connections[peer];
        let ending = what == "closed" || what == "error";
        world.check(opened == 1 && closed == 0, || format!("{what} at {peer}: opened {opened}, closed {closed}"));
        world.check(!ended || ending, || format!("{what} at {peer}, which has ended"));
        let known = world.ids.contains(&(id, peer));
        world.check(known, || format!("{what}: {id} is not of {peer}"));
        world
    }

    fn act(&self, world: &mut World, ws: &mut WebSocket<'_>) {
        let (id, peer) = (ws.id(), self.peer);
        let shared = Rc::clone(&self.world);
        let after = Duration::from_millis(world.random.below(1500) as u64);
        let choices = if world.mood == Mood::Chaos { 60 } else { 20 };
        match world.random.below(choices) {
            0 => {
                ws.pause();
                // Without this nothing of the connection would be heard again, not even its end.
                ws.hub().add_timer(after, move |hub| {
                    hub.resume(id);
                });
            }
            1 => drop(ws.set_timer(after)),
            2 => drop(ws.ping(b"server")),
            _ if world.mood == Mood::Echo => {}
            3 | 4 => world.end_somebody(ws.hub(), (id, peer)),
            5..=9 => {
                let topic = world.random.below(TOPICS.len());
                if ws.subscribe(TOPICS[topic]) {
                    world.subscribed.insert((peer, topic));
                }
            }
            10 => drop(ws.unsubscribe(TOPICS[1])),
            11..=14 => world.publish(ws.hub(), None),
            15 | 16 => world.publish(ws.hub(), Some(id)),
            17..=21 => world.tell_somebody(ws.hub()),
            22 => {
                let somebody = world.random.below(world.ids.len());
                let somebody = world.ids[somebody];
                world.end_somebody(ws.hub(), somebody);
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
                world.tell_somebody(hub);
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
        let right = garbled || received < sent && payload(seed, peer, received, text_only) == message;
        world.check(right, || format!("{peer}: message {received} of {sent} is {:.40?}", message.as_bytes()));
        world.connections[peer].received += 1;
        world.messages += 1;
        let sent = ws.send(message);
        world.note_sent(sent, true);
        world.connections[peer].accepted += usize::from(sent.is_queued());
        let echoed = world.may_answer(sent);
        world.check(echoed, || format!("{peer}: the echo is answered {sent:?}"));
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
        self.act(&mut world, ws);
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        let mut world = self.enter("closed", ws);
        world.trace.push(reason.to_string());
        let mood = world.mood;
        world.check(mood == Mood::Chaos || reason.by == ClosedBy::Peer, || format!("an echo ends: {reason}"));
        world.protocol_errors += u64::from(matches!(reason.by, ClosedBy::Protocol(_)));
        world.timeouts += u64::from(matches!(reason.by, ClosedBy::Timeout(_) | ClosedBy::SlowReader));
        let sent = ws.send("too late");
        world.check(sent == SendStatus::Closed, || format!("a send in on_close is answered {sent:?}"));
        world.connections[self.peer].closed += 1;
        world.connections[self.peer].clean = reason.clean;
        self.act(&mut world, ws);
    }
}

/// The message of that number of a peer, by which both ends know it whole.
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
