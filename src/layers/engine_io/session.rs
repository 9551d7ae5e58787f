//! A session: its state, and the requests and WebSockets that carry it.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Instant,
};

use super::{
    engine::{Engine, Event},
    machine::{CloseReason, Machine, Output, Transport},
    packet::{self, Malformed, Packet, Part, Received},
};
use crate::{
    http::Request,
    protocol::{CloseCode, Message, OwnedMessage},
    reactor::{CloseHook, ConnectionId, Hub, TimerId},
    server::Responder,
};

/// The part of a session that belongs to the application. Its methods are never called inside one another.
pub(crate) trait SessionHandler {
    fn on_message(&self, hub: &mut Hub, session: &Rc<Session>, message: Message<'_>);
    /// The waiting packets were sent.
    fn on_drain(&self, hub: &mut Hub, session: &Rc<Session>);
    /// A WebSocket carries the session from now on.
    fn on_upgrade(&self, hub: &mut Hub, session: &Rc<Session>);
    fn on_close(&self, hub: &mut Hub, session: &Rc<Session>, reason: CloseReason);
    /// The server is gone: drops what refers to the session.
    fn release(&self) {}
}

/// A poll that waits for packets.
pub(super) struct PendingPoll {
    pub(super) responder: Responder,
    pub(super) hook: Option<CloseHook>,
    pub(super) request: Rc<Request>,
}

pub(crate) struct Session {
    engine: Weak<Engine>,
    max_waiting_bytes: usize,
    /// The client takes binary messages as text only.
    is_base64: bool,
    sid: Rc<str>,
    /// The request that opened it.
    request: Rc<Request>,
    /// The request whose packets are handled.
    current: RefCell<Option<Rc<Request>>>,
    pub(super) machine: RefCell<Machine>,
    /// The WebSocket that carries it.
    websocket: Cell<Option<ConnectionId>>,
    /// The WebSocket that probes.
    probe: Cell<Option<ConnectionId>>,
    poll: RefCell<Option<PendingPoll>>,
    timer: Cell<Option<(TimerId, Instant)>>,
    /// Has sent something that a pending poll may take.
    is_unsettled: Cell<bool>,
    handler: RefCell<Option<Rc<dyn SessionHandler>>>,
}

impl Session {
    pub(super) fn new(
        engine: &Rc<Engine>,
        sid: Rc<str>,
        request: Rc<Request>,
        websocket: Option<ConnectionId>,
        now: Instant,
    ) -> Rc<Self> {
        let transport = if websocket.is_some() { Transport::WebSocket } else { Transport::Polling };
        Rc::new(Session {
            engine: Rc::downgrade(engine),
            max_waiting_bytes: engine.settings.timing.max_waiting_bytes,
            is_base64: request.query_value("b64").is_some_and(|value| !value.is_empty()),
            sid,
            request,
            current: RefCell::default(),
            machine: RefCell::new(Machine::open(engine.settings.timing, transport, now)),
            websocket: Cell::new(websocket),
            probe: Cell::default(),
            poll: RefCell::default(),
            timer: Cell::default(),
            is_unsettled: Cell::default(),
            handler: RefCell::default(),
        })
    }

    pub(super) fn set_handler(&self, handler: Rc<dyn SessionHandler>) {
        *self.handler.borrow_mut() = Some(handler);
    }

    pub(super) fn handler(&self) -> Option<Rc<dyn SessionHandler>> {
        self.handler.borrow().clone()
    }

    /// Drops the part of the application: it refers to the session.
    pub(super) fn take_handler(&self) -> Option<Rc<dyn SessionHandler>> {
        self.handler.borrow_mut().take()
    }

    pub(crate) fn sid(&self) -> &Rc<str> {
        &self.sid
    }

    /// The request that opened the session.
    pub(crate) fn request(&self) -> &Rc<Request> {
        &self.request
    }

    /// The request that has brought the message which is being handled: the handshake, with a WebSocket.
    pub(super) fn current_request(&self) -> Rc<Request> {
        self.current.borrow().as_ref().map_or_else(|| Rc::clone(&self.request), Rc::clone)
    }

    pub(crate) fn transport(&self) -> Transport {
        self.machine.borrow().transport()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.machine.borrow().is_open()
    }

    pub(super) fn is_carried_by(&self, id: ConnectionId) -> bool {
        self.websocket.get() == Some(id)
    }

    /// The WebSocket that takes packets as they are, if the session has one.
    pub(crate) fn direct(&self) -> Option<ConnectionId> {
        self.websocket.get().filter(|_| !self.is_base64)
    }

    /// Bytes that the client has not taken.
    pub(crate) fn waiting_bytes(&self, hub: &Hub) -> usize {
        self.machine.borrow().waiting_bytes() + self.websocket.get().map_or(0, |id| hub.buffered(id))
    }

    /// Returns `true` if a packet would leave at once.
    pub(crate) fn is_writable(&self, hub: &Hub) -> bool {
        self.machine.borrow().is_writable() && self.websocket.get().is_none_or(|id| hub.buffered(id) <= WRITABLE_BYTES)
    }

    /// Sends a packet.
    pub(crate) fn send(self: &Rc<Self>, hub: &mut Hub, packet: Packet, compresses: bool) {
        if let Some(id) = self.websocket.get() {
            self.write(hub, id, packet, compresses);
            return;
        }
        self.change(hub, |machine, _| machine.send(packet));
        self.settle_later(hub);
    }

    /// Closes the session, once its packets have been taken.
    pub(crate) fn close(self: &Rc<Self>, hub: &mut Hub) {
        self.change(hub, Machine::close);
        self.settle_later(hub);
    }

    /// Ends the session for a fault of the client.
    pub(crate) fn fail(self: &Rc<Self>, hub: &mut Hub, reason: CloseReason) {
        self.change(hub, |machine, _| machine.fail(reason));
    }

    /// Ends the session if its client leaves too much on its WebSocket.
    pub(crate) fn check_waiting(self: &Rc<Self>, hub: &mut Hub, id: ConnectionId) {
        if hub.buffered(id) > self.max_waiting_bytes {
            hub.terminate(id);
            self.fail(hub, CloseReason::TransportError);
        }
    }

    fn write(self: &Rc<Self>, hub: &mut Hub, id: ConnectionId, packet: Packet, compresses: bool) {
        let message = match packet {
            Packet::Text(text) => OwnedMessage::Text(text),
            Packet::Binary(bytes) if self.is_base64 => OwnedMessage::text(packet::base64(&bytes)),
            Packet::Binary(bytes) => OwnedMessage::Binary(bytes),
        };
        match compresses {
            true => hub.send(id, message),
            false => hub.send_uncompressed(id, message),
        };
        self.check_waiting(hub, id);
    }

    /// Answers a pending poll once the running callback has sent all that it sends.
    fn settle_later(self: &Rc<Self>, hub: &mut Hub) {
        if self.poll.borrow().is_some() && !self.is_unsettled.replace(true) {
            self.push(hub, Event::Settle(Rc::clone(self)));
        }
    }

    pub(super) fn settle(self: &Rc<Self>, hub: &mut Hub) {
        self.is_unsettled.set(false);
        // One response has the answers to all packets of a body.
        if self.current.borrow().is_none() {
            self.change(hub, |machine, _| machine.settle());
        }
    }

    /// The WebSocket has taken what was sent.
    pub(super) fn drained(self: &Rc<Self>, hub: &mut Hub) {
        self.push(hub, Event::Drained(Rc::clone(self)));
    }

    fn push(&self, hub: &mut Hub, event: Event) {
        if let Some(engine) = self.engine.upgrade() {
            engine.push(hub, event);
        }
    }

    /// Handles something from outside, then what follows from that.
    pub(super) fn enter(self: &Rc<Self>, hub: &mut Hub, handle: impl FnOnce(&Rc<Self>, &mut Hub)) {
        if let Some(engine) = self.engine.upgrade() {
            engine.enter(hub, |hub| handle(self, hub));
        }
    }

    /// Changes the state, and does what follows from that.
    pub(super) fn change<T>(self: &Rc<Self>, hub: &mut Hub, change: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let now = hub.now();
        let mut machine = self.machine.borrow_mut();
        let result = change(&mut machine, now);
        let outputs = machine.outputs();
        drop(machine);
        for output in outputs {
            self.carry_out(hub, output);
        }
        self.arm(hub);
        result
    }

    fn carry_out(self: &Rc<Self>, hub: &mut Hub, output: Output) {
        match output {
            Output::Answer(packets) => self.answer(hub, &packets),
            Output::Send(packet) => {
                if let Some(id) = self.websocket.get() {
                    self.write(hub, id, packet, true);
                }
            }
            Output::SendProbe(packet) => {
                if let Some(id) = self.probe.get() {
                    hub.send(id, packet);
                }
            }
            Output::EndProbe => end_websocket(hub, self.probe.take()),
            Output::Upgraded => {
                self.websocket.set(self.probe.take());
                self.push(hub, Event::Upgraded(Rc::clone(self)));
            }
            Output::EndWebSocket => end_websocket(hub, self.websocket.take()),
            Output::Drained => self.push(hub, Event::Drained(Rc::clone(self))),
            Output::Closed(reason) => {
                if let Some(engine) = self.engine.upgrade() {
                    engine.remove(&self.sid);
                }
                self.push(hub, Event::Closed(Rc::clone(self), reason));
            }
        }
    }

    fn answer(&self, hub: &mut Hub, packets: &[Packet]) {
        let Some(PendingPoll { responder, hook, request }) = self.poll.borrow_mut().take() else { return };
        if let Some(hook) = hook {
            hub.cancel_close_hook(hook);
        }
        if let Some(engine) = self.engine.upgrade() {
            // The client may have gone in this turn.
            let _ = responder.respond(engine.text_reply(&request, packet::body(packets), false));
        }
    }

    /// Has a timer call at the next deadline. A timer that is due earlier stays: most deadlines only move on.
    fn arm(self: &Rc<Self>, hub: &mut Hub) {
        let deadline = self.machine.borrow().deadline();
        let wanted = match (deadline, self.timer.get()) {
            (Some(deadline), Some((_, at))) if at <= deadline => return,
            (Some(deadline), _) => deadline,
            (None, _) => {
                if let Some((timer, _)) = self.timer.take() {
                    hub.cancel_timer(timer);
                }
                return;
            }
        };
        if let Some((timer, _)) = self.timer.take() {
            hub.cancel_timer(timer);
        }
        let session = Rc::downgrade(self);
        let timer = hub.add_timer(wanted.saturating_duration_since(hub.now()), move |hub| {
            if let Some(session) = session.upgrade() {
                session.timer.set(None);
                session.enter(hub, |session, hub| session.change(hub, Machine::on_deadline));
            }
        });
        self.timer.set(Some((timer, wanted)));
    }

    /// A poll has come. Gives the responder back if it is refused.
    pub(super) fn poll(self: &Rc<Self>, hub: &mut Hub, poll: PendingPoll) -> Result<(), Responder> {
        let is_refused = self.poll.borrow().is_some();
        if is_refused {
            self.change(hub, |machine, _| machine.on_poll());
            return Err(poll.responder);
        }
        *self.poll.borrow_mut() = Some(poll);
        self.change(hub, |machine, _| machine.on_poll());
        Ok(())
    }

    /// The connection of the pending poll has ended.
    pub(super) fn poll_cut(self: &Rc<Self>, hub: &mut Hub) {
        self.poll.borrow_mut().take();
        self.change(hub, |machine, _| machine.on_poll_cut());
    }

    /// Handles the body of a request. The events that a packet causes are handled before the next packet.
    pub(super) fn receive_body(self: &Rc<Self>, hub: &mut Hub, request: &Rc<Request>, body: &[u8]) {
        let Ok(body) = std::str::from_utf8(body) else {
            return self.enter(hub, |session, hub| session.fail(hub, CloseReason::ParseError));
        };
        let receiving = Receiving::begin(self, request);
        for part in packet::parts(body) {
            // A session that was upgraded meanwhile has no place for it.
            if self.machine.borrow().is_closed() || self.transport() != Transport::Polling {
                break;
            }
            self.enter(hub, |session, hub| session.receive_part(hub, part));
        }
        drop(receiving);
        self.enter(hub, Session::settle);
    }

    /// Handles a message of the WebSocket that carries the session.
    pub(super) fn receive_message(self: &Rc<Self>, hub: &mut Hub, message: Message<'_>) {
        match message {
            Message::Binary(_) if self.is_open() => self.deliver(hub, message),
            Message::Binary(_) => {}
            Message::Text(text) => self.receive_part(hub, Part::decode(text)),
        }
    }

    fn receive_part(self: &Rc<Self>, hub: &mut Hub, part: Result<Part<'_>, Malformed>) {
        match part {
            Ok(Part::Packet(Received::Text(text))) if self.is_open() => self.deliver(hub, Message::Text(text)),
            Ok(Part::Packet(packet)) => self.change(hub, |machine, now| machine.on_packet(packet, now)),
            Ok(Part::Binary(bytes)) if self.is_open() => self.deliver(hub, Message::Binary(&bytes)),
            Ok(Part::Binary(_)) => {}
            Err(Malformed) => self.fail(hub, CloseReason::ParseError),
        }
    }

    fn deliver(self: &Rc<Self>, hub: &mut Hub, message: Message<'_>) {
        if let Some(handler) = self.handler() {
            handler.on_message(hub, self, message);
        }
    }

    /// A WebSocket wants to carry the session.
    pub(super) fn begin_probe(self: &Rc<Self>, hub: &mut Hub, id: ConnectionId) -> bool {
        let is_taken = self.change(hub, Machine::on_probe);
        if is_taken {
            self.probe.set(Some(id));
        }
        is_taken
    }

    pub(super) fn receive_probe(self: &Rc<Self>, hub: &mut Hub, id: ConnectionId, message: Message<'_>) {
        if self.probe.get() == Some(id) {
            self.change(hub, |machine, now| machine.on_probe_message(message.as_text(), now));
        }
    }

    /// A WebSocket of the session has ended.
    pub(super) fn websocket_ended(self: &Rc<Self>, hub: &mut Hub, id: ConnectionId, is_clean: bool) {
        if self.websocket.get() == Some(id) {
            self.websocket.set(None);
            self.change(hub, |machine, _| machine.on_websocket_end(is_clean));
        } else if self.probe.get() == Some(id) {
            self.probe.set(None);
            self.change(hub, |machine, _| machine.on_probe_end());
        }
    }
}

/// The time in which the packets of a request are handled. A panic ends it, too.
struct Receiving<'a>(&'a Session);

impl<'a> Receiving<'a> {
    fn begin(session: &'a Session, request: &Rc<Request>) -> Self {
        *session.current.borrow_mut() = Some(Rc::clone(request));
        Receiving(session)
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.current.borrow_mut().take();
    }
}

/// Output up to this length does not count as backlog: it may have been sent in this turn.
const WRITABLE_BYTES: usize = 16 * 1024;

fn end_websocket(hub: &mut Hub, id: Option<ConnectionId>) {
    if let Some(id) = id {
        hub.close(id, CloseCode::NORMAL, "");
    }
}
