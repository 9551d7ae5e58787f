//! A namespace: its sockets, its rooms, and what passes through it.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::{Rc, Weak},
};

use serde::Serialize;

use super::{
    Io,
    acks::PendingAck,
    adapter::{Adapter, Answer, Answers, Operation, Question, RemoteSocket, SavedSocket},
    broadcast::Flags,
    namespace::Namespace,
    packet::{self, Kind},
    parser::Encoding,
    payload::Payload,
    reason::DisconnectReason,
    recovery::{Log, Recovery, Session},
    rooms::{Members, RoomEvent, Rooms},
    setup::{Middleware, OnConnection, ServerListener, Setup},
    state::SocketState,
    target::Target,
};
use crate::{
    layers::engine_io::{Packet, Session as EngineSession, random_name, send_to_all},
    reactor::Hub,
};

pub(super) struct Space {
    pub(super) name: Rc<str>,
    io: Weak<Io>,
    /// The middleware and callbacks of its own.
    pub(super) setup: Setup,
    /// Those of its pattern. A namespace that has one was made on demand, and is gone with its last socket.
    pattern: Option<Rc<Setup>>,
    /// Connected ones.
    pub(super) sockets: RefCell<Members>,
    pub(super) rooms: RefCell<Rooms>,
    next_ack: Cell<u64>,
    /// Sockets that middleware decides on.
    pub(super) connecting: Cell<usize>,
    /// Sockets that have ended, and whose callbacks are to come.
    pub(super) ending: Cell<usize>,
    log: RefCell<Option<Log>>,
    has_log_timer: Cell<bool>,
    pub(super) adapter: RefCell<Option<Rc<dyn Adapter>>>,
}

impl Space {
    pub(super) fn new(io: &Rc<Io>, name: &str, pattern: Option<Rc<Setup>>) -> Rc<Self> {
        Rc::new(Space {
            name: name.into(),
            io: Rc::downgrade(io),
            setup: Setup::default(),
            pattern,
            sockets: RefCell::default(),
            rooms: RefCell::default(),
            next_ack: Cell::default(),
            connecting: Cell::default(),
            ending: Cell::default(),
            log: RefCell::default(),
            has_log_timer: Cell::default(),
            adapter: RefCell::default(),
        })
    }

    /// Calls a function of the application once no other one runs.
    pub(super) fn task(&self, hub: &mut Hub, task: impl FnOnce(&mut Hub) + 'static) {
        if let Some(io) = self.io.upgrade() {
            io.task(hub, Box::new(task));
        }
    }

    pub(super) fn next_ack(&self) -> u64 {
        self.next_ack.replace(self.next_ack.get() + 1)
    }

    /// Adds a socket that middleware has let in.
    pub(super) fn add(&self, socket: &Rc<SocketState>) {
        self.sockets.borrow_mut().insert(socket);
    }

    /// Adds a member to a room.
    pub(super) fn join_room(self: &Rc<Self>, hub: &mut Hub, room: &Rc<str>, socket: &Rc<SocketState>) {
        if self.rooms.borrow_mut().join(room, socket) && self.watches_rooms() {
            let is_new = self.rooms.borrow().size_of(room) == 1;
            let created = is_new.then(|| RoomEvent::Created { room: room.to_string() });
            let joined = RoomEvent::Joined { room: room.to_string(), socket: socket.id.to_string() };
            self.tell_rooms(hub, created.into_iter().chain([joined]).collect());
        }
    }

    pub(super) fn leave_room(self: &Rc<Self>, hub: &mut Hub, room: &str, socket: &SocketState) {
        let was_member = self.rooms.borrow_mut().leave(room, socket);
        if was_member && self.watches_rooms() {
            self.tell_rooms(hub, self.left(room, socket).collect());
        }
    }

    /// Tells the listeners that a socket has left all its rooms.
    pub(super) fn tell_left(self: &Rc<Self>, hub: &mut Hub, socket: &SocketState) {
        if self.watches_rooms() {
            let events = socket.rooms.borrow().iter().flat_map(|room| self.left(room, socket)).collect();
            self.tell_rooms(hub, events);
        }
    }

    /// The events of a socket that has left a room.
    fn left(&self, room: &str, socket: &SocketState) -> impl Iterator<Item = RoomEvent> + use<> {
        let is_empty = self.rooms.borrow().size_of(room) == 0;
        let left = RoomEvent::Left { room: room.to_owned(), socket: socket.id.to_string() };
        let deleted = is_empty.then(|| RoomEvent::Deleted { room: room.to_owned() });
        [left].into_iter().chain(deleted)
    }

    fn watches_rooms(&self) -> bool {
        self.adapter.borrow().is_some() || self.setups().any(|setup| !setup.rooms.borrow().is_empty())
    }

    fn tell_rooms(self: &Rc<Self>, hub: &mut Hub, events: Vec<RoomEvent>) {
        let adapter = self.adapter.borrow().clone();
        if let Some(adapter) = adapter {
            events.iter().for_each(|event| adapter.on_room_event(hub, event));
        }
        let calls: Vec<_> = self.setups().flat_map(|setup| setup.rooms.borrow().clone()).collect();
        if calls.is_empty() {
            return;
        }
        let namespace = Namespace(Rc::clone(self));
        self.task(hub, move |hub| {
            events.iter().for_each(|event| calls.iter().for_each(|call| call(hub, &namespace, event)));
        });
    }

    /// The setup of the pattern, then that of the namespace.
    fn setups(&self) -> impl Iterator<Item = &Setup> {
        self.pattern.as_deref().into_iter().chain([&self.setup])
    }

    /// Returns `true` if it was made for a pattern with this setup.
    pub(super) fn is_of(&self, setup: &Rc<Setup>) -> bool {
        self.pattern.as_ref().is_some_and(|pattern| Rc::ptr_eq(pattern, setup))
    }

    /// Removes a socket, from its rooms too.
    pub(super) fn remove(&self, socket: &SocketState) {
        self.sockets.borrow_mut().remove(socket);
        let mut rooms = self.rooms.borrow_mut();
        socket.rooms.borrow().iter().for_each(|room| _ = rooms.leave(room, socket));
    }

    /// The middleware with a number: those of the pattern, then its own.
    pub(super) fn middleware(&self, index: usize) -> Option<Middleware> {
        let of_pattern = self.pattern.as_ref().map(|setup| setup.middleware.borrow());
        let count = of_pattern.as_ref().map_or(0, |list| list.len());
        match of_pattern.as_ref().and_then(|list| list.get(index)) {
            Some(middleware) => Some(Rc::clone(middleware)),
            None => self.setup.middleware.borrow().get(index - count).cloned(),
        }
    }

    /// What is called with each new socket.
    pub(super) fn connection_calls(&self) -> Vec<OnConnection> {
        self.setups().flat_map(|setup| setup.connection.borrow().clone()).collect()
    }

    /// The listeners of an event of other servers.
    pub(super) fn server_listeners(&self, event: &str) -> Vec<ServerListener> {
        self.setups().filter_map(|setup| setup.server_events.borrow().get(event).cloned()).flatten().collect()
    }

    /// Removes the namespace, if it was made on demand, has no socket, and waits for none that may come back.
    pub(super) fn close_if_empty(&self, hub: &mut Hub) {
        let is_unused = self.pattern.is_some()
            && self.sockets.borrow().is_empty()
            && self.connecting.get() == 0
            && self.ending.get() == 0
            && !self.log.borrow().as_ref().is_some_and(Log::has_sessions);
        if is_unused && let Some(io) = self.io.upgrade() {
            io.remove_child(hub, &self.name);
        }
    }

    /// The payload of an event. `None` if it cannot be sent.
    pub(super) fn payload<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Option<Payload> {
        if packet::is_reserved(event) {
            log::error!(target: super::LOG, "{event:?} is an event of Socket.IO's own and is not sent");
            return None;
        }
        let payload = Payload::new(Some(event), args);
        payload.map_err(|error| log::error!(target: super::LOG, "event {event:?} is not sent: {error}")).ok()
    }

    /// The packets of a payload.
    pub(super) fn encode(&self, kind: Kind, payload: &Payload, ack: Option<u64>) -> Vec<Packet> {
        self.encoding().encode(kind, &self.name, payload, ack)
    }

    /// The encoding of packets.
    pub(super) fn encoding(&self) -> Encoding {
        self.io.upgrade().map(|io| io.settings.borrow().encoding).unwrap_or_default()
    }

    /// The options of recovery, if sockets can be recovered here.
    pub(super) fn recovery(&self) -> Option<Recovery> {
        self.io.upgrade()?.recovery()
    }

    /// Returns `true` if sockets can be recovered.
    pub(super) fn recovers(&self) -> bool {
        self.recovery().is_some() && self.adapter.borrow().as_ref().is_none_or(|adapter| adapter.recovers())
    }

    /// The adapter that keeps events and sockets.
    pub(super) fn recovering_adapter(&self) -> Option<Rc<dyn Adapter>> {
        self.adapter.borrow().clone().filter(|adapter| adapter.recovers() && self.recovery().is_some())
    }

    /// The packets of an event that a client can get later, if it misses them now.
    pub(super) fn logged(self: &Rc<Self>, hub: &mut Hub, mut payload: Payload, target: &Target) -> Vec<Packet> {
        let Some(recovery) = self.recovery() else { return self.encode(Kind::Event, &payload, None) };
        self.trim_later(hub);
        let now = hub.now();
        let mut log = self.log.borrow_mut();
        let log = log.get_or_insert_with(|| Log::new(random_name::<6>(hub)));
        let (offset, name) = log.next_offset();
        payload.push_text(&name);
        let packets = self.encode(Kind::Event, &payload, None);
        log.push(&recovery, now, offset, &packets, target);
        packets
    }

    /// Keeps the session of a socket whose client was cut.
    pub(super) fn keep_session(self: &Rc<Self>, hub: &mut Hub, socket: &SocketState, reason: DisconnectReason) {
        let Some(recovery) = self.recovery().filter(|_| reason.is_recoverable()) else { return };
        let Some(recovery_id) = &socket.recovery_id else { return };
        if let Some(adapter) = self.recovering_adapter() {
            let saved = SavedSocket::of(socket, recovery_id);
            return adapter.keep_socket(hub, &saved, recovery.max_disconnection);
        }
        let (rooms, data) = (socket.rooms.borrow().clone(), socket.data.borrow().clone());
        let now = hub.now();
        let mut log = self.log.borrow_mut();
        let log = log.get_or_insert_with(|| Log::new(random_name::<6>(hub)));
        log.keep(&recovery, now, &socket.id, recovery_id, rooms, data);
        self.trim_later(hub);
    }

    /// Drops what is too old once its time has come, also if nothing happens any more.
    fn trim_later(self: &Rc<Self>, hub: &mut Hub) {
        let Some(recovery) = self.recovery() else { return };
        if self.has_log_timer.replace(true) {
            return;
        }
        let space = Rc::downgrade(self);
        hub.add_timer(recovery.max_disconnection, move |hub| {
            let Some(space) = space.upgrade() else { return };
            space.has_log_timer.set(false);
            let now = hub.now();
            let rest = space.log.borrow_mut().as_mut().and_then(|log| log.trim(&recovery, now));
            if rest.is_some() {
                space.trim_later(hub);
            }
            space.close_if_empty(hub);
        });
    }

    /// Takes the session that a client asks for, and the place behind which it has missed everything.
    pub(super) fn restore(&self, hub: &Hub, recovery_id: &str, offset: &str) -> Option<(Session, u64)> {
        let recovery = self.recovery()?;
        self.log.borrow_mut().as_mut()?.restore(&recovery, hub.now(), recovery_id, offset)
    }

    /// What a socket in these rooms has missed.
    pub(super) fn missed(&self, offset: u64, rooms: &[Rc<str>]) -> Vec<Packet> {
        self.log.borrow().as_ref().map(|log| log.missed(offset, rooms)).unwrap_or_default()
    }

    /// The connected sockets of a target.
    pub(super) fn select(&self, target: &Target) -> Vec<Rc<SocketState>> {
        self.rooms.borrow().select(target, &self.sockets.borrow())
    }

    /// Carries out an operation here, and on the other servers.
    pub(super) fn operate(self: &Rc<Self>, hub: &mut Hub, operation: Operation, is_local: bool) {
        let adapter = self.adapter.borrow().clone().filter(|_| !is_local);
        if let Some(adapter) = adapter {
            let delivers_own = adapter.delivers_own(&operation);
            adapter.publish(hub, &operation);
            if delivers_own {
                return;
            }
        }
        self.apply(hub, operation);
    }

    /// Carries out an operation for the sockets of this server.
    pub(super) fn apply(self: &Rc<Self>, hub: &mut Hub, operation: Operation) {
        match operation {
            Operation::Emit { payload, target, flags } => self.emit(hub, payload, &target, flags, None),
            Operation::Join { target, rooms } => {
                let sockets = self.select(&target);
                sockets.iter().for_each(|socket| rooms.iter().for_each(|room| socket.join(hub, room)));
            }
            Operation::Leave { target, rooms } => {
                let sockets = self.select(&target);
                sockets.iter().for_each(|socket| rooms.iter().for_each(|room| socket.leave(hub, room)));
            }
            Operation::Disconnect { target, closes } => {
                self.select(&target).iter().for_each(|socket| socket.disconnect(hub, closes));
            }
            // An event for the others.
            Operation::ServerEmit { .. } => {}
        }
    }

    /// Emits an event here. `offset`: its place among those that an adapter keeps.
    pub(super) fn emit(
        self: &Rc<Self>,
        hub: &mut Hub,
        mut payload: Payload,
        target: &Target,
        flags: Flags,
        offset: Option<&str>,
    ) {
        let sockets = self.select(target);
        self.tell_outgoing(hub, &sockets, &payload);
        let can_be_missed = !flags.volatile && self.recovers();
        let packets = match offset.filter(|_| can_be_missed) {
            None if can_be_missed && self.recovering_adapter().is_none() => self.logged(hub, payload, target),
            _ if sockets.is_empty() => return,
            offset => {
                offset.into_iter().for_each(|offset| payload.push_text(offset));
                self.encode(Kind::Event, &payload, None)
            }
        };
        let sessions: Vec<Rc<EngineSession>> = sockets
            .iter()
            .map(|socket| &socket.client.session)
            .filter(|session| !flags.volatile || session.is_writable(hub))
            .cloned()
            .collect();
        send_to_all(hub, &sessions, &packets, flags.compress);
    }

    fn tell_outgoing(&self, hub: &mut Hub, sockets: &[Rc<SocketState>], payload: &Payload) {
        for socket in sockets.iter().filter(|socket| socket.watches_outgoing()) {
            if let Some(event) = payload.event() {
                socket.tell_outgoing(hub, &event, payload);
            }
        }
    }

    /// Asks the sockets of this server, and those of the others.
    pub(super) fn ask(self: &Rc<Self>, hub: &mut Hub, question: Question, is_local: bool, answers: &Answers) {
        let adapter = self.adapter.borrow().clone().filter(|_| !is_local);
        if let Some(adapter) = adapter {
            answers.wait();
            adapter.ask(hub, &question, answers);
        }
        match question {
            Question::Emit { payload, target, flags, .. } => {
                let sockets = self.select(&target);
                self.tell_outgoing(hub, &sockets, &payload);
                let mut asked = 0;
                for socket in &sockets {
                    if flags.volatile && !socket.client.session.is_writable(hub) {
                        continue;
                    }
                    asked += 1;
                    let number = socket.register(PendingAck::of_broadcast(answers));
                    answers.on_asked(socket, number);
                    // Only the number differs.
                    let packets = self.encode(Kind::Event, &payload, Some(number));
                    socket.send(hub, &packets, flags.compress);
                }
                answers.add(hub, Answer::Asked(asked));
            }
            Question::Fetch { target } => {
                let sockets = self.select(&target).iter().map(|socket| RemoteSocket::of(socket)).collect();
                answers.add(hub, Answer::Sockets(sockets));
            }
            Question::ServerEmit { .. } => answers.skip_own(hub),
        }
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sockets = self.sockets.borrow().len();
        formatter.debug_struct("Namespace").field("name", &self.name).field("sockets", &sockets).finish_non_exhaustive()
    }
}
