//! Tests of the client handshake, with responses of this crate's server.

#[cfg(feature = "deflate")]
use std::sync::LazyLock;

use super::*;
use crate::{
    http::{HeadLimits, Request, head::HeadReader},
    protocol::handshake::{Handshake, compression, detect},
};

const LOCATION: &str = "ws://example.com/demo?a=b";

/// Sends a request changed by `change` to this crate's server, and alters the response by `alter`.
fn exchange(
    version: Version,
    change: impl FnOnce(&mut ClientRequest<'_>),
    alter: impl FnOnce(String) -> String,
) -> Result<(Request, Negotiated), ResponseError> {
    let (subprotocols, headers) = (["chat".to_owned(), "superchat".to_owned()], HeaderMap::new());
    let mut request = ClientRequest {
        version,
        target: "/demo?a=b",
        authority: "example.com",
        location: LOCATION,
        host: None,
        origin: None,
        subprotocols: &subprotocols,
        lenient_subprotocol: false,
        headers: &headers,
        deflate: None,
    };
    change(&mut request);
    let mut sent = Vec::new();
    let proof = request.write(&mut Masks::new(Box::new(|bytes| bytes.fill(0x5a))), &mut sent);
    let (head, used) = HeadReader::default().read(&sent, &HeadLimits::default()).unwrap().unwrap();
    let received = Request::new(head, std::net::SocketAddr::from(([127, 0, 0, 1], 5)).into(), None, false);
    assert_eq!(detect(&received, Version::ALL), Ok(version));
    let agreed = compression(&received, version, request.deflate).unwrap();
    let subprotocol = received.subprotocols().last().map(str::to_owned);
    let handshake = Handshake::new(received.clone(), version, subprotocol, agreed);
    let mut response = Vec::new();
    handshake.answer(&HeaderMap::new(), &mut response);
    if let ExpectedReply::Behind(expected) = proof {
        assert_eq!((handshake.challenge_bytes(), handshake.prove(&sent[used..])), (sent.len() - used, expected));
    }
    let response = alter(String::from_utf8(response).unwrap());
    let (response, _) =
        HeadReader::default().read_response(response.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
    request.check(&response, &proof).map(|agreed| (received, agreed))
}

/// Replaces a text, which must occur, in the response.
fn replacing<'a>(from: &'a str, to: &'a str) -> impl FnOnce(String) -> String + 'a {
    move |response| {
        assert!(response.contains(from), "{from}: {response}");
        response.replace(from, to)
    }
}

fn refused(version: Version, from: &str, to: &str) -> ResponseError {
    match exchange(version, |_| {}, replacing(from, to)) {
        Ok(_) => panic!("{version}: {from} replaced by {to} was accepted"),
        Err(error) => error,
    }
}

#[test]
fn request_of_every_version_is_answered_with_a_response_that_the_client_accepts() {
    for version in Version::ALL.iter().copied() {
        let (received, agreed) = exchange(version, |_| {}, |response| response).unwrap();
        assert_eq!(agreed.subprotocol.as_deref(), Some("superchat"), "{version}");
        assert!(agreed.compression.is_none());
        let hixie = version.number() > 13 || version.number() < 4;
        assert_eq!(
            received.origin(),
            hixie.then_some("http://example.com"),
            "{version}: only hixie has a default origin"
        );
        static PAGE: HeaderValue = HeaderValue::from_static("http://page.example");
        let (received, _) = exchange(version, |request| request.origin = Some(&PAGE), |response| response).unwrap();
        let name = if matches!(version.number(), 5..=8) { "Sec-WebSocket-Origin" } else { "Origin" };
        assert_eq!(received.header(name), Some("http://page.example"), "{version}");
        assert_eq!(received.header("Upgrade"), Some(if hixie { "WebSocket" } else { "websocket" }), "{version}");
        let name = if version == Version::Hixie75 { "WebSocket-Protocol" } else { "Sec-WebSocket-Protocol" };
        assert_eq!(received.header(name), Some("chat, superchat"), "{version}");
        let (received, agreed) = exchange(version, |request| request.subprotocols = &[], |response| response).unwrap();
        assert_eq!((received.subprotocols().count(), agreed.subprotocol), (0, None), "{version}");
    }
}

#[test]
fn hixie_76_request_over_tls_has_an_https_origin() {
    let secure = |request: &mut ClientRequest<'_>| request.location = "wss://example.com/demo?a=b";
    let (received, _) = exchange(Version::Hixie76, secure, replacing(LOCATION, "wss://example.com/demo?a=b")).unwrap();
    assert_eq!(received.origin(), Some("https://example.com"));
}

#[test]
fn response_with_one_invalid_part_is_refused_with_the_error_of_that_part() {
    for version in Version::ALL.iter().copied() {
        assert_eq!(refused(version, " 101 ", " 200 "), ResponseError::Status(StatusCode::OK));
        assert_eq!(refused(version, "HTTP/1.1", "HTTP/1.0"), ResponseError::HttpVersion);
        assert_eq!(refused(version, "Upgrade: ", "X-Upgrade: "), ResponseError::Upgrade);
        assert_eq!(refused(version, "Connection: Upgrade", "Connection: keep-alive"), ResponseError::Connection);
        assert_eq!(refused(version, "superchat", "other"), ResponseError::Subprotocol);
        assert_eq!(refused(version, "\r\n\r\n", "\r\nSec-WebSocket-Extensions: x\r\n\r\n"), ResponseError::Extension);
    }
    for (from, to) in [("Accept: ", "Accept: x"), ("Sec-WebSocket-Accept", "X-Accept")] {
        assert_eq!(refused(Version::Rfc6455, from, to), ResponseError::Accept);
    }
    let other = "Upgrade: websocket\r\nUpgrade: h2c";
    assert_eq!(refused(Version::Rfc6455, "Upgrade: websocket", other), ResponseError::Upgrade, "two protocols");
    for version in [Version::Hixie75, Version::Hixie76] {
        for (from, to) in [(LOCATION, "ws://example.com/"), ("Origin: http", "Origin: https"), ("Location: ", "X: ")] {
            assert_eq!(refused(version, from, to), ResponseError::Location, "{version}: {from}");
        }
    }
}

#[test]
fn empty_subprotocol_header_is_refused_unless_it_is_to_count_as_none() {
    let empty = |response: String| response.replace("Protocol: superchat\r\n", "Protocol: \r\n");
    let twice =
        |response: String| response.replace("Protocol: superchat\r\n", "Protocol: \r\nSec-WebSocket-Protocol:\r\n");
    let other = |response: String| response.replace("superchat", "other");
    let list = |response: String| response.replace("superchat", ",");
    for version in Version::ALL.iter().copied() {
        let lenient = |request: &mut ClientRequest<'_>| request.lenient_subprotocol = true;
        assert_eq!(exchange(version, |_| {}, empty).err(), Some(ResponseError::EmptySubprotocol), "{version}");
        assert_eq!(exchange(version, lenient, empty).unwrap().1.subprotocol, None, "{version}");
        let (_, agreed) = exchange(version, lenient, |response| response).unwrap();
        assert_eq!(agreed.subprotocol.as_deref(), Some("superchat"), "{version}");
        assert_eq!(exchange(version, lenient, other).err(), Some(ResponseError::Subprotocol), "{version}");
        assert_eq!(exchange(version, lenient, list).err(), Some(ResponseError::Subprotocol), "{version}");
        if version != Version::Hixie75 {
            assert_eq!(exchange(version, lenient, twice).err(), Some(ResponseError::Subprotocol), "{version}");
        }
    }
}

#[cfg(feature = "deflate")]
#[test]
fn offered_compression_is_agreed_and_an_unknown_extension_refused() {
    static CONFIG: LazyLock<DeflateConfig> = LazyLock::new(DeflateConfig::dedicated);
    let offering = |request: &mut ClientRequest<'_>| request.deflate = Some(&CONFIG);
    let (_, agreed) = exchange(Version::Rfc6455, offering, |response| response).unwrap();
    assert!(agreed.compression.is_some());
    let unknown = replacing("permessage-deflate", "permessage-bzip2");
    assert_eq!(exchange(Version::Rfc6455, offering, unknown).err(), Some(ResponseError::Extension));
    for (parameters, named) in [
        ("; server_max_window_bits=16", "server_max_window_bits"),
        ("; server_max_window_bits=", "server_max_window_bits"),
        ("; client_max_window_bits", "client_max_window_bits"),
        ("; server_no_context_takeover; server_no_context_takeover", "server_no_context_takeover"),
        ("; level=9", "unknown"),
    ] {
        let answer = |response: String| {
            let (start, end) = response.split_once("permessage-deflate").unwrap();
            format!("{start}permessage-deflate{parameters}\r\n{}", end.split_once("\r\n").unwrap().1)
        };
        let error = exchange(Version::Rfc6455, offering, answer).err().unwrap();
        assert_eq!(error, ResponseError::ExtensionParameter(named), "{parameters}");
        assert!(!error.to_string().contains("not offered") && error.to_string().ends_with(named), "{error}");
    }
}

#[test]
fn invalid_or_repeated_subprotocol_is_found_before_the_request_is_sent() {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(unfit_subprotocol(&owned(&["chat", "v1.chat"])), None);
    for (names, unfit) in [(["chat", ""], ""), (["chat", "a b"], "a b"), (["chat", "chat"], "chat")] {
        assert_eq!(unfit_subprotocol(&owned(&names)).map(String::as_str), Some(unfit));
    }
}
