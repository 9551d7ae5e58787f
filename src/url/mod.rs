//! WebSocket URLs (RFC 6455 §3): the address to connect to, and the target to request.

mod error;
pub(crate) mod percent;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
};

pub use self::error::{UrlError, UrlPart};
use self::percent::decoded;

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

/// Parses path and query, with a slash in front if it is missing.
pub(crate) fn parse_target(text: &str) -> Result<String, UrlError> {
    const PLACE: &str = "ws://a";
    let slash = if text.starts_with('/') { "" } else { "/" };
    let url = Url::parse(&format!("{PLACE}{slash}{text}")).map_err(|error| match error {
        UrlError::Octet { part, octet, at } => UrlError::Octet { part, octet, at: at - PLACE.len() - slash.len() },
        error => error,
    })?;
    Ok(url.target)
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

/// Returns `true` if a reference begins with a scheme (RFC 3986 §3.1).
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

/// Returns `true` if an octet may occur in a request target. `%` may stand for itself, as in the URL standard.
fn is_of_target(octet: u8) -> bool {
    octet.is_ascii_graphic() && http::uri::PathAndQuery::try_from(&[b'/', octet][..]).is_ok()
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

#[cfg(test)]
mod tests;
