//! The state of a socket: a client in a namespace.

use std::{
    any::{Any, TypeId},
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    rc::Rc,
};

use serde::Serialize;
use serde_json::Value;

use super::{
    acks::{Ack, AckError, PendingAck},
    adapter::Operation,
    args::{Args, Received},
    broadcast::Flags,
    client::Client,
    handshake::{Auth, Handshake},
    packet::Kind,
    payload::Payload,
    reason::DisconnectReason,
    socket::Socket,
    space::Space,
    target::Target,
};
use crate::{layers::engine_io::Packet, reactor::Hub};

/// Called with an event of the client.
pub(super) type Listener = Rc<dyn Fn(&mut Socket<'_>, Received<'_>, Ack)>;
pub(super) type AnyListener = Rc<dyn Fn(&mut Socket<'_>, &str, &Args)>;
pub(super) type Filter = Rc<dyn Fn(&mut Socket<'_>, &str, &Args) -> bool>;
pub(super) type OnUpgrade = Rc<dyn Fn(&mut Socket<'_>)>;
pub(super) type OnDisconnect = Rc<dyn Fn(&mut Socket<'_>, DisconnectReason)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Middleware decides.
    Connecting,
    Connected,
    Disconnected,
}

pub(super) struct SocketState {
    /// Never used twice.
    pub(super) number: u64,
    pub(super) id: Rc<str>,
    /// The secret by which the client gets the socket again.
    pub(super) recovery_id: Option<Rc<str>>,
    pub(super) is_recovered: bool,
    pub(super) space: Rc<Space>,
    pub(super) client: Rc<Client>,
    pub(super) handshake: Handshake,
    pub(super) life: Cell<Life>,
    /// Its namespace counts it among those that middleware decides on.
    pub(super) is_counted: Cell<bool>,
    pub(super) data: RefCell<Value>,
    pub(super) values: RefCell<HashMap<TypeId, Rc<dyn Any>>>,
    /// In the order of joining. The rooms that it has left by its end stay, for its last callbacks.
    pub(super) rooms: RefCell<Vec<Rc<str>>>,
    pub(super) listeners: RefCell<Listeners>,
    pub(super) acks: RefCell<HashMap<u64, PendingAck>>,
}

/// The callbacks of a socket. Those of events can be removed one by one, by their numbers.
#[derive(Default)]
pub(super) struct Listeners {
    pub(super) by_event: HashMap<String, Vec<EventListener>>,
    pub(super) any: Vec<(u64, AnyListener)>,
    pub(super) any_outgoing: Vec<(u64, AnyListener)>,
    next_number: u64,
    pub(super) filters: Vec<Filter>,
    pub(super) upgrade: Vec<OnUpgrade>,
    pub(super) disconnecting: Vec<OnDisconnect>,
    pub(super) disconnect: Vec<OnDisconnect>,
}

pub(super) struct EventListener {
    number: u64,
    is_once: bool,
    call: Listener,
}

impl Listeners {
    /// Adds a listener of an event. Returns its number.
    pub(super) fn add(&mut self, event: &str, is_once: bool, call: Listener) -> u64 {
        let number = self.next_number();
        self.by_event.entry(event.to_owned()).or_default().push(EventListener { number, is_once, call });
        number
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Removes the listener with a number.
    pub(super) fn remove(&mut self, number: u64) {
        self.by_event.retain(|_, listeners| {
            listeners.retain(|listener| listener.number != number);
            !listeners.is_empty()
        });
        self.any.retain(|(own, _)| *own != number);
        self.any_outgoing.retain(|(own, _)| *own != number);
    }
}

/// A socket that has ended, to be released.
struct Ended(Rc<SocketState>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// What a socket is made of.
pub(super) struct NewSocket {
    pub(super) id: Rc<str>,
    pub(super) recovery_id: Option<Rc<str>>,
    pub(super) is_recovered: bool,
    pub(super) data: Value,
    pub(super) auth: Auth,
}

impl SocketState {
    pub(super) fn new(number: u64, space: &Rc<Space>, client: &Rc<Client>, new: NewSocket) -> Rc<Self> {
        Rc::new(SocketState {
            number,
            id: new.id,
            recovery_id: new.recovery_id,
            is_recovered: new.is_recovered,
            space: Rc::clone(space),
            client: Rc::clone(client),
            handshake: Handshake::new(client.session.request(), new.auth),
            life: Cell::new(Life::Connecting),
            is_counted: Cell::default(),
            data: RefCell::new(new.data),
            values: RefCell::default(),
            rooms: RefCell::default(),
            listeners: RefCell::default(),
            acks: RefCell::default(),
        })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.life.get() == Life::Connected
    }

    /// Sends packets of this socket.
    pub(super) fn send(&self, hub: &mut Hub, packets: &[Packet], compresses: bool) {
        packets.iter().for_each(|packet| self.client.session.send(hub, packet.clone(), compresses));
    }

    /// Joins a room. A socket that has ended is in none.
    pub(super) fn join(self: &Rc<Self>, hub: &mut Hub, room: &str) {
        if self.life.get() == Life::Disconnected || self.rooms.borrow().iter().any(|known| **known == *room) {
            return;
        }
        let room: Rc<str> = room.into();
        self.rooms.borrow_mut().push(Rc::clone(&room));
        self.space.join_room(hub, &room, self);
    }

    /// Joins the room of its own.
    pub(super) fn join_own(self: &Rc<Self>, hub: &mut Hub) {
        let is_member = self.rooms.borrow().contains(&self.id);
        if !is_member {
            self.rooms.borrow_mut().insert(0, Rc::clone(&self.id));
            self.space.join_room(hub, &self.id, self);
        }
    }

    pub(super) fn leave(&self, hub: &mut Hub, room: &str) {
        if self.life.get() != Life::Disconnected {
            self.rooms.borrow_mut().retain(|known| **known != *room);
            self.space.leave_room(hub, room, self);
        }
    }

    /// Disconnects, by the server. `closes`: all sockets of the client, then its connection. Without effect while
    /// middleware decides.
    pub(super) fn disconnect(self: &Rc<Self>, hub: &mut Hub, closes: bool) {
        if !self.is_connected() {
            return;
        }
        if closes {
            return self.client.disconnect(hub);
        }
        let packet = self.space.encoding().encode_own(Kind::Disconnect, &self.space.name, "");
        self.send(hub, &[packet], true);
        self.end(hub, DisconnectReason::ServerNamespaceDisconnect);
    }

    /// Ends the socket. Its callbacks follow.
    pub(super) fn end(self: &Rc<Self>, hub: &mut Hub, reason: DisconnectReason) {
        let former = self.life.replace(Life::Disconnected);
        if former == Life::Disconnected {
            return;
        }
        self.space.remove(self);
        self.space.tell_left(hub, self);
        self.client.forget(self);
        let acks: Vec<PendingAck> = self.acks.borrow_mut().drain().map(|(_, ack)| ack).collect();
        acks.iter().for_each(|ack| ack.stop(hub));
        if former == Life::Connecting {
            self.release();
            return self.space.close_if_empty(hub);
        }
        self.space.keep_session(hub, self, reason);
        self.space.ending.set(self.space.ending.get() + 1);
        // Releases the socket also where the server is gone before.
        let ended = Ended(Rc::clone(self));
        self.space.task(hub, move |hub| {
            ended.0.tell_end(hub, reason, acks);
            ended.0.space.ending.set(ended.0.space.ending.get() - 1);
            ended.0.space.close_if_empty(hub);
        });
    }

    fn tell_end(self: &Rc<Self>, hub: &mut Hub, reason: DisconnectReason, acks: Vec<PendingAck>) {
        acks.into_iter().for_each(|ack| ack.give(hub, self, Err(AckError::Disconnected)));
        let (disconnecting, disconnect) = {
            let mut listeners = self.listeners.borrow_mut();
            (std::mem::take(&mut listeners.disconnecting), std::mem::take(&mut listeners.disconnect))
        };
        for call in disconnecting.iter().chain(&disconnect) {
            call(&mut Socket { hub, state: self }, reason);
        }
    }

    /// Drops closures and values, which may own handles of the socket.
    pub(super) fn release(&self) {
        drop((self.listeners.take(), self.values.take(), self.acks.take(), self.rooms.take()));
    }

    /// Calls the listeners of an event.
    pub(super) fn on_event(self: &Rc<Self>, hub: &mut Hub, event: &str, args: Received<'_>, ack: Option<u64>) {
        let (filters, any) = {
            let listeners = self.listeners.borrow();
            (listeners.filters.clone(), listeners.any.clone())
        };
        if !filters.is_empty() || !any.is_empty() {
            let owned = args.to_args();
            for (_, call) in any {
                if self.is_connected() {
                    call(&mut Socket { hub, state: self }, event, &owned);
                }
            }
            let mut passes =
                |lets_pass: &Filter| self.is_connected() && lets_pass(&mut Socket { hub, state: self }, event, &owned);
            if !filters.iter().all(&mut passes) {
                return;
            }
        }
        let called: Vec<Listener> = {
            let mut listeners = self.listeners.borrow_mut();
            let Some(of_event) = listeners.by_event.get_mut(event) else { return };
            let called = of_event.iter().map(|listener| Rc::clone(&listener.call)).collect();
            of_event.retain(|listener| !listener.is_once);
            called
        };
        // Only one listener can answer; those behind it have an ack that is used.
        let answered = Rc::new(Cell::new(false));
        for listener in called {
            if self.life.get() != Life::Connected {
                break;
            }
            listener(&mut Socket { hub, state: self }, args, Ack::new(self, ack, &answered));
        }
    }

    /// Calls those who watch what is sent.
    pub(super) fn tell_outgoing(self: &Rc<Self>, hub: &mut Hub, event: &str, payload: &Payload) {
        let any = self.listeners.borrow().any_outgoing.clone();
        if any.is_empty() {
            return;
        }
        let Some(args) = payload.to_args() else { return };
        let (socket, event) = (Rc::clone(self), event.to_owned());
        // A listener is not called inside the callback that sends.
        self.space.task(hub, move |hub| {
            any.iter().for_each(|(_, call)| call(&mut Socket { hub, state: &socket }, &event, &args));
        });
    }

    /// Calls those who watch the transport.
    pub(super) fn tell_upgrade(self: &Rc<Self>, hub: &mut Hub) {
        let calls = self.listeners.borrow().upgrade.clone();
        calls.iter().filter(|_| self.is_connected()).for_each(|call| call(&mut Socket { hub, state: self }));
    }

    pub(super) fn watches_outgoing(&self) -> bool {
        !self.listeners.borrow().any_outgoing.is_empty()
    }

    /// Emits an event to this socket alone.
    pub(super) fn emit<T: Serialize + ?Sized>(
        self: &Rc<Self>,
        hub: &mut Hub,
        event: &str,
        args: &T,
        flags: Flags,
        ack: Option<PendingAck>,
    ) {
        let Some(payload) = self.space.payload(event, args) else {
            return self.fail_ack(hub, ack);
        };
        if !self.is_connected() {
            return self.fail_ack(hub, ack);
        }
        if flags.volatile && !self.client.session.is_writable(hub) {
            // The ack then ends by its time-out, as with Node's server.
            return match ack {
                Some(ack) if ack.has_timer() => _ = self.register(ack),
                other => self.fail_ack(hub, other),
            };
        }
        let can_be_missed = ack.is_none() && !flags.volatile && self.space.recovers();
        let target = || Target { rooms: vec![Rc::clone(&self.id)], except: Vec::new() };
        if can_be_missed && self.space.recovering_adapter().is_some() {
            // The event gets its offset there.
            return self.space.operate(hub, Operation::Emit { payload, target: target(), flags }, false);
        }
        self.tell_outgoing(hub, event, &payload);
        if can_be_missed {
            let target = target();
            let packets = self.space.logged(hub, payload, &target);
            return self.send(hub, &packets, flags.compress);
        }
        let number = ack.map(|ack| self.register(ack));
        let packets = self.space.encode(Kind::Event, &payload, number);
        self.send(hub, &packets, flags.compress);
    }

    fn fail_ack(self: &Rc<Self>, hub: &mut Hub, ack: Option<PendingAck>) {
        if let Some(ack) = ack {
            ack.stop(hub);
            let socket = Rc::clone(self);
            self.space.task(hub, move |hub| ack.give(hub, &socket, Err(AckError::Disconnected)));
        }
    }

    /// Waits for an answer. Returns its number.
    pub(super) fn register(&self, ack: PendingAck) -> u64 {
        let number = self.space.next_ack();
        self.acks.borrow_mut().insert(number, ack);
        number
    }

    /// The client has answered.
    pub(super) fn on_ack(self: &Rc<Self>, hub: &mut Hub, number: u64, args: Received<'_>) {
        let ack = self.acks.borrow_mut().remove(&number);
        if let Some(ack) = ack {
            ack.stop(hub);
            ack.give(hub, self, Ok(args.to_args()));
        }
    }

    pub(super) fn set_value(&self, value: Rc<dyn Any>) {
        if self.life.get() != Life::Disconnected {
            self.values.borrow_mut().insert((*value).type_id(), value);
        }
    }

    /// Changes the listeners. A socket that has ended takes no new ones: nobody would release them.
    pub(super) fn change_listeners<T: Default>(&self, change: impl FnOnce(&mut Listeners) -> T) -> T {
        match self.life.get() {
            Life::Disconnected => T::default(),
            _ => change(&mut self.listeners.borrow_mut()),
        }
    }
}

impl fmt::Debug for SocketState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, life) = (&self.space.name, self.life.get());
        formatter
            .debug_struct("Socket")
            .field("id", &self.id)
            .field("namespace", namespace)
            .field("life", &life)
            .finish()
    }
}
