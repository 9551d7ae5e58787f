//! A request, and what is known of who sent it.

use std::{borrow::Cow, net::SocketAddr, rc::Rc};

use http::{
    HeaderMap, HeaderName, Method,
    header::{self, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION},
};

use super::query;
use crate::tls_info::TlsInfo;

/// What browsers call the page that opens the connection; the second in the drafts.
static ORIGINS: [HeaderName; 2] = [header::ORIGIN, HeaderName::from_static("sec-websocket-origin")];

/// What hixie-75 calls the subprotocols.
static HIXIE_PROTOCOL: HeaderName = HeaderName::from_static("websocket-protocol");

/// A request, before it is decided whether it becomes a WebSocket.
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) head: http::Request<()>,
    pub(crate) peer_addr: SocketAddr,
    pub(crate) secured: Option<Rc<TlsInfo>>,
    /// A proxy in front has taken TLS off.
    pub(crate) proxied: bool,
}

impl Request {
    /// The request as the `http` crate has it: method, URI, headers.
    pub fn http(&self) -> &http::Request<()> {
        &self.head
    }

    /// The method; `GET` for a WebSocket.
    pub fn method(&self) -> &Method {
        self.head.method()
    }

    /// The path of the target, without the query.
    pub fn path(&self) -> &str {
        self.head.uri().path()
    }

    /// The query of the target as it was sent, without the question mark.
    pub fn query_string(&self) -> Option<&str> {
        self.head.uri().query()
    }

    /// Pairs of the query, split at `&` and the first `=`, not decoded.
    pub fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        query::raw_pairs(self.query_string().unwrap_or_default())
    }

    /// Pairs of the query, decoded: `+` is a space, escapes stand for octets, and what is no UTF-8 is replaced by U+FFFD.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        query::pairs(self.query_string().unwrap_or_default())
    }

    /// First value of that name in the query, decoded.
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Segments of the path, decoded, empty ones left out: `/rooms/a%20b` has `rooms` and `a b`.
    pub fn path_segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        query::segments(self.path())
    }

    /// Cookies, as name and value (RFC 6265 §4.2.1); quotes around a value are taken off.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.headers().get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(query::cookies)
    }

    /// Value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All headers; names are compared without regard to case.
    pub fn headers(&self) -> &HeaderMap {
        self.head.headers()
    }

    /// The first value of a header, if it is visible ASCII. `name` may be in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// The page that opened the connection, as browsers say (`Origin`, or `Sec-WebSocket-Origin` in the drafts).
    pub fn origin(&self) -> Option<&str> {
        let named = |name: &HeaderName| self.headers().get(name)?.to_str().ok();
        ORIGINS.iter().find_map(named)
    }

    /// Whether it names an origin, be it one that can be read or not.
    pub(crate) fn names_origin(&self) -> bool {
        ORIGINS.iter().any(|name| self.headers().contains_key(name))
    }

    /// The authority the client believes it talks to.
    pub fn host(&self) -> Option<&str> {
        self.headers().get(header::HOST)?.to_str().ok()
    }

    /// The subprotocols the client offers, in its order of preference.
    ///
    /// Drafts before hybi-04 separate them by spaces, and hixie-75 calls the header `WebSocket-Protocol`.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.list(self.subprotocol_header())
            .flat_map(|member| member.split([' ', '\t']))
            .filter(|member| !member.is_empty())
    }

    /// The header that has the subprotocols. The older name counts only where no header of hybi-04 or later shows; there are clients that use
    /// it in hixie-76.
    pub(crate) fn subprotocol_header(&self) -> HeaderName {
        let newer = [SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL];
        match newer.iter().any(|name| self.headers().contains_key(name)) {
            true => SEC_WEBSOCKET_PROTOCOL,
            false => HIXIE_PROTOCOL.clone(),
        }
    }

    /// The offer of subprotocols, in one line.
    pub(crate) fn subprotocols_as_written(&self) -> Option<String> {
        let lines = self.headers().get_all(self.subprotocol_header()).into_iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    /// Whether it asks for a WebSocket: `Upgrade: websocket`, and `Connection` names the upgrade.
    pub fn is_upgrade(&self) -> bool {
        self.names_websocket() && self.names_upgrade()
    }

    pub(crate) fn names_upgrade(&self) -> bool {
        self.list(header::CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"))
    }

    pub(crate) fn names_websocket(&self) -> bool {
        self.list(header::UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
    }

    /// The address of the peer, as the system gave it at accept. An IPv4 address seen through an IPv6 socket is shown as IPv4.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }

    /// Whether the connection came over TLS, or through a proxy that took it off; see [`Server::secure_proxy`](crate::Server::secure_proxy).
    pub fn is_secure(&self) -> bool {
        self.proxied || self.secured.is_some()
    }

    /// What the TLS handshake has shown: the name asked for, the protocol agreed upon, the client's certificates. `None` if the connection is plain.
    pub fn tls_info(&self) -> Option<&TlsInfo> {
        self.secured.as_deref()
    }

    /// The members of a comma-separated header, over all its lines (RFC 9110 §5.6.1).
    fn list(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        let lines = self.headers().get_all(name).into_iter().filter_map(|line| line.to_str().ok());
        lines
            .flat_map(|line| line.split(','))
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
    }
}
