//! The client of a request, as proxies announce it: `Forwarded` (RFC 7239), `X-Forwarded-For`, `X-Forwarded-Proto`.
//!
//! A client can send these headers itself. Only what trusted proxies have added counts: the addresses are read from the
//! end, and the first one that is no trusted proxy is the client.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};

use super::head::HeadError;
use crate::{
    network::{Network, NetworkError},
    peer_addr::PeerAddr,
};

/// The proxies whose headers count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TrustedProxies {
    networks: Vec<Network>,
    /// Those that connect by Unix sockets.
    unix: bool,
    pub(crate) headers: ForwardedHeaders,
}

impl TrustedProxies {
    /// Parses addresses, networks, and `unix`.
    pub(crate) fn parse<S: AsRef<str>>(proxies: impl IntoIterator<Item = S>) -> Result<Self, NetworkError> {
        let mut trusted = TrustedProxies::default();
        for proxy in proxies {
            match proxy.as_ref() {
                "unix" => trusted.unix = true,
                network => trusted.networks.push(network.parse()?),
            }
        }
        Ok(trusted)
    }

    fn trust(&self, peer: PeerAddr) -> bool {
        match peer.ip() {
            Some(address) => self.networks.iter().any(|network| network.contains(address)),
            None => self.unix,
        }
    }
}

/// The client of a request that has come through trusted proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// The port is 0 if the proxy does not say it.
    pub(crate) address: PeerAddr,
    /// The proxy says that the client uses TLS. `None`: it says nothing.
    pub(crate) is_secure: Option<bool>,
}

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The entry of one proxy: its client, and the scheme that the client has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Hop<'a> {
    client: Option<&'a str>,
    scheme: Option<&'a str>,
}

/// Which headers of trusted proxies count, for [`ServerConfig::forwarded_headers`](crate::ServerConfig). Proxies pass
/// on a header that they do not set, as the client has sent it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedHeaders {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`, or, where a request has neither of them, `Forwarded`. For proxies
    /// that set the former, as most do, or remove them.
    #[default]
    Either,
    /// `X-Forwarded-For` and `X-Forwarded-Proto` only.
    XForwarded,
    /// `Forwarded` only (RFC 7239).
    Forwarded,
}

/// The client, if `peer` is a trusted proxy.
///
/// # Errors
///
/// `Forwarded` is malformed: two readers could divide it differently.
pub(crate) fn client(
    headers: &HeaderMap,
    peer: PeerAddr,
    proxies: &TrustedProxies,
) -> Result<Option<Client>, HeadError> {
    if !proxies.trust(peer) {
        return Ok(None);
    }
    let has_others = || headers.contains_key(&X_FORWARDED_FOR) || headers.contains_key(&X_FORWARDED_PROTO);
    let hops = match proxies.headers {
        ForwardedHeaders::Either if has_others() => x_forwarded(headers),
        ForwardedHeaders::XForwarded => x_forwarded(headers),
        ForwardedHeaders::Either | ForwardedHeaders::Forwarded => forwarded(headers)?,
    };
    let mut client = Client { address: peer, is_secure: None };
    for hop in hops.iter().rev() {
        if let Some(scheme) = hop.scheme {
            client.is_secure = Some(scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss"));
        }
        // An address that is hidden, or that is no address, ends what is known.
        let Some(address) = hop.client.and_then(parse_node) else { break };
        client.address = address.into();
        if !proxies.trust(client.address) {
            break;
        }
    }
    Ok(Some(client))
}

/// The entries of `Forwarded`, over all its lines (RFC 7239 §4).
fn forwarded(headers: &HeaderMap) -> Result<Vec<Hop<'_>>, HeadError> {
    let mut hops = Vec::new();
    for line in headers.get_all(header::FORWARDED) {
        let line = line.to_str().map_err(|_| HeadError::Malformed)?;
        if !has_sound_quotes(line) {
            return Err(HeadError::Malformed);
        }
        hops.extend(split_quoted(line, ',').map(|element| {
            let mut hop = Hop::default();
            for pair in split_quoted(element, ';') {
                let Some((name, value)) = pair.split_once('=') else { continue };
                let value = unquoted(value.trim());
                match name.trim() {
                    name if name.eq_ignore_ascii_case("for") => hop.client = Some(value),
                    name if name.eq_ignore_ascii_case("proto") => hop.scheme = Some(value),
                    _ => {}
                }
            }
            hop
        }));
    }
    Ok(hops)
}

/// Returns `true` if each quoted string is a whole value: it begins behind `=`, and ends before a separator.
fn has_sound_quotes(line: &str) -> bool {
    let (mut before, mut quoted, mut escaped, mut closed) = ('=', false, false, false);
    for octet in line.chars() {
        match octet {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if quoted => (quoted, closed) = (false, true),
            _ if quoted => {}
            '"' if before == '=' && !closed => quoted = true,
            '"' => return false,
            ',' | ';' => closed = false,
            ' ' | '\t' => {}
            _ if closed => return false,
            _ => {}
        }
        before = octet;
    }
    !quoted
}

/// The entries of `X-Forwarded-For`, with those of `X-Forwarded-Proto`: as many, or one for all of them. A member that
/// is not ASCII is empty.
fn x_forwarded(headers: &HeaderMap) -> Vec<Hop<'_>> {
    let members = |name: &HeaderName| -> Vec<&str> {
        let lines = headers.get_all(name).into_iter().flat_map(|line| line.as_bytes().split(|octet| *octet == b','));
        lines.map(|member| str::from_utf8(member).unwrap_or_default().trim()).collect()
    };
    let (clients, schemes) = (members(&X_FORWARDED_FOR), members(&X_FORWARDED_PROTO));
    let count = clients.len().max(usize::from(!schemes.is_empty()));
    let hop = |index: usize| Hop {
        client: clients.get(index).copied(),
        scheme: match schemes[..] {
            [scheme] => Some(scheme),
            _ if schemes.len() == clients.len() => Some(schemes[index]),
            _ => None,
        },
    };
    (0..count).map(hop).collect()
}

/// Splits at a separator outside of quotes.
fn split_quoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |octet: char| {
        let is_separator = octet == separator && !quoted;
        match octet {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        is_separator
    })
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// An address with an optional port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`. `None` for
/// `unknown` and for names that hide the address (RFC 7239 §6).
fn parse_node(node: &str) -> Option<SocketAddr> {
    if let Ok(address) = node.parse::<IpAddr>() {
        return Some(SocketAddr::new(address.to_canonical(), 0));
    }
    if let Some(bare) = node.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return bare.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address.to_canonical(), 0));
    }
    // A port may be hidden behind a name.
    if let Some((address, _)) = node.rsplit_once(":_") {
        return parse_node(address);
    }
    node.parse::<SocketAddr>().ok().map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PEER: &str = "10.0.0.1:4000";

    /// The client by these lines. Proxies have addresses that begin with 10, or Unix sockets.
    fn found(peer: &str, lines: &[(&str, &str)]) -> Option<(String, Option<bool>)> {
        found_by(ForwardedHeaders::Either, peer, lines)
    }

    fn found_by(which: ForwardedHeaders, peer: &str, lines: &[(&str, &str)]) -> Option<(String, Option<bool>)> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let mut proxies = TrustedProxies::parse(["10.0.0.0/8", "unix"]).unwrap();
        proxies.headers = which;
        let peer = peer.parse().map_or(PeerAddr::Unix, PeerAddr::Ip);
        let client = client(&headers, peer, &proxies).unwrap();
        client.map(|client| (client.address.to_string(), client.is_secure))
    }

    fn is(address: &str, secure: Option<bool>) -> Option<(String, Option<bool>)> {
        Some((address.to_owned(), secure))
    }

    #[test]
    fn nearest_address_that_is_no_trusted_proxy_is_the_client() {
        for (value, client) in [
            ("192.0.2.7", "192.0.2.7:0"),
            ("192.0.2.7:81", "192.0.2.7:81"),
            ("6.6.6.6, 192.0.2.7", "192.0.2.7:0"),
            ("6.6.6.6, 192.0.2.7, 10.0.0.2", "192.0.2.7:0"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3:0"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("::ffff:192.0.2.7", "192.0.2.7:0"),
            ("192.0.2.7, unknown, 10.0.0.2", "10.0.0.2:0"),
            ("nonsense", PEER),
            ("", PEER),
        ] {
            assert_eq!(found(PEER, &[("x-forwarded-for", value)]), is(client, None), "{value}");
        }
        let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.7")];
        assert_eq!(found(PEER, &lines), is("192.0.2.7:0", None), "lines are one list");
        assert_eq!(found("192.0.2.9:1", &lines), None, "anyone can send the header");
        assert_eq!(found(PEER, &[]), is(PEER, None));
        assert_eq!(found("unix", &lines), is("192.0.2.7:0", None));
        let none = TrustedProxies::default();
        assert_eq!(client(&HeaderMap::new(), PeerAddr::Unix, &none), Ok(None));
        assert!(TrustedProxies::parse(["10.0.0.1/8"]).is_err());
    }

    #[test]
    fn forwarded_header_of_the_standard_counts_where_there_is_no_other() {
        for (value, client, secure) in [
            ("for=192.0.2.7", "192.0.2.7:0", None),
            ("For=\"[2001:db8::1]:4711\";proto=https", "[2001:db8::1]:4711", Some(true)),
            ("for=6.6.6.6;proto=https, for=192.0.2.7;proto=http", "192.0.2.7:0", Some(false)),
            ("for=192.0.2.7;proto=https, for=10.0.0.2;proto=http", "192.0.2.7:0", Some(true)),
            ("for=192.0.2.7;by=\"a,b;c\\\"=d\";host=x", "192.0.2.7:0", None),
            ("for=_hidden;proto=https", PEER, Some(true)),
            ("proto=https", PEER, Some(true)),
            ("for=\"192.0.2.7:_port\" ; by=\"a\\\"b\" , for=10.0.0.2", "192.0.2.7:0", None),
        ] {
            assert_eq!(found(PEER, &[("forwarded", value)]), is(client, secure), "{value}");
        }
        // A proxy that sets one of them passes the other on, as the client has sent it.
        let lines = [("forwarded", "for=6.6.6.6;proto=https"), ("x-forwarded-for", "192.0.2.7")];
        assert_eq!(found(PEER, &lines), is("192.0.2.7:0", None));
        for (only, client) in
            [(ForwardedHeaders::XForwarded, "192.0.2.7:0"), (ForwardedHeaders::Forwarded, "6.6.6.6:0")]
        {
            assert_eq!(found_by(only, PEER, &lines).unwrap().0, client);
        }
        assert_eq!(found_by(ForwardedHeaders::XForwarded, PEER, &lines[..1]), is(PEER, None));
        assert_eq!(found_by(ForwardedHeaders::Forwarded, PEER, &lines[1..]), is(PEER, None));
    }

    #[test]
    fn what_a_client_sends_ahead_hides_no_entry_of_the_proxy() {
        let proxies = TrustedProxies::parse(["10.0.0.0/8"]).unwrap();
        for line in ["for=6.6.6.6;x=\", for=192.0.2.7", "for=6.6.6.6;x\"\", for=192.0.2.7", "x=\"a\"b, for=192.0.2.7"] {
            let mut headers = HeaderMap::new();
            headers.insert(header::FORWARDED, HeaderValue::from_str(line).unwrap());
            assert_eq!(
                client(&headers, PeerAddr::Ip(PEER.parse().unwrap()), &proxies),
                Err(HeadError::Malformed),
                "{line}"
            );
        }
        let mut headers = HeaderMap::new();
        headers.insert(&X_FORWARDED_FOR, HeaderValue::from_bytes(b"\x80, 192.0.2.7").unwrap());
        let found = client(&headers, PeerAddr::Ip(PEER.parse().unwrap()), &proxies).unwrap().unwrap();
        assert_eq!(found.address.to_string(), "192.0.2.7:0");
    }

    #[test]
    fn scheme_is_that_of_the_clients_proxy() {
        for (clients, schemes, secure) in [
            ("192.0.2.7", "https", Some(true)),
            ("192.0.2.7", "HTTP", Some(false)),
            ("6.6.6.6, 192.0.2.7, 10.0.0.2", "http, https, http", Some(true)),
            ("192.0.2.7, 10.0.0.2", "https", Some(true)),
            ("192.0.2.7", "https, http", None),
            ("", "wss", Some(true)),
        ] {
            let lines = [("x-forwarded-for", clients), ("x-forwarded-proto", schemes)];
            let lines = if clients.is_empty() { &lines[1..] } else { &lines };
            assert_eq!(found(PEER, lines).unwrap().1, secure, "{clients} {schemes}");
        }
    }
}
