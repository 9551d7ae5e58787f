//! Accepting a WebSocket.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use crate::protocol::{MessageLimits, handshake};

/// A [`Reply`](crate::Reply) that accepts a WebSocket, with additions to the handshake.
///
/// ```
/// use ws_reactor::{MessageLimits, Server, Upgrade, on_message};
///
/// let limits = MessageLimits::new().max_message_bytes(64 * 1024);
/// let server = Server::new(|_| on_message(|ws, message| { ws.send(message); }))
///     .on_request(move |_, _| Upgrade::new().subprotocol("chat").limits(limits));
/// ```
#[derive(Debug, Default)]
#[must_use = "an upgrade has an effect only where on_request returns it, or a Responder is given it"]
pub struct Upgrade {
    pub(crate) headers: HeaderMap,
    pub(crate) subprotocol: Option<String>,
    pub(crate) limits: Option<MessageLimits>,
    pub(crate) uncompressed: bool,
    pub(crate) extensions: Extensions,
}

impl Upgrade {
    /// Makes an upgrade without additions.
    pub fn new() -> Self {
        Upgrade::default()
    }

    /// Adds what a later decision has chosen.
    pub(crate) fn merge(&mut self, later: Upgrade) {
        self.headers.extend(later.headers);
        self.subprotocol = later.subprotocol.or(self.subprotocol.take());
        self.limits = later.limits.or(self.limits);
        self.uncompressed |= later.uncompressed;
        self.extensions.extend(later.extensions);
    }

    /// Attaches a value, such as the user that a token belongs to.
    ///
    /// The factory of the handler and `on_open` read the value by
    /// [`Handshake::extension`](crate::Handshake::extension). One value of each type is kept, the last one.
    ///
    /// ```
    /// use ws_reactor::{Handler, Reply, Server, Upgrade, http::StatusCode};
    ///
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// struct Session(User);
    ///
    /// impl Handler for Session {}
    ///
    /// let server = Server::new(|handshake| {
    ///     let user = handshake.extension::<User>().expect("every upgrade has one");
    ///     Session(user.clone())
    /// })
    /// .on_request(|request, _| match request.header("x-user") {
    ///     Some(name) => Upgrade::new().extension(User(name.to_owned())).into(),
    ///     None => Reply::status(StatusCode::UNAUTHORIZED),
    /// });
    /// ```
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// Adds a header to the 101 response; ahead of a route of HTTP, to the response of the route.
    ///
    /// Headers that belong to the handshake are left out, and a warning is logged: `Connection`, `Upgrade`,
    /// `Content-Length`, `Transfer-Encoding`, `Sec-WebSocket-*`, `WebSocket-Origin`, `WebSocket-Location` and
    /// `WebSocket-Protocol`.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if handshake::is_reserved(&name) {
            log::warn!(target: "ws_reactor::websocket", "header {name} belongs to the handshake and is left out");
        } else {
            self.headers.append(name, value);
        }
        self
    }

    /// Sets the subprotocol, in place of the server's own choice. RFC 6455 §4.2.2.
    ///
    /// If the client did not offer `subprotocol`, none is chosen, and a warning is logged.
    pub fn subprotocol(mut self, subprotocol: impl Into<String>) -> Self {
        self.subprotocol = Some(subprotocol.into());
        self
    }

    /// Turns compression off for this connection, whatever the server's configuration.
    pub fn uncompressed(mut self) -> Self {
        self.uncompressed = true;
        self
    }

    /// Sets the message limits of this connection, in place of the server's.
    pub fn limits(mut self, limits: MessageLimits) -> Self {
        self.limits = Some(limits);
        self
    }
}
