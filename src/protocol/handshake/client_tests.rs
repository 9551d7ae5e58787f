//! Tests of the client: requests answered by this crate's server, and invalid responses.

#[cfg(feature = "deflate")]
use std::sync::LazyLock;

use super::*;
use crate::{
    http::{HeadLimits, Request, head::HeadReader},
    protocol::handshake::{Handshake, compression, detect},
};

const LOCATION: &str = "ws://example.com/demo?a=b";

/// Sends a request changed by `change` to this crate's server, and alters the response by `alter`.
fn answered(
    version: Version,
    change: impl FnOnce(&mut ClientRequest<'_>),
    alter: impl FnOnce(String) -> String,
) -> Result<(Request, Negotiated), ResponseError> {
    let (subprotocols, headers) = (["chat".to_owned(), "superchat".to_owned()], HeaderMap::new());
    let mut ask = ClientRequest {
        version,
        target: "/demo?a=b",
        authority: "example.com",
        location: LOCATION,
        host: None,
        origin: None,
        subprotocols: &subprotocols,
        headers: &headers,
        deflate: None,
    };
    change(&mut ask);
    let mut sent = Vec::new();
    let proof = ask.write(&mut Masks::new(Box::new(|bytes| bytes.fill(0x5a))), &mut sent);
    let (head, used) = HeadReader::default().read(&sent, &HeadLimits::default()).unwrap().unwrap();
    let asked = Request { head, peer_addr: ([127, 0, 0, 1], 5).into(), secured: None, proxied: false };
    assert_eq!(detect(&asked, Version::ALL), Ok(version));
    let agreed = compression(&asked, version, ask.deflate).unwrap();
    let subprotocol = asked.subprotocols().last().map(str::to_owned);
    let handshake = Handshake::new(asked.clone(), version, subprotocol, agreed);
    let mut answer = Vec::new();
    handshake.answer(&HeaderMap::new(), &mut answer);
    if let ExpectedReply::Behind(expected) = proof {
        assert_eq!((handshake.challenge_bytes(), handshake.prove(&sent[used..])), (sent.len() - used, expected));
    }
    let answer = alter(String::from_utf8(answer).unwrap());
    let (response, _) =
        HeadReader::default().read_response(answer.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
    ask.check(&response, &proof).map(|agreed| (asked, agreed))
}

/// The response with one text replaced, which must occur.
fn with<'a>(from: &'a str, to: &'a str) -> impl FnOnce(String) -> String + 'a {
    move |answer| {
        assert!(answer.contains(from), "{from}: {answer}");
        answer.replace(from, to)
    }
}

fn refused(version: Version, from: &str, to: &str) -> ResponseError {
    match answered(version, |_| {}, with(from, to)) {
        Ok(_) => panic!("{version}: {from} replaced by {to} was taken"),
        Err(error) => error,
    }
}

#[test]
fn every_version_takes_the_answer_to_what_it_asked() {
    for version in Version::ALL.iter().copied() {
        let (asked, agreed) = answered(version, |_| {}, |answer| answer).unwrap();
        assert_eq!(agreed.subprotocol.as_deref(), Some("superchat"), "{version}");
        assert!(agreed.compression.is_none());
        let hixie = version.number() > 13 || version.number() < 4;
        assert_eq!(asked.origin(), hixie.then_some("http://example.com"), "who needs none has none");
        static PAGE: HeaderValue = HeaderValue::from_static("http://page.example");
        let (asked, _) = answered(version, |ask| ask.origin = Some(&PAGE), |answer| answer).unwrap();
        let name = if matches!(version.number(), 5..=8) { "Sec-WebSocket-Origin" } else { "Origin" };
        assert_eq!(asked.header(name), Some("http://page.example"), "{version}");
        assert_eq!(asked.header("Upgrade"), Some(if hixie { "WebSocket" } else { "websocket" }), "{version}");
        let name = if version == Version::Hixie75 { "WebSocket-Protocol" } else { "Sec-WebSocket-Protocol" };
        assert_eq!(asked.header(name), Some("chat, superchat"), "{version}");
        let (asked, agreed) = answered(version, |ask| ask.subprotocols = &[], |answer| answer).unwrap();
        assert_eq!((asked.subprotocols().count(), agreed.subprotocol), (0, None), "{version}");
    }
}

#[test]
fn a_secure_page_is_the_origin_of_a_secure_connection() {
    let secure = |ask: &mut ClientRequest<'_>| ask.location = "wss://example.com/demo?a=b";
    let (asked, _) = answered(Version::Hixie76, secure, with(LOCATION, "wss://example.com/demo?a=b")).unwrap();
    assert_eq!(asked.origin(), Some("https://example.com"));
}

#[test]
fn an_answer_that_is_wrong_in_one_thing_is_refused_for_it() {
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

#[cfg(feature = "deflate")]
#[test]
fn compression_is_agreed_upon_as_it_was_offered() {
    static CONFIG: LazyLock<DeflateConfig> = LazyLock::new(DeflateConfig::dedicated);
    let offering = |ask: &mut ClientRequest<'_>| ask.deflate = Some(&CONFIG);
    let (_, agreed) = answered(Version::Rfc6455, offering, |answer| answer).unwrap();
    assert!(agreed.compression.is_some());
    let unknown = with("permessage-deflate", "permessage-bzip2");
    assert_eq!(answered(Version::Rfc6455, offering, unknown).err(), Some(ResponseError::Extension));
}

#[test]
fn what_cannot_be_offered_is_found_before_it_is_said() {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(unfit_subprotocol(&owned(&["chat", "v1.chat"])), None);
    for (names, unfit) in [(["chat", ""], ""), (["chat", "a b"], "a b"), (["chat", "chat"], "chat")] {
        assert_eq!(unfit_subprotocol(&owned(&names)).map(String::as_str), Some(unfit));
    }
}
