//! WebSocket URLs (RFC 6455 §3): the address to connect to, and the target to request.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
};

/// Why a URL of a WebSocket or a proxy is not valid. RFC 6455 §3, RFC 3986.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// An octet is not allowed in its part of the URL.
    Octet {
        /// Part of the URL.
        part: UrlPart,
        /// The octet.
        octet: u8,
        /// Offset of the octet, in bytes from the start of the URL.
        at: usize,
    },
    /// The scheme is not `ws`, `wss`, `ws+unix` or `wss+unix`. For a proxy: not `http`, `https`, `socks5` or `socks5h`.
    Scheme,
    /// The host is missing.
    Host,
    /// The brackets do not contain an IPv6 address, or one bracket is missing.
    Address,
    /// The port is not a number from 0 to 65535.
    Port,
    /// A `ws+unix` URL has no absolute path of a socket.
    Socket,
    /// The scheme is `wss`, and the crate was built without the feature `tls`.
    NoTls,
    /// The scheme is `wss`, and there are no trusted roots: `Client::tls` was not called, and the feature
    /// `bundled-roots` is off, or `platform-roots` is on and the system has no roots.
    NoRoots,
    /// The URL has a fragment. RFC 6455 §3.
    Fragment,
}

/// Part of a URL. RFC 3986 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlPart {
    /// User and password.
    Credentials,
    /// Host.
    Host,
    /// Port.
    Port,
    /// Path.
    Path,
    /// Query.
    Query,
}

impl fmt::Display for UrlPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            UrlPart::Credentials => "user and password",
            UrlPart::Host => "host",
            UrlPart::Port => "port",
            UrlPart::Path => "path",
            UrlPart::Query => "query",
        })
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            UrlError::Octet { part, octet, at } => {
                return write!(formatter, "the {part} has '{}' at byte {at}", octet.escape_ascii());
            }
            UrlError::Scheme => "the scheme is not one of ws, wss, ws+unix and wss+unix",
            UrlError::Host => "there is no host",
            UrlError::Address => "the brackets hold no IPv6 address",
            UrlError::Port => "the port is no number from 0 to 65535",
            UrlError::Socket => "there is no absolute path of a socket",
            UrlError::NoTls => "wss needs the feature `tls`",
            UrlError::NoRoots => {
                "wss needs roots to trust: Client::tls, or the feature `bundled-roots` or `platform-roots`"
            }
            UrlError::Fragment => "there is a fragment",
        })
    }
}

impl std::error::Error for UrlError {}

/// User and password of a URL, decoded.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials")
    }
}

impl Credentials {
    /// A missing password is an empty password (RFC 7617 §2).
    fn parse(text: &str) -> Self {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Credentials { user: decoded(user), password: decoded(password) }
    }
}

/// A parsed URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// The scheme is `wss`.
    pub(crate) secure: bool,
    /// A name or an address; an IPv6 address without brackets.
    pub(crate) host: String,
    /// Zone of a link-local address (RFC 4007 §11). The zone is meaningful on this host only and is not sent.
    pub(crate) zone: Option<String>,
    pub(crate) port: u16,
    /// Path and query, as requested.
    pub(crate) target: String,
    pub(crate) credentials: Option<Credentials>,
    /// Path of a Unix socket, in place of a port.
    pub(crate) socket: Option<PathBuf>,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        if text.contains('#') {
            return Err(UrlError::Fragment);
        }
        if let Some((scheme, rest)) = text.split_once(':')
            && let Some(scheme) = scheme.to_ascii_lowercase().strip_suffix("+unix")
        {
            return Url::parse_unix(scheme, rest);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            _ => return Err(UrlError::Scheme),
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        // Offset of a part, which is a slice of `text`.
        let place = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
        let check = |part: UrlPart, slice: &str, may_have: fn(u8) -> bool| match slice
            .bytes()
            .position(|octet| !may_have(octet))
        {
            Some(index) => Err(UrlError::Octet { part, octet: slice.as_bytes()[index], at: place(slice) + index }),
            None => Ok(()),
        };
        let (credentials, place_of_server) = match authority.split_once('@') {
            Some((credentials, server)) => (Some(credentials), server),
            None => (None, authority),
        };
        check(UrlPart::Credentials, credentials.unwrap_or_default(), |octet| {
            octet.is_ascii_graphic() && !b"[]".contains(&octet)
        })?;
        let (host, zone, port) = match place_of_server.strip_prefix('[') {
            Some(bracketed) => {
                let (address, port) = bracketed.split_once(']').ok_or(UrlError::Address)?;
                let (address, zone) = match address.split_once('%') {
                    // Escaped as in RFC 6874 §2; the bare `%` is accepted too, as by curl.
                    Some((address, zone)) => (address, Some(zone.strip_prefix("25").unwrap_or(zone))),
                    None => (address, None),
                };
                check(UrlPart::Host, zone.unwrap_or_default(), is_unreserved)?;
                if address.parse::<Ipv6Addr>().is_err() || zone.is_some_and(str::is_empty) {
                    return Err(UrlError::Address);
                }
                (address, zone, port)
            }
            None => {
                let (host, port) = place_of_server.split_at(place_of_server.find(':').unwrap_or(place_of_server.len()));
                check(UrlPart::Host, host, |octet| is_unreserved(octet) || b"!$&'()*+,;=".contains(&octet))?;
                (host, None, port)
            }
        };
        if host.is_empty() {
            return Err(UrlError::Host);
        }
        let port = match port.strip_prefix(':') {
            Some(digits) => {
                check(UrlPart::Port, digits, |octet| octet.is_ascii_digit())?;
                digits.parse().map_err(|_| UrlError::Port)?
            }
            None if port.is_empty() => default_port(secure),
            None => return Err(UrlError::Octet { part: UrlPart::Port, octet: port.as_bytes()[0], at: place(port) }),
        };
        check(UrlPart::Path, path, is_of_target)?;
        check(UrlPart::Query, query, is_of_target)?;
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Url {
            secure,
            host: host.to_owned(),
            zone: zone.map(str::to_owned),
            port,
            target: format!("{slash}{target}"),
            credentials: credentials.map(Credentials::parse),
            socket: None,
        })
    }

    /// Parses the path of a Unix socket and, after a colon, the target: `ws+unix:/run/chat.sock:/room?name=x`. The
    /// `Host` header is `localhost`.
    fn parse_unix(scheme: &str, rest: &str) -> Result<Self, UrlError> {
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (socket, target) = rest.split_once(':').unwrap_or((rest, "/"));
        if !socket.starts_with('/') {
            return Err(UrlError::Socket);
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        let there = Url::parse(&format!("{scheme}://localhost{slash}{target}"))?;
        let socket = String::from_utf8(decoded(socket)).map_err(|_| UrlError::Socket)?;
        if socket.contains('\0') {
            return Err(UrlError::Socket);
        }
        Ok(Url { socket: Some(socket.into()), ..there })
    }

    /// Resolves a reference such as that of a redirection (RFC 3986 §5.2). `http` stands for `ws`, and `https` for
    /// `wss`.
    pub(crate) fn join(&self, reference: &str) -> Result<Self, UrlError> {
        let reference = reference.split('#').next().unwrap_or_default();
        let scheme = if self.secure { "wss" } else { "ws" };
        let path = self.target.split('?').next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        // A reference on the same host may belong to a Unix socket, so this URL is not parsed again.
        let (elsewhere, text) = match reference {
            _ if has_scheme(reference) => {
                let (scheme, rest) = reference.split_once(':').unwrap_or_default();
                let scheme = match scheme.to_ascii_lowercase().as_str() {
                    "http" | "ws" => "ws",
                    "https" | "wss" => "wss",
                    _ => return Err(UrlError::Scheme),
                };
                (true, format!("{scheme}:{rest}"))
            }
            _ if reference.starts_with("//") => (true, format!("{scheme}:{reference}")),
            "" => (false, self.target.clone()),
            _ if reference.starts_with('/') => (false, reference.to_owned()),
            _ if reference.starts_with('?') => (false, format!("{path}{reference}")),
            _ => (false, format!("{folder}/{reference}")),
        };
        let there = Url::parse(&if elsewhere { text } else { format!("ws://localhost{text}") })?;
        let target = without_dots(&there.target);
        match elsewhere {
            true => Ok(Url { target, ..there }),
            false => Ok(Url { target, credentials: None, ..self.clone() }),
        }
    }

    /// Returns `true` if both URLs name the same server, so that credentials for one may be sent to the other.
    pub(crate) fn same_origin(&self, other: &Url) -> bool {
        let place =
            |url: &Url| (url.secure, url.host.to_ascii_lowercase(), url.zone.clone(), url.port, url.socket.clone());
        place(self) == place(other)
    }

    /// The host for a header: with brackets, and with the port unless it is the default port (RFC 6455 §4.1).
    pub(crate) fn authority(&self) -> String {
        let host = match self.host.parse() {
            Ok(IpAddr::V6(_)) => format!("[{}]", self.host),
            _ => self.host.clone(),
        };
        if self.port == default_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }

    /// Host and zone, for the system's resolver.
    pub(crate) fn scoped_host(&self) -> String {
        match &self.zone {
            Some(zone) => format!("{}%{zone}", self.host),
            None => self.host.clone(),
        }
    }

    /// The URL as text, without credentials.
    pub(crate) fn location(&self) -> String {
        format!("{}://{}{}", if self.secure { "wss" } else { "ws" }, self.authority(), self.target)
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// Whether a reference begins with a scheme (RFC 3986 §3.1).
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else { return false };
    let within = |octet: u8| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(within)
}

/// Removes `.` and `..` from a path and keeps the query (RFC 3986 §5.2.4).
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => kept.extend(last.then_some("")),
            ".." => {
                kept.pop();
                kept.extend(last.then_some(""));
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

/// RFC 3986 §2.3.
fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~".contains(&octet)
}

/// Whether an octet may occur in a request target. `%` may stand for itself, as in the URL standard.
fn is_of_target(octet: u8) -> bool {
    octet.is_ascii_graphic() && http::uri::PathAndQuery::try_from(&[b'/', octet][..]).is_ok()
}

/// Whether decoding the path yields another escape. A second decoding, by a server behind, would yield another path.
pub(crate) fn decodes_to_an_escape(path: &str) -> bool {
    let octets = path.as_bytes();
    let is_escape = |octets: &[u8], at: usize| {
        let digits = octets.get(at + 1..at + 3);
        octets[at] == b'%' && digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let lone = |at: &usize| octets[*at] == b'%' && !is_escape(octets, *at);
    (0..octets.len()).filter(lone).any(|at| is_escape(&decoded(&path[at..]), 0))
}

/// The URL for display: without everything before an `@` in the authority.
pub(crate) fn without_credentials(url: &str) -> String {
    let start = url.find("://").map_or(0, |colon| colon + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |end| start + end);
    match url[start..end].rfind('@') {
        Some(at) => format!("{}{}", &url[..start], &url[start + at + 1..]),
        None => url.to_owned(),
    }
}

/// Decodes percent escapes. Other octets stand for themselves.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let (mut octets, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, behind @ ..] = rest {
        let hex = |digit: &u8| char::from(*digit).to_digit(16).map(|digit| digit as u8);
        let escape = match (first, behind) {
            (b'%', [high, low, ..]) => hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        octets.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &behind[2..] } else { behind };
    }
    octets
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
