//! Tests of compression and decompression.

use proptest::prelude::*;

use super::*;
use crate::protocol::error::ProtocolError;

fn parameters(window_bits: u8, takeover: bool) -> DeflateParameters {
    DeflateParameters {
        server_max_window_bits: window_bits.max(MIN_WINDOW_BITS),
        client_max_window_bits: window_bits,
        server_context_takeover: takeover,
        client_context_takeover: takeover,
        names_server_window: false,
    }
}

fn inflation(takeover: bool) -> Inflation {
    Inflation::new(&parameters(15, takeover), Side::Server, &SharedContexts::default())
}

/// Inflates a message in the given pieces.
fn inflate<'p>(
    inflation: &mut Inflation,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Result<Vec<u8>, ProtocolError> {
    let mut message = Vec::new();
    let mut take = |inflated: &[u8]| {
        message.extend_from_slice(inflated);
        Ok(())
    };
    for piece in pieces {
        let mut at = 0;
        while at < piece.len() {
            inflation.allow(1);
            at += inflation.push(&piece[at..], &mut take)?;
        }
    }
    inflation.finish(take)?;
    Ok(message)
}

fn inflate_at_once(inflation: &mut Inflation, message: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    inflate(inflation, [message])
}

/// Test data: `length` octets of a few values.
fn random(seed: u64, length: usize, kinds: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) % kinds) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// "Hello" as in RFC 7692 §7.2.3: one block, a stored block, a final block, two blocks.
const HELLOS: [&[u8]; 4] = [
    &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
    &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
    &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
    &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
];

#[test]
fn hello_samples_of_rfc_7692_inflate_to_hello_at_any_cut() {
    for hello in HELLOS {
        for takeover in [false, true] {
            let mut inflation = inflation(takeover);
            for cut in 0..=hello.len() {
                let inflated = inflate(&mut inflation, [&hello[..cut], &hello[cut..]]);
                assert_eq!(inflated.as_deref(), Ok(&b"Hello"[..]), "{hello:x?} cut at {cut}, takeover {takeover}");
            }
            let inflated = inflate(&mut inflation, hello.chunks(1));
            assert_eq!(inflated.as_deref(), Ok(&b"Hello"[..]), "{hello:x?} octet by octet");
        }
    }
}

#[test]
fn second_hello_of_rfc_7692_inflates_only_with_context_takeover() {
    let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let mut with_takeover = inflation(true);
    assert_eq!(inflate_at_once(&mut with_takeover, HELLOS[0]).unwrap(), b"Hello");
    assert_eq!(inflate_at_once(&mut with_takeover, &second).unwrap(), b"Hello");
    let mut without_takeover = inflation(false);
    assert_eq!(inflate_at_once(&mut without_takeover, HELLOS[0]).unwrap(), b"Hello");
    assert_eq!(inflate_at_once(&mut without_takeover, &second), Err(ProtocolError::InvalidDeflate));
}

#[test]
fn empty_sample_of_rfc_7692_and_no_bytes_inflate_to_an_empty_message() {
    for takeover in [false, true] {
        let mut inflation = inflation(takeover);
        assert_eq!(inflate_at_once(&mut inflation, &[0x00]).unwrap(), b"");
        assert_eq!(inflate_at_once(&mut inflation, &[]).unwrap(), b"");
        assert_eq!(inflate_at_once(&mut inflation, HELLOS[0]).unwrap(), b"Hello", "takeover {takeover}");
    }
}

#[test]
fn empty_final_block_inflates_to_an_empty_message() {
    for takeover in [false, true] {
        let mut inflation = inflation(takeover);
        for _ in 0..3 {
            assert_eq!(inflate_at_once(&mut inflation, &[0x01]).as_deref(), Ok(&b""[..]), "takeover {takeover}");
            assert_eq!(inflate_at_once(&mut inflation, HELLOS[0]).unwrap(), b"Hello");
        }
    }
}

#[test]
fn stream_of_empty_final_blocks_uses_up_the_allowance() {
    let mut inflation = inflation(true);
    inflation.allow(10_000);
    let used = inflation.push(&[0x03, 0x00].repeat(1000), |inflated| {
        assert!(inflated.is_empty());
        Ok(())
    });
    assert_eq!(used, Ok(20));
}

#[test]
fn no_input_is_consumed_without_an_allowance() {
    let mut inflation = inflation(true);
    inflation.allow(0);
    assert_eq!(inflation.push(HELLOS[0], |_| panic!("output without an allowance")), Ok(0));
    assert_eq!(inflate_at_once(&mut inflation, HELLOS[0]).unwrap(), b"Hello");
}

#[test]
fn message_after_a_final_block_cannot_refer_to_earlier_messages() {
    let mut inflation = inflation(true);
    assert_eq!(inflate_at_once(&mut inflation, HELLOS[2]).unwrap(), b"Hello");
    assert_eq!(inflate_at_once(&mut inflation, &[0xf2, 0x00, 0x11, 0x00, 0x00]), Err(ProtocolError::InvalidDeflate));
    // Without the last octet of the sample in the RFC.
    let mut inflation = self::inflation(true);
    assert_eq!(inflate_at_once(&mut inflation, &HELLOS[2][..7]).unwrap(), b"Hello");
    assert_eq!(inflate_at_once(&mut inflation, HELLOS[0]).unwrap(), b"Hello");
}

#[test]
fn truncated_message_is_refused_without_context_takeover() {
    for hello in [HELLOS[0], HELLOS[3]] {
        for cut in 1..hello.len() {
            // A message may end where another block could begin.
            let ends_a_block = hello[cut..].starts_with(&[0x00, 0x00, 0xff, 0xff]);
            let inflated = inflate_at_once(&mut inflation(false), &hello[..cut]);
            assert_eq!(inflated.is_ok(), ends_a_block, "{hello:x?} cut at {cut} reads {inflated:x?}");
        }
    }
}

#[test]
fn error_of_the_output_callback_is_returned() {
    let refuse = |_: &[u8]| Err(ProtocolError::InvalidUtf8);
    assert_eq!(inflation(true).push(HELLOS[1], refuse), Err(ProtocolError::InvalidUtf8));
}

#[test]
fn incompressible_message_is_not_compressed_and_not_added_to_the_context() {
    let noise = random(17, 2000, 256);
    for takeover in [false, true] {
        let (parameters, contexts) = (parameters(15, takeover), SharedContexts::default());
        let mut deflation = Deflation::new(&parameters, &DeflateConfig::default(), Side::Client, &contexts);
        let mut inflation = Inflation::new(&parameters, Side::Server, &contexts);
        assert_eq!(deflation.message(&noise), None);
        let text = noise.repeat(2);
        let deflated = deflation.message(&text).unwrap();
        assert!(deflated.len() > noise.len(), "the message cannot refer to the uncompressed one");
        assert_eq!(inflate_at_once(&mut inflation, &deflated).unwrap(), text);
    }
}

#[test]
fn default_configurations_have_their_documented_values() {
    let DeflateConfig { server_max_window_bits, client_max_window_bits, threshold_bytes, .. } = DeflateConfig::shared();
    assert_eq!((server_max_window_bits, client_max_window_bits, threshold_bytes), (15, 15, 256));
    let DeflateConfig { server_max_window_bits, client_max_window_bits, threshold_bytes, level, .. } =
        DeflateConfig::dedicated();
    assert_eq!((server_max_window_bits, client_max_window_bits, threshold_bytes, level), (12, 12, 32, 3));
    for (config, takeover) in [(DeflateConfig::shared(), false), (DeflateConfig::dedicated(), true)] {
        let contexts = SharedContexts::default();
        let deflation = Deflation::new(&parameters(12, takeover), &config, Side::Server, &contexts);
        assert!(deflation.wants(config.threshold_bytes) && !deflation.wants(config.threshold_bytes - 1));
        assert_eq!(
            deflation.shares().is_some(),
            !takeover,
            "compressed messages are shared only without context takeover"
        );
    }
}

#[test]
fn output_buffer_is_reused_unless_it_is_large() {
    let (parameters, contexts) = (parameters(15, false), SharedContexts::default());
    let mut deflation = Deflation::new(&parameters, &DeflateConfig::default(), Side::Server, &contexts);
    let deflated = deflation.message(&[b'x'; 5000]).unwrap();
    let address = deflated.as_ptr();
    deflation.recycle(deflated);
    let reused = deflation.message(&[b'y'; 5000]).unwrap();
    assert_eq!(reused.as_ptr(), address);
    let large = Vec::with_capacity(1 << 20);
    deflation.recycle(large);
    assert!(contexts.borrow_mut().take_deflated().capacity() < 1 << 20);
    assert_eq!(contexts.borrow().compressed(), 2);
}

#[test]
fn history_is_the_last_window_of_all_messages() {
    let contexts = SharedContexts::default();
    for pieces in [&[1, 500, 511, 512, 513][..], &[600], &[100; 30], &[512, 64, 1, 1]] {
        let mut history = contexts::History::new(contexts.borrow_mut().enrol(), 9);
        let mut all = Vec::new();
        for (index, length) in pieces.iter().enumerate() {
            let message = random(index as u64, *length, 256);
            history.remember(&message);
            all.extend_from_slice(&message);
            assert_eq!(history.recent(), &all[all.len().saturating_sub(512)..], "{pieces:?} to {index}");
            assert!(history.held_bytes() <= 512 + 64);
        }
    }
}

#[test]
fn connections_that_share_contexts_do_not_affect_each_other() {
    let (parameters, contexts) = (parameters(12, true), SharedContexts::default());
    let config = DeflateConfig::dedicated();
    let mut ends: Vec<(Deflation, Inflation)> = (0..7)
        .map(|_| {
            let inflation = Inflation::new(&parameters, Side::Server, &contexts);
            (Deflation::new(&parameters, &config, Side::Client, &contexts), inflation)
        })
        .collect();
    let mut lengths = Vec::new();
    for round in 0..40 {
        for (index, (deflation, inflation)) in ends.iter_mut().enumerate() {
            // Some connections send twice in a row, some skip a round.
            for _ in 0..(index + round) % 3 {
                let text =
                    format!("connection {index} says {round} and the same words every time: {}", "abc ".repeat(index));
                let Some(deflated) = deflation.message(text.as_bytes()) else { continue };
                let inflated = inflate(inflation, deflated.chunks(1 + round)).unwrap();
                assert_eq!(inflated, text.as_bytes());
                lengths.push(deflated.len());
            }
        }
    }
    assert!(lengths.len() > 200);
    let late = &lengths[lengths.len() / 2..];
    assert!(late.iter().all(|length| *length < 30), "messages refer to earlier messages: {late:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn deflated_message_inflates_to_itself(
        window_bits in 9..=15_u8,
        level in 1..=9_u8,
        takeover in any::<bool>(),
        seeds in prop::collection::vec((any::<u64>(), 1..5000_usize, 1..60_u64, 1..300_usize), 1..12),
    ) {
        let (parameters, contexts) = (parameters(window_bits, takeover), SharedContexts::default());
        let config = DeflateConfig { level, ..DeflateConfig::default() };
        let mut deflation = Deflation::new(&parameters, &config, Side::Server, &contexts);
        let mut inflation = Inflation::new(&parameters, Side::Client, &contexts);
        let mut other = Deflation::new(&parameters, &config, Side::Server, &contexts);
        for (seed, length, kinds, step) in seeds {
            let message = random(seed, length, kinds);
            if seed % 2 == 0 {
                other.message(&message);
            }
            // At once, or in slices.
            let deflated = match seed % 3 {
                0 => {
                    let count = message.chunks(step).len();
                    let slices = message.chunks(step).enumerate();
                    slices.flat_map(|(index, slice)| deflation.piece(slice, index + 1 == count)).collect()
                }
                _ => match deflation.message(&message) {
                    Some(deflated) => deflated,
                    None => continue,
                },
            };
            prop_assert_eq!(inflate(&mut inflation, deflated.chunks(step)), Ok(message));
        }
    }

    #[test]
    fn inflating_arbitrary_octets_ends_without_a_panic(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5),
        takeover in any::<bool>(),
    ) {
        let mut inflation = inflation(takeover);
        for message in messages {
            if inflate_at_once(&mut inflation, &message).is_err() {
                break;
            }
        }
    }
}
