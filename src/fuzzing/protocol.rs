//! Targets for heads, handshakes, frames and compression.

use http::HeaderMap;

use super::{Choices, Event, reference};
use crate::{
    buffer::Blocks,
    http::{HeadLimits, Request, head::HeadReader},
    protocol::{
        Message, MessageLimits, ProtocolError, Side, Version,
        decoder::Decoder,
        decoder::PartialStates,
        encoder::Encoder,
        handshake::{
            self, Handshake,
            client::{ClientRequest, ExpectedReply},
        },
        incoming::Incoming,
        mask::Masks,
    },
};

const SMALL: HeadLimits = HeadLimits { max_bytes: 2000, max_headers: 20 };

/// A head in pieces equals the head at once, and its accessors work.
pub(super) fn request_head(data: &[u8]) {
    let whole = HeadReader::default().read(data, &SMALL);
    let (mut reader, mut used, mut read) = (HeadReader::default(), 0, Ok(None));
    for piece in Choices(data).pieces(data) {
        read = reader.read(piece, &SMALL);
        match &read {
            Ok(None) => used += piece.len(),
            Ok(Some((_, taken))) => {
                used += taken;
                break;
            }
            Err(_) => break,
        }
    }
    match (&whole, &read) {
        (Ok(Some((one, length))), Ok(Some((other, _)))) => {
            assert_eq!(
                (one.method(), one.uri(), one.headers(), *length),
                (other.method(), other.uri(), other.headers(), used)
            );
        }
        (one, other) => assert_eq!(one.as_ref().err(), other.as_ref().err()),
    }
    if let Ok(Some((head, _))) = whole {
        let request = request_of(head);
        let items = request.query().count() + request.subprotocols().count();
        let _ = (request.origin(), request.host(), request.is_upgrade());
        assert!(items + request.path().len() <= 4 * data.len() + 1);
    }
}

fn request_of(head: http::Request<()>) -> Request {
    Request::new(head, std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into(), None, false)
}

/// A request is refused, or is answered with a response that a client of its version accepts.
pub(super) fn handshake(data: &[u8]) {
    let Ok(Some((head, used))) = HeadReader::default().read(data, &HeadLimits::default()) else { return };
    let request = request_of(head);
    let version = match handshake::detect(&request, Version::ALL) {
        Ok(version) => version,
        Err(error) => {
            let response = error.response(Version::ALL);
            assert!(response.status().is_client_error() || response.status().is_success(), "{error}");
            return;
        }
    };
    let handshake = Handshake::new(request, version, None, None);
    let mut out = Vec::new();
    handshake.answer(&HeaderMap::new(), &mut out);
    let challenge = handshake.challenge_bytes();
    if challenge > 0 {
        let mut octets = data[used..].to_vec();
        octets.resize(challenge, 0);
        out.extend(handshake.prove(&octets));
    }
    let (answer, length) = HeadReader::default().read_response(&out, &HeadLimits::default()).unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), out.len() - length), (101, if challenge > 0 { 16 } else { 0 }));
    let lines = out[..length].split(|octet| *octet == b'\n').count();
    // The request cannot add lines to the response: status, upgrade, connection, and at most five more.
    assert!(lines <= 10, "{}", out.escape_ascii());
}

/// A response is refused, or its negotiated values were offered.
pub(super) fn response_head(data: &[u8]) {
    let whole = HeadReader::default().read_response(data, &SMALL);
    let mut reader = HeadReader::default();
    let pieces = Choices(data).pieces(data);
    let read =
        pieces.into_iter().map(|piece| reader.read_response(piece, &SMALL)).find(|read| !matches!(read, Ok(None)));
    match (&whole, &read) {
        (Ok(None), None) => {}
        (one, Some(other)) => assert_eq!(one.as_ref().err(), other.as_ref().err()),
        (one, None) => panic!("{one:?} only in one piece"),
    }
    let Ok(Some((response, _))) = whole else { return };
    let subprotocols = ["a".to_owned(), "b".to_owned()];
    for version in Version::ALL.iter().copied() {
        let headers = HeaderMap::new();
        let request = ClientRequest {
            version,
            target: "/",
            authority: "example.com",
            location: "ws://example.com/",
            host: None,
            origin: None,
            subprotocols: &subprotocols,
            lenient_subprotocol: false,
            headers: &headers,
            deflate: None,
        };
        // The key of RFC 6455 §1.3.
        let proof = match request.write(&mut Masks::new(Box::new(|bytes| bytes.fill(0))), &mut Vec::new()) {
            ExpectedReply::Accept(_) => ExpectedReply::Accept("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned()),
            other => other,
        };
        if let Ok(agreed) = request.check(&response, &proof) {
            assert!(agreed.compression.is_none() && response.status().as_u16() == 101);
            assert!(agreed.subprotocol.is_none_or(|chosen| subprotocols.contains(&chosen)));
        }
    }
}

/// The items of an input in the given pieces, up to the end or the first violation.
fn events<'d>(
    version: Version,
    side: Side,
    limits: MessageLimits,
    pieces: impl Iterator<Item = &'d [u8]>,
) -> Vec<Event> {
    let (mut decoder, mut blocks) = (Decoder::new(version, side), Blocks::default());
    let mut partials = PartialStates::default();
    let mut events = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            let decoded = match decoder.next(&mut piece[at..], limits, &mut blocks, &mut partials) {
                Ok(decoded) => decoded,
                Err(error) => {
                    events.push(failed(error));
                    return events;
                }
            };
            at += decoded.consumed;
            let Some(incoming) = decoded.incoming else { break };
            events.push(match incoming {
                Incoming::Message(Message::Text(text)) => Event::Text(text.to_owned()),
                Incoming::Message(Message::Binary(bytes)) => Event::Binary(bytes.to_vec()),
                Incoming::Ping(data) => Event::Ping(data.to_vec()),
                Incoming::Pong(data) => Event::Pong(data.to_vec()),
                Incoming::Close(frame) => {
                    events.push(Event::Close(frame.body.to_vec()));
                    return events;
                }
            });
        }
    }
    events
}

fn failed(error: ProtocolError) -> Event {
    Event::Failed(error.close_code().into())
}

const LIMITS: MessageLimits = MessageLimits { max_frame_bytes: 300, max_message_bytes: 500 };

/// Input gives the same items at once, in pieces, and octet by octet, and the same as the reference decoder.
fn check_decoders(version: Version, side: Side, data: &[u8]) -> Vec<Event> {
    let whole = events(version, side, LIMITS, std::iter::once(data));
    let readings = [Choices(data).pieces(data), data.chunks(1).collect()]
        .map(|pieces| events(version, side, LIMITS, pieces.into_iter()));
    let reference = reference::events(version, side, data, LIMITS);
    for mut other in readings.into_iter().chain([reference]) {
        if let (Some(Event::Failed(one)), Some(Event::Failed(other)), false) =
            (whole.last(), other.last_mut(), version.supports_close_codes())
        {
            // Of two violations the first one found is reported. A version without close codes reports none.
            *other = *one;
        }
        assert_eq!(whole, other, "{version}");
    }
    whole
}

pub(super) fn rfc6455_frames(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    check_decoders(Version::Rfc6455, if choice & 1 == 0 { Side::Server } else { Side::Client }, data);
}

pub(super) fn heard(bytes: &[u8]) -> Vec<Event> {
    let limits = MessageLimits { max_frame_bytes: 1 << 20, max_message_bytes: 1 << 20 };
    events(Version::Rfc6455, Side::Server, limits, std::iter::once(bytes))
}

pub(super) fn early_frames(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let early = Version::ALL.iter().copied().filter(|version| matches!(version.number(), 1..=8));
    let version = early.clone().nth(usize::from(choice >> 1) % early.count()).unwrap_or(Version::Rfc6455);
    check_decoders(version, if choice & 1 == 0 { Side::Server } else { Side::Client }, data);
}

pub(super) fn hixie_frames(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let version = if choice & 1 == 0 { Version::Hixie75 } else { Version::Hixie76 };
    for event in check_decoders(version, Side::Server, data) {
        assert!(matches!(event, Event::Text(_) | Event::Close(_) | Event::Failed(_)), "{event:?}");
    }
}

/// Encoded messages decode to themselves, in every version and both directions.
pub(super) fn round_trip(data: &[u8]) {
    let mut choices = Choices(data);
    let version = Version::ALL[choices.below(Version::ALL.len())];
    let (from, to) = if choices.octet() & 1 == 0 { (Side::Client, Side::Server) } else { (Side::Server, Side::Client) };
    let (encoder, mut bytes, mut sent) = (Encoder::new(version, from), Vec::new(), Vec::new());
    while !choices.is_over() && sent.len() < 20 {
        let key = [choices.octet(), choices.octet(), choices.octet(), choices.octet()];
        let key = if encoder.masks() { key } else { [0; 4] };
        let (kind, length) = (choices.octet(), choices.below(250));
        let payload = choices.bytes(length);
        let text = String::from_utf8_lossy(payload);
        let text = &text[..text.floor_char_boundary(250)];
        match kind % 4 {
            0 if version.supports_ping() => {
                encoder.ping(&payload[..payload.len().min(125)], key, &mut bytes);
                sent.push(Event::Ping(payload[..payload.len().min(125)].to_vec()));
            }
            1 if version.supports_binary() => {
                encoder.message(Message::Binary(payload), key, &mut bytes);
                sent.push(Event::Binary(payload.to_vec()));
            }
            _ => {
                encoder.message(Message::Text(text), key, &mut bytes);
                sent.push(Event::Text(text.to_owned()));
            }
        }
    }
    assert_eq!(events(version, to, LIMITS, Choices(data).pieces(&bytes).into_iter()), sent, "{version}");
}

/// Compressed messages inflate to themselves, and arbitrary input stays within the limit or is refused.
#[cfg(feature = "deflate")]
pub(super) fn deflate(data: &[u8]) {
    use crate::protocol::deflate::{DeflateConfig, Deflation, Inflation, SharedContexts, agree, offer};
    let mut choices = Choices(data);
    let config = DeflateConfig {
        level: 1 + choices.octet() % 9,
        server_max_window_bits: 9 + choices.octet() % 7,
        client_max_window_bits: 9 + choices.octet() % 7,
        server_context_takeover: choices.octet() & 1 == 0,
        client_context_takeover: choices.octet() & 1 == 0,
        threshold_bytes: 0,
    };
    let offered = offer(&config);
    let agreed = agree(std::iter::once(offered.as_bytes()), &config).unwrap().unwrap();
    let contexts = SharedContexts::default();
    let mut deflation = Deflation::new(&agreed, &config, Side::Server, &contexts);
    let mut inflation = Inflation::new(&agreed, Side::Client, &contexts);
    for _ in 0..4 {
        let length = choices.below(5000);
        let message = choices.bytes(1 + length / 16).repeat(1 + length % 16);
        // The shortest messages are not compressed.
        let Some(deflated) = deflation.wants(message.len()).then(|| deflation.message(&message)).flatten() else {
            continue;
        };
        let inflated = inflate(&mut inflation, &deflated).unwrap();
        assert_eq!(inflated, message);
        deflation.recycle(deflated);
    }
    // Arbitrary input after that.
    let mut wild = Inflation::new(&agreed, Side::Server, &contexts);
    assert!(!inflate(&mut wild, data).is_ok_and(|inflated| inflated.len() > 1 << 20));
}

#[cfg(feature = "deflate")]
fn inflate(inflation: &mut crate::protocol::deflate::Inflation, mut deflated: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    let mut inflated = Vec::new();
    let mut take = |piece: &[u8]| {
        inflated.extend_from_slice(piece);
        // The limit, as in the decoder.
        if inflated.len() > 1 << 20 { Err(ProtocolError::TooBig { limit: 1 << 20, length: 0 }) } else { Ok(()) }
    };
    while !deflated.is_empty() {
        inflation.allow(4096);
        let used = inflation.push(deflated, &mut take)?;
        deflated = &deflated[used..];
    }
    inflation.allow(4096);
    inflation.finish(&mut take)?;
    Ok(inflated)
}

#[cfg(not(feature = "deflate"))]
pub(super) fn deflate(_: &[u8]) {}

/// Negotiated parameters are within the configuration for any offer, and a client with the same configuration accepts
/// them.
#[cfg(feature = "deflate")]
pub(super) fn negotiation(data: &[u8]) {
    use crate::protocol::deflate::{DeflateConfig, agree, take_answer};
    let lines: Vec<&[u8]> = data.split(|octet| *octet == b'\n').collect();
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        if let Ok(Some(agreed)) = agree(lines.iter().copied(), &config) {
            let answer = agreed.to_string();
            assert!(answer.starts_with("permessage-deflate") && answer.is_ascii() && !answer.contains(['\r', '\n']));
            // Parsing the result gives the same.
            let again = agree(std::iter::once(answer.as_bytes()), &config);
            assert!(matches!(again, Ok(Some(_))), "{answer}");
        }
        let _ = take_answer(lines.iter().copied(), &config);
    }
}

#[cfg(not(feature = "deflate"))]
pub(super) fn negotiation(_: &[u8]) {}
