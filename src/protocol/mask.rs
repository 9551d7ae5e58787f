//! Masking: the XOR that RFC 6455 §5.3 asks of a client, a word at a time.

/// A masking key, as it stands in the frame.
pub(crate) type MaskingKey = [u8; 4];

/// Masks or unmasks `payload` in place; the two are the same operation.
///
/// `offset` is where `payload` starts within its frame, so that a frame may be undone in pieces.
#[inline(always)]
pub(crate) fn unmask(payload: &mut [u8], key: MaskingKey, offset: usize) {
    let [a, b, c, d] = rotated(key, offset);
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    // Safe eight-byte chunks are what the compiler vectorises best; a wider loop with a byte tail loses on short payloads.
    let (words, tail) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

fn rotated(key: MaskingKey, offset: usize) -> MaskingKey {
    let mut key = key;
    key.rotate_left(offset % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_masked_hello_of_rfc_6455_section_5_7_reads_hello() {
        let mut payload = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        unmask(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&payload, b"Hello");
    }

    #[test]
    fn any_split_gives_what_the_whole_gives() {
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
