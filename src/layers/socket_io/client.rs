//! A client: an Engine.IO session with its sockets, one in each namespace that it has joined.

#[cfg(feature = "socket-io-msgpack")]
use std::mem;
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::{Rc, Weak},
};

use serde_json::Value;

#[cfg(feature = "socket-io-msgpack")]
use super::parser::Unpacked;
use super::{
    Io,
    adapter::{OnRestored, RestoredSocket},
    args::Received,
    handshake::Auth,
    packet::{self, Assembler, Header, Kind, Malformed},
    parser::Encoding,
    payload::Payload,
    reason::DisconnectReason,
    recovery::Session as Recovered,
    setup::{ConnectError, Next},
    socket::Socket,
    space::Space,
    state::{Life, NewSocket, SocketState},
};
use crate::{
    buffer::Bytes,
    layers::engine_io::{CloseReason, Session, SessionHandler, random_name},
    protocol::Message,
    reactor::{Hub, TimerId},
};

pub(super) struct Client {
    io: Weak<Io>,
    pub(super) session: Rc<Session>,
    /// By namespace: those that middleware decides on, too.
    sockets: RefCell<HashMap<Rc<str>, Rc<SocketState>>>,
    assembler: RefCell<Assembler>,
    /// Ends a client that joins no namespace.
    timer: Cell<Option<TimerId>>,
    /// The missed events of recovered sockets, until middleware has let them in.
    missed: RefCell<HashMap<u64, Missed>>,
    /// Namespaces whose sockets an adapter looks for.
    restoring: RefCell<HashSet<Rc<str>>>,
}

/// The events that the client of a recovered socket has missed.
enum Missed {
    /// Those of the log behind an offset.
    Behind(u64),
    /// Those that an adapter has kept, and the offset up to which it has looked.
    Kept(Vec<Payload>, String),
}

/// A socket that comes back.
struct Restored {
    id: Rc<str>,
    recovery_id: Rc<str>,
    rooms: Vec<Rc<str>>,
    data: Value,
    missed: Missed,
    /// Middleware decides in any case.
    needs_middleware: bool,
}

impl Client {
    pub(super) fn open(hub: &mut Hub, io: &Rc<Io>, session: &Rc<Session>) -> Rc<Self> {
        let client = Rc::new(Client {
            io: Rc::downgrade(io),
            session: Rc::clone(session),
            sockets: RefCell::default(),
            assembler: RefCell::default(),
            timer: Cell::default(),
            missed: RefCell::default(),
            restoring: RefCell::default(),
        });
        let waiting = Rc::downgrade(&client);
        let timer = hub.add_timer(io.settings.borrow().connect_timeout, move |hub| {
            let Some(client) = waiting.upgrade() else { return };
            client.timer.set(None);
            if !client.sockets.borrow().values().any(|socket| socket.is_connected()) {
                log::debug!(target: super::LOG, "a client has joined no namespace in time");
                client.close(hub, DisconnectReason::ForcedServerClose);
            }
        });
        client.timer.set(Some(timer));
        client
    }

    /// Ends the connection and all sockets.
    pub(super) fn close(&self, hub: &mut Hub, reason: DisconnectReason) {
        self.end_sockets(hub, reason);
        self.session.close(hub);
    }

    /// Disconnects all sockets, then ends the connection.
    pub(super) fn disconnect(&self, hub: &mut Hub) {
        let sockets: Vec<_> = self.sockets.borrow().values().cloned().collect();
        sockets.iter().for_each(|socket| socket.disconnect(hub, false));
        self.close(hub, DisconnectReason::ServerNamespaceDisconnect);
    }

    fn end_sockets(&self, hub: &mut Hub, reason: DisconnectReason) {
        let sockets: Vec<_> = self.sockets.borrow().values().cloned().collect();
        sockets.iter().for_each(|socket| socket.end(hub, reason));
    }

    /// A socket has ended.
    pub(super) fn forget(&self, socket: &SocketState) {
        self.missed.borrow_mut().remove(&socket.number);
        let mut sockets = self.sockets.borrow_mut();
        if sockets.get(&socket.space.name).is_some_and(|own| own.number == socket.number) {
            sockets.remove(&socket.space.name);
            if socket.life.get() != Life::Connected {
                let connecting = &socket.space.connecting;
                connecting.set(connecting.get().saturating_sub(usize::from(socket.is_counted.replace(false))));
            }
        }
    }

    fn on_text(self: &Rc<Self>, hub: &mut Hub, text: &str) -> Result<(), Malformed> {
        let header = Header::parse(text, self.max_attachments())?;
        let is_whole = self.assembler.borrow_mut().on_text(text, &header)?;
        // Attachments are received for sockets only.
        if is_whole || !self.has_joined(header.namespace) {
            return self.on_packet(hub, &header, Vec::new());
        }
        Ok(())
    }

    fn has_joined(&self, namespace: &str) -> bool {
        self.sockets.borrow().get(namespace).is_some_and(|socket| socket.is_connected())
    }

    fn on_binary(self: &Rc<Self>, hub: &mut Hub, bytes: &[u8]) -> Result<(), Malformed> {
        let whole = self.assembler.borrow_mut().on_attachment(bytes)?;
        let Some((text, attachments)) = whole else { return Ok(()) };
        let header = Header::parse(&text, self.max_attachments())?;
        self.on_packet(hub, &header, attachments)
    }

    fn max_attachments(&self) -> usize {
        self.io.upgrade().map_or(0, |io| io.settings.borrow().max_attachments)
    }

    fn on_packet(
        self: &Rc<Self>,
        hub: &mut Hub,
        header: &Header<'_>,
        attachments: Vec<Bytes>,
    ) -> Result<(), Malformed> {
        let socket = self.sockets.borrow().get(header.namespace).cloned();
        let connected = socket.as_ref().filter(|socket| socket.is_connected());
        match (header.kind, connected) {
            (Kind::Connect, _) if socket.is_none() && !self.restoring.borrow().contains(header.namespace) => {
                return self.connect(hub, header);
            }
            (Kind::Disconnect, Some(socket)) if header.payload.is_empty() => {
                socket.end(hub, DisconnectReason::ClientNamespaceDisconnect);
            }
            (Kind::Disconnect, Some(_)) => return Err(Malformed::Payload),
            (Kind::Event | Kind::BinaryEvent | Kind::Ack | Kind::BinaryAck, Some(socket)) => {
                let items = packet::items(header.payload)?;
                if header.kind == Kind::BinaryEvent || header.kind == Kind::BinaryAck {
                    packet::check_placeholders(header.payload, attachments.len())?;
                }
                let attachments: Rc<[Bytes]> = attachments.into();
                if matches!(header.kind, Kind::Event | Kind::BinaryEvent) {
                    let (name, args) = items.split_first().ok_or(Malformed::Payload)?;
                    let name = packet::event_name(name)?;
                    socket.on_event(hub, &name, Received { items: args, attachments: &attachments }, header.ack);
                } else if let Some(number) = header.ack {
                    socket.on_ack(hub, number, Received { items: &items, attachments: &attachments });
                }
            }
            // A packet for a namespace that the client has not joined, or joins already, or of a server.
            _ => {
                log::debug!(target: super::LOG, "a client is closed for a packet {:?} without a place", header.kind);
                self.close(hub, DisconnectReason::ForcedServerClose);
            }
        }
        Ok(())
    }

    /// The client joins a namespace.
    fn connect(self: &Rc<Self>, hub: &mut Hub, header: &Header<'_>) -> Result<(), Malformed> {
        let Some(io) = self.io.upgrade() else { return Ok(()) };
        let auth = Auth::parse(header.payload, io.settings.borrow().max_auth_bytes).ok_or(Malformed::Payload)?;
        if self.sockets.borrow().len() + self.restoring.borrow().len() >= io.settings.borrow().max_namespaces {
            self.send_error(hub, header.namespace, &ConnectError::new("Too many namespaces"));
            return Ok(());
        }
        let Some(space) = io.space_for(header.namespace, &auth) else {
            self.send_error(hub, header.namespace, &ConnectError::new("Invalid namespace"));
            return Ok(());
        };
        let wanted = auth.recovery().filter(|_| space.recovers());
        if let Some(((recovery_id, offset), adapter)) = wanted.as_ref().zip(space.recovering_adapter()) {
            self.restore(hub, &space, auth, |hub, call| adapter.restore_socket(hub, recovery_id, offset, call));
            return Ok(());
        }
        let restored = wanted.and_then(|(recovery_id, offset)| space.restore(hub, &recovery_id, &offset));
        let restored = restored.map(|(Recovered { id, recovery_id, rooms, data, .. }, offset)| Restored {
            id,
            recovery_id,
            rooms,
            data,
            missed: Missed::Behind(offset),
            needs_middleware: false,
        });
        self.join(hub, &io, &space, auth, restored);
        Ok(())
    }

    /// The client joins a namespace once an adapter has looked for its socket.
    fn restore(self: &Rc<Self>, hub: &mut Hub, space: &Rc<Space>, auth: Auth, look: impl FnOnce(&mut Hub, OnRestored)) {
        self.restoring.borrow_mut().insert(Rc::clone(&space.name));
        // The namespace stays meanwhile.
        space.connecting.set(space.connecting.get() + 1);
        let (client, space) = (Rc::clone(self), Rc::clone(space));
        let call = move |hub: &mut Hub, restored: Option<RestoredSocket>| {
            let of_space = Rc::clone(&space);
            // Middleware is not called inside the callback of the adapter.
            of_space.task(hub, move |hub| client.end_restore(hub, &space, auth, restored));
        };
        look(hub, Box::new(call));
    }

    /// An adapter has looked for a socket.
    fn end_restore(self: &Rc<Self>, hub: &mut Hub, space: &Rc<Space>, auth: Auth, restored: Option<RestoredSocket>) {
        self.restoring.borrow_mut().remove(&space.name);
        space.connecting.set(space.connecting.get().saturating_sub(1));
        let restored = restored.map(|RestoredSocket { socket, missed, position, needs_middleware }| Restored {
            id: socket.id.into(),
            recovery_id: socket.recovery_id.into(),
            rooms: socket.rooms.into_iter().map(Rc::from).collect(),
            data: socket.data,
            missed: Missed::Kept(missed, position),
            needs_middleware,
        });
        match self.io.upgrade().filter(|_| self.session.is_open()) {
            Some(io) => self.join(hub, &io, space, auth, restored),
            None => space.close_if_empty(hub),
        }
    }

    /// Makes a socket, and has middleware decide on it.
    fn join(self: &Rc<Self>, hub: &mut Hub, io: &Rc<Io>, space: &Rc<Space>, auth: Auth, restored: Option<Restored>) {
        let number = io.next_number();
        let needs_middleware = restored.as_ref().is_some_and(|restored| restored.needs_middleware);
        let socket = match restored {
            Some(Restored { id, recovery_id, rooms, data, missed, .. }) => {
                let new = NewSocket { id, recovery_id: Some(recovery_id), is_recovered: true, data, auth };
                let socket = SocketState::new(number, space, self, new);
                rooms.iter().for_each(|room| socket.join(hub, room));
                self.missed.borrow_mut().insert(number, missed);
                socket
            }
            None => {
                let recovery_id = space.recovers().then(|| random_name::<15>(hub).into());
                let (id, data) = (random_name::<15>(hub).into(), Value::Object(Default::default()));
                let new = NewSocket { id, recovery_id, is_recovered: false, data, auth };
                SocketState::new(number, space, self, new)
            }
        };
        space.connecting.set(space.connecting.get() + 1);
        socket.is_counted.set(true);
        self.sockets.borrow_mut().insert(Rc::clone(&space.name), Rc::clone(&socket));
        let skips =
            socket.is_recovered && !needs_middleware && io.recovery().is_some_and(|recovery| recovery.skips_middleware);
        match skips {
            true => self.finish_connect(hub, &socket),
            false => self.run_middleware(hub, &socket, 0),
        }
    }

    /// Calls a middleware, or lets the socket in after the last one.
    pub(super) fn run_middleware(self: &Rc<Self>, hub: &mut Hub, socket: &Rc<SocketState>, index: usize) {
        if socket.life.get() != Life::Connecting {
            return;
        }
        let middleware = socket.space.middleware(index);
        match middleware {
            Some(middleware) => middleware(&mut Socket { hub, state: socket }, Next::new(socket, index + 1)),
            None => self.finish_connect(hub, socket),
        }
    }

    fn finish_connect(&self, hub: &mut Hub, socket: &Rc<SocketState>) {
        if !self.session.is_open() {
            return;
        }
        let space = &socket.space;
        space.connecting.set(space.connecting.get().saturating_sub(usize::from(socket.is_counted.replace(false))));
        socket.life.set(Life::Connected);
        space.add(socket);
        socket.join_own(hub);
        if let Some(timer) = self.timer.take() {
            hub.cancel_timer(timer);
        }
        let missed = self.missed.borrow_mut().remove(&socket.number);
        let missed = match missed {
            Some(Missed::Behind(offset)) => space.missed(offset, &socket.rooms.borrow()),
            Some(Missed::Kept(mut missed, position)) => {
                let adapter = space.recovering_adapter();
                let since = adapter.map(|adapter| adapter.missed_since(&position, &socket.rooms.borrow()));
                missed.extend(since.into_iter().flatten());
                missed.iter().flat_map(|payload| space.encode(Kind::Event, payload, None)).collect()
            }
            None => Vec::new(),
        };
        socket.send(hub, &missed, true);
        let answer = match &socket.recovery_id {
            Some(recovery_id) => format!(r#"{{"sid":"{}","pid":"{recovery_id}"}}"#, socket.id),
            None => format!(r#"{{"sid":"{}"}}"#, socket.id),
        };
        let answer = space.encoding().encode_own(Kind::Connect, &space.name, &answer);
        socket.send(hub, &[answer], true);
        log::debug!(target: super::LOG, "a client has joined {}", space.name);
        let socket = Rc::clone(socket);
        socket.space.clone().task(hub, move |hub| {
            let calls = socket.space.connection_calls();
            for call in calls {
                if socket.is_connected() {
                    call(&mut Socket { hub, state: &socket });
                }
            }
        });
    }

    /// Refuses a socket that middleware does not let in.
    pub(super) fn refuse(&self, hub: &mut Hub, socket: &Rc<SocketState>, error: &ConnectError) {
        if socket.life.get() == Life::Connecting {
            socket.end(hub, DisconnectReason::ServerNamespaceDisconnect);
            self.send_error(hub, &socket.space.name, error);
        }
    }

    fn send_error(&self, hub: &mut Hub, namespace: &str, error: &ConnectError) {
        let encoding = self.io.upgrade().map(|io| io.settings.borrow().encoding).unwrap_or_default();
        self.session.send(hub, encoding.encode_own(Kind::ConnectError, namespace, &error.to_json()), true);
    }
}

impl SessionHandler for Rc<Client> {
    fn on_message(&self, hub: &mut Hub, _: &Rc<Session>, message: Message<'_>) {
        let encoding = self.io.upgrade().map(|io| io.settings.borrow().encoding).unwrap_or_default();
        let result = match (encoding, message) {
            (Encoding::Text, Message::Text(text)) => self.on_text(hub, text),
            (Encoding::Text, Message::Binary(bytes)) => self.on_binary(hub, bytes),
            #[cfg(feature = "socket-io-msgpack")]
            (Encoding::MessagePack, Message::Binary(bytes)) => Unpacked::read(bytes).and_then(|mut packet| {
                let attachments = mem::take(&mut packet.attachments);
                self.on_packet(hub, &packet.header(), attachments)
            }),
            #[cfg(feature = "socket-io-msgpack")]
            (Encoding::MessagePack, Message::Text(_)) => Err(Malformed::Order),
        };
        if let Err(malformed) = result {
            log::debug!(target: super::LOG, "a client is closed: {malformed}");
            self.close(hub, DisconnectReason::Connection(CloseReason::ForcedClose));
        }
    }

    fn on_drain(&self, _: &mut Hub, _: &Rc<Session>) {}

    fn on_upgrade(&self, hub: &mut Hub, _: &Rc<Session>) {
        let sockets: Vec<_> = self.sockets.borrow().values().cloned().collect();
        sockets.iter().for_each(|socket| socket.tell_upgrade(hub));
    }

    fn on_close(&self, hub: &mut Hub, _: &Rc<Session>, reason: CloseReason) {
        if let Some(timer) = self.timer.take() {
            hub.cancel_timer(timer);
        }
        self.end_sockets(hub, DisconnectReason::Connection(reason));
    }

    fn release(&self) {
        for socket in self.sockets.take().into_values() {
            socket.space.remove(&socket);
            socket.release();
        }
    }
}
