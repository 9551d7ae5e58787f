//! A blocking client, for scripts and tests.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt, mem,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    protocol::{CloseCode, CloseReason, Handshake, Message, Outgoing, OwnedMessage, TimeoutKind},
    reactor::{ConnectionId, Reactor},
    send_status::SendStatus,
    websocket::{
        callbacks::Callbacks,
        client::Client,
        handler::{Handler, WebSocket},
    },
};

/// A blocking WebSocket client, for scripts and tests. Each socket has its own [`Reactor`].
///
/// Input is read, and pings are answered, only while a method of the socket runs. A server that pings may therefore end
/// a connection that is left alone for longer than the server's pong timeout.
///
/// Dropping the socket ends the connection without a closing handshake.
///
/// # Errors
///
/// Once the connection has ended, a method fails with the error that ended it, which is reported once, or with
/// [`Error::Closed`]. [`Error::Poll`] means that the reactor cannot be made or cannot wait for events.
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
    inbox: Rc<RefCell<Inbox>>,
}

/// Events that no method has taken yet.
#[derive(Default)]
struct Inbox {
    handshake: Option<Handshake>,
    messages: VecDeque<OwnedMessage>,
    /// Size of `messages`, in bytes, with [`MESSAGE_BYTES`] for each.
    held: usize,
    paused: bool,
    /// Data of the last pong.
    pong: Option<Vec<u8>>,
    error: Option<Error>,
    closed: Option<CloseReason>,
}

/// Approximate memory of a message besides its payload, in bytes.
const MESSAGE_BYTES: usize = 64;

/// Timeout of [`BlockingSocket::ping`], and bytes of messages that may arrive before the pong.
const PONG_WITHIN: Duration = Duration::from_secs(20);
const MOST_BEFORE_PONG: usize = 64 * MOST_HELD;

/// Bytes of messages above which reading is paused.
const MOST_HELD: usize = 1 << 20;

impl BlockingSocket {
    /// Opens a WebSocket, and waits until it is open. Timeout: 30 s.
    ///
    /// # Errors
    ///
    /// Those of [`Hub::connect`](crate::Hub::connect), and the error because of which the connection did not open.
    pub fn connect(url: &str) -> Result<Self, Error> {
        BlockingSocket::connect_with(url, |client| client)
    }

    /// Opens a WebSocket with a configured client: headers, subprotocols, a proxy, another timeout.
    ///
    /// `change` receives a default client. A reconnect policy is ignored.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect).
    ///
    /// ```no_run
    /// use ws_reactor::BlockingSocket;
    ///
    /// let socket = BlockingSocket::connect_with("ws://127.0.0.1:8080/", |client| client.subprotocols(["chat"]))?;
    /// assert_eq!(socket.handshake().subprotocol(), Some("chat"));
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn connect_with(url: &str, change: impl FnOnce(Client) -> Client) -> Result<Self, Error> {
        let inbox = Rc::<RefCell<Inbox>>::default();
        let mut client = change(Client::new(Callbacks::new()));
        client.options.config.websocket.stream.reconnect = None;
        client.handler = Box::new(Recorder(Rc::clone(&inbox)));
        let mut reactor = Reactor::new()?;
        let id = reactor.connect(url, client)?;
        let mut socket = BlockingSocket { reactor, id, inbox };
        socket.wait(None, |inbox| inbox.handshake.as_ref().map(|_| ()))?;
        Ok(socket)
    }

    /// The accepted handshake: the request, and what was negotiated.
    pub fn handshake(&self) -> Handshake {
        self.inbox.borrow().handshake.clone().expect("it has been open")
    }

    /// Sends a message, and waits until the system has taken it.
    ///
    /// Messages that arrive meanwhile are kept. Reading is paused when they exceed 1 MiB, about 64 bytes per message
    /// included. So if the peer answers every message, call [`receive`](Self::receive) between sends; otherwise both
    /// ends may wait for each other until a stall timeout passes.
    ///
    /// # Errors
    ///
    /// [`Error::Unsent`] if the version has no binary messages, or if the output is at its limit and the policy is
    /// [`Overflow::DropNewest`](crate::Overflow::DropNewest). Else those of the [type](Self#errors).
    pub fn send<'m>(&mut self, message: impl Into<Outgoing<'m>>) -> Result<(), Error> {
        let sent = self.reactor.hub().send(self.id, message);
        self.flush(sent)
    }

    /// Waits for the next message. Messages that arrived before the end of the connection are returned first.
    ///
    /// # Errors
    ///
    /// Those of the [type](Self#errors).
    pub fn receive(&mut self) -> Result<OwnedMessage, Error> {
        let message = self.wait(None, Inbox::next)?;
        Ok(message.expect("there is no deadline"))
    }

    /// Waits for the next message, at most `patience`. `None`: no message arrived in time.
    ///
    /// # Errors
    ///
    /// Those of the [type](Self#errors).
    pub fn receive_within(&mut self, patience: Duration) -> Result<Option<OwnedMessage>, Error> {
        self.wait(Some(patience), Inbox::next)
    }

    /// Sends a ping, waits for its pong, and returns the round-trip time. Timeout: 20 s. RFC 6455 §5.5.2.
    ///
    /// Messages that arrive before the pong are kept, up to 64 MiB.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] with [`TimeoutKind::Pong`] after 20 s, or when more than 64 MiB of messages are kept.
    /// [`Error::Unsent`] if the version has no pings. Else those of the [type](Self#errors).
    pub fn ping(&mut self) -> Result<Duration, Error> {
        let begun = Instant::now();
        let data = self.reactor.hub().stats().turns.to_string().into_bytes();
        let sent = self.reactor.hub().ping(self.id, &data);
        self.flush(sent)?;
        let answered = self.wait(Some(PONG_WITHIN), |inbox| {
            let answered = inbox.pong.take().is_some_and(|pong| pong == data);
            if answered || inbox.held > MOST_BEFORE_PONG { Some(answered) } else { None }
        })?;
        if answered == Some(true) { Ok(begun.elapsed()) } else { Err(Error::Timeout(TimeoutKind::Pong)) }
    }

    /// Closes the connection, and waits for its end. Messages that have not been received are dropped.
    ///
    /// If the connection has ended already, its reason is returned.
    ///
    /// # Errors
    ///
    /// [`Error::Unsent`] if `code` is not [sendable](CloseCode::is_sendable). The error of the connection, if an
    /// earlier failure has not been reported yet.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<CloseReason, Error> {
        let sent = self.reactor.hub().close(self.id, code, reason);
        if sent == SendStatus::Unsupported {
            return Err(Error::Unsent(sent));
        }
        let ended = self.wait(None, |inbox| {
            (inbox.held, inbox.paused) = (0, false);
            inbox.messages.clear();
            inbox.closed.clone()
        })?;
        Ok(ended.expect("there is no deadline"))
    }

    /// Waits until everything sent has left the queue.
    fn flush(&mut self, sent: SendStatus) -> Result<(), Error> {
        if sent == SendStatus::Closed {
            // The connection ends or has ended: wait for the reason.
            return self.wait(None, |_| None::<()>).map(drop);
        }
        if !sent.is_queued() {
            return Err(Error::Unsent(sent));
        }
        while !self.reactor.is_flushed(self.id) {
            self.reactor.turn(None)?;
            if self.inbox.borrow().closed.is_some() {
                return self.wait(None, |_| None::<()>).map(drop);
            }
        }
        Ok(())
    }

    /// Turns the loop until `look` finds something, the connection ends, or `patience` has passed.
    fn wait<T>(
        &mut self,
        patience: Option<Duration>,
        look: impl Fn(&mut Inbox) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        let mut looked_once = false;
        loop {
            let mut inbox = self.inbox.borrow_mut();
            if let Some(found) = look(&mut inbox) {
                return Ok(Some(found));
            }
            if let Some(error) = inbox.error.take() {
                return Err(error);
            }
            if let Some(reason) = &inbox.closed {
                return Err(Error::Closed(reason.clone()));
            }
            if mem::take(&mut inbox.paused) {
                self.reactor.hub().resume(self.id);
            }
            drop(inbox);
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

impl Inbox {
    fn next(&mut self) -> Option<OwnedMessage> {
        let message = self.messages.pop_front()?;
        self.held -= message.as_message().len() + MESSAGE_BYTES;
        Some(message)
    }
}

/// Records events in [`Inbox`].
struct Recorder(Rc<RefCell<Inbox>>);

impl Handler for Recorder {
    fn on_open(&mut self, _: &mut WebSocket<'_>, handshake: &Handshake) {
        self.0.borrow_mut().handshake = Some(handshake.clone());
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let mut inbox = self.0.borrow_mut();
        inbox.held += message.len() + MESSAGE_BYTES;
        inbox.messages.push_back(message.to_owned());
        if inbox.held > MOST_HELD {
            inbox.paused = true;
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
