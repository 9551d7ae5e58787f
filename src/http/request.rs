//! A request with the address and the TLS data of its sender.

#[cfg(feature = "server")]
use std::str::Utf8Error;
use std::{borrow::Cow, rc::Rc};

use http::{HeaderMap, HeaderName, Method, Version, header, uri::Authority};

use super::{
    head::{HeadError, known_headers::KnownHeaders},
    query,
};
#[cfg(feature = "server")]
use crate::buffer::Bytes;
use crate::{peer_addr::PeerAddr, tls_info::TlsInfo};

/// An HTTP request: the request of a client to a server, or that of an opening [`Handshake`](crate::Handshake).
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) head: http::Request<()>,
    pub(crate) peer_addr: PeerAddr,
    pub(crate) secured: Option<Rc<TlsInfo>>,
    /// A proxy in front terminates TLS.
    pub(crate) proxied: bool,
    /// A trusted proxy has told whether the client uses TLS.
    pub(crate) forwarded_secure: Option<bool>,
    /// Headers that may occur.
    pub(crate) known: KnownHeaders,
    /// Parameters of the path, if the request has a route.
    #[cfg(feature = "server")]
    pub(crate) params: Params,
    /// The collected body.
    #[cfg(feature = "server")]
    pub(crate) body: Bytes,
}

/// Parameters of a path, decoded.
#[cfg(feature = "server")]
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Params(pub(crate) Vec<(String, String)>);

impl Request {
    pub(crate) fn new(
        head: http::Request<()>,
        peer_addr: PeerAddr,
        secured: Option<Rc<TlsInfo>>,
        proxied: bool,
    ) -> Self {
        Request {
            head,
            peer_addr,
            secured,
            proxied,
            forwarded_secure: None,
            known: KnownHeaders::ANY,
            #[cfg(feature = "server")]
            params: Params::default(),
            #[cfg(feature = "server")]
            body: Bytes::new(),
        }
    }

    /// The request head as a type of the `http` crate: method, URI, version, headers.
    pub fn http(&self) -> &http::Request<()> {
        &self.head
    }

    /// Method of the request.
    pub fn method(&self) -> &Method {
        self.head.method()
    }

    /// Path of the request target, without the query, not decoded.
    ///
    /// Routes match the decoded path, so a rule about who may request what must not compare this text: `/%61dmin` is
    /// the path `/admin`, too. [`path_segments`](Self::path_segments) decodes.
    pub fn path(&self) -> &str {
        self.head.uri().path()
    }

    /// Query of the request target, without the question mark, not decoded. `None` if there is no question mark.
    pub fn query_string(&self) -> Option<&str> {
        self.head.uri().query()
    }

    /// Name-value pairs of the query, split at `&` and the first `=`, not decoded.
    pub fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        query::raw_pairs(self.query_string().unwrap_or_default())
    }

    /// Name-value pairs of the query, decoded: `+` becomes a space, percent escapes become octets, and invalid UTF-8
    /// becomes U+FFFD.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        query::pairs(self.query_string().unwrap_or_default())
    }

    /// First value of the parameter `name` in the query, decoded.
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Segments of the path, decoded. Empty segments are left out: `/rooms/a%20b` has `rooms` and `a b`.
    pub fn path_segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        query::segments(self.path())
    }

    /// Parameter of the path, decoded: of the route `/rooms/{room}`, the parameter `room`. See
    /// [`Routes`](crate::Routes).
    ///
    /// A parameter is never empty. The decoded value may contain any character, a slash included.
    ///
    /// # Panics
    ///
    /// If the route of the request has no parameter of this name.
    #[cfg(feature = "server")]
    pub fn param(&self, name: &str) -> &str {
        self.get_param(name).unwrap_or_else(|| panic!("the route of {:?} has no parameter {name:?}", self.path()))
    }

    /// Parameter of the path, if the route has one of this name. For callbacks of several routes.
    #[cfg(feature = "server")]
    pub fn get_param(&self, name: &str) -> Option<&str> {
        self.params().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All parameters of the path, decoded, in their order.
    #[cfg(feature = "server")]
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Body of the request. Empty before a [route](crate::Routes) has collected it, so in
    /// [`on_request`](crate::Server::on_request).
    #[cfg(feature = "server")]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Body of the request as text.
    ///
    /// # Errors
    ///
    /// The body is not UTF-8. The error converts to a [`Reply`](crate::Reply) with status 400.
    #[cfg(feature = "server")]
    pub fn text(&self) -> Result<&str, Utf8Error> {
        str::from_utf8(&self.body)
    }

    /// Name-value pairs of a form in the body (`application/x-www-form-urlencoded`), decoded as
    /// [`query_pairs`](Self::query_pairs). Empty if the body is not UTF-8.
    #[cfg(feature = "server")]
    pub fn form_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        query::pairs(self.text().unwrap_or_default())
    }

    /// First value of the field `name` of a form in the body, decoded. See [`form_pairs`](Self::form_pairs).
    #[cfg(feature = "server")]
    pub fn form_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.form_pairs().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Body of the request as JSON.
    ///
    /// # Errors
    ///
    /// The body is not JSON, or not a `T`. The error converts to a [`Reply`](crate::Reply) with status 400.
    #[cfg(feature = "json")]
    pub fn json<'r, T: serde::Deserialize<'r>>(&'r self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// Value that [`on_request`](crate::Server::on_request) has attached by
    /// [`Upgrade::extension`](crate::Upgrade::extension).
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.head.extensions().get()
    }

    /// Cookies as pairs of name and value, without quotes around values. RFC 6265 §4.2.1.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.headers().get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(query::cookies)
    }

    /// Value of the first cookie with this name.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All headers. Header names are case-insensitive.
    pub fn headers(&self) -> &HeaderMap {
        self.head.headers()
    }

    /// First value of a header, if the value is visible ASCII. The case of `name` does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// The host and the port that the client addressed: those of an absolute target, else the value of the `Host`
    /// header. RFC 9110 §7.2, RFC 9112 §3.2.2.
    pub fn host(&self) -> Option<&str> {
        let authority = self.head.uri().authority().map(Authority::as_str);
        authority.or_else(|| self.headers().get(header::HOST)?.to_str().ok())
    }

    /// Refuses a request of HTTP/1.1 without a `Host` header. Not part of parsing, because a protocol that is upgraded
    /// to may be older than that rule.
    pub(crate) fn require_host(&self) -> Result<(), HeadError> {
        let has_host = match self.known {
            KnownHeaders::ANY => self.headers().contains_key(header::HOST),
            known => known.host,
        };
        if has_host || self.head.version() < Version::HTTP_11 { Ok(()) } else { Err(HeadError::Host) }
    }

    /// Address of the peer. An IPv4 address on an IPv6 socket is given as IPv4.
    ///
    /// On a server, the address reported when the connection was accepted, or that of the client which a proxy names
    /// ([`Server::trusted_proxies`](crate::Server::trusted_proxies), `Bind::proxy_protocol`); behind other proxies,
    /// that of the proxy. On a client, the address that was connected to, which is the proxy's if there is one.
    pub fn peer_addr(&self) -> PeerAddr {
        self.peer_addr
    }

    /// Returns `true` if the client uses TLS, to this process or to a proxy in front. See
    /// [`Server::secure_proxy`](crate::Server::secure_proxy) and
    /// [`Server::trusted_proxies`](crate::Server::trusted_proxies).
    pub fn is_secure(&self) -> bool {
        self.forwarded_secure.unwrap_or(self.proxied || self.secured.is_some())
    }

    /// Result of the TLS handshake: server name, ALPN protocol, certificates. `None` if this process uses no TLS for
    /// the connection.
    pub fn tls_info(&self) -> Option<&TlsInfo> {
        self.secured.as_deref()
    }

    /// Returns `true` if the client accepts a coding of the content, such as `gzip`: by its name or by `*`, and not
    /// with a weight of 0. RFC 9110 §12.5.3.
    pub fn accepts_coding(&self, coding: &str) -> bool {
        let weight = |name: &str| {
            self.list(header::ACCEPT_ENCODING).find_map(|member| {
                let (listed, parameters) = member.split_once(';').unwrap_or((member, ""));
                let value = parameters.trim().strip_prefix(['q', 'Q']).and_then(|rest| rest.trim().strip_prefix('='));
                let is_zero = value.is_some_and(|value| value.trim().parse() == Ok(0.0_f32));
                listed.trim().eq_ignore_ascii_case(name).then_some(!is_zero)
            })
        };
        weight(coding).or_else(|| weight("*")).unwrap_or(false)
    }

    /// The members of a comma-separated header, over all its lines (RFC 9110 §5.6.1).
    pub(crate) fn list(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        let lines = self.headers().get_all(name).into_iter().filter_map(|line| line.to_str().ok());
        lines
            .flat_map(|line| line.split(','))
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
    }
}
