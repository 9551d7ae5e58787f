//! The framing of hixie-75 and hixie-76 (hixie-76 §5.3): text between 00 and FF, and length-prefixed frames that no
//! peer sends.
//!
//! The parser is a state machine without headers: the end of a text is searched once.

use std::ops::Range;

use crate::protocol::error::ProtocolError;

/// The octet that ends a text. UTF-8 never contains the octet.
const END: u8 = 0xff;

/// The closing handshake (hixie-76 §5.3). In hixie-75 this is an empty frame to skip, but a peer that sends the frame
/// closes.
pub(crate) const CLOSE: [u8; 2] = [END, 0];

/// Longest accepted length field, in octets.
const MAX_LENGTH_OCTETS: u8 = 10;

/// Appends a text frame.
pub(crate) fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(text);
    out.push(END);
}

/// Position in the stream of frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Frames {
    /// Between frames.
    #[default]
    Between,
    /// In a text, with the octets so far.
    Text(usize),
    /// In a frame of type 01 to 7F, with the octets so far. The frame ends like a text, and is discarded.
    Unknown(usize),
    /// In the length of a frame of type 80 to FF.
    Length { closes: bool, octets: u8, length: u32 },
    /// In such a frame, with the octets left to skip.
    Skipped(u32),
}

/// A parsed item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A part of a text at this range of the input, which may begin or end the text.
    Text { range: Range<usize>, begins: bool, ends: bool },
    /// FF 00 was received.
    Close,
}

impl Frames {
    /// Returns `true` if no text is unfinished.
    pub(crate) fn is_between_texts(self) -> bool {
        !matches!(self, Frames::Text(_))
    }

    /// Continues at `at`, and moves `at`. `None` when all of the input is used. A frame above `limit` bytes is refused.
    pub(crate) fn next(&mut self, input: &[u8], at: &mut usize, limit: usize) -> Result<Option<Step>, ProtocolError> {
        while let Some(&octet) = input.get(*at) {
            match *self {
                Frames::Between => {
                    *at += 1;
                    *self = match octet {
                        0x00 => Frames::Text(0),
                        0x01..=0x7f => Frames::Unknown(0),
                        0x80..=0xff => Frames::Length { closes: octet == END, octets: 0, length: 0 },
                    };
                }
                Frames::Text(before) => {
                    let (range, ends) = self.up_to_end(before, input, at, limit)?;
                    if !ends {
                        *self = Frames::Text(before + range.len());
                    }
                    return Ok(Some(Step::Text { range, begins: before == 0, ends }));
                }
                Frames::Unknown(before) => {
                    let (range, ends) = self.up_to_end(before, input, at, limit)?;
                    if !ends {
                        *self = Frames::Unknown(before + range.len());
                    }
                }
                Frames::Length { closes, octets, length } => {
                    *at += 1;
                    let announced = u64::from(length) * 128 + u64::from(octet & 0x7f);
                    let most = limit.min(u32::MAX as usize);
                    if announced > most as u64 || octets >= MAX_LENGTH_OCTETS {
                        // A length that never ends is longer than any limit.
                        let length = announced.max((limit as u64).saturating_add(1));
                        return Err(ProtocolError::TooBig { limit, length });
                    }
                    let length = announced as u32;
                    *self = match (octet & 0x80, length) {
                        (0x80, _) => Frames::Length { closes, octets: octets + 1, length },
                        (_, 0) => Frames::Between,
                        (_, length) => Frames::Skipped(length),
                    };
                    if closes && octet & 0x80 == 0 && length == 0 {
                        return Ok(Some(Step::Close));
                    }
                }
                Frames::Skipped(left) => {
                    let here = (left as usize).min(input.len() - *at);
                    *at += here;
                    *self = match left - here as u32 {
                        0 => Frames::Between,
                        left => Frames::Skipped(left),
                    };
                }
            }
        }
        Ok(None)
    }

    /// The part of the input that belongs to a frame ended by FF, and whether the frame ends here.
    fn up_to_end(
        &mut self,
        before: usize,
        input: &[u8],
        at: &mut usize,
        limit: usize,
    ) -> Result<(Range<usize>, bool), ProtocolError> {
        let start = *at;
        let found = find_end(&input[start..]);
        let end = found.map_or(input.len(), |length| start + length);
        let length = before + (end - start);
        if length > limit {
            return Err(ProtocolError::TooBig { limit, length: length as u64 });
        }
        *at = end;
        if found.is_some() {
            *at += 1;
            *self = Frames::Between;
        }
        Ok((start..end, found.is_some()))
    }
}

/// Position of the first FF. Eight octets are tested at a time.
fn find_end(bytes: &[u8]) -> Option<usize> {
    const LOWEST: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHEST: u64 = u64::from_ne_bytes([0x80; 8]);
    let (words, _) = bytes.as_chunks::<8>();
    // FF is zero in the complement: the only octet that borrows and has no highest bit.
    let without = |word: &&[u8; 8]| {
        let word = u64::from_ne_bytes(**word);
        (!word).wrapping_sub(LOWEST) & word & HIGHEST == 0
    };
    let before = 8 * words.iter().take_while(without).count();
    bytes[before..].iter().position(|octet| *octet == END).map(|at| before + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_end_octet_is_found_at_any_position() {
        for fill in [0x00, 0x7f, 0x80, 0xfe] {
            for length in 0..40 {
                let mut bytes = vec![fill; length];
                assert_eq!(find_end(&bytes), None);
                for at in (0..length).rev() {
                    bytes[at] = END;
                    assert_eq!(find_end(&bytes), Some(at), "{fill:x} {length}");
                }
            }
        }
    }

    fn steps(input: &[u8]) -> (Vec<Step>, Frames) {
        let (mut frames, mut at, mut steps) = (Frames::default(), 0, Vec::new());
        while let Some(step) = frames.next(input, &mut at, 1000).unwrap() {
            steps.push(step);
        }
        assert_eq!(at, input.len());
        (steps, frames)
    }

    fn refused(input: &[u8]) -> ProtocolError {
        let (mut frames, mut at) = (Frames::default(), 0);
        loop {
            match frames.next(input, &mut at, 1000) {
                Ok(step) => assert!(step.is_some(), "not refused"),
                Err(error) => return error,
            }
        }
    }

    #[test]
    fn text_frame_lies_between_00_and_ff() {
        let whole = Step::Text { range: 1..6, begins: true, ends: true };
        assert_eq!(steps(b"\x00Hello\xff"), (vec![whole], Frames::Between));
        let begun = Step::Text { range: 1..4, begins: true, ends: false };
        assert_eq!(steps(b"\x00Hel"), (vec![begun], Frames::Text(3)));
    }

    #[test]
    fn frames_of_other_types_are_skipped() {
        assert_eq!(steps(b"\x42ignored\xff\x80\x02\xff\xff\x85\x00\x81\x80\x01x"), (vec![], Frames::Between));
    }

    #[test]
    fn only_ff_00_is_a_close_frame() {
        assert_eq!(steps(b"\xfe\x00\xff\x01x\xff\x00"), (vec![Step::Close], Frames::Between));
        assert_eq!(steps(b"\xff\x80\x00"), (vec![Step::Close], Frames::Between));
    }

    #[test]
    fn frame_in_pieces_may_reach_the_limit_but_not_exceed_it() {
        for kind in [0, 1] {
            let (mut frames, mut at) = (Frames::default(), 0);
            for piece in [&[kind][..], &[b'x'; 600], &[b'x'; 400], &[END]] {
                at = 0;
                while at < piece.len() {
                    frames.next(piece, &mut at, 1000).unwrap();
                }
            }
            assert_eq!((frames, at), (Frames::Between, 1));
            let _ = frames.next(&[kind], &mut 0, 1000);
            let _ = frames.next(&[b'x'; 600], &mut 0, 1000);
            let crossing = frames.next(&[b'x'; 401], &mut 0, 1000);
            assert_eq!(crossing, Err(ProtocolError::TooBig { limit: 1000, length: 1001 }));
        }
        assert_eq!(
            steps(&[&[0x80, 0x87, 0x68][..], &[END; 1000]].concat()),
            (vec![], Frames::Between),
            "1000 bytes are skipped"
        );
    }

    #[test]
    fn frame_above_the_limit_is_refused_as_soon_as_its_length_exceeds_it() {
        let error = |length| ProtocolError::TooBig { limit: 1000, length };
        assert_eq!(refused(&[&[0][..], &[b'x'; 1001]].concat()), error(1001));
        assert_eq!(refused(&[&[1][..], &[b'x'; 1001]].concat()), error(1001));
        assert_eq!(refused(&[0x80, 0x87, 0x69]), error(1001));
        // The length of 1180591620717411303296 bytes is a test case of em-websocket.
        assert_eq!(refused(&[0x80, 0x81, 0x80, 0x80, 0x80]), error(16384));
        assert_eq!(refused(&[0x80; 20]), error(1001), "a length that never ends");
    }
}
