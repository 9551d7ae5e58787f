//! Origins of pages that may connect: patterns (RFC 6454), checked when they are set.

use std::fmt;

use http::Uri;

/// Error of [`Server::origins`](crate::Server::origins): the pattern cannot match any origin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginError {
    /// The list of patterns is empty: no page could connect.
    Empty,
    /// The pattern has no scheme, as in `example.com`. The value is the pattern.
    NoScheme(String),
    /// The pattern has a path, a query or a fragment. The value is the pattern. RFC 6454 §4.
    Path(String),
    /// The pattern is not a scheme, a host and an optional port. The value is the pattern.
    Malformed(String),
}

impl fmt::Display for OriginError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OriginError::Empty => formatter.write_str("no origin is given, so no page could connect"),
            OriginError::NoScheme(pattern) => {
                write!(formatter, "origin {pattern:?} has no scheme, such as \"https://{pattern}\"")
            }
            OriginError::Path(pattern) => write!(formatter, "origin {pattern:?} has a path; an origin has none"),
            OriginError::Malformed(pattern) => write!(formatter, "origin {pattern:?} is not \"scheme://host[:port]\""),
        }
    }
}

impl std::error::Error for OriginError {}

/// The allowed origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origins {
    Any,
    Listed(Vec<Pattern>),
}

/// An origin or a set of origins, in lower case and without a default port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// One origin: `https://example.com`, or `null`.
    Exact(String),
    /// Every subdomain: the parts before and after the `*`.
    Subdomains { scheme: String, suffix: String },
    /// Every port of a pattern that has none.
    AnyPort(Box<Pattern>),
    /// The host and port that the request addresses.
    SameHost,
}

impl Origins {
    pub(crate) fn parse<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, OriginError> {
        let mut listed = Vec::new();
        let mut any = false;
        for pattern in patterns {
            match pattern.as_ref() {
                "*" => any = true,
                pattern => listed.push(Pattern::parse(pattern)?),
            }
        }
        match (any, listed.is_empty()) {
            (true, _) => Ok(Origins::Any),
            (false, true) => Err(OriginError::Empty),
            (false, false) => Ok(Origins::Listed(listed)),
        }
    }

    /// These origins, and that of the host that a request addresses.
    #[cfg(feature = "server")]
    pub(crate) fn or_same_host(self) -> Self {
        match self {
            Origins::Any => Origins::Any,
            Origins::Listed(mut patterns) => {
                patterns.push(Pattern::SameHost);
                Origins::Listed(patterns)
            }
        }
    }

    /// Returns `true` if pages of `origin`, in a browser's spelling, may connect. `host`: what the request addresses.
    pub(crate) fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        let patterns = match self {
            Origins::Any => return true,
            Origins::Listed(patterns) => patterns,
        };
        let origin = origin.to_ascii_lowercase();
        let origin = without_default_port(&origin);
        patterns.iter().any(|pattern| pattern.matches(origin, host))
    }
}

impl Pattern {
    /// Compares an origin in lower case and without a default port.
    fn matches(&self, origin: &str, host: Option<&str>) -> bool {
        match self {
            Pattern::Exact(exact) => exact == origin,
            Pattern::Subdomains { scheme, suffix } => {
                let name = origin.strip_prefix(scheme.as_str());
                name.and_then(|name| name.strip_suffix(suffix.as_str())).is_some_and(|label| !label.is_empty())
            }
            Pattern::AnyPort(pattern) => {
                let is_port = |port: &str| !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit());
                let port = origin.rsplit_once(':').filter(|(_, port)| is_port(port));
                pattern.matches(port.map_or(origin, |(name, _)| name), host)
            }
            Pattern::SameHost => is_same_host(origin, host),
        }
    }

    fn parse(given: &str) -> Result<Self, OriginError> {
        let malformed = || OriginError::Malformed(given.to_owned());
        let pattern = given.to_ascii_lowercase();
        match pattern.as_str() {
            "null" => return Ok(Pattern::Exact(pattern)),
            "self" => return Ok(Pattern::SameHost),
            _ => {}
        }
        if let Some(portless) = pattern.strip_suffix(":*") {
            let has_port = portless.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            return match Pattern::parse(portless).map_err(|_| malformed())? {
                pattern @ (Pattern::Exact(_) | Pattern::Subdomains { .. }) if !has_port && portless != "null" => {
                    Ok(Pattern::AnyPort(Box::new(pattern)))
                }
                _ => Err(malformed()),
            };
        }
        let (scheme, authority) = pattern.split_once("://").ok_or_else(|| OriginError::NoScheme(given.to_owned()))?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#']) {
            return Err(OriginError::Path(given.to_owned()));
        }
        if scheme.is_empty() {
            return Err(malformed());
        }
        let (wildcard, named) = match authority.strip_prefix("*.") {
            Some(named) => (true, named),
            None => (false, authority),
        };
        let uri: Uri = format!("{scheme}://{named}").parse().map_err(|_| malformed())?;
        let (parsed, host) = (uri.authority().ok_or_else(malformed)?, uri.host().unwrap_or_default());
        let port = parsed.as_str().strip_prefix(host).ok_or_else(malformed)?;
        let port_is_sound = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        if host.is_empty() || host.contains('*') || !port_is_sound {
            return Err(malformed());
        }
        let origin = format!("{scheme}://{named}");
        let origin = without_default_port(&origin);
        Ok(match wildcard {
            false => Pattern::Exact(origin.to_owned()),
            true => Pattern::Subdomains {
                scheme: format!("{scheme}://"),
                suffix: format!(".{}", origin.trim_start_matches(scheme).trim_start_matches("://")),
            },
        })
    }
}

/// Returns `true` if an origin is the host and port that a request addresses. The scheme does not count: a proxy may
/// have ended TLS.
pub(crate) fn is_same_host(origin: &str, host: Option<&str>) -> bool {
    let (Some(host), Some((scheme, _))) = (host, origin.split_once("://")) else { return false };
    let own = format!("{scheme}://{host}").to_ascii_lowercase();
    without_default_port(&own) == without_default_port(&origin.to_ascii_lowercase())
}

/// The origin without its scheme's default port (RFC 6454 §6.2).
fn without_default_port(origin: &str) -> &str {
    let default = [("https://", ":443"), ("wss://", ":443"), ("http://", ":80"), ("ws://", ":80")];
    let port = default.iter().find(|(scheme, _)| origin.starts_with(scheme)).map_or("", |(_, port)| port);
    origin.strip_suffix(port).unwrap_or(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, origin: &str) -> bool {
        Origins::parse([pattern]).unwrap().allow(origin, Some("own.example:8080"))
    }

    #[test]
    fn origin_match_ignores_case_default_port_and_trailing_slash() {
        for pattern in ["https://a.example", "https://a.example/", "https://a.example:443", "HTTPS://A.Example:443/"] {
            assert!(allows(pattern, "https://a.example"), "{pattern}");
            assert!(allows(pattern, "https://A.example:443"), "{pattern}");
            for other in
                ["http://a.example", "https://b.example", "https://a.example:8443", "https://a.example.evil", "null"]
            {
                assert!(!allows(pattern, other), "{pattern} {other}");
            }
        }
        assert!(allows("http://localhost:3000", "http://localhost:3000"));
        assert!(allows("http://[::1]:80", "http://[::1]"));
        assert!(!allows("http://localhost:3000", "http://localhost"));
    }

    #[test]
    fn wildcard_allows_subdomains_or_every_origin() {
        assert!(allows("https://*.example.com", "https://a.example.com"));
        assert!(allows("https://*.example.com", "https://a.b.example.com"));
        assert!(allows("https://*.example.com:8443", "https://a.example.com:8443"));
        for other in ["https://example.com", "https://.example.com", "https://evilexample.com", "http://a.example.com"]
        {
            assert!(!allows("https://*.example.com", other), "{other}");
        }
        assert!(allows("*", "https://anything") && allows("*", "null") && allows("null", "null"));
    }

    #[test]
    fn port_may_be_any_and_the_host_that_of_the_request() {
        for origin in ["https://a.example", "https://a.example:8443", "https://A.example:443"] {
            assert!(allows("https://a.example:*", origin), "{origin}");
        }
        for origin in ["http://a.example:8443", "https://b.a.example", "https://a.example:", "https://a.example:8443x"]
        {
            assert!(!allows("https://a.example:*", origin), "{origin}");
        }
        assert!(allows("http://*.localhost:*", "http://a.localhost:3000") && allows("http://[::1]:*", "http://[::1]"));
        assert!(allows("http://[::1]:*", "http://[::1]:3000") && !allows("http://*.localhost:*", "http://localhost:1"));
        for origin in ["http://own.example:8080", "https://OWN.example:8080"] {
            assert!(allows("self", origin), "{origin}");
        }
        for origin in ["http://own.example", "http://a.own.example:8080", "null", "https://other.example:8080"] {
            assert!(!allows("self", origin), "{origin}");
        }
        let own = Origins::parse(["self"]).unwrap();
        assert!(
            own.allow("https://a.example", Some("a.example")) && own.allow("https://a.example", Some("a.example:443"))
        );
        assert!(own.allow("http://a.example", Some("A.example:80")) && !own.allow("http://a.example", None));
    }

    #[test]
    fn pattern_that_can_never_match_is_an_error() {
        let refused = |pattern: &str| Origins::parse([pattern]).unwrap_err();
        assert_eq!(refused("a.example"), OriginError::NoScheme("a.example".to_owned()));
        assert_eq!(refused("https://a.example/chat"), OriginError::Path("https://a.example/chat".to_owned()));
        assert_eq!(refused("https://a.example?x"), OriginError::Path("https://a.example?x".to_owned()));
        for pattern in [
            "https://",
            "https://a example",
            "https://u@a.example",
            "https://a.example:x",
            "https://a*.example",
            "://a",
            "https://a.example:99999",
            "https://*.*.example",
            "https://*.",
            "https://[::1",
            "https://a.example:443:*",
            "https://:*",
            "null:*",
            "https://a.éxample",
        ] {
            assert_eq!(refused(pattern), OriginError::Malformed(pattern.to_owned()), "{pattern}");
        }
        assert_eq!(Origins::parse(Vec::<String>::new()), Err(OriginError::Empty));
    }
}
