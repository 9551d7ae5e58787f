//! Short text messages in a row, which are checked for UTF-8 together: the fixed cost of a check exceeds that of
//! checking a hundred bytes.

use crate::protocol::{
    framing::hybi::{self, WholeMessage},
    limits::MessageLimits,
    utf8,
    version::Side,
};

/// Messages of a run, at most.
const MAX_MESSAGES: usize = 32;

/// Bytes of a run, at most: it stays in the first cache of the CPU until its last message is handled.
const MAX_BYTES: usize = 8 * 1024;

/// Simple text messages at the start of the input, one after the other.
///
/// Their payloads are unmasked, and their headers are overwritten with ASCII, so that all of it is one text exactly if
/// each payload is: no character reaches across a header.
#[derive(Debug)]
pub(crate) struct TextRun {
    messages: [Span; MAX_MESSAGES],
    count: usize,
    side: Side,
}

/// Place of a payload in the input. Between it and the payload before lies its header.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u16,
    end: u16,
}

impl Span {
    #[inline(always)]
    fn range(self) -> std::ops::Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }
}

impl TextRun {
    /// Returns `true` if a run can begin with this message: another one follows, and it is not too long.
    #[inline(always)]
    pub(crate) fn can_begin(first: &WholeMessage, input: &[u8]) -> bool {
        first.is_text && first.end < input.len() && first.end <= MAX_BYTES
    }

    /// Takes a run of at most `max_messages` messages from the start of `input`, received by `side`.
    #[inline(always)]
    pub(super) fn take(input: &mut [u8], side: Side, limits: MessageLimits, max_messages: usize) -> Self {
        let mut run = TextRun { messages: [Span::default(); MAX_MESSAGES], count: 0, side };
        let length = input.len().min(MAX_BYTES);
        let window = &mut input[..length];
        // The address of each header depends on the header before it. Two loops, each for one side, wait less.
        match side {
            Side::Server => run.fill(window, Side::Server, limits, max_messages),
            Side::Client => run.fill(window, Side::Client, limits, max_messages),
        }
        run
    }

    #[inline(always)]
    fn fill(&mut self, window: &mut [u8], side: Side, limits: MessageLimits, max_messages: usize) {
        let mut at = 0;
        for span in self.messages.iter_mut().take(max_messages) {
            let rest = &mut window[at..];
            let Some(whole) = hybi::whole_message(rest, side) else { break };
            if !whole.is_text || whole.end - whole.start > limits.frame() {
                break;
            }
            whole.unmask(rest, side);
            clear(&mut rest[..whole.start]);
            *span = Span { start: (at + whole.start) as u16, end: (at + whole.end) as u16 };
            at += whole.end;
            self.count += 1;
        }
    }

    /// All messages and their headers as one text. `None` if a message is not UTF-8.
    #[inline(always)]
    pub(crate) fn check<'m>(&self, input: &'m [u8]) -> Option<&'m str> {
        utf8::check(&input[..self.end_before(self.count)]).ok()
    }

    /// A message of the checked text.
    #[inline(always)]
    pub(crate) fn message<'m>(&self, text: &'m str, index: usize) -> Option<&'m str> {
        text.get(self.messages[..self.count].get(index)?.range())
    }

    /// Gives the messages from `index` on back to the input: writes headers that decode to them. Returns where they
    /// begin.
    pub(crate) fn give_back(&self, input: &mut [u8], index: usize) -> usize {
        // The payloads are unmasked already: a key of zeros leaves them so.
        for index in index..self.count {
            let payload = self.messages[index].range();
            let header = &mut input[self.end_before(index)..payload.start];
            hybi::rewrite_text_header(header, payload.len(), self.side);
        }
        self.end_before(index)
    }

    /// End of the message before this one.
    fn end_before(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.messages[before].range().end)
    }
}

/// Overwrites a header with ASCII. Written out, because a call of `memset` costs more than the rest of the parsing.
#[inline(always)]
fn clear(header: &mut [u8]) {
    match header {
        [a, b] => (*a, *b) = (0, 0),
        [a, b, c, d] => (*a, *b, *c, *d) = (0, 0, 0, 0),
        header => header.fill(0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{encoder::Encoder, message::Message, version::Version};

    fn frames(side: Side, texts: &[&[u8]]) -> Vec<u8> {
        let sender = if side == Side::Server { Side::Client } else { Side::Server };
        let mut input = Vec::new();
        for text in texts {
            let at = input.len();
            Encoder::new(Version::Rfc6455, sender).message(Message::Binary(text), [9, 0, 255, 77], &mut input);
            input[at] = 0x81;
        }
        input
    }

    fn taken(run: &TextRun, input: &[u8]) -> Option<Vec<String>> {
        let text = run.check(input)?;
        Some((0..run.count).map(|index| run.message(text, index).unwrap().to_owned()).collect())
    }

    #[test]
    fn text_messages_in_a_row_are_taken_up_to_another_frame_an_incomplete_one_or_the_limits() {
        for side in [Side::Server, Side::Client] {
            let texts: [&[u8]; 4] = ["one".as_bytes(), b"", "日本".as_bytes(), &[b'x'; 300]];
            let whole = frames(side, &texts);
            let ping = [&whole[..], &[0x89, 0x80, 0, 0, 0, 0]].concat();
            let cut = [&whole[..], &frames(side, &[b"cut"])[..4]].concat();
            let binary = [&whole[..], &[0x82], &frames(side, &[b"b"])[1..]].concat();
            for input in [whole, ping, cut, binary] {
                let mut bytes = input.clone();
                let run = TextRun::take(&mut bytes, side, MessageLimits::default(), 100);
                assert_eq!(taken(&run, &bytes).unwrap(), texts.map(|text| str::from_utf8(text).unwrap()));
                let mut bytes = input.clone();
                assert_eq!(TextRun::take(&mut bytes, side, MessageLimits::default(), 2).count, 2);
                let limits = MessageLimits { max_frame_bytes: 299, ..MessageLimits::default() };
                let mut bytes = input;
                assert_eq!(TextRun::take(&mut bytes, side, limits, 100).count, 3, "the last one is too long");
            }
        }
    }

    #[test]
    fn character_may_not_reach_from_one_message_into_the_next() {
        let [first, second]: [&[u8]; 2] = [&"é".as_bytes()[..1], &"é".as_bytes()[1..]];
        for side in [Side::Server, Side::Client] {
            for texts in [&[first, second][..], &[b"a", second], &[first, b"a"], &[b"a", first]] {
                let mut bytes = frames(side, texts);
                let run = TextRun::take(&mut bytes, side, MessageLimits::default(), 100);
                assert_eq!((run.count, taken(&run, &bytes)), (2, None));
            }
        }
    }

    /// A frame whose length has two octets more than it needs, which receivers accept.
    fn long_winded(side: Side, text: &str) -> Vec<u8> {
        let mask = if side == Side::Server { 0x80 } else { 0 };
        let key: &[u8] = if side == Side::Server { &[0; 4] } else { &[] };
        [&[0x81, mask | 126, 0, text.len() as u8], key, text.as_bytes()].concat()
    }

    proptest! {
        #[test]
        fn messages_that_are_given_back_are_taken_again(
            texts in proptest::collection::vec(("[a-zé🦀]{0,200}", any::<bool>()), 1..40),
            index in 0_usize..40,
        ) {
            for side in [Side::Server, Side::Client] {
                let frame = |(text, is_long): &(String, bool)| match *is_long && text.len() <= 125 {
                    true => long_winded(side, text),
                    false => frames(side, &[text.as_bytes()]),
                };
                let mut bytes: Vec<u8> = texts.iter().flat_map(frame).collect();
                let run = TextRun::take(&mut bytes, side, MessageLimits::default(), 100);
                let index = index.min(run.count);
                let expected = taken(&run, &bytes).unwrap();
                let at = run.give_back(&mut bytes, index);
                let again = TextRun::take(&mut bytes[at..], side, MessageLimits::default(), run.count - index);
                prop_assert_eq!(taken(&again, &bytes[at..]).unwrap(), &expected[index..]);
            }
        }
    }
}
