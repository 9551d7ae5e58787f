//! The reply to a request: made before there is a handler.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::responder::{Deferred, Responder};
use crate::protocol::MessageLimits;

/// Reply of [`Server::on_request`](crate::Server::on_request) to a request: a WebSocket, an HTTP response, or one of them later.
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
pub struct Reply(pub(super) ReplyKind);

#[derive(Debug)]
pub(super) enum ReplyKind {
    Upgrade(Box<Upgrade>),
    Respond(Response<Vec<u8>>),
    Later(Deferred),
}

impl Reply {
    /// Accepts the WebSocket. An ordinary request is answered with 426.
    pub fn upgrade() -> Self {
        Upgrade::new().into()
    }

    /// Defers the reply: the [`Responder`] gives it, from any thread. Other connections go on meanwhile; this one is not read. Without a reply within
    /// [`ServerConfig::opening_timeout`](crate::ServerConfig::opening_timeout) the request is answered with 503.
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

    /// Responds with a status, and its reason phrase as text.
    pub fn status(status: StatusCode) -> Self {
        Reply::text(status, status.canonical_reason().unwrap_or_default())
    }

    /// Responds with a line of text (`text/plain`).
    pub fn text(status: StatusCode, text: &str) -> Self {
        respond(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    /// Responds with 200 and a page (`text/html`).
    pub fn html(page: impl Into<String>) -> Self {
        respond(StatusCode::OK, "text/html; charset=utf-8", page.into())
    }

    /// Adds a header to the response, or to the 101 of an accepted WebSocket (see [`Upgrade::header`]). A deferred reply has no headers yet, and is left as it is.
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

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Reply {
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.into()
}

impl From<Upgrade> for Reply {
    fn from(upgrade: Upgrade) -> Self {
        Reply(ReplyKind::Upgrade(Box::new(upgrade)))
    }
}

/// As [`Reply::status`].
impl From<StatusCode> for Reply {
    fn from(status: StatusCode) -> Self {
        Reply::status(status)
    }
}

/// A response of one's own. `Content-Length`, `Transfer-Encoding` and `Connection` are written by the server.
impl From<Response<Vec<u8>>> for Reply {
    fn from(response: Response<Vec<u8>>) -> Self {
        Reply(ReplyKind::Respond(response))
    }
}

/// Either outcome of a check is a reply, so that `on_request` may use `?`.
impl<T: Into<Reply>, E: Into<Reply>> From<Result<T, E>> for Reply {
    fn from(outcome: Result<T, E>) -> Self {
        outcome.map_or_else(Into::into, Into::into)
    }
}

/// Accepts a WebSocket, with additions to the handshake.
#[derive(Debug, Default)]
#[must_use = "an upgrade has an effect only where on_request returns it, or a Responder is given it"]
pub struct Upgrade {
    pub(super) headers: HeaderMap,
    pub(super) subprotocol: Option<String>,
    pub(super) limits: Option<MessageLimits>,
    pub(super) uncompressed: bool,
    pub(super) extensions: Extensions,
}

impl Upgrade {
    /// No additions.
    pub fn new() -> Self {
        Upgrade::default()
    }

    /// Hands a value to the factory of the handler and to `on_open`, which get it by [`Handshake::extension`](crate::Handshake::extension): the user that a token
    /// belongs to, for example. One value of each type is kept, the last.
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
    /// let server = Server::new(|handshake| Session(handshake.extension::<User>().expect("every upgrade has one").clone()))
    ///     .on_request(|request, _| match request.header("x-user") {
    ///         Some(name) => Upgrade::new().extension(User(name.to_owned())).into(),
    ///         None => Reply::status(StatusCode::UNAUTHORIZED),
    ///     });
    /// ```
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// Adds a header to the 101. Its types cannot hold CR, LF or NUL. A name that the handshake itself uses is left out, with a warning in the log.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        let hixie = ["websocket-origin", "websocket-location", "websocket-protocol"];
        let reserved = [header::CONNECTION, header::UPGRADE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        if reserved.contains(&name) || name.as_str().starts_with("sec-websocket-") || hixie.contains(&name.as_str()) {
            log::warn!(target: "ws_reactor::websocket", "header {name} belongs to the handshake and is left out");
        } else {
            self.headers.append(name, value);
        }
        self
    }

    /// Chooses the subprotocol, in place of the server's own choice. One that the client did not offer is left out, with a warning in the log.
    pub fn subprotocol(mut self, subprotocol: impl Into<String>) -> Self {
        self.subprotocol = Some(subprotocol.into());
        self
    }

    /// Leaves compression off on this connection, whatever the server's configuration.
    pub fn uncompressed(mut self) -> Self {
        self.uncompressed = true;
        self
    }

    /// Sets the limits of this connection, in place of the server's.
    pub fn limits(mut self, limits: MessageLimits) -> Self {
        self.limits = Some(limits);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_outcome_of_a_check_is_a_reply() {
        let checked = |known: bool| -> Result<Upgrade, StatusCode> {
            if known { Ok(Upgrade::new()) } else { Err(StatusCode::UNAUTHORIZED) }
        };
        assert!(matches!(Reply::from(checked(true)).0, ReplyKind::Upgrade(_)));
        assert!(matches!(Reply::from(checked(false)).0, ReplyKind::Respond(response) if response.status() == 401));
    }

    #[test]
    fn header_goes_to_a_response_as_to_an_upgrade() {
        let value = HeaderValue::from_static("1");
        let name = HeaderName::from_static("x-a");
        let Reply(ReplyKind::Respond(response)) = Reply::status(StatusCode::OK).header(name.clone(), value.clone())
        else {
            panic!("a response");
        };
        assert_eq!(response.headers()[&name], "1");
        let Reply(ReplyKind::Upgrade(upgrade)) = Reply::upgrade().header(name.clone(), value) else {
            panic!("an upgrade");
        };
        assert_eq!(upgrade.headers[&name], "1");
        assert!(Upgrade::new().header(header::CONNECTION, HeaderValue::from_static("close")).headers.is_empty());
    }
}
