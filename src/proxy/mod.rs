//! Proxies between a client and its server: HTTP CONNECT (RFC 9110 §9.3.6) and SOCKS5 (RFC 1928, RFC 1929).
//!
//! Pure: bytes in, bytes out. TLS to the proxy lies beneath. After the tunnel is established, all bytes are the
//! server's.

mod connect;
mod environment;
mod socks5;

use std::{fmt, str::FromStr};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

pub(crate) use self::environment::proxy_for;
use self::{connect::Connect, socks5::Socks5};
use crate::url::{Credentials, Url, UrlError};

/// A proxy for [`Client::proxy`](crate::Client::proxy).
///
/// A proxy is parsed from a URL: `http://` for CONNECT (RFC 9110 §9.3.6), `https://` for CONNECT inside TLS,
/// `socks5://` or `socks5h://` for SOCKS5 (RFC 1928). The URL may contain a user and a password. Default ports are
/// 8080, 443 and 1080. The proxy resolves the name of the server, with each of the schemes.
///
/// ```
/// use ws_reactor::{Callbacks, Client, Proxy};
///
/// let client = Client::new(Callbacks::new()).proxy("socks5://user:password@127.0.0.1:1080".parse::<Proxy>()?);
/// # Ok::<(), ws_reactor::UrlError>(())
/// ```
///
/// # Errors
///
/// Parsing gives the [`UrlError`] of the first part that is not valid, and [`UrlError::Scheme`] for other schemes.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    pub(crate) host: String,
    pub(crate) port: u16,
    credentials: Option<Credentials>,
    headers: HeaderMap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connect,
    /// CONNECT inside TLS.
    SecureConnect,
    Socks5,
}

impl Proxy {
    /// Adds a header to the CONNECT request. Not used with SOCKS5.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Returns `true` if the connection to the proxy uses TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.kind == Kind::SecureConnect
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = self.credentials.is_some();
        let mut proxy = formatter.debug_struct("Proxy");
        proxy.field("kind", &self.kind).field("host", &self.host).field("port", &self.port);
        proxy.field("credentials", &credentials).finish_non_exhaustive()
    }
}

impl FromStr for Proxy {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let (kind, usual) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Connect, 8080),
            "https" => (Kind::SecureConnect, 443),
            "socks5" | "socks5h" => (Kind::Socks5, 1080),
            _ => return Err(UrlError::Scheme),
        };
        // The rest is parsed like a WebSocket URL; scheme and default port differ.
        let url = Url::parse(&format!("ws://{rest}"))?;
        let (host, port) = (url.scoped_host(), url.port);
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let named = authority.rsplit(['@', ']']).next().is_some_and(|rest| rest.contains(':'));
        Ok(Proxy {
            kind,
            host,
            port: if named { port } else { usual },
            credentials: url.credentials,
            headers: HeaderMap::new(),
        })
    }
}

/// Why a proxy did not connect to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// The HTTP proxy responded with this status.
    Refused(StatusCode),
    /// The SOCKS proxy responded with this reply code, such as 4 for host unreachable or 5 for connection refused. RFC
    /// 1928 §6.
    Reply(u8),
    /// The SOCKS proxy requires credentials, requires another method, or rejected the user and password. RFC 1928 §3,
    /// RFC 1929 §2.
    Credentials,
    /// The response of the proxy is malformed, or bytes follow the response before the server was addressed.
    Malformed,
    /// The host name, user or password is longer than 255 bytes, the limit of SOCKS. The proxy does not receive the
    /// value.
    TooLong,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyError::Refused(status) => write!(formatter, "the proxy responded with {status}"),
            ProxyError::Reply(reply) => write!(formatter, "the proxy cannot connect: {}", socks5::meaning(*reply)),
            ProxyError::Credentials => formatter.write_str("the proxy requires other credentials"),
            ProxyError::TooLong => formatter.write_str("a name, user or password is too long for SOCKS"),
            ProxyError::Malformed => formatter.write_str("the proxy's reply is malformed"),
        }
    }
}

impl std::error::Error for ProxyError {}

/// A tunnel under construction.
pub(crate) enum Tunnel {
    Connect(Connect),
    Socks5(Socks5),
}

impl Tunnel {
    /// Starts a tunnel through `proxy` and appends the first bytes for the proxy to `out`.
    pub(crate) fn new(proxy: &Proxy, url: &Url, out: &mut Vec<u8>) -> Self {
        match proxy.kind {
            Kind::Connect | Kind::SecureConnect => {
                Tunnel::Connect(Connect::new(url, proxy.credentials.as_ref(), &proxy.headers, out))
            }
            Kind::Socks5 => Tunnel::Socks5(Socks5::new(url, proxy.credentials.clone(), out)),
        }
    }

    /// Reads bytes of the proxy, and appends the answer to `out`. Once the tunnel is established, returns how many
    /// bytes of `data` were the proxy's: all of them, because a server does not send first.
    pub(crate) fn read(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, ProxyError> {
        match self {
            Tunnel::Connect(connect) => connect.read(data),
            Tunnel::Socks5(socks) => socks.read(data, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes sent to the proxy, and the last result of the tunnel, after `replies` octet by octet.
    fn run_tunnel(proxy: &str, url: &str, replies: &[u8]) -> (Vec<u8>, Result<Option<usize>, ProxyError>) {
        let mut out = Vec::new();
        let mut tunnel = Tunnel::new(&proxy.parse().unwrap(), &Url::parse(url).unwrap(), &mut out);
        let mut result = Ok(None);
        for (index, octet) in replies.iter().enumerate() {
            result = tunnel.read(&[*octet], &mut out);
            if !matches!(result, Ok(None)) {
                assert!(result.is_err() || index + 1 == replies.len(), "the tunnel opens only with the last octet");
                break;
            }
        }
        (out, result)
    }

    #[test]
    fn proxy_is_parsed_from_a_url() {
        let parsed = |text: &str| text.parse::<Proxy>().map(|proxy| (proxy.kind, proxy.host, proxy.port));
        assert_eq!(parsed("http://proxy"), Ok((Kind::Connect, "proxy".to_owned(), 8080)));
        assert_eq!(parsed("http://u:p@[::1]:80/"), Ok((Kind::Connect, "::1".to_owned(), 80)));
        assert_eq!(parsed("https://proxy"), Ok((Kind::SecureConnect, "proxy".to_owned(), 443)));
        assert_eq!(parsed("SOCKS5://u:p@proxy"), Ok((Kind::Socks5, "proxy".to_owned(), 1080)));
        assert_eq!(parsed("socks5h://proxy:9050"), Ok((Kind::Socks5, "proxy".to_owned(), 9050)));
        assert_eq!(parsed("socks4://proxy"), Err(UrlError::Scheme));
        assert_eq!(parsed("proxy:8080"), Err(UrlError::Scheme));
        let secure =
            ["http://proxy", "https://proxy", "socks5://proxy"].map(|text| text.parse::<Proxy>().unwrap().is_secure());
        assert_eq!(secure, [false, true, false]);
    }

    #[test]
    fn http_proxy_gets_a_connect_request_and_must_reply_with_success() {
        let (sent, result) = run_tunnel(
            "http://user:pass@proxy:3128",
            "wss://example.com/x",
            b"HTTP/1.1 200 Connection established\r\n\r\n",
        );
        let expected = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\
                        Proxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n";
        assert_eq!((String::from_utf8(sent).unwrap().as_str(), result), (expected, Ok(Some(1))));
        let own = "http://proxy".parse::<Proxy>().unwrap().header(http::header::USER_AGENT, "x/1".parse().unwrap());
        let mut sent = Vec::new();
        Tunnel::new(&own, &Url::parse("ws://a/").unwrap(), &mut sent);
        assert!(sent.ends_with(b"\r\nUser-Agent: x/1\r\n\r\n"));
        let (sent, _) = run_tunnel("http://proxy", "ws://[::1]:81/", b"");
        assert!(sent.starts_with(b"CONNECT [::1]:81 HTTP/1.1\r\nHost: [::1]:81\r\n\r\n"));
        let (_, result) =
            run_tunnel("http://proxy", "ws://a/", b"HTTP/1.0 407 Proxy Authentication Required\r\nX: y\r\n\r\n");
        assert_eq!(result, Err(ProxyError::Refused(StatusCode::PROXY_AUTHENTICATION_REQUIRED)));
        let early = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(8);
        let late = [&early[..], b"HTTP/1.1 200 OK\r\n\r\n"].concat();
        assert_eq!(run_tunnel("http://proxy", "ws://a/", &late).1, Ok(Some(1)));
        let mut tunnel =
            Tunnel::new(&"http://proxy".parse().unwrap(), &Url::parse("ws://a/").unwrap(), &mut Vec::new());
        assert_eq!(tunnel.read(&late, &mut Vec::new()), Ok(Some(late.len())));
        let flood = [&early[..], b"HTTP/1.1 103 Early Hints\r\n\r\n"].concat();
        assert_eq!(
            run_tunnel("http://proxy", "ws://a/", &flood).1,
            Err(ProxyError::Refused(StatusCode::from_u16(103).unwrap()))
        );
        assert_eq!(run_tunnel("http://proxy", "ws://a/", b"SSH-2.0-x\r\n\r\n").1, Err(ProxyError::Malformed));
    }

    #[test]
    fn socks_proxy_gets_the_target_as_a_name_or_an_address() {
        let reply = [5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 80];
        let (sent, tunnel) = run_tunnel("socks5://proxy", "ws://example.com/", &reply);
        assert_eq!(sent, [&[5, 1, 0, 5, 1, 0, 3, 11][..], b"example.com", &[0, 80]].concat());
        assert_eq!(tunnel, Ok(Some(1)));
        let (sent, tunnel) =
            run_tunnel("socks5://proxy", "ws://10.1.2.3:258/", &[5, 0, 5, 0, 0, 3, 2, b'a', b'b', 0, 80]);
        assert_eq!((sent, tunnel), (vec![5, 1, 0, 5, 1, 0, 1, 10, 1, 2, 3, 1, 2], Ok(Some(1))));
        let six = [&[5, 0, 5, 0, 0, 4][..], &[0; 18]].concat();
        let (sent, tunnel) = run_tunnel("socks5://proxy", "ws://[::1]/", &six);
        assert_eq!((sent[6], sent.len(), tunnel), (4, 3 + 4 + 16 + 2, Ok(Some(1))));
    }

    #[test]
    fn socks_proxy_gets_credentials_if_it_asks_for_them() {
        let (sent, result) =
            run_tunnel("socks5://us:er:pa@proxy", "ws://a/", &[5, 2, 1, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(sent, [&[5, 2, 0, 2, 1, 2][..], b"us", &[5], b"er:pa", &[5, 1, 0, 3, 1, b'a', 0, 80]].concat());
        assert_eq!(result, Ok(Some(1)));
        assert_eq!(run_tunnel("socks5://u:p@proxy", "ws://a/", &[5, 2, 1, 1]).1, Err(ProxyError::Credentials));
        let long = format!("socks5://u:{}@proxy", "p".repeat(256));
        assert_eq!(run_tunnel(&long, "ws://a/", &[5, 2]).1, Err(ProxyError::TooLong));
        let longest = format!("socks5://u:{}@proxy", "p".repeat(255));
        assert_eq!(run_tunnel(&longest, "ws://a/", &[5, 2]).1, Ok(None));
        assert!(!format!("{:?}", "http://user:secret@proxy".parse::<Proxy>()).contains("secret"));
        assert_eq!(run_tunnel("socks5://proxy", "ws://a/", &[5, 2]).1, Err(ProxyError::Credentials));
        assert_eq!(run_tunnel("socks5://u:p@proxy", "ws://a/", &[5, 0xff]).1, Err(ProxyError::Credentials));
    }

    #[test]
    fn error_reply_of_a_socks_proxy_is_reported_with_its_text() {
        assert_eq!(run_tunnel("socks5://proxy", "ws://a/", &[5, 0, 5, 5]).1, Err(ProxyError::Reply(5)));
        // The texts of RFC 1928 §6.
        let words = ["failure", "rules", "network", "host", "refused", "expired", "command", "address type", "unknown"];
        for (reply, word) in (1..).zip(words) {
            assert!(ProxyError::Reply(reply).to_string().contains(word), "{reply}: {}", ProxyError::Reply(reply));
        }
        for nonsense in [&[4][..], b"HTTP/1.1", &[5, 0, 4], &[5, 0, 5, 0, 0, 9]] {
            assert_eq!(run_tunnel("socks5://proxy", "ws://a/", nonsense).1, Err(ProxyError::Malformed), "{nonsense:?}");
        }
    }
}
