//! Incremental UTF-8 validation: across fragments and frames, failing at the first invalid octet.

use std::str;

use super::error::ProtocolError;

/// Checks a whole text. RFC 6455 §8.1.
#[inline]
pub(crate) fn check(bytes: &[u8]) -> Result<&str, ProtocolError> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| ProtocolError::InvalidUtf8)
}

/// Checks a text that arrives in pieces. At most three octets of an incomplete character are held back.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Utf8Stream {
    held: [u8; 4],
    length: u8,
}

impl Utf8Stream {
    /// Appends the characters that `chunk` completes to `text`, and holds back an incomplete one.
    pub(crate) fn push(&mut self, chunk: &[u8], text: &mut String) -> Result<(), ProtocolError> {
        let rest = self.complete_held(chunk, text)?;
        let (whole, start) = rest.split_at(rest.len() - begun(rest));
        text.push_str(check(whole)?);
        match str::from_utf8(start) {
            Err(error) if error.error_len().is_some() => Err(ProtocolError::InvalidUtf8),
            Err(_) => {
                self.hold(start);
                Ok(())
            }
            // Nothing to hold back.
            Ok(_) => Ok(()),
        }
    }

    /// Ends the text: an incomplete character is an error (RFC 6455 §8.1).
    pub(crate) fn finish(&mut self) -> Result<(), ProtocolError> {
        match std::mem::take(&mut self.length) {
            0 => Ok(()),
            _ => Err(ProtocolError::InvalidUtf8),
        }
    }

    fn hold(&mut self, start: &[u8]) {
        for (held, octet) in self.held.iter_mut().zip(start) {
            *held = *octet;
        }
        self.length = start.len() as u8;
    }

    /// Completes the held character octet by octet, so that an invalid octet is found when it arrives.
    fn complete_held<'c>(&mut self, mut chunk: &'c [u8], text: &mut String) -> Result<&'c [u8], ProtocolError> {
        while self.length > 0 {
            let Some((octet, rest)) = chunk.split_first() else { break };
            chunk = rest;
            let length = usize::from(self.length);
            self.held[length] = *octet;
            self.length += 1;
            match str::from_utf8(&self.held[..=length]) {
                Ok(character) => {
                    text.push_str(character);
                    self.length = 0;
                }
                Err(error) if error.error_len().is_some() => return Err(ProtocolError::InvalidUtf8),
                Err(_) => {}
            }
        }
        Ok(chunk)
    }
}

/// Octets at the end that begin an incomplete character, judged by their first octet.
fn begun(octets: &[u8]) -> usize {
    for (behind, octet) in octets.iter().rev().take(3).enumerate() {
        let length = match octet {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            0x00..=0x7f => 1,
        };
        return if behind + 1 < length { behind + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text, or the count of octets before the invalid one.
    fn octet_by_octet(octets: &[u8]) -> Result<String, usize> {
        let (mut stream, mut text) = (Utf8Stream::default(), String::new());
        for (index, octet) in octets.iter().enumerate() {
            stream.push(&[*octet], &mut text).map_err(|_| index)?;
        }
        stream.finish().map_err(|_| octets.len())?;
        Ok(text)
    }

    #[test]
    fn text_split_at_any_octet_is_decoded_unchanged() {
        let sample = "κόσμε, ẞ, 🦀, \u{10ffff} and ascii".as_bytes();
        assert_eq!(octet_by_octet(sample).as_deref(), Ok("κόσμε, ẞ, 🦀, \u{10ffff} and ascii"));
        for cut in 0..=sample.len() {
            let (mut stream, mut text) = (Utf8Stream::default(), String::new());
            stream.push(&sample[..cut], &mut text).unwrap();
            stream.push(&sample[cut..], &mut text).unwrap();
            stream.finish().unwrap();
            assert_eq!(text.as_bytes(), sample, "cut at {cut}");
        }
    }

    #[test]
    fn invalid_text_fails_at_its_first_invalid_octet() {
        assert_eq!(octet_by_octet(b"ab\xff"), Err(2));
        assert_eq!(octet_by_octet(b"\xf4\x90\x80\x80"), Err(1)); // above U+10FFFF: Autobahn 6.4.x
        assert_eq!(octet_by_octet(b"\xed\xa0\x80"), Err(1)); // a surrogate
        assert_eq!(octet_by_octet(b"\xc0\xaf"), Err(0)); // overlong
        assert_eq!(octet_by_octet(b"\xe2\x82"), Err(2)); // ends inside a character
    }

    #[test]
    fn invalid_text_in_one_chunk_is_refused() {
        for bad in [&b"ok\xf4\x90"[..], b"\xed\xa0", b"caf\xc3("] {
            let (mut stream, mut text) = (Utf8Stream::default(), String::new());
            assert_eq!(stream.push(bad, &mut text), Err(ProtocolError::InvalidUtf8));
        }
    }
}
