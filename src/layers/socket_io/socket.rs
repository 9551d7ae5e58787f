//! A socket, as an application sees it.

use std::{any::TypeId, cell::Ref, fmt, rc::Rc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    acks::{Ack, AckError},
    args::Args,
    broadcast::{Broadcast, Flags},
    emitter::Emitter,
    handshake::Handshake,
    reason::DisconnectReason,
    state::{AnyListener, Listener, Listeners, SocketState},
    target::Target,
};
use crate::{layers::engine_io::SessionTransport, reactor::Hub};

/// A socket, during a callback: one client in one namespace.
///
/// A [`SocketHandle`] refers to it outside of callbacks.
pub struct Socket<'a> {
    pub(super) hub: &'a mut Hub,
    pub(super) state: &'a Rc<SocketState>,
}

impl Socket<'_> {
    /// The id of the socket. Also the name of a room whose only member it is.
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// The name of the namespace.
    pub fn namespace(&self) -> &str {
        &self.state.space.name
    }

    /// The request that has opened the connection, and the client's `auth`.
    pub fn handshake(&self) -> &Handshake {
        &self.state.handshake
    }

    /// Returns `true` if the socket is one that the client had before, with its id, rooms, data and missed events.
    pub fn recovered(&self) -> bool {
        self.state.is_recovered
    }

    /// Returns `false` once the socket has ended.
    pub fn connected(&self) -> bool {
        self.state.is_connected()
    }

    /// `polling` or `websocket`, at present.
    pub fn transport(&self) -> &'static str {
        match self.state.client.session.transport() {
            SessionTransport::Polling => "polling",
            SessionTransport::WebSocket => "websocket",
        }
    }

    /// A handle for timers and other sockets' callbacks.
    pub fn handle(&self) -> SocketHandle {
        SocketHandle(Rc::clone(self.state))
    }

    /// The Hub of the reactor.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }

    /// Calls `call` with each event of this name. The arguments are any type of serde: a tuple takes them one by one,
    /// where missing ones are `null` and further ones are left out; [`Args`] takes them all, as they are; any other
    /// type takes the first one.
    ///
    /// An event whose arguments are others is dropped and logged at `debug`.
    pub fn on<A: DeserializeOwned>(&mut self, event: &str, call: impl Fn(&mut Socket<'_>, A) + 'static) -> ListenerId {
        self.listen(event, false, move |socket, args, _| call(socket, args))
    }

    /// As [`on`](Self::on), with the [`Ack`] that the client asks for. It has no effect if the client asks for none.
    pub fn on_with_ack<A: DeserializeOwned>(
        &mut self,
        event: &str,
        call: impl Fn(&mut Socket<'_>, A, Ack) + 'static,
    ) -> ListenerId {
        self.listen(event, false, call)
    }

    /// As [`on_with_ack`](Self::on_with_ack), for the next event only.
    pub fn once<A: DeserializeOwned>(
        &mut self,
        event: &str,
        call: impl Fn(&mut Socket<'_>, A, Ack) + 'static,
    ) -> ListenerId {
        self.listen(event, true, call)
    }

    fn listen<A: DeserializeOwned>(
        &mut self,
        event: &str,
        is_once: bool,
        call: impl Fn(&mut Socket<'_>, A, Ack) + 'static,
    ) -> ListenerId {
        let name = event.to_owned();
        let listener: Listener = Rc::new(move |socket, args, ack| match args.parse() {
            Ok(args) => call(socket, args, ack),
            Err(error) => log::debug!(target: super::LOG, "event {name:?} with other arguments is dropped: {error}"),
        });
        self.listener_id(|listeners| listeners.add(event, is_once, listener))
    }

    /// Removes one listener of events. That of another socket stays.
    ///
    /// ```
    /// # use ws_reactor::socket_io::SocketIo;
    /// let io = SocketIo::new();
    /// io.of("/").on_connection(|socket| {
    ///     let prices = socket.on("price", |_, price: f64| println!("{price}"));
    ///     socket.on("mute", move |socket, (): ()| socket.off_listener(prices));
    /// });
    /// ```
    pub fn off_listener(&mut self, listener: ListenerId) {
        if listener.socket == self.state.number {
            self.state.listeners.borrow_mut().remove(listener.number);
        }
    }

    /// Removes the listeners of an event.
    pub fn off(&mut self, event: &str) {
        self.state.listeners.borrow_mut().by_event.remove(event);
    }

    /// Removes the listeners of all events, but not those of [`on_any`](Self::on_any).
    pub fn off_all(&mut self) {
        self.state.listeners.borrow_mut().by_event.clear();
    }

    /// Calls `call` with each event of the client, before its listeners.
    pub fn on_any(&mut self, call: impl Fn(&mut Socket<'_>, &str, &Args) + 'static) -> ListenerId {
        self.watch(|listeners| &mut listeners.any, Rc::new(call))
    }

    /// Calls `call` with each event that is sent to the client, after the callback that sends it.
    pub fn on_any_outgoing(&mut self, call: impl Fn(&mut Socket<'_>, &str, &Args) + 'static) -> ListenerId {
        self.watch(|listeners| &mut listeners.any_outgoing, Rc::new(call))
    }

    fn watch(
        &mut self,
        list: impl FnOnce(&mut Listeners) -> &mut Vec<(u64, AnyListener)>,
        call: AnyListener,
    ) -> ListenerId {
        self.listener_id(|listeners| {
            let number = listeners.next_number();
            list(listeners).push((number, call));
            number
        })
    }

    fn listener_id(&self, add: impl FnOnce(&mut Listeners) -> u64) -> ListenerId {
        ListenerId { socket: self.state.number, number: self.state.change_listeners(add) }
    }

    /// Removes the listeners of [`on_any`](Self::on_any) and [`on_any_outgoing`](Self::on_any_outgoing).
    pub fn off_any(&mut self) {
        let mut listeners = self.state.listeners.borrow_mut();
        listeners.any.clear();
        listeners.any_outgoing.clear();
    }

    /// Has `lets_pass` decide on each event of the client, ahead of its listeners and behind those of
    /// [`on_any`](Self::on_any): a middleware of the socket.
    pub fn filter(&mut self, lets_pass: impl Fn(&mut Socket<'_>, &str, &Args) -> bool + 'static) {
        self.state.change_listeners(|listeners| listeners.filters.push(Rc::new(lets_pass)));
    }

    /// Calls `call` when the connection of the client moves from polling to a WebSocket: Node's event `upgrade` of
    /// `socket.conn`. A connection that begins with a WebSocket does not move.
    pub fn on_upgrade(&mut self, call: impl Fn(&mut Socket<'_>) + 'static) {
        self.state.change_listeners(|listeners| listeners.upgrade.push(Rc::new(call)));
    }

    /// Calls `call` at the end of the socket, before [`on_disconnect`](Self::on_disconnect). The socket is still in its
    /// [`rooms`](Self::rooms) there.
    pub fn on_disconnecting(&mut self, call: impl Fn(&mut Socket<'_>, DisconnectReason) + 'static) {
        self.state.change_listeners(|listeners| listeners.disconnecting.push(Rc::new(call)));
    }

    /// Calls `call` at the end of the socket.
    pub fn on_disconnect(&mut self, call: impl Fn(&mut Socket<'_>, DisconnectReason) + 'static) {
        self.state.change_listeners(|listeners| listeners.disconnect.push(Rc::new(call)));
    }

    /// Emits an event to the client. A tuple, or an array of fixed length, is one argument for each item; `()` is none,
    /// and so is `Value::Null`, but not within a tuple; any other value is one argument.
    ///
    /// An event whose arguments cannot be written as JSON, or whose name is one of Socket.IO's own (`connect`,
    /// `connect_error`, `disconnect`, `disconnecting`, `newListener`, `removeListener`), is dropped, and logged at
    /// `error`.
    pub fn emit<T: Serialize + ?Sized>(&mut self, event: &str, args: &T) {
        self.state.emit(self.hub, event, args, Flags::default(), None);
    }

    /// Emits an event whose answer is given to `call`, once: the arguments of the client's ack, or
    /// [`AckError::Disconnected`] if the socket ends before. [`timeout`](Self::timeout) bounds the wait.
    pub fn emit_with_ack<T: Serialize + ?Sized>(
        &mut self,
        event: &str,
        args: &T,
        call: impl FnOnce(&mut Socket<'_>, Result<Args, AckError>) + 'static,
    ) {
        self.emitter().emit_with_ack(event, args, call);
    }

    fn emitter(&mut self) -> Emitter<'_> {
        Emitter::new(self.hub, self.state)
    }

    /// The next event is dropped if the client cannot take it now: its connection is not writable, no poll waits, or
    /// it is being upgraded.
    pub fn volatile(&mut self) -> Emitter<'_> {
        self.emitter().volatile()
    }

    /// Sets whether the next event may be compressed (permessage-deflate). Default `true`.
    pub fn compress(&mut self, compresses: bool) -> Emitter<'_> {
        self.emitter().compress(compresses)
    }

    /// Sets how long the next event waits for its ack.
    pub fn timeout(&mut self, timeout: Duration) -> Emitter<'_> {
        self.emitter().timeout(timeout)
    }

    /// Broadcasts to all other sockets of the namespace.
    pub fn broadcast(&mut self) -> Broadcast<'_> {
        let target = Target { rooms: Vec::new(), except: vec![Rc::clone(&self.state.id)] };
        Broadcast::new(self.hub, &self.state.space, target)
    }

    /// Broadcasts to the other sockets of a room. Further rooms are added by [`Broadcast::to`].
    pub fn to(&mut self, room: &str) -> Broadcast<'_> {
        self.broadcast().to(room)
    }

    /// Broadcasts to all other sockets but those of a room.
    pub fn except(&mut self, room: &str) -> Broadcast<'_> {
        self.broadcast().except(room)
    }

    /// Broadcasts to all other sockets of the namespace on this server.
    pub fn local(&mut self) -> Broadcast<'_> {
        self.broadcast().local()
    }

    /// Joins a room.
    pub fn join(&mut self, room: &str) {
        self.state.join(self.hub, room);
    }

    /// Leaves a room.
    pub fn leave(&mut self, room: &str) {
        self.state.leave(self.hub, room);
    }

    /// The rooms of the socket, in the order of joining. The first one is its own.
    pub fn rooms(&self) -> Vec<String> {
        self.state.rooms.borrow().iter().map(|room| (**room).to_owned()).collect()
    }

    /// JSON data of the socket, which [`fetch_sockets`](Broadcast::fetch_sockets) has, on other servers, too, and which
    /// comes back with a recovered socket. An empty object at first.
    pub fn data(&self) -> Ref<'_, Value> {
        self.state.data.borrow()
    }

    /// Sets the JSON data of the socket.
    pub fn set_data(&mut self, data: impl Into<Value>) {
        *self.state.data.borrow_mut() = data.into();
    }

    /// Keeps a value with the socket, one of each type.
    ///
    /// ```
    /// # use ws_reactor::socket_io::SocketIo;
    /// struct User(String);
    ///
    /// let io = SocketIo::new();
    /// io.of("/").on_connection(|socket| {
    ///     socket.set(User("ann".to_owned()));
    ///     socket.on("who", |socket, (): ()| {
    ///         let user = socket.get::<User>().expect("each socket has one");
    ///         socket.emit("you are", &user.0);
    ///     });
    /// });
    /// ```
    pub fn set<T: 'static>(&mut self, value: T) {
        self.state.set_value(Rc::new(value));
    }

    /// The value of a type that [`set`](Self::set) keeps.
    pub fn get<T: 'static>(&self) -> Option<Rc<T>> {
        let value = self.state.values.borrow().get(&TypeId::of::<T>()).cloned()?;
        value.downcast().ok()
    }

    /// Disconnects the socket. `closes`: all sockets of the client, and then its connection. The client does not
    /// connect again by itself. Without effect while middleware decides.
    pub fn disconnect(&mut self, closes: bool) {
        self.state.disconnect(self.hub, closes);
    }
}

impl fmt::Debug for Socket<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.state, formatter)
    }
}

/// A listener of events, for [`Socket::off_listener`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId {
    socket: u64,
    number: u64,
}

/// A socket, outside of its own callbacks. A handle may be kept; that of a socket that has ended does nothing.
#[derive(Debug, Clone)]
pub struct SocketHandle(pub(super) Rc<SocketState>);

impl SocketHandle {
    /// The socket, for everything that a callback can do.
    pub fn with<'a>(&'a self, hub: &'a mut Hub) -> Socket<'a> {
        Socket { hub, state: &self.0 }
    }

    /// The id of the socket.
    pub fn id(&self) -> &str {
        &self.0.id
    }
}

impl PartialEq for SocketHandle {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}
