//! A client whose calls wait, for scripts and tests.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt, mem,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    callbacks::Callbacks,
    client::Client,
    handler::{Handler, WebSocket},
};
use crate::{
    error::Error,
    protocol::{CloseCode, CloseReason, Handshake, Message, Outgoing, OwnedMessage, TimeoutKind},
    reactor::{ConnectionId, Reactor, SendStatus},
};

/// A WebSocket client whose calls wait, for scripts and tests; it has a reactor of its own.
///
/// Nothing happens between calls: what comes is read, and pings are answered, while one of them waits. A connection that was left alone for longer than its
/// server is patient has gone when it is asked again.
///
/// ```no_run
/// use ws_reactor::{BlockingSocket, CloseCode};
///
/// let mut socket = BlockingSocket::connect("ws://127.0.0.1:8080/")?;
/// socket.send("hello")?;
/// println!("{}", socket.receive()?);
/// socket.close(CloseCode::NORMAL, "")?;
/// # Ok::<(), ws_reactor::Error>(())
/// ```
pub struct BlockingSocket {
    reactor: Reactor,
    id: ConnectionId,
    told: Rc<RefCell<Told>>,
}

/// What was told and not taken yet.
#[derive(Default)]
struct Told {
    handshake: Option<Handshake>,
    messages: VecDeque<OwnedMessage>,
    /// How much that is, in bytes.
    held: usize,
    paused: bool,
    /// The last.
    pong: Option<Vec<u8>>,
    error: Option<Error>,
    closed: Option<CloseReason>,
}

/// What a message costs besides its payload, about.
const MESSAGE_BYTES: usize = 64;

/// How long a pong may take, and how much may come before it.
const PONG_WITHIN: Duration = Duration::from_secs(20);
const MOST_BEFORE_PONG: usize = 64 * MOST_HELD;

/// How much may wait to be received before no more is read, in bytes.
const MOST_HELD: usize = 1 << 20;

impl BlockingSocket {
    /// Opens a WebSocket, and waits until it is open.
    pub fn connect(url: &str) -> Result<Self, Error> {
        BlockingSocket::connect_with(url, |client| client)
    }

    /// As [`connect`](Self::connect), by a client that `change` was shown: with headers, subprotocols, a proxy, another deadline. (Its handler is told nothing, and it does not come back.)
    ///
    /// ```no_run
    /// use ws_reactor::BlockingSocket;
    ///
    /// let socket = BlockingSocket::connect_with("ws://127.0.0.1:8080/", |client| client.subprotocols(["chat"]))?;
    /// assert_eq!(socket.handshake().subprotocol(), Some("chat"));
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn connect_with(url: &str, change: impl FnOnce(Client) -> Client) -> Result<Self, Error> {
        let told = Rc::<RefCell<Told>>::default();
        let mut client = change(Client::new(Callbacks::new()));
        client.reconnect = None;
        client.handler = Box::new(Noting(Rc::clone(&told)));
        let mut reactor = Reactor::new()?;
        let id = reactor.connect(url, client)?;
        let mut socket = BlockingSocket { reactor, id, told };
        socket.wait(None, |told| told.handshake.as_ref().map(|_| ()))?;
        Ok(socket)
    }

    /// What was asked for, and agreed upon.
    ///
    /// # Panics
    ///
    /// Never: a socket is open when it is given out.
    pub fn handshake(&self) -> Handshake {
        self.told.borrow().handshake.clone().expect("it has been open")
    }

    /// Sends a message, and waits until the system has taken it. Of what comes meanwhile 1 MiB is kept, and no more is read: whoever sends much to a peer that answers has to
    /// receive in between.
    pub fn send<'m>(&mut self, message: impl Into<Outgoing<'m>>) -> Result<(), Error> {
        let sent = self.reactor.hub().send(self.id, message);
        self.flush(sent)
    }

    /// Waits for the next message.
    pub fn receive(&mut self) -> Result<OwnedMessage, Error> {
        let message = self.wait(None, Told::next)?;
        Ok(message.expect("there is no deadline"))
    }

    /// Waits for the next message, but no longer than that; `None` if none came in time.
    pub fn receive_within(&mut self, patience: Duration) -> Result<Option<OwnedMessage>, Error> {
        self.wait(Some(patience), Told::next)
    }

    /// Sends a ping, and waits for its pong: how long that took. Messages that come before it are kept, up to 64 MiB; after 20 s there is an error.
    pub fn ping(&mut self) -> Result<Duration, Error> {
        let begun = Instant::now();
        let data = self.reactor.hub().stats().turns.to_string().into_bytes();
        let sent = self.reactor.hub().ping(self.id, &data);
        self.flush(sent)?;
        let answered = self.wait(Some(PONG_WITHIN), |told| {
            let answered = told.pong.take().is_some_and(|pong| pong == data);
            if answered || told.held > MOST_BEFORE_PONG { Some(answered) } else { None }
        })?;
        if answered == Some(true) { Ok(begun.elapsed()) } else { Err(Error::Timeout(TimeoutKind::Pong)) }
    }

    /// Closes the connection, and waits for its end; what still comes is dropped.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<CloseReason, Error> {
        let sent = self.reactor.hub().close(self.id, code, reason);
        if sent == SendStatus::Unsupported {
            return Err(Error::Unsent(sent));
        }
        let ended = self.wait(None, |told| {
            (told.held, told.paused) = (0, false);
            told.messages.clear();
            told.closed.clone()
        })?;
        Ok(ended.expect("there is no deadline"))
    }

    /// Waits until what was sent has left.
    fn flush(&mut self, sent: SendStatus) -> Result<(), Error> {
        if sent == SendStatus::Closed {
            // There is a reason, and if not yet, it is on its way.
            return self.wait(None, |_| None::<()>).map(drop);
        }
        if !sent.is_queued() {
            return Err(Error::Unsent(sent));
        }
        while !self.reactor.is_flushed(self.id) {
            self.reactor.turn(None)?;
            if let Some(reason) = &self.told.borrow().closed {
                return Err(Error::Closed(reason.clone()));
            }
        }
        Ok(())
    }

    /// Turns the loop until `look` has found something, the connection has ended, or there is no more patience.
    fn wait<T>(
        &mut self,
        patience: Option<Duration>,
        look: impl Fn(&mut Told) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        let mut looked_once = false;
        loop {
            let mut told = self.told.borrow_mut();
            if let Some(found) = look(&mut told) {
                return Ok(Some(found));
            }
            if let Some(error) = told.error.take() {
                return Err(error);
            }
            if let Some(reason) = &told.closed {
                return Err(Error::Closed(reason.clone()));
            }
            if mem::take(&mut told.paused) {
                self.reactor.hub().resume(self.id);
            }
            drop(told);
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if looked_once && left == Some(Duration::ZERO) {
                return Ok(None);
            }
            looked_once = true;
            self.reactor.turn(left)?;
        }
    }
}

impl fmt::Debug for BlockingSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BlockingSocket").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Told {
    fn next(&mut self) -> Option<OwnedMessage> {
        let message = self.messages.pop_front()?;
        self.held -= message.as_message().len() + MESSAGE_BYTES;
        Some(message)
    }
}

/// Notes what it is told.
struct Noting(Rc<RefCell<Told>>);

impl Handler for Noting {
    fn on_open(&mut self, _: &mut WebSocket<'_>, handshake: &Handshake) {
        self.0.borrow_mut().handshake = Some(handshake.clone());
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let mut told = self.0.borrow_mut();
        told.held += message.len() + MESSAGE_BYTES;
        told.messages.push_back(message.to_owned());
        if told.held > MOST_HELD {
            told.paused = true;
            ws.pause();
        }
    }

    fn on_pong(&mut self, _: &mut WebSocket<'_>, data: &[u8]) {
        self.0.borrow_mut().pong = Some(data.to_vec());
    }

    fn on_error(&mut self, _: &mut WebSocket<'_>, error: &Error) {
        self.0.borrow_mut().error = Some(error.duplicate());
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, reason: &CloseReason) {
        self.0.borrow_mut().closed = Some(reason.clone());
    }
}
