//! URLs of WebSockets (RFC 6455 §3): where to connect, and what to ask for there.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use http::Uri;

/// Why a URL is none that a client can connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// It is no URL.
    Malformed,
    /// A scheme other than `ws` and `wss`.
    Scheme,
    /// No host.
    Host,
    /// `wss`, and this crate was built without the feature `tls`.
    NoTls,
    /// `wss`, and there is nobody to trust: neither was `Client::tls` called, nor has this crate the feature `bundled-roots`.
    NoRoots,
    /// A fragment, which means nothing here (RFC 6455 §3).
    Fragment,
}

impl fmt::Display for UrlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            UrlError::Malformed => "it is no URL",
            UrlError::Scheme => "its scheme is neither ws nor wss",
            UrlError::Host => "it has no host",
            UrlError::NoTls => "wss needs the feature `tls`",
            UrlError::NoRoots => "wss needs roots to trust: Client::tls, or the feature `bundled-roots`",
            UrlError::Fragment => "it has a fragment",
        })
    }
}

impl std::error::Error for UrlError {}

/// A URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// `wss`.
    pub(crate) secure: bool,
    /// A name or an address, that of version 6 without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query, as they are asked for.
    pub(crate) target: String,
    /// User and password as they stand there, decoded: `user:password`.
    pub(crate) credentials: Option<Vec<u8>>,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        if text.contains('#') {
            return Err(UrlError::Fragment);
        }
        let escaped = |(index, _): (usize, _)| {
            let digits = text.as_bytes().get(index + 1..index + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        if !text.is_ascii() || !text.match_indices('%').all(escaped) {
            return Err(UrlError::Malformed);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let secure = match uri.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case("ws") => false,
            Some(scheme) if scheme.eq_ignore_ascii_case("wss") => true,
            _ => return Err(UrlError::Scheme),
        };
        let authority = uri.authority().ok_or(UrlError::Host)?;
        let host = authority.host();
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.is_some_and(|host| host.parse::<Ipv6Addr>().is_err()) {
            return Err(UrlError::Malformed);
        }
        let host = bracketed.unwrap_or(host);
        if host.is_empty() {
            return Err(UrlError::Host);
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // `host:` and `host:99999` have a port that is none.
            None if authority.as_str().rsplit(['@', ']']).next().is_some_and(|rest| rest.contains(':')) => {
                return Err(UrlError::Malformed);
            }
            None => default_port(secure),
        };
        let credentials = authority.as_str().rsplit_once('@').map(|(credentials, _)| with_colon(decoded(credentials)));
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Url { secure, host: host.to_owned(), port, target: format!("{slash}{target}"), credentials })
    }

    /// The host as a header has it: with brackets, and with the port unless it is the usual one (RFC 6455 §4.1).
    pub(crate) fn authority(&self) -> String {
        let host = match self.host.parse() {
            Ok(IpAddr::V6(_)) => format!("[{}]", self.host),
            _ => self.host.clone(),
        };
        if self.port == default_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }

    /// As text again, without credentials.
    pub(crate) fn location(&self) -> String {
        format!("{}://{}{}", if self.secure { "wss" } else { "ws" }, self.authority(), self.target)
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// A user without a password has an empty one (RFC 7617 §2).
fn with_colon(mut credentials: Vec<u8>) -> Vec<u8> {
    if !credentials.contains(&b':') {
        credentials.push(b':');
    }
    credentials
}

/// What percent escapes stand for; what is no escape stands for itself.
fn decoded(text: &str) -> Vec<u8> {
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
mod tests {
    use super::*;

    fn parts(text: &str) -> (bool, String, u16, String) {
        let Url { secure, host, port, target, .. } = Url::parse(text).unwrap();
        (secure, host, port, target)
    }

    #[test]
    fn a_url_says_where_to_connect_and_what_to_ask_for() {
        for (text, secure, host, port, target) in [
            ("ws://example.com", false, "example.com", 80, "/"),
            ("wss://example.com/", true, "example.com", 443, "/"),
            ("WS://example.com:8080/chat?room=1", false, "example.com", 8080, "/chat?room=1"),
            ("ws://127.0.0.1:9001/?a", false, "127.0.0.1", 9001, "/?a"),
            ("wss://[::1]/x", true, "::1", 443, "/x"),
            ("wss://[2001:db8::1]:4433?q=/", true, "2001:db8::1", 4433, "/?q=/"),
            ("ws://user:pass@example.com:1/", false, "example.com", 1, "/"),
        ] {
            assert_eq!(parts(text), (secure, host.to_owned(), port, target.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_header_has_brackets_and_only_an_unusual_port() {
        for (text, authority, location) in [
            ("ws://example.com:80/a", "example.com", "ws://example.com/a"),
            ("wss://example.com:80", "example.com:80", "wss://example.com:80/"),
            ("wss://u:p@[::1]:443/?x", "[::1]", "wss://[::1]/?x"),
            ("ws://[::1]:81/", "[::1]:81", "ws://[::1]:81/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.authority().as_str(), url.location().as_str()), (authority, location));
        }
    }

    #[test]
    fn credentials_are_decoded() {
        let credentials = |text| Url::parse(text).unwrap().credentials;
        assert_eq!(credentials("ws://example.com/"), None);
        assert_eq!(credentials("ws://user:pass@example.com/"), Some(b"user:pass".to_vec()));
        assert_eq!(credentials("ws://us%3Aer:p%40%73s@example.com/"), Some(b"us:er:p@ss".to_vec()));
        assert_eq!(credentials("ws://token@example.com/"), Some(b"token:".to_vec()));
    }

    #[test]
    fn what_cannot_be_connected_to_is_named() {
        for (text, error) in [
            ("", UrlError::Malformed),
            ("example.com", UrlError::Scheme),
            ("http://example.com/", UrlError::Scheme),
            ("ws://example.com/#top", UrlError::Fragment),
            ("ws://example .com/", UrlError::Malformed),
            ("ws://example.com:99999/", UrlError::Malformed),
            ("ws://example.com:/", UrlError::Malformed),
            ("ws:///path", UrlError::Malformed),
            ("ws://[::1/", UrlError::Malformed),
            ("ws://example.com/a b", UrlError::Malformed),
            ("ws://example.com/\r\nHost: evil", UrlError::Malformed),
            ("ws://example.com/\u{e9}", UrlError::Malformed),
            ("ws://example.com/%2", UrlError::Malformed),
            ("ws://[example.com]/", UrlError::Malformed),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }
}
