//! `Range` of a request: one range of bytes (RFC 9110 §14).

use std::ops::Range;

/// The part of a representation that a response carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of it, with 200: no range, several ranges, or one that cannot be read. A server may ignore the header (RFC
    /// 9110 §14.2).
    Whole,
    /// These bytes, with 206.
    Part(Range<u64>),
    /// No byte of the representation: 416.
    Unsatisfiable,
}

/// Selects the bytes that the value of a `Range` header asks for, of a representation with `length` bytes.
pub(crate) fn select(value: &[u8], length: u64) -> Selection {
    let Some(specification) = value.trim_ascii().strip_prefix(b"bytes=") else { return Selection::Whole };
    let specification = specification.trim_ascii();
    let Some(dash) = specification.iter().position(|octet| *octet == b'-') else { return Selection::Whole };
    let (first, last) = (&specification[..dash], &specification[dash + 1..]);
    match (number(first), number(last)) {
        (Some(first), _) if last.is_empty() => part(first, length, length),
        (Some(first), Some(last)) if first <= last => part(first, last.saturating_add(1).min(length), length),
        // The last bytes; all of them if there are fewer.
        (None, Some(count)) if first.is_empty() => match count {
            0 => Selection::Unsatisfiable,
            count => part(length.saturating_sub(count), length, length),
        },
        _ => Selection::Whole,
    }
}

fn part(first: u64, end: u64, length: u64) -> Selection {
    if first < length { Selection::Part(first..end) } else { Selection::Unsatisfiable }
}

/// The value of a string of digits. A longer one than fits counts as the largest number.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value =
        digits.iter().try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    Some(value.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_selects_its_bytes() {
        // RFC 9110 §14.1.2, for 10,000 bytes.
        for (value, selected) in [
            ("bytes=0-499", 0..500),
            ("bytes=500-999", 500..1000),
            ("bytes=-500", 9500..10_000),
            ("bytes=9500-", 9500..10_000),
            ("bytes=0-0", 0..1),
            ("bytes=-1", 9999..10_000),
            ("bytes=9999-20000", 9999..10_000),
            ("bytes=0-99999999999999999999999", 0..10_000),
            ("bytes=-99999999999999999999999", 0..10_000),
            (" bytes= 1-2 ", 1..3),
        ] {
            assert_eq!(select(value.as_bytes(), 10_000), Selection::Part(selected), "{value}");
        }
    }

    #[test]
    fn range_outside_of_the_representation_is_unsatisfiable() {
        for value in ["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(select(value.as_bytes(), 10_000), Selection::Unsatisfiable, "{value}");
        }
        assert_eq!(select(b"bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(select(b"bytes=-5", 0), Selection::Unsatisfiable);
    }

    #[test]
    fn several_or_malformed_ranges_select_everything() {
        for value in
            ["", "bytes", "bytes=", "bytes=-", "bytes=1", "bytes=2-1", "bytes=0-1,4-5", "bytes=a-b", "bytes=+1-2"]
        {
            assert_eq!(select(value.as_bytes(), 10_000), Selection::Whole, "{value}");
        }
        for value in ["lines=0-1", "Bytes=0-1", "bytes=1--2", "bytes=0-1-", "bytes=0x1-2"] {
            assert_eq!(select(value.as_bytes(), 10_000), Selection::Whole, "{value}");
        }
    }
}
