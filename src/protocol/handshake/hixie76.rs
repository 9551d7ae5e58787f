//! The handshake of hixie-76 §5.2, and of the drafts hybi-00 to hybi-03: two keys in the head and a third key after the
//! head, hashed together.
//!
//! The head is answered as soon as it has arrived, and the proof follows the third key. Otherwise a proxy that forwards
//! the third key only after the response (HAProxy) would wait for ever.

use http::{HeaderName, HeaderValue, header};
use md5::{Digest, Md5};

use super::{Handshake, HandshakeError};
use crate::{
    http::{Request, response},
    protocol::mask::Masks,
};

/// Length of the third key, which follows the head without a length of its own.
pub(super) const THIRD_KEY_BYTES: usize = 8;

pub(super) static KEY1: HeaderName = HeaderName::from_static("sec-websocket-key1");
pub(super) static KEY2: HeaderName = HeaderName::from_static("sec-websocket-key2");

/// The keys of the example in hixie-76 §1.2.
pub(super) const SAMPLE_KEYS: &str =
    "Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nSec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n";

/// The third key of the same example.
pub(super) const SAMPLE_THIRD_KEY: &str = "^n:ds[4U";

/// The proof for all three keys.
pub(super) const SAMPLE_PROOF: &[u8] = b"8jKS'y:G*Co,Wxa-";

/// Checks the keys in the head, before the third key has arrived.
pub(super) fn check(request: &Request) -> Result<(), HandshakeError> {
    match (number(request, &KEY1), number(request, &KEY2)) {
        (Some(_), Some(_)) => Ok(()),
        _ => Err(HandshakeError::Challenge),
    }
}

/// The number hidden in a key: the digits, divided by the count of spaces.
fn number(request: &Request, name: &HeaderName) -> Option<u32> {
    let mut keys = request.headers().get_all(name).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return None };
    hidden_number(key)
}

fn hidden_number(key: &HeaderValue) -> Option<u32> {
    let mut digits = key.as_bytes().iter().filter(|octet| octet.is_ascii_digit());
    let number =
        digits.try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    let spaces = key.as_bytes().iter().filter(|octet| **octet == b' ').count() as u64;
    // A form on a hostile page could send a key without spaces.
    let quotient = number.checked_div(spaces)?;
    (number % spaces == 0).then(|| u32::try_from(quotient).ok())?
}

/// Appends the head of the 101, without the final empty line.
pub(super) fn answer(handshake: &Handshake, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 WebSocket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n",
    );
    let mut location = Vec::new();
    handshake.write_location(&mut location);
    response::write_line("Sec-WebSocket-Location", &location, out);
    response::write_line("Sec-WebSocket-Origin", handshake.raw_header(header::ORIGIN), out);
}

/// The proof that the server understood the request as a WebSocket's.
pub(super) fn proof(request: &Request, third_key: &[u8]) -> [u8; 16] {
    proof_of([&KEY1, &KEY2].map(|name| number(request, name).unwrap_or_default()), third_key)
}

/// The proof for the numbers hidden in the keys.
pub(super) fn proof_of(numbers: [u32; 2], third_key: &[u8]) -> [u8; 16] {
    let mut hash = Md5::new();
    for number in numbers {
        hash.update(number.to_be_bytes());
    }
    hash.update(third_key);
    hash.finalize().into()
}

/// A key as made by a client (hixie-76 §4.1): a number times the count of spaces, with other characters between the
/// digits.
pub(super) struct Key {
    pub(super) number: u32,
    pub(super) text: String,
}

impl Key {
    pub(super) fn new(masks: &mut Masks) -> Self {
        let mut below = |limit: u32| u32::from_be_bytes(masks.key()) % limit;
        let spaces = 1 + below(12);
        let number = below(u32::MAX / spaces);
        let mut text: Vec<u8> = (number * spaces).to_string().into_bytes();
        for _ in 0..1 + below(12) {
            // 21 to 2F and 3A to 7E: printable characters except digits.
            let other = below(15 + 69) as u8;
            let other = if other < 15 { 0x21 + other } else { 0x3a + other - 15 };
            text.insert(below(text.len() as u32 + 1) as usize, other);
        }
        for _ in 0..spaces {
            // Never first or last.
            text.insert(1 + below(text.len() as u32 - 1) as usize, b' ');
        }
        Key { number, text: text.iter().copied().map(char::from).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(key: &'static str) -> Option<u32> {
        hidden_number(&HeaderValue::from_static(key))
    }

    #[test]
    fn keys_of_the_draft_contain_the_numbers_of_the_draft() {
        // hixie-76 §1.3.
        assert_eq!(hidden("18x 6]8vM;54 *(5:  {   U1]8  z [  8"), Some(155_712_099));
        assert_eq!(hidden("1_ tx7X d  <  nw  334J702) 7]o}` 0"), Some(173_347_027));
        assert_eq!(hidden("4 @1  46546xW%0l 1 5"), Some(829_309_203));
        assert_eq!(hidden("12998 5 Y3 1  .P00"), Some(259_970_620));
    }

    #[test]
    fn generated_key_contains_its_number_and_has_no_outer_spaces() {
        let mut state = 1_u32;
        let mut masks = Masks::new(Box::new(move |bytes| {
            for byte in bytes {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8;
            }
        }));
        for _ in 0..1000 {
            let key = Key::new(&mut masks);
            assert_eq!(hidden_number(&HeaderValue::try_from(&key.text).unwrap()), Some(key.number), "{:?}", key.text);
            assert!(!key.text.starts_with(' ') && !key.text.ends_with(' '));
        }
    }

    #[test]
    fn key_without_a_valid_number_is_refused() {
        assert_eq!(hidden("4@146546xW%0l15"), None, "no spaces");
        assert_eq!(hidden("1 2 9"), None, "not divisible by the number of spaces");
        assert_eq!(hidden("42949 67296"), None, "above 32 bits");
        assert_eq!(hidden("42949 67295"), Some(u32::MAX));
        assert_eq!(hidden("9 99999999999999999999999999"), None, "above 64 bits");
        assert_eq!(hidden("no digits"), Some(0));
    }
}
