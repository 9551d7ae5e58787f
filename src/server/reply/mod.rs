//! Replies to requests.

pub(crate) mod body;
#[cfg(feature = "server")]
pub(crate) mod event_stream;
#[cfg(all(feature = "server", feature = "deflate"))]
mod gzip;
#[cfg(feature = "server")]
pub(crate) mod long_poll;
pub(crate) mod responder;
pub(crate) mod upgrade;

#[cfg(feature = "server")]
use std::path::PathBuf;
use std::str::Utf8Error;

use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use self::{
    body::{Body, BodyStream, Parts},
    responder::{Deferred, Responder},
    upgrade::Upgrade,
};
#[cfg(feature = "server")]
use self::{event_stream::EventStream, long_poll::LongPoll};
use crate::{buffer::Bytes, http::response};

/// Reply to a request: respond with HTTP, accept the WebSocket, or reply later.
///
/// A route and [`Server::on_request`](crate::Server::on_request) return anything that converts to a reply: a status, a
/// response of the [`http`](crate::http) crate, an [`Upgrade`], or a `Result` of two of them.
///
/// The server writes the headers that frame the message (`Content-Length`, `Transfer-Encoding`, `Connection`) and
/// `Date` itself; those of a reply are ignored. RFC 9110 §6.6.1, §8.6.
///
/// ```
/// use ws_reactor::{Reply, Upgrade, http::{StatusCode, header, HeaderValue}};
///
/// let reply: Reply = Upgrade::new().subprotocol("chat").into();
/// let reply = Reply::upgrade();
/// let reply = Reply::text(StatusCode::FORBIDDEN, "members only");
/// let reply = Reply::bytes(&b"<svg/>"[..])
///     .header(header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"));
/// ```
#[derive(Debug)]
#[must_use = "a reply has an effect only where a callback returns it, or a Responder is given it"]
pub struct Reply(pub(crate) ReplyKind);

#[derive(Debug)]
pub(crate) enum ReplyKind {
    Upgrade(Box<Upgrade>),
    Plain(Plain),
    Respond(Box<Response<Body>>),
    #[cfg(feature = "server")]
    File(Box<FileReply>),
    #[cfg(feature = "server")]
    Events(Box<EventStream>),
    #[cfg(feature = "server")]
    Poll(Box<LongPoll>),
    Later(Deferred),
}

/// A response with a type and no other header.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) status: StatusCode,
    pub(crate) content_type: HeaderValue,
    pub(crate) body: Body,
}

/// A file, with further headers, and with a status in place of 200.
#[cfg(feature = "server")]
#[derive(Debug)]
pub(crate) struct FileReply {
    pub(crate) path: PathBuf,
    pub(crate) headers: http::HeaderMap,
    pub(crate) status: Option<StatusCode>,
}

impl Reply {
    /// Accepts the WebSocket; in [`on_request`](crate::Server::on_request) of a server with routes, goes on to the
    /// route of the request.
    ///
    /// If the request is not a valid WebSocket request, the server responds with its error status instead: 426 to an
    /// ordinary `GET`. See [`HandshakeError::status`](crate::HandshakeError::status).
    pub fn upgrade() -> Self {
        Upgrade::new().into()
    }

    /// Lets the request pass, in a callback ahead of the routes ([`Server::on_request`](crate::Server::on_request),
    /// [`Routes::on_request`](crate::Routes::on_request)). The same as [`upgrade`](Self::upgrade), by the name that
    /// suits requests of HTTP; [`Upgrade`] adds values and headers.
    ///
    /// ```
    /// use ws_reactor::{Reply, http::StatusCode};
    ///
    /// # let is_allowed = true;
    /// let reply = if is_allowed { Reply::pass() } else { Reply::status(StatusCode::FORBIDDEN) };
    /// ```
    pub fn pass() -> Self {
        Reply::upgrade()
    }

    /// Defers the reply. The [`Responder`] replies later, from any thread.
    ///
    /// Other connections continue meanwhile. This connection is not read until the reply. A WebSocket, as the first
    /// request of its connection, that is still undecided after
    /// [`ServerConfig::opening_timeout`](field@crate::ServerConfig::opening_timeout), default 10 s, any other request
    /// after [`ServerConfig::reply_timeout`](field@crate::ServerConfig::reply_timeout), default 60 s, and each at
    /// shutdown, is answered with 503.
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
        let (deferred, responder) = Deferred::new(false);
        (Reply(ReplyKind::Later(deferred)), responder)
    }

    /// Defers the reply to a request that waits for news, without a time-out: a poll of a protocol of its own.
    /// [`LongPoll`](crate::LongPoll) answers with the events of a topic.
    ///
    /// As [`later`](Self::later), but the connection ends if the client ends it, also by half:
    /// [`Responder::is_closed`] and [`Hub::when_closed`](crate::Hub::when_closed) tell. At shutdown it is answered with
    /// 503.
    pub fn hold() -> (Self, Responder) {
        let (deferred, responder) = Deferred::new(true);
        (Reply(ReplyKind::Later(deferred)), responder)
    }

    /// Responds with a status; the body is its reason phrase as `text/plain`.
    ///
    /// The statuses 1xx, 204, 205 and 304 have no content. RFC 9110 §15.
    pub fn status(status: StatusCode) -> Self {
        match response::has_body(status) && status != StatusCode::RESET_CONTENT {
            true => plain(status, TEXT, format!("{}\n", status.canonical_reason().unwrap_or_default())),
            false => Reply::empty(status),
        }
    }

    /// Responds with a status and without a body.
    pub fn empty(status: StatusCode) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response.into()
    }

    /// Responds with a status and a line of text as `text/plain`. A line feed is appended.
    pub fn text(status: StatusCode, text: &str) -> Self {
        plain(status, TEXT, format!("{text}\n"))
    }

    /// Responds with 200 and a page as `text/html`.
    pub fn html(page: impl Into<String>) -> Self {
        plain(StatusCode::OK, "text/html; charset=utf-8", page.into())
    }

    /// Responds with 200 and bytes as `application/octet-stream`, unless
    /// [`header`](Self::header) sets another type. A `&'static [u8]` or a `Bytes` is sent without a copy.
    pub fn bytes(bytes: impl Into<Body>) -> Self {
        plain(StatusCode::OK, BINARY, bytes)
    }

    /// Responds with 200 and a value as JSON.
    ///
    /// A value that cannot be represented is answered with 500, and the error is logged.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use ws_reactor::Reply;
    ///
    /// let members = BTreeMap::from([("lobby", 3), ("attic", 0)]);
    /// let reply = Reply::json(&members);
    /// ```
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => plain(StatusCode::OK, "application/json", json),
            Err(error) => {
                log::error!(target: "ws_reactor::server", "a reply cannot be represented as JSON: {error}");
                Reply::status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// Responds with 200 and a body that is made while it is sent, as `application/octet-stream`. See [`BodyStream`].
    pub fn stream(stream: impl BodyStream + Send + 'static) -> Self {
        plain(StatusCode::OK, BINARY, Body::stream(stream))
    }

    /// Responds with 200 and the items of an iterator, each asked for when there is room for it.
    ///
    /// ```
    /// use ws_reactor::{Reply, http::{HeaderValue, header}};
    ///
    /// let lines = (0..1_000_000).map(|number| format!("{number}\n"));
    /// let reply = Reply::chunks(lines).header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    /// ```
    pub fn chunks<I>(parts: I) -> Self
    where
        I: IntoIterator<Item: Into<Bytes>, IntoIter: Send + 'static>,
    {
        Reply::stream(Parts(parts.into_iter()))
    }

    /// Responds with a file of this system: type by its extension, `ETag`, `Last-Modified`, conditional and range
    /// requests. 404 if it is not a regular file.
    ///
    /// The path is that of the application, and symbolic links are followed. For paths of clients see
    /// [`Files`](crate::Files).
    #[cfg(feature = "server")]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Reply(ReplyKind::File(Box::new(FileReply { path: path.into(), headers: http::HeaderMap::new(), status: None })))
    }

    /// Redirects to another URL, absolute or relative, by 303: the client requests it by `GET`. RFC 9110 §15.4.4.
    ///
    /// Octets that a header cannot contain are percent-encoded.
    pub fn redirect(location: &str) -> Self {
        Reply::empty(StatusCode::SEE_OTHER).header(header::LOCATION, location_value(location))
    }

    /// Replaces the status of a response. A [`file`](Self::file) is then sent whole, whatever conditions and range the
    /// request has. An upgrade, an event stream, a long poll and
    /// a deferred reply are unchanged.
    ///
    /// ```
    /// use ws_reactor::{Reply, http::StatusCode};
    ///
    /// let reply = Reply::html("<h1>nothing here</h1>").with_status(StatusCode::NOT_FOUND);
    /// ```
    pub fn with_status(mut self, status: StatusCode) -> Self {
        match &mut self.0 {
            ReplyKind::Plain(plain) => plain.status = status,
            ReplyKind::Respond(response) => *response.status_mut() = status,
            #[cfg(feature = "server")]
            ReplyKind::File(file) => file.status = Some(status),
            #[cfg(feature = "server")]
            ReplyKind::Events(_) | ReplyKind::Poll(_) => {}
            ReplyKind::Upgrade(_) | ReplyKind::Later(_) => {}
        }
        self
    }

    /// Adds a header to the response, or to the 101 of an accepted WebSocket (see [`Upgrade::header`]). `Content-Type`
    /// replaces the former one.
    ///
    /// A deferred reply is unchanged: add the header to the reply given to the [`Responder`].
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        Reply(match self.0 {
            ReplyKind::Upgrade(upgrade) => ReplyKind::Upgrade(Box::new(upgrade.header(name, value))),
            ReplyKind::Plain(plain) if name == header::CONTENT_TYPE => {
                ReplyKind::Plain(Plain { content_type: value, ..plain })
            }
            ReplyKind::Plain(Plain { status, content_type, body }) => {
                let mut response = Response::new(body);
                *response.status_mut() = status;
                response.headers_mut().insert(header::CONTENT_TYPE, content_type);
                response.headers_mut().append(name, value);
                ReplyKind::Respond(Box::new(response))
            }
            ReplyKind::Respond(mut response) => {
                add(response.headers_mut(), name, value);
                ReplyKind::Respond(response)
            }
            #[cfg(feature = "server")]
            ReplyKind::File(mut file) => {
                add(&mut file.headers, name, value);
                ReplyKind::File(file)
            }
            #[cfg(feature = "server")]
            ReplyKind::Events(mut events) => {
                add(&mut events.headers, name, value);
                ReplyKind::Events(events)
            }
            #[cfg(feature = "server")]
            ReplyKind::Poll(mut poll) => {
                add(&mut poll.headers, name, value);
                ReplyKind::Poll(poll)
            }
            later @ ReplyKind::Later(_) => later,
        })
    }
}

fn add(headers: &mut http::HeaderMap, name: HeaderName, value: HeaderValue) {
    if name == header::CONTENT_TYPE {
        headers.insert(name, value);
    } else {
        headers.append(name, value);
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const BINARY: &str = "application/octet-stream";

fn plain(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Reply {
    Reply(ReplyKind::Plain(Plain { status, content_type: HeaderValue::from_static(content_type), body: body.into() }))
}

/// A location whose octets may occur in a header.
fn location_value(location: &str) -> HeaderValue {
    let mut value = String::with_capacity(location.len());
    for octet in location.bytes() {
        match octet {
            b'!'..=b'~' => value.push(char::from(octet)),
            _ => value.push_str(&format!("%{octet:02X}")),
        }
    }
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static("/"))
}

impl From<Upgrade> for Reply {
    fn from(upgrade: Upgrade) -> Self {
        Reply(ReplyKind::Upgrade(Box::new(upgrade)))
    }
}

/// Responds with 200 and events, as they are published.
#[cfg(feature = "server")]
impl From<EventStream> for Reply {
    fn from(events: EventStream) -> Self {
        Reply(ReplyKind::Events(Box::new(events)))
    }
}

/// Responds once a message is published.
#[cfg(feature = "server")]
impl From<LongPoll> for Reply {
    fn from(poll: LongPoll) -> Self {
        Reply(ReplyKind::Poll(Box::new(poll)))
    }
}

/// Responds with 200 and a text as `text/plain`.
impl From<String> for Reply {
    fn from(text: String) -> Self {
        plain(StatusCode::OK, TEXT, text)
    }
}

/// Responds with 200 and a text as `text/plain`.
impl From<&'static str> for Reply {
    fn from(text: &'static str) -> Self {
        plain(StatusCode::OK, TEXT, text)
    }
}

/// Responds as [`Reply::status`].
impl From<StatusCode> for Reply {
    fn from(status: StatusCode) -> Self {
        Reply::status(status)
    }
}

/// Responds with a response of the `http` crate.
impl<B: Into<Body>> From<Response<B>> for Reply {
    fn from(response: Response<B>) -> Self {
        Reply(ReplyKind::Respond(Box::new(response.map(Into::into))))
    }
}

/// Responds with 400 to a body that is not UTF-8: [`Request::text`](crate::Request::text).
impl From<Utf8Error> for Reply {
    fn from(_: Utf8Error) -> Self {
        Reply::text(StatusCode::BAD_REQUEST, "the body is not UTF-8")
    }
}

/// Responds with 400 and the error to a body that is not the expected JSON: [`Request::json`](crate::Request::json).
#[cfg(feature = "json")]
impl From<serde_json::Error> for Reply {
    fn from(error: serde_json::Error) -> Self {
        Reply::text(StatusCode::BAD_REQUEST, &error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_of_a_check_converts_to_a_reply() {
        let checked = |known: bool| -> Result<Upgrade, StatusCode> {
            if known { Ok(Upgrade::new()) } else { Err(StatusCode::UNAUTHORIZED) }
        };
        assert!(matches!(Reply::from(checked(true)).0, ReplyKind::Upgrade(_)));
        assert!(matches!(Reply::from(checked(false)).0, ReplyKind::Plain(plain) if plain.status == 401));
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
        let html = HeaderValue::from_static("text/html");
        for former in [Reply::bytes("x"), Reply::bytes("x").header(name, HeaderValue::from_static("2"))] {
            let headers: Vec<HeaderValue> = match former.header(header::CONTENT_TYPE, html.clone()).0 {
                ReplyKind::Plain(plain) => vec![plain.content_type],
                ReplyKind::Respond(response) => response.headers().get_all("content-type").iter().cloned().collect(),
                other => panic!("not a response: {other:?}"),
            };
            assert_eq!(headers, ["text/html"]);
        }
    }

    #[test]
    fn location_cannot_end_its_header() {
        assert_eq!(location_value("/a b?x=é\r\nSet-Cookie: a"), "/a%20b?x=%C3%A9%0D%0ASet-Cookie:%20a");
        assert_eq!(location_value("https://example.com/%41"), "https://example.com/%41");
    }
}
