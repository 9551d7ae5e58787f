//! Replies to requests, made before there is a handler.

pub(in crate::websocket) mod responder;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::{
    http::response,
    protocol::{MessageLimits, handshake},
    websocket::server::reply::responder::{Deferred, Responder},
};

/// Reply of [`Server::on_request`](crate::Server::on_request): accept the WebSocket, respond with HTTP, or reply later.
///
/// ```
/// use ws_reactor::{Reply, Upgrade, http::StatusCode};
///
/// let reply: Reply = Upgrade::new().subprotocol("chat").into();
/// let reply = Reply::upgrade();
/// let reply = Reply::text(StatusCode::FORBIDDEN, "members only");
/// ```
#[derive(Debug)]
#[must_use = "a reply has an effect only where on_request returns it, or a Responder is given it"]
pub struct Reply(pub(in crate::websocket) ReplyKind);

#[derive(Debug)]
pub(in crate::websocket) enum ReplyKind {
    Upgrade(Box<Upgrade>),
    Respond(Response<Vec<u8>>),
    Later(Deferred),
}

impl Reply {
    /// Accepts the WebSocket.
    ///
    /// If the request is not a valid WebSocket request, the server responds with its error status instead: 426 to an
    /// ordinary `GET`. See [`HandshakeError::status`](crate::HandshakeError::status).
    pub fn upgrade() -> Self {
        Upgrade::new().into()
    }

    /// Defers the reply. The [`Responder`] replies later, from any thread.
    ///
    /// Other connections continue meanwhile. This connection is not read until the reply. A request that is still
    /// undecided after [`ServerConfig::opening_timeout`](field@crate::ServerConfig::opening_timeout), default 10 s, or
    /// at shutdown, is answered with 503.
    ///
    /// ```
    /// use std::thread;
    /// use ws_reactor::{Reply, Server, Upgrade, http::StatusCode, on_message};
    ///
    /// # fn is_valid(token: &str) -> bool { token == "open sesame" }
    /// let server = Server::new(|_| on_message(|_, _| {})).on_request(|request, _| {
    ///     let token = request.header("authorization").unwrap_or_default().to_owned();
    ///     let (reply, responder) = Reply::later();
    ///     thread::spawn(move || match is_valid(&token) {
    ///         true => responder.respond(Upgrade::new()),
    ///         false => responder.respond(StatusCode::UNAUTHORIZED),
    ///     });
    ///     reply
    /// });
    /// ```
    pub fn later() -> (Self, Responder) {
        let (deferred, responder) = Deferred::new();
        (Reply(ReplyKind::Later(deferred)), responder)
    }

    /// Responds with a status; the body is its reason phrase as `text/plain`.
    pub fn status(status: StatusCode) -> Self {
        Reply::text(status, status.canonical_reason().unwrap_or_default())
    }

    /// Responds with a status and a line of text as `text/plain`. A line feed is appended.
    pub fn text(status: StatusCode, text: &str) -> Self {
        response::text(status, text).into()
    }

    /// Responds with 200 and a page as `text/html`.
    pub fn html(page: impl Into<String>) -> Self {
        response::with_body(StatusCode::OK, "text/html; charset=utf-8", page.into()).into()
    }

    /// Adds a header to the response, or to the 101 of an accepted WebSocket (see [`Upgrade::header`]).
    ///
    /// A deferred reply is unchanged: add the header to the reply given to the [`Responder`].
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        Reply(match self.0 {
            ReplyKind::Upgrade(upgrade) => ReplyKind::Upgrade(Box::new(upgrade.header(name, value))),
            ReplyKind::Respond(mut response) => {
                response.headers_mut().append(name, value);
                ReplyKind::Respond(response)
            }
            later @ ReplyKind::Later(_) => later,
        })
    }
}

impl From<Upgrade> for Reply {
    fn from(upgrade: Upgrade) -> Self {
        Reply(ReplyKind::Upgrade(Box::new(upgrade)))
    }
}

/// Responds as [`Reply::status`].
impl From<StatusCode> for Reply {
    fn from(status: StatusCode) -> Self {
        Reply::status(status)
    }
}

/// Responds with a custom response.
///
/// The server writes `Content-Length` and `Connection` itself; these headers and `Transfer-Encoding` of the response
/// are ignored. RFC 9110 §8.6, §9.3.2. The connection ends after the response.
impl From<Response<Vec<u8>>> for Reply {
    fn from(response: Response<Vec<u8>>) -> Self {
        Reply(ReplyKind::Respond(response))
    }
}

/// Replies with either outcome of a check, so that `on_request` may use `?`.
///
/// ```
/// use ws_reactor::{Server, Upgrade, http::StatusCode, on_message};
///
/// let server = Server::new(|_| on_message(|_, _| {})).on_request(|request, _| {
///     let token = request.header("authorization").ok_or(StatusCode::UNAUTHORIZED)?;
///     Ok::<Upgrade, StatusCode>(Upgrade::new().extension(token.to_owned()))
/// });
/// ```
impl<T: Into<Reply>, E: Into<Reply>> From<Result<T, E>> for Reply {
    fn from(outcome: Result<T, E>) -> Self {
        outcome.map_or_else(Into::into, Into::into)
    }
}

/// A [`Reply`] that accepts a WebSocket, with additions to the handshake.
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
    pub(in crate::websocket) headers: HeaderMap,
    pub(in crate::websocket) subprotocol: Option<String>,
    pub(in crate::websocket) limits: Option<MessageLimits>,
    pub(in crate::websocket) uncompressed: bool,
    pub(in crate::websocket) extensions: Extensions,
}

impl Upgrade {
    /// Makes an upgrade without additions.
    pub fn new() -> Self {
        Upgrade::default()
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

    /// Adds a header to the 101 response.
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

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn result_of_a_check_converts_to_a_reply() {
        let checked = |known: bool| -> Result<Upgrade, StatusCode> {
            if known { Ok(Upgrade::new()) } else { Err(StatusCode::UNAUTHORIZED) }
        };
        assert!(matches!(Reply::from(checked(true)).0, ReplyKind::Upgrade(_)));
        assert!(matches!(Reply::from(checked(false)).0, ReplyKind::Respond(response) if response.status() == 401));
    }

    #[test]
    fn header_is_added_to_a_response_and_to_an_upgrade() {
        let value = HeaderValue::from_static("1");
        let name = HeaderName::from_static("x-a");
        let Reply(ReplyKind::Respond(response)) = Reply::status(StatusCode::OK).header(name.clone(), value.clone())
        else {
            panic!("not a response");
        };
        assert_eq!(response.headers()[&name], "1");
        let Reply(ReplyKind::Upgrade(upgrade)) = Reply::upgrade().header(name.clone(), value) else {
            panic!("not an upgrade");
        };
        assert_eq!(upgrade.headers[&name], "1");
        assert!(Upgrade::new().header(header::CONNECTION, HeaderValue::from_static("close")).headers.is_empty());
    }
}
