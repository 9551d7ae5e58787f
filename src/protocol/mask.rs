//! Masking: the XOR of RFC 6455 §5.3, a word at a time.

use std::fmt;

/// A masking key, in wire order.
pub(crate) type MaskingKey = [u8; 4];

/// Masks or unmasks `payload` in place; both are the same operation.
///
/// `offset` is the position of `payload` in its frame, so that a frame can be unmasked in pieces.
#[inline(always)]
pub(crate) fn unmask(payload: &mut [u8], key: MaskingKey, offset: usize) {
    let word = word(key, offset);
    // The compiler vectorises safe eight-byte chunks best; a wider loop with a byte tail loses on short payloads.
    let (words, tail) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_le_bytes(*bytes) ^ word).to_le_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(word.to_le_bytes()) {
        *byte ^= key;
    }
}

/// Appends `payload` to `out`, masked while it is copied. `offset` is its position in the frame, as in [`unmask`].
#[inline]
pub(crate) fn append_masked(payload: &[u8], key: MaskingKey, offset: usize, out: &mut Vec<u8>) {
    let word = word(key, offset);
    let (words, tail) = payload.as_chunks::<8>();
    out.extend(words.iter().flat_map(|bytes| (u64::from_le_bytes(*bytes) ^ word).to_le_bytes()));
    out.extend(tail.iter().zip(word.to_le_bytes()).map(|(byte, key)| byte ^ key));
}

/// A source of masking keys: fresh and unpredictable for every frame (RFC 6455 §10.3).
pub(crate) struct Masks {
    draw: Draw,
    drawn: [u8; DRAWN_BYTES],
    used: usize,
    log: Option<Log>,
}

/// Gets what was drawn.
pub(crate) type Log = Box<dyn Fn(&[u8])>;

/// Fills a buffer with unpredictable octets.
pub(crate) type Draw = Box<dyn FnMut(&mut [u8])>;

/// Bytes drawn by one call of the system.
const DRAWN_BYTES: usize = 1024;

impl Masks {
    /// Keys drawn from `draw`.
    pub(crate) fn new(draw: Draw) -> Self {
        Masks { draw, drawn: [0; DRAWN_BYTES], used: DRAWN_BYTES, log: None }
    }

    /// Passes what is drawn from now on to `log` as well, or to nobody. What was drawn before is not used any more.
    pub(crate) fn log_to(&mut self, log: Option<Log>) {
        self.log = log;
        self.used = DRAWN_BYTES;
    }

    pub(crate) fn key(&mut self) -> MaskingKey {
        let mut key = [0; 4];
        self.fill(&mut key);
        key
    }

    /// Fills `bytes` with fresh random bytes, which are never used again.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(16) {
            if self.used + chunk.len() > DRAWN_BYTES {
                (self.draw)(&mut self.drawn);
                if let Some(log) = &self.log {
                    log(&self.drawn);
                }
                self.used = 0;
            }
            chunk.copy_from_slice(&self.drawn[self.used..self.used + chunk.len()]);
            self.used += chunk.len();
        }
    }
}

impl fmt::Debug for Masks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Masks").finish_non_exhaustive()
    }
}

/// The key twice, rotated to `offset`, first octet lowest.
#[inline(always)]
fn word(key: MaskingKey, offset: usize) -> u64 {
    let key = u64::from(u32::from_le_bytes(key).rotate_right(offset as u32 % 4 * 8));
    key << 32 | key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_hello_of_rfc_6455_section_5_7_unmasks_to_hello() {
        let mut payload = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        unmask(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&payload, b"Hello");
    }

    #[test]
    fn payload_masked_while_copying_equals_the_payload_masked_in_place() {
        for (length, offset) in (0..=40).flat_map(|length| (0..5).map(move |offset| (length, offset))) {
            let plain: Vec<u8> = (0..length).collect();
            let mut expected = [b"before", &plain[..]].concat();
            unmask(&mut expected[6..], [1, 2, 3, 4], offset);
            let mut out = b"before".to_vec();
            append_masked(&plain, [1, 2, 3, 4], offset, &mut out);
            assert_eq!(out, expected, "{length} bytes at {offset}");
        }
    }

    #[test]
    fn masking_keys_and_nonces_use_each_random_byte_once() {
        let mut next = 0_u32;
        let mut masks = Masks::new(Box::new(move |bytes| {
            for word in bytes.chunks_mut(4) {
                next += 1;
                word.copy_from_slice(&next.to_be_bytes());
            }
        }));
        let keys: Vec<u32> = (0..1000).map(|_| u32::from_be_bytes(masks.key())).collect();
        assert_eq!(keys, (1..=1000).collect::<Vec<u32>>());
        let mut nonce = [0; 40];
        masks.fill(&mut nonce);
        assert_eq!(nonce[..8], [0, 0, 3, 233, 0, 0, 3, 234]);
    }

    #[test]
    fn payload_unmasked_in_two_pieces_equals_the_payload_unmasked_at_once() {
        let key = [1, 2, 3, 4];
        let plain: Vec<u8> = (0..=70).collect();
        let mut whole = plain.clone();
        unmask(&mut whole, key, 0);
        for cut in 0..=plain.len() {
            let mut pieces = plain.clone();
            let (left, right) = pieces.split_at_mut(cut);
            unmask(left, key, 0);
            unmask(right, key, cut);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
        for (index, (plain, masked)) in plain.iter().zip(&whole).enumerate() {
            assert_eq!(plain ^ key[index % 4], *masked);
        }
    }
}
