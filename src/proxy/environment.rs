//! The proxy that the environment names for a URL, and the servers exempt from the proxy.

use std::net::IpAddr;

use super::Proxy;
use crate::url::{Url, UrlError, without_credentials};

/// The proxy named by the variables for `url`, by the rules of
/// [`Client::proxy_from_environment`](crate::Client::proxy_from_environment). The error has the text that is not a
/// proxy.
pub(crate) fn proxy_for(
    url: &Url,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, (String, UrlError)> {
    let given = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let either = |name: &str| given(name).or_else(|| given(&name.to_ascii_uppercase()));
    if url.socket.is_some() || either("no_proxy").is_some_and(|list| list.split(',').any(|entry| is_named(url, entry)))
    {
        return Ok(None);
    }
    let named = match url.secure {
        true => either("wss_proxy").or_else(|| either("https_proxy")),
        // In CGI, `HTTP_PROXY` is the `Proxy` header of the request.
        false => either("ws_proxy").or_else(|| given("http_proxy")),
    };
    let Some(text) = named.or_else(|| either("all_proxy")) else { return Ok(None) };
    let proxy = if text.contains("://") { text.parse() } else { format!("http://{text}").parse() };
    proxy.map(Some).map_err(|error| (without_credentials(&text), error))
}

/// Returns `true` if an entry of `no_proxy` names the server.
fn is_named(url: &Url, entry: &str) -> bool {
    let entry = entry.trim();
    if entry == "*" {
        return true;
    }
    let host = url.host.trim_end_matches('.').to_ascii_lowercase();
    let (name, here) = if entry.parse::<IpAddr>().is_ok() { (entry, true) } else { with_port(entry, url.port) };
    if let Ok(address) = host.parse::<IpAddr>() {
        let (network, length) = name.split_once('/').map_or((name, None), |(network, length)| (network, Some(length)));
        let network = network.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        return here
            && network.is_ok_and(|network| match length {
                None => network == address,
                Some(length) => length.parse().is_ok_and(|length| shares(address, network, length)),
            });
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    let name = name.trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
    let below = || host.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.'));
    !name.is_empty() && here && (host == name || below())
}

/// The entry without its port, and whether the port, if there is one, is `port`. A network of IPv6 has colons, and no
/// port.
fn with_port(entry: &str, port: u16) -> (&str, bool) {
    match entry.rsplit_once(':') {
        Some((name, named)) if !named.ends_with(']') && !entry.contains('/') => (name, named.parse() == Ok(port)),
        _ => (entry, true),
    }
}

/// Returns `true` if the first `length` bits of both addresses are equal.
fn shares(one: IpAddr, other: IpAddr, length: u32) -> bool {
    let differing = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(u32::from(one)) ^ u128::from(u32::from(other))) << 96,
        (IpAddr::V6(one), IpAddr::V6(other)) => u128::from(one) ^ u128::from(other),
        _ => return false,
    };
    let most = if one.is_ipv4() { 32 } else { 128 };
    length <= most && differing.leading_zeros() >= length
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy for a URL when the variables are `NAME=VALUE NAME=VALUE …`.
    fn proxy(url: &str, variables: &str) -> Result<Option<(String, u16)>, UrlError> {
        let value = |name: &str| {
            let mut pairs = variables.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.find(|(given, _)| *given == name).map(|(_, value)| value.to_owned())
        };
        let found = proxy_for(&Url::parse(url).unwrap(), value).map_err(|(_, error)| error)?;
        Ok(found.map(|proxy| (proxy.host, proxy.port)))
    }

    #[test]
    fn url_scheme_selects_the_proxy_variable() {
        let named = |host: &str, port| Ok(Some((host.to_owned(), port)));
        let all = "http_proxy=http://h:1 https_proxy=http://s:2 ALL_PROXY=socks5://a";
        assert_eq!(proxy("ws://x/", all), named("h", 1));
        assert_eq!(proxy("wss://x/", all), named("s", 2));
        assert_eq!(proxy("ws://x/", "all_proxy=socks5://a"), named("a", 1080));
        assert_eq!(proxy("wss://x/", &format!("WSS_PROXY=w {all}")), named("w", 8080));
        assert_eq!(proxy("ws://x/", &format!("ws_proxy=w:3 {all}")), named("w", 3));
        assert_eq!(proxy("wss://x/", "HTTPS_PROXY=s:2"), named("s", 2));
        // CVE-2016-5385: a CGI process has the header `Proxy` of a request in this variable.
        assert_eq!(proxy("ws://x/", "HTTP_PROXY=http://evil"), Ok(None));
        assert_eq!(proxy("ws://x/", "http_proxy="), Ok(None));
        assert_eq!(proxy("ws://x/", "http_proxy=ftp://x"), Err(UrlError::Scheme));
        assert_eq!(proxy("ws+unix:/run/x", all), Ok(None));
    }

    #[test]
    fn no_proxy_lists_the_hosts_that_are_reached_directly() {
        let direct = |url: &str, list: &str| proxy(url, &format!("all_proxy=p no_proxy={list}")).unwrap().is_none();
        for (url, list) in [
            ("ws://example.com/", "*"),
            ("ws://example.com/", "localhost,example.com"),
            ("ws://www.EXAMPLE.com/", "localhost,.Example.com"),
            ("ws://www.example.com./", "example.com."),
            ("ws://example.com:8080/", "example.com:8080"),
            ("ws://127.0.0.1/", "127.0.0.1"),
            ("ws://10.20.30.40/", "10.0.0.0/8"),
            ("ws://[fe80::1]/", "fe80::/10"),
            ("ws://[::1]/", "[::1]"),
            ("ws://[::1]:81/", "[::1]:81"),
            ("ws://127.0.0.1:8080/", "127.0.0.1:8080"),
            ("ws://www.example.com/", "*.example.com"),
        ] {
            assert!(direct(url, list), "{url} {list}");
        }
        for (url, list) in [
            ("ws://example.com/", ""),
            ("ws://badexample.com/", "example.com"),
            ("ws://example.com/", "www.example.com"),
            ("ws://example.com/", "example.com:8080"),
            ("ws://11.0.0.1/", "10.0.0.0/8"),
            ("ws://10.0.0.1/", "10.0.0.0/33"),
            ("ws://10.0.0.1/", "0"),
            ("ws://[::1]/", "0.0.0.0/0"),
            ("ws://[::1]/", "[::1]:81"),
            ("ws://127.0.0.1/", "127.0.0.1:8080"),
        ] {
            assert!(!direct(url, list), "{url} {list}");
        }
    }
}
