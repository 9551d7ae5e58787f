//! Tests of the decoder.

use proptest::prelude::*;

use super::*;
use crate::protocol::{close_code::CloseCode, encoder::Encoder, message::OwnedMessage};

/// An owned `Incoming`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Message(OwnedMessage),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(CloseCode, String)>),
    Failed(ProtocolError),
}

fn event(incoming: Incoming<'_>) -> Event {
    match incoming {
        Incoming::Message(message) => Event::Message(message.to_owned()),
        Incoming::Ping(data) => Event::Ping(data.to_vec()),
        Incoming::Pong(data) => Event::Pong(data.to_vec()),
        Incoming::Close(close) => Event::Close(close.code().map(|code| (code, close.reason().to_owned()))),
    }
}

fn text(text: &str) -> Event {
    Event::Message(OwnedMessage::text(text))
}

fn binary(bytes: &[u8]) -> Event {
    Event::Message(OwnedMessage::binary(bytes.to_vec()))
}

/// Bytes from hexadecimal.
fn bytes(hexadecimal: &str) -> Vec<u8> {
    hexadecimal.split_whitespace().map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect()
}

struct Feed {
    decoder: Decoder,
    limits: MessageLimits,
    blocks: Blocks,
    partials: PartialStates,
    events: Vec<Event>,
}

impl Feed {
    fn new(side: Side, limits: MessageLimits) -> Self {
        Feed::with_version(Version::Rfc6455, side, limits)
    }

    fn with_version(version: Version, side: Side, limits: MessageLimits) -> Self {
        Feed {
            decoder: Decoder::new(version, side),
            limits,
            blocks: Blocks::default(),
            partials: PartialStates::default(),
            events: Vec::new(),
        }
    }

    fn push(&mut self, input: &[u8]) {
        let mut input = input.to_vec();
        let mut at = 0;
        while !matches!(self.events.last(), Some(Event::Failed(_))) {
            match self.decoder.next(&mut input[at..], self.limits, &mut self.blocks, &mut self.partials) {
                Ok(Decoded { consumed, incoming: Some(incoming), .. }) => {
                    at += consumed;
                    self.events.push(event(incoming));
                }
                Ok(Decoded { consumed, incoming: None, .. }) => {
                    assert_eq!(at + consumed, input.len(), "without an item all input is used");
                    break;
                }
                Err(error) => self.events.push(Event::Failed(error)),
            }
        }
    }
}

fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0xfe);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0xff);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    let key = [0x11, 0xa2, 0x33, 0xc4];
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn whole(side: Side, limits: MessageLimits, input: &[u8]) -> Vec<Event> {
    let mut feed = Feed::new(side, limits);
    feed.push(input);
    feed.events
}

/// The items of `input`; checks that they are the same byte by byte.
fn decode(side: Side, limits: MessageLimits, input: &[u8]) -> Vec<Event> {
    let events = whole(side, limits, input);
    let mut feed = Feed::new(side, limits);
    for byte in input {
        feed.push(&[*byte]);
    }
    assert_eq!(feed.events, events, "byte by byte");
    events
}

fn server(input: &[u8]) -> Vec<Event> {
    decode(Side::Server, MessageLimits::default(), input)
}

fn refused(input: &[u8]) -> ProtocolError {
    match server(input).last() {
        Some(Event::Failed(error)) => *error,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn client_decodes_unmasked_frames_only_and_checks_their_text_and_length() {
    let client = |limits, input: &[u8]| decode(Side::Client, limits, input);
    let (default, narrow) = (MessageLimits::default(), MessageLimits::new().max_message_bytes(3));
    assert_eq!(client(default, b"\x81\x03abc\x82\x01z"), [text("abc"), binary(b"z")]);
    assert_eq!(client(default, &[0x81, 0x81, 1, 2, 3, 4, 7]), [Event::Failed(ProtocolError::Masked)]);
    assert_eq!(client(default, b"\x81\x02a\xff"), [Event::Failed(ProtocolError::InvalidUtf8)]);
    assert_eq!(client(narrow, b"\x81\x03abc"), [text("abc")]);
    let too_big = ProtocolError::TooBig { limit: 3, length: 4 };
    assert_eq!(client(narrow, b"\x81\x04abcd"), [Event::Failed(too_big)]);
}

#[test]
fn sample_frames_of_rfc_6455_section_5_7_decode_to_their_messages() {
    let client = |input: &[u8]| decode(Side::Client, MessageLimits::default(), input);
    assert_eq!(client(&bytes("81 05 48 65 6c 6c 6f")), [text("Hello")]);
    assert_eq!(server(&bytes("81 85 37 fa 21 3d 7f 9f 4d 51 58")), [text("Hello")]);
    assert_eq!(client(&bytes("01 03 48 65 6c 80 02 6c 6f")), [text("Hello")]);
    assert_eq!(client(&bytes("89 05 48 65 6c 6c 6f")), [Event::Ping(b"Hello".to_vec())]);
    assert_eq!(server(&bytes("8a 85 37 fa 21 3d 7f 9f 4d 51 58")), [Event::Pong(b"Hello".to_vec())]);
    let (short, long) = ([7; 256], [8; 65536]);
    assert_eq!(client(&[&bytes("82 7e 01 00"), &short[..]].concat()), [binary(&short)]);
    assert_eq!(client(&[&bytes("82 7f 00 00 00 00 00 01 00 00"), &long[..]].concat()), [binary(&long)]);
}

#[test]
fn control_frames_inside_a_fragmented_message_are_returned_before_it() {
    let input = [
        client_frame(0x01, b"on"),
        client_frame(0x89, b"p"),
        client_frame(0x00, b""),
        client_frame(0x8a, b"q"),
        client_frame(0x80, b"e"),
    ];
    let expected = [Event::Ping(b"p".to_vec()), Event::Pong(b"q".to_vec()), text("one")];
    assert_eq!(server(&input.concat()), expected);
}

#[test]
fn message_before_an_invalid_frame_is_still_returned() {
    let input = [client_frame(0x81, b"good"), client_frame(0x83, b"bad")].concat();
    assert_eq!(server(&input), [text("good"), Event::Failed(ProtocolError::UnknownOpCode(3))]);
}

#[test]
fn bytes_after_a_close_frame_are_ignored() {
    let input = [client_frame(0x88, &[0x0f, 0xa0, b'o', b'k']), client_frame(0x81, b"late"), vec![0xff; 9]].concat();
    assert_eq!(server(&input), [Event::Close(Some((CloseCode::new(4000), "ok".to_owned())))]);
}

#[test]
fn close_frame_is_empty_or_has_a_valid_code_and_a_utf8_reason() {
    assert_eq!(server(&client_frame(0x88, b"")), [Event::Close(None)]);
    assert_eq!(refused(&client_frame(0x88, &[3])), ProtocolError::ClosePayloadTooShort);
    assert_eq!(refused(&client_frame(0x88, &[0x03, 0xe8, 0xff])), ProtocolError::InvalidUtf8);
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        assert_eq!(refused(&client_frame(0x88, &code.to_be_bytes())), ProtocolError::InvalidCloseCode(code));
    }
}

#[test]
fn fragment_out_of_order_is_refused() {
    assert_eq!(refused(&client_frame(0x80, b"x")), ProtocolError::UnexpectedContinuation);
    assert_eq!(
        refused(&[client_frame(0x01, b"x"), client_frame(0x81, b"y")].concat()),
        ProtocolError::ExpectedContinuation
    );
    let after_whole = [client_frame(0x01, b"x"), client_frame(0x80, b"y"), client_frame(0x80, b"z")].concat();
    assert_eq!(server(&after_whole), [text("xy"), Event::Failed(ProtocolError::UnexpectedContinuation)]);
}

#[test]
fn unmasked_client_frame_is_refused() {
    assert_eq!(refused(&bytes("81 05 48 65 6c 6c 6f")), ProtocolError::Unmasked);
}

#[test]
fn invalid_utf8_is_refused_before_the_end_of_its_frame() {
    let mut input = client_frame(0x81, &[b"abc\xf4\x90".as_slice(), &[b'x'; 100]].concat());
    input.truncate(6 + 5); // the header, "abc", and the invalid octet
    assert_eq!(refused(&input), ProtocolError::InvalidUtf8);
    assert_eq!(server(&input[..6 + 4]), []);
}

#[test]
fn invalid_utf8_across_fragments_or_at_the_end_is_refused() {
    let split = [client_frame(0x01, &[0xce]), client_frame(0x80, &[0xba])].concat();
    assert_eq!(server(&split), [text("κ")]);
    assert_eq!(refused(&[client_frame(0x01, &[0xce]), client_frame(0x80, b"a")].concat()), ProtocolError::InvalidUtf8);
    assert_eq!(refused(&[client_frame(0x01, b"a"), client_frame(0x80, &[0xce])].concat()), ProtocolError::InvalidUtf8);
    assert_eq!(refused(&client_frame(0x81, &[0xce])), ProtocolError::InvalidUtf8);
}

#[test]
fn incomplete_character_in_a_binary_message_does_not_affect_the_next_text() {
    let input = [client_frame(0x82, &[0xce]), client_frame(0x01, b"a"), client_frame(0x80, b"b")].concat();
    assert_eq!(server(&input), [binary(&[0xce]), text("ab")]);
}

#[test]
fn frame_above_the_frame_limit_is_refused_at_its_header() {
    let limits = MessageLimits { max_frame_bytes: 100, max_message_bytes: 1000 };
    let input = client_frame(0x82, &[0; 101]);
    assert_eq!(
        decode(Side::Server, limits, &input[..8]),
        [Event::Failed(ProtocolError::TooBig { limit: 100, length: 101 })]
    );
    assert_eq!(decode(Side::Server, limits, &client_frame(0x82, &[0; 100])), [binary(&[0; 100])]);
    assert_eq!(decode(Side::Server, limits, &client_frame(0x89, &[0; 101])), [Event::Ping(vec![0; 101])]);
    let enormous = bytes("82 ff 7f ff ff ff ff ff ff ff 00 00 00 00");
    let error = ProtocolError::TooBig { limit: 100, length: u64::MAX >> 1 };
    assert_eq!(decode(Side::Server, limits, &enormous), [Event::Failed(error)]);
}

/// The text "hello" in the newest and the oldest framing.
fn hellos() -> [(Version, Vec<u8>); 2] {
    [(Version::Rfc6455, client_frame(0x81, b"hello")), (Version::Hixie76, b"\0hello\xff".to_vec())]
}

#[test]
fn changed_limits_apply_from_the_next_frame_on() {
    let narrow = MessageLimits { max_frame_bytes: 4, max_message_bytes: 4 };
    for (version, frame) in hellos() {
        let mut feed = Feed::with_version(version, Side::Server, MessageLimits::default());
        feed.push(&frame);
        feed.push(&frame[..3]);
        feed.limits = narrow;
        feed.push(&frame[3..]);
        assert!(feed.events[0] == text("hello") && feed.events.len() == 2);
        let header_was_complete = version == Version::Hixie76;
        assert_eq!(
            feed.events[1] == text("hello"),
            header_was_complete,
            "{version}: old limits apply after a complete header"
        );
    }
}

#[test]
fn limits_set_inside_a_frame_or_between_frames_apply_to_the_next_frame() {
    let narrow = MessageLimits { max_frame_bytes: 4, max_message_bytes: 4 };
    for (version, frame) in hellos() {
        for (inside_frame, between_frames) in [(MessageLimits::default(), narrow), (narrow, MessageLimits::default())] {
            for releases in [false, true] {
                let mut feed = Feed::with_version(version, Side::Server, MessageLimits::default());
                feed.push(&frame[..frame.len() - 2]);
                feed.limits = inside_frame;
                feed.push(&frame[frame.len() - 2..]);
                assert_eq!(feed.events, [text("hello")]);
                feed.limits = between_frames;
                if releases {
                    feed.decoder.release(&mut feed.blocks, &mut feed.partials);
                }
                feed.push(&frame);
                assert_eq!(feed.events.last() == Some(&text("hello")), between_frames != narrow, "{version}");
            }
        }
    }
}

#[test]
fn message_above_its_limit_is_refused_at_the_header_of_the_exceeding_fragment() {
    let limits = MessageLimits { max_frame_bytes: 100, max_message_bytes: 150 };
    let fitting = [client_frame(0x02, &[1; 100]), client_frame(0x80, &[1; 50])].concat();
    assert_eq!(decode(Side::Server, limits, &fitting), [binary(&[1; 150])]);
    let crossing = [client_frame(0x02, &[1; 100]), client_frame(0x80, &[1; 51])].concat();
    let error = ProtocolError::TooBig { limit: 150, length: 151 };
    assert_eq!(decode(Side::Server, limits, &crossing[..106 + 6]), [Event::Failed(error)]);
}

#[test]
fn whole_message_is_returned_from_the_input_without_a_block() {
    let mut decoder = Decoder::new(Version::Rfc6455, Side::Server);
    let mut input = client_frame(0x82, &[5; 1000]);
    let mut blocks = Blocks::default();
    let range = input.as_ptr_range();
    let decoded =
        decoder.next(&mut input, MessageLimits::default(), &mut blocks, &mut PartialStates::default()).unwrap();
    let Some(Incoming::Message(message)) = decoded.incoming else { panic!("not a message") };
    assert!(range.contains(&message.as_bytes().as_ptr()) && decoded.block.is_none());
}

#[test]
fn message_in_pieces_returns_its_block_to_the_pool() {
    let mut feed = Feed::new(Side::Server, MessageLimits::default());
    let input = client_frame(0x82, &[5; 10_000]);
    feed.push(&input[..5000]);
    assert_eq!(feed.blocks.free_bytes(), 0);
    feed.push(&input[5000..]);
    assert_eq!(feed.events, [binary(&[5; 10_000])]);
    feed.decoder.release(&mut feed.blocks, &mut feed.partials);
    assert!(feed.blocks.free_bytes() >= 10_000);
    assert!(feed.decoder.unfinished.is_none(), "no state is held between messages");
}

/// A quadratic cost of fragments would make this test run for minutes.
#[test]
fn message_of_many_fragments_is_decoded_at_linear_cost() {
    let fragment = client_frame(0x00, &[b'x'; 64]);
    let mut input = client_frame(0x01, b"");
    input.extend(fragment.iter().cycle().take(65_536 * fragment.len()));
    input.extend(client_frame(0x80, b""));
    let mut feed = Feed::new(Side::Server, MessageLimits::default());
    for piece in input.chunks(64) {
        feed.push(piece);
    }
    assert_eq!(feed.events, [text(&"x".repeat(65_536 * 64))]);
}

/// Random frames, most of them valid.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let control = (prop_oneof![Just(0x89_u8), Just(0x8a)], proptest::collection::vec(any::<u8>(), 0..40));
    let data =
        (prop_oneof![Just(0x01_u8), Just(0x81), Just(0x02), Just(0x82), Just(0x00), Just(0x80)], "[a-zé🦀]{0,80}");
    let any_frame = prop_oneof![
        6 => data.prop_map(|(first, text)| client_frame(first, text.as_bytes())),
        3 => control.prop_map(|(first, data)| client_frame(first, &data)),
        1 => (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(first, data)| client_frame(first, &data)),
        1 => Just(client_frame(0x82, &[3; 70_000])),
    ];
    proptest::collection::vec(any_frame, 0..12).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn events_do_not_depend_on_the_cuts_of_the_input(
        input in frames(),
        cuts in proptest::collection::vec(1_usize..400, 1..60),
    ) {
        let expected = whole(Side::Server, MessageLimits::default(), &input);
        let mut feed = Feed::new(Side::Server, MessageLimits::default());
        let (mut rest, mut cuts) = (&input[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, next) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            feed.push(piece);
            rest = next;
        }
        prop_assert_eq!(feed.events, expected);
    }

    #[test]
    fn events_of_every_version_do_not_depend_on_the_cuts_of_the_input(
        pieces in proptest::collection::vec((0_u8..12, "[a-zé🦀]{0,80}"), 0..12),
        junk in proptest::collection::vec(any::<u8>(), 0..20),
        cuts in proptest::collection::vec(1_usize..100, 1..60),
    ) {
        for version in Version::ALL.iter().copied() {
            let input = [conversation(version, &pieces), junk.clone()].concat();
            let limits = MessageLimits { max_frame_bytes: 1000, max_message_bytes: 1500 };
            let mut expected = Feed::with_version(version, Side::Server, limits);
            expected.push(&input);
            let mut feed = Feed::with_version(version, Side::Server, limits);
            let (mut rest, mut cuts) = (&input[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, next) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                feed.push(piece);
                rest = next;
            }
            // A piece may exceed a limit before the rest shows by how much.
            let crossed = |event: Option<&Event>| matches!(event, Some(Event::Failed(ProtocolError::TooBig { .. })));
            if crossed(feed.events.last()) && crossed(expected.events.last()) {
                feed.events.pop();
                expected.events.pop();
            }
            prop_assert_eq!(feed.events, expected.events, "{}", version);
        }
    }

    #[test]
    fn arbitrary_input_does_not_panic(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        for version in Version::ALL.iter().copied() {
            for side in [Side::Client, Side::Server] {
                let limits = MessageLimits { max_frame_bytes: 50, max_message_bytes: 80 };
                Feed::with_version(version, side, limits).push(&input);
                Feed::with_version(version, side, MessageLimits::default()).push(&input);
            }
        }
    }

    #[test]
    fn encoded_message_decodes_to_itself_in_every_version(text in "[a-zé🦀]{0,4000}", key in any::<[u8; 4]>()) {
        for version in Version::ALL.iter().copied() {
            for (from, to) in [(Side::Client, Side::Server), (Side::Server, Side::Client)] {
                let mut messages = vec![Message::Text(&text)];
                if version.supports_binary() {
                    messages.push(Message::Binary(text.as_bytes()));
                }
                for message in messages {
                    let mut wire = Vec::new();
                    Encoder::new(version, from).message(message, key, &mut wire);
                    let mut feed = Feed::with_version(version, to, MessageLimits::default());
                    feed.push(&wire);
                    prop_assert_eq!(feed.events, vec![Event::Message(message.to_owned())], "{}", version);
                }
            }
        }
    }
}

/// A random conversation of a client: messages, pings, and sometimes a close.
fn conversation(version: Version, pieces: &[(u8, String)]) -> Vec<u8> {
    let (encoder, key, mut wire) = (Encoder::new(version, Side::Client), [3, 5, 7, 250], Vec::new());
    for (kind, text) in pieces {
        match kind {
            0 if version.supports_ping() => encoder.ping(text.as_bytes(), key, &mut wire),
            1 if version.supports_ping() => encoder.pong(text.as_bytes(), key, &mut wire),
            2 if version.supports_binary() => encoder.message(Message::Binary(text.as_bytes()), key, &mut wire),
            3 if text.len() > 150 => encoder.close(Some(CloseCode::NORMAL), text, key, &mut wire),
            4 if !version.supports_binary() => {
                wire.extend([&[0x42][..], text.as_bytes(), &[0xff, 0x80, 3, 0xff, 0, 0xff]].concat());
            }
            _ => encoder.message(Message::Text(text), key, &mut wire),
        }
    }
    wire
}

#[test]
fn number_of_missing_bytes_is_known_inside_a_frame() {
    let mut feed = Feed::new(Side::Server, MessageLimits::default());
    assert_eq!(feed.decoder.missing(), None);
    let frame = client_frame(0x82, &[7; 100]);
    feed.push(&frame[..16]);
    assert_eq!(feed.decoder.missing(), Some(90));
    feed.push(&frame[16..]);
    assert_eq!((feed.decoder.missing(), &feed.events[..]), (None, &[binary(&[7; 100])][..]));
}

#[cfg(feature = "deflate")]
#[path = "deflate_tests.rs"]
mod deflate;
