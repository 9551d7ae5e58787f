//! The request of an opening handshake: upgrade, origin, subprotocols.

use http::{
    HeaderName, HeaderValue,
    header::{self, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION},
};

use crate::http::{HeadError, Request};

/// The headers that name the page that opens the connection; the second one is that of the drafts.
static ORIGINS: [HeaderName; 2] = [header::ORIGIN, HeaderName::from_static("sec-websocket-origin")];

/// Name of the subprotocol header in hixie-75.
static HIXIE_PROTOCOL: HeaderName = HeaderName::from_static("websocket-protocol");

impl Request {
    /// Requires a `Host` header. A request that may ask for a WebSocket is exempt here, because versions differ in
    /// that.
    pub(crate) fn check_host(&self) -> Result<(), HeadError> {
        if !self.known.upgrade {
            return self.require_host();
        }
        let lines = self.headers().get_all(header::UPGRADE).into_iter().map(HeaderValue::as_bytes);
        let mut protocols = lines.flat_map(|line| line.split(|octet| *octet == b','));
        let exempt = protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket"));
        if exempt { Ok(()) } else { self.require_host() }
    }

    /// Origin of the page that opened the connection, as sent by browsers: `Origin`, or `Sec-WebSocket-Origin` in the
    /// drafts. RFC 6454 §7.
    pub fn origin(&self) -> Option<&str> {
        let named = |name: &HeaderName| self.headers().get(name)?.to_str().ok();
        ORIGINS.iter().find_map(named)
    }

    /// Returns `true` if the request has an origin header, valid or not.
    pub(crate) fn names_origin(&self) -> bool {
        ORIGINS.iter().any(|name| self.headers().contains_key(name))
    }

    /// Subprotocols offered by the client, in its order of preference. RFC 6455 §4.1.
    ///
    /// Values are split at commas and spaces, because drafts before hybi-04 separate by spaces. hixie-75 names the
    /// header `WebSocket-Protocol`.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.list(self.subprotocol_header())
            .flat_map(|member| member.split([' ', '\t']))
            .filter(|member| !member.is_empty())
    }

    /// Name of the header with the subprotocols. The older name counts only without a header of hybi-04 or later; some
    /// clients use the older name in hixie-76.
    pub(crate) fn subprotocol_header(&self) -> HeaderName {
        let newer = [SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL];
        match newer.iter().any(|name| self.headers().contains_key(name)) {
            true => SEC_WEBSOCKET_PROTOCOL,
            false => HIXIE_PROTOCOL.clone(),
        }
    }

    /// The offered subprotocols, in one line.
    pub(crate) fn subprotocols_as_written(&self) -> Option<String> {
        let lines = self.headers().get_all(self.subprotocol_header()).into_iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    /// Returns `true` for a WebSocket request: `Upgrade` contains `websocket`, and `Connection` contains `upgrade`.
    /// RFC 6455 §4.2.1.
    pub fn is_upgrade(&self) -> bool {
        self.names_websocket() && self.names_upgrade()
    }

    pub(crate) fn names_upgrade(&self) -> bool {
        self.list(header::CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"))
    }

    pub(crate) fn names_websocket(&self) -> bool {
        self.known.upgrade && self.list(header::UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn missing_host_is_refused_unless_the_request_may_ask_for_a_websocket() {
        let check = |lines: &[&[u8]]| {
            let mut head = http::Request::new(());
            for line in lines {
                head.headers_mut().append(header::UPGRADE, HeaderValue::from_bytes(line).unwrap());
            }
            Request::new(head, std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into(), None, false).check_host()
        };
        assert_eq!(check(&[]), Err(HeadError::Host));
        assert_eq!(check(&[b"h2c"]), Err(HeadError::Host));
        for exempt in [&[&b"WebSocket"[..]][..], &[b"h2c", b"websocket"], &[b"\xe9, websocket"]] {
            assert_eq!(check(exempt), Ok(()), "{exempt:?}");
        }
    }
}
