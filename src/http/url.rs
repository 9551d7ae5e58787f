//! URLs of WebSockets (RFC 6455 §3): where to connect, and what to ask for there.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
};

/// A URL that a client cannot connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// An octet that the part of the URL cannot have, and where it stands, in bytes from the start.
    Octet {
        /// The part.
        part: UrlPart,
        /// The octet.
        octet: u8,
        /// Its place.
        at: usize,
    },
    /// A scheme other than `ws`, `wss`, `ws+unix` and `wss+unix`; of a proxy, other than `http`, `https` and `socks5`.
    Scheme,
    /// No host.
    Host,
    /// Brackets around what is no IPv6 address, or without their other half.
    Address,
    /// A port that is no number from 0 to 65535.
    Port,
    /// `ws+unix` without the absolute path of a socket.
    Socket,
    /// `wss`, and this crate was built without the feature `tls`.
    NoTls,
    /// `wss`, and there are no roots to trust: `Client::tls` was not called, and this crate was built without the feature `bundled-roots`, or the system has no roots for `platform-roots`.
    NoRoots,
    /// A fragment, which means nothing here (RFC 6455 §3).
    Fragment,
}

/// Part of a URL (RFC 3986 §3).
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

/// A user and a password, as a URL has them, decoded.
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
    /// A user without a password has an empty one (RFC 7617 §2).
    fn parse(text: &str) -> Self {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Credentials { user: decoded(user), password: decoded(password) }
    }
}

/// A URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// `wss`.
    pub(crate) secure: bool,
    /// A name or an address, that of version 6 without its brackets.
    pub(crate) host: String,
    /// The zone of an address of the local link (RFC 4007 §11). Nobody but this host knows what it means, so it is not sent.
    pub(crate) zone: Option<String>,
    pub(crate) port: u16,
    /// Path and query, as they are asked for.
    pub(crate) target: String,
    pub(crate) credentials: Option<Credentials>,
    /// The socket in the file system that the server listens at, if it is no port.
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
        // Where a part stands in the text; all are slices of it.
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
                    // The escape is by RFC 6874 §2; without it, as curl takes it too.
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

    /// The path of a socket, and behind a colon what is asked for there: `ws+unix:/run/chat.sock:/room?name=x`. The server hears of `localhost`.
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

    /// Where a reference leads that was found here (RFC 3986 §5.2), such as that of a redirection. `http` stands for `ws`, and `https` for `wss`.
    pub(crate) fn join(&self, reference: &str) -> Result<Self, UrlError> {
        let reference = reference.split('#').next().unwrap_or_default();
        let scheme = if self.secure { "wss" } else { "ws" };
        let path = self.target.split('?').next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        // What stays where it is may be in the file system, so it is not this URL that is parsed again.
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

    /// Whether both name one place: what one was told may be told to the other.
    pub(crate) fn is_beside(&self, other: &Url) -> bool {
        let place =
            |url: &Url| (url.secure, url.host.to_ascii_lowercase(), url.zone.clone(), url.port, url.socket.clone());
        place(self) == place(other)
    }

    /// The host as a header has it: with brackets, and with the port unless it is the usual one (RFC 6455 §4.1).
    pub(crate) fn authority(&self) -> String {
        let host = match self.host.parse() {
            Ok(IpAddr::V6(_)) => format!("[{}]", self.host),
            _ => self.host.clone(),
        };
        if self.port == default_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }

    /// Host and zone, as the system resolves them.
    pub(crate) fn scoped_host(&self) -> String {
        match &self.zone {
            Some(zone) => format!("{}%{zone}", self.host),
            None => self.host.clone(),
        }
    }

    /// As text again, without credentials.
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

/// A path without `.` and `..`, and the query behind it as it is (RFC 3986 §5.2.4).
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

/// Whether an octet may stand in the target of a request. `%` may stand for itself, as in the URL standard.
fn is_of_target(octet: u8) -> bool {
    octet.is_ascii_graphic() && http::uri::PathAndQuery::try_from(&[b'/', octet][..]).is_ok()
}

/// Whether an escape appears in the path only when it is decoded: a second decoding, by whoever is behind, would see another path.
pub(crate) fn decodes_to_an_escape(path: &str) -> bool {
    let octets = path.as_bytes();
    let is_escape = |octets: &[u8], at: usize| {
        let digits = octets.get(at + 1..at + 3);
        octets[at] == b'%' && digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let lone = |at: &usize| octets[*at] == b'%' && !is_escape(octets, *at);
    (0..octets.len()).filter(lone).any(|at| is_escape(&decoded(&path[at..]), 0))
}

/// A URL as it may be shown: without what stands before an `@`.
pub(crate) fn without_credentials(url: &str) -> String {
    let start = url.find("://").map_or(0, |colon| colon + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |end| start + end);
    match url[start..end].rfind('@') {
        Some(at) => format!("{}{}", &url[..start], &url[start + at + 1..]),
        None => url.to_owned(),
    }
}

/// What percent escapes stand for; what is no escape stands for itself.
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
