//! Tests of the decoder with compressed messages.

use super::*;

#[test]
fn compressed_message_is_inflated_within_the_allowance_and_the_limits() {
    use crate::protocol::deflate::{DeflateConfig, Deflation, SharedContexts, agree, offer};
    let (config, contexts) = (DeflateConfig::default(), SharedContexts::default());
    let agreed = agree([offer(&config).as_bytes()].into_iter(), &config).unwrap().unwrap();
    let mut state = 1_u32;
    let message: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 30) as u8
    })
    .take(200_000)
    .collect();
    let deflated = Deflation::new(&agreed, &config, Side::Client, &contexts).message(&message).unwrap();
    let mut input = Vec::new();
    Encoder::new(Version::Rfc6455, Side::Client).compressed(
        OpCode::Binary,
        true,
        &deflated,
        [1, 20, 90, 200],
        &mut input,
    );

    let (mut decoder, mut blocks) = (Decoder::new(Version::Rfc6455, Side::Server), Blocks::default());
    assert!(!decoder.inflates());
    decoder.inflate_by(Inflation::new(&agreed, Side::Server, &contexts));
    assert!(decoder.inflates());
    let (mut at, mut stops) = (0, 0);
    loop {
        decoder.allow_inflating(10_000);
        let Decoded { consumed, incoming, .. } = decoder
            .next(&mut input[at..], MessageLimits::default(), &mut blocks, &mut PartialStates::default())
            .unwrap();
        at += consumed;
        if let Some(incoming) = incoming {
            assert!(event(incoming) == binary(&message) && at == input.len());
            break;
        }
        stops += 1;
        assert_eq!(decoder.missing(), Some(input.len() - at), "the unused input is still missing");
    }
    // Each step inflates about 16 KiB.
    assert!((5..=20).contains(&stops), "{stops}");

    for (limit, fits) in [(message.len(), true), (message.len() - 1, false)] {
        let mut input = Vec::new();
        Encoder::new(Version::Rfc6455, Side::Client).compressed(OpCode::Binary, true, &deflated, [0; 4], &mut input);
        let mut feed = Feed::new(Side::Server, MessageLimits { max_message_bytes: limit, ..MessageLimits::default() });
        feed.decoder.inflate_by(Inflation::new(&agreed, Side::Server, &contexts));
        feed.push(&input);
        let failed =
            matches!(feed.events[..], [Event::Failed(ProtocolError::TooBig { length, .. })] if length > limit as u64);
        assert_eq!((feed.events == [binary(&message)], failed), (fits, !fits));
    }

    // Empty stored blocks: the compressed input is longer than the message and longer than the limit.
    let small = MessageLimits { max_message_bytes: 20, ..MessageLimits::default() };
    let empty = [0, 0, 0, 0xff, 0xff].repeat(6);
    let last = [&empty[..], &[0]].concat();
    for whole in [true, false] {
        let mut feed = Feed::new(Side::Server, small);
        feed.decoder.inflate_by(Inflation::new(&agreed, Side::Server, &contexts));
        if whole {
            feed.push(&client_frame(0xc2, &last));
        } else {
            feed.push(&[client_frame(0x42, &empty), client_frame(0x80, &last)].concat());
        }
        assert_eq!(feed.events, [binary(b"")]);
    }
}
