//! RESP, the protocol of Redis, versions 2 and 3: whole replies out of a stream of bytes, and commands.
//!
//! `redis-protocol` decodes. It is given whole replies within bounds, because it calls itself for each level of nesting
//! and begins again for each byte that is missing: [`Scanner`] finds their ends first.

use redis_protocol::{
    resp2::{
        self,
        types::{BorrowedFrame, RangeFrame as Frame2},
    },
    resp3::{self, types::RangeFrame as Frame3},
};

/// Longest line: a type, a length, a number, a simple string or an error.
const MOST_LINE_BYTES: usize = 64 * 1024;
/// Longest string. Redis itself takes 512 MiB by default; no message is that long.
const MOST_STRING_BYTES: usize = 64 * 1024 * 1024;
/// Most items of an array.
const MOST_ITEMS: usize = 64 * 1024;
/// Most arrays in each other. A reply of `SENTINEL` has 2, one of `CLUSTER SHARDS` 5.
const MOST_LEVELS: usize = 8;

/// Bytes of Redis are no reply, or a larger one than any that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadReply(&'static str);

impl std::fmt::Display for BadReply {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0)
    }
}

/// Finds the end of the next reply, and goes on where it was when more bytes arrive.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Where the next item begins.
    position: usize,
    /// Bytes before this one hold no end of the line that begins at `position`.
    searched: usize,
    /// Bytes that are needed before anything can be said.
    needed: usize,
    /// Items that are missing in each open array.
    open: Vec<usize>,
}

/// The content that a line announces.
enum Item {
    /// Nothing: it is whole.
    Whole,
    /// So many bytes, and the end of a line.
    Bytes(usize),
    Items(usize),
}

impl Scanner {
    /// The length of the first reply in `input`, which begins as in the last call. `None` if it is not whole.
    pub(super) fn end(&mut self, input: &[u8]) -> Result<Option<usize>, BadReply> {
        while input.len() > self.position.max(self.needed.saturating_sub(1)) {
            let Some(line_end) = self.line_end(input)? else { return Ok(None) };
            let end = match read_line(&input[self.position..line_end])? {
                Item::Whole => line_end + 2,
                Item::Bytes(length) => {
                    let end = line_end + 2 + length + 2;
                    if input.len() < end {
                        self.needed = end;
                        return Ok(None);
                    }
                    if &input[end - 2..end] != b"\r\n" {
                        return Err(BadReply("a string does not end where it should"));
                    }
                    end
                }
                Item::Items(0) => line_end + 2,
                Item::Items(items) => {
                    if self.open.len() == MOST_LEVELS {
                        return Err(BadReply("too many arrays in each other"));
                    }
                    self.open.push(items);
                    (self.position, self.searched) = (line_end + 2, line_end + 2);
                    continue;
                }
            };
            (self.position, self.searched) = (end, end);
            self.close_full_arrays();
            if self.open.is_empty() {
                *self = Scanner::default();
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// Notes that an item is whole, and the arrays that it completes.
    fn close_full_arrays(&mut self) {
        while let Some(missing) = self.open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                return;
            }
            self.open.pop();
        }
    }

    /// Where the line that begins at `position` ends.
    fn line_end(&mut self, input: &[u8]) -> Result<Option<usize>, BadReply> {
        let begin = self.searched.max(self.position);
        let found = input[begin..].windows(2).position(|pair| pair == b"\r\n");
        let end = found.map(|offset| begin + offset);
        if end.unwrap_or(input.len()) - self.position > MOST_LINE_BYTES {
            return Err(BadReply("a line is too long"));
        }
        if end.is_none() {
            self.searched = input.len().saturating_sub(1).max(self.position);
        }
        Ok(end)
    }
}

/// Reads a line without its end.
fn read_line(line: &[u8]) -> Result<Item, BadReply> {
    let Some((kind, rest)) = line.split_first() else { return Err(BadReply("an empty line")) };
    let length = || {
        let text = std::str::from_utf8(rest).ok();
        text.and_then(|text| text.parse::<i64>().ok()).ok_or(BadReply("a length is no number"))
    };
    let (count, most) = match kind {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => return Ok(Item::Whole),
        b'$' | b'!' | b'=' => (length()?, MOST_STRING_BYTES),
        b'*' | b'~' | b'>' => (length()?, MOST_ITEMS),
        b'%' => (length()?, MOST_ITEMS / 2),
        _ => return Err(BadReply("a type of reply that does not exist")),
    };
    let count = match usize::try_from(count) {
        Ok(count) if count <= most => count,
        Ok(_) => return Err(BadReply("a length is too large")),
        // Null, in version 2.
        Err(_) if count == -1 => return Ok(Item::Whole),
        Err(_) => return Err(BadReply("a length is negative")),
    };
    Ok(match kind {
        b'$' | b'!' | b'=' => Item::Bytes(count),
        b'%' => Item::Items(2 * count),
        _ => Item::Items(count),
    })
}

/// A reply, in the bytes that it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply<'b> {
    /// A simple string, or one with a length.
    Text(&'b [u8]),
    Error(&'b [u8]),
    Integer(i64),
    Null,
    /// A map is a list of keys, each followed by its value.
    List(Vec<Reply<'b>>),
    /// An unrequested reply: a message, in version 3.
    Push(Vec<Reply<'b>>),
    /// Of a type that no command of ours answers with.
    Other,
}

/// The version of the protocol that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Resp2,
    Resp3,
}

impl<'b> Reply<'b> {
    /// Decodes a whole reply, whose end a [`Scanner`] has found.
    pub(super) fn decode(bytes: &'b [u8], version: Version) -> Result<Self, BadReply> {
        const BAD: BadReply = BadReply("a reply cannot be decoded");
        match version {
            Version::Resp2 => {
                let (frame, _) = resp2::decode::decode_range(bytes).ok().flatten().ok_or(BAD)?;
                Ok(Reply::from_resp2(&frame, bytes))
            }
            Version::Resp3 => {
                let (frame, _) = resp3::decode::complete::decode_range(bytes).ok().flatten().ok_or(BAD)?;
                Ok(Reply::from_resp3(frame, bytes))
            }
        }
    }

    fn from_resp2(frame: &Frame2, bytes: &'b [u8]) -> Self {
        match frame {
            Frame2::SimpleString((from, to)) | Frame2::BulkString((from, to)) => Reply::Text(&bytes[*from..*to]),
            Frame2::Error((from, to)) => Reply::Error(&bytes[*from..*to]),
            Frame2::Integer(number) => Reply::Integer(*number),
            Frame2::Array(items) => Reply::List(items.iter().map(|item| Reply::from_resp2(item, bytes)).collect()),
            Frame2::Null => Reply::Null,
        }
    }

    fn from_resp3(frame: Frame3, bytes: &'b [u8]) -> Self {
        let list = |items: Vec<Frame3>| items.into_iter().map(|item| Reply::from_resp3(item, bytes)).collect();
        match frame {
            Frame3::BlobString { data: (from, to), .. } | Frame3::SimpleString { data: (from, to), .. } => {
                Reply::Text(&bytes[from..to])
            }
            Frame3::BlobError { data: (from, to), .. } | Frame3::SimpleError { data: (from, to), .. } => {
                Reply::Error(&bytes[from..to])
            }
            Frame3::Number { data, .. } => Reply::Integer(data),
            Frame3::Null => Reply::Null,
            Frame3::Array { data, .. } => Reply::List(list(data)),
            Frame3::Push { data, .. } => Reply::Push(list(data)),
            Frame3::Map { data, .. } => {
                Reply::List(data.into_iter().flat_map(|(key, value)| list(vec![key, value])).collect())
            }
            _ => Reply::Other,
        }
    }

    /// The items of a list, or of what was pushed.
    pub(super) fn items(&self) -> &[Reply<'b>] {
        match self {
            Reply::List(items) | Reply::Push(items) => items,
            _ => &[],
        }
    }

    /// The bytes of a string.
    pub(super) fn as_bytes(&self) -> Option<&'b [u8]> {
        if let Reply::Text(text) = self { Some(text) } else { None }
    }
}

/// Appends a command: its name, and its arguments.
pub(super) fn write_command(arguments: &[&[u8]], out: &mut Vec<u8>) {
    let frames: Vec<BorrowedFrame<'_>> = arguments.iter().map(|argument| BorrowedFrame::BulkString(argument)).collect();
    let frame = BorrowedFrame::Array(&frames);
    let begin = out.len();
    out.resize(begin + frame.encode_len(false), 0);
    let written = resp2::encode::encode_borrowed(&mut out[begin..], &frame, false);
    debug_assert_eq!(written.ok(), Some(out.len() - begin), "the length is that of the frame");
}

/// Fuzz target: replies are found at the same places however they arrive, and each of them is decoded or refused.
#[cfg(any(test, fuzzing))]
pub(crate) fn check(input: &[u8]) {
    let (&first, stream) = input.split_first().unwrap_or((&0, &[]));
    let piece = usize::from(first % 16) + 1;
    let whole = ends(stream, stream.len().max(1));
    assert_eq!(whole, ends(stream, piece), "in pieces of {piece}");
    let mut begin = 0;
    for end in whole.0 {
        for version in [Version::Resp2, Version::Resp3] {
            let _ = Reply::decode(&stream[begin..end], version);
        }
        begin = end;
    }
    let arguments: Vec<&[u8]> = stream.chunks(piece).take(8).collect();
    if !arguments.is_empty() {
        let mut command = Vec::new();
        write_command(&arguments, &mut command);
        assert_eq!(Scanner::default().end(&command), Ok(Some(command.len())));
        let texts = arguments.into_iter().map(Reply::Text).collect();
        assert_eq!(Reply::decode(&command, Version::Resp2), Ok(Reply::List(texts)));
    }
}

/// The ends of the replies in a stream that arrives in pieces, and why it is given up.
#[cfg(any(test, fuzzing))]
fn ends(stream: &[u8], piece: usize) -> (Vec<usize>, Option<BadReply>) {
    let (mut scanner, mut ends, mut begin) = (Scanner::default(), Vec::new(), 0);
    let pieces = (1..=stream.len()).filter(|arrived| arrived % piece == 0 || *arrived == stream.len());
    for arrived in pieces {
        loop {
            match scanner.end(&stream[begin..arrived]) {
                Ok(Some(length)) => {
                    begin += length;
                    ends.push(begin);
                }
                Ok(None) => break,
                Err(error) => return (ends, Some(error)),
            }
        }
    }
    (ends, None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(reply: &[u8], version: Version) -> Reply<'_> {
        assert_eq!(Scanner::default().end(reply), Ok(Some(reply.len())), "{}", reply.escape_ascii());
        Reply::decode(reply, version).unwrap_or_else(|error| panic!("{}: {error}", reply.escape_ascii()))
    }

    #[test]
    fn replies_of_both_versions_are_decoded() {
        let text = |text: &'static str| Reply::Text(text.as_bytes());
        let message = || vec![text("message"), text("channel"), text("a\r\nb")];
        let cases = [
            ("+OK\r\n", text("OK")),
            ("$0\r\n\r\n", text("")),
            ("-ERR unknown\r\n", Reply::Error(b"ERR unknown")),
            (":-42\r\n", Reply::Integer(-42)),
            ("$-1\r\n", Reply::Null),
            ("*-1\r\n", Reply::Null),
            ("*0\r\n", Reply::List(vec![])),
            ("*3\r\n$7\r\nmessage\r\n$7\r\nchannel\r\n$4\r\na\r\nb\r\n", Reply::List(message())),
            ("*2\r\n*1\r\n:1\r\n+x\r\n", Reply::List(vec![Reply::List(vec![Reply::Integer(1)]), text("x")])),
        ];
        for (reply, expected) in cases {
            assert_eq!(decoded(reply.as_bytes(), Version::Resp2), expected);
        }
        let cases = [
            (">3\r\n$7\r\nmessage\r\n$7\r\nchannel\r\n$4\r\na\r\nb\r\n", Reply::Push(message())),
            ("_\r\n", Reply::Null),
            ("!5\r\nERR x\r\n", Reply::Error(b"ERR x")),
            ("%1\r\n+server\r\n+redis\r\n", Reply::List(vec![text("server"), text("redis")])),
            ("#t\r\n", Reply::Other),
        ];
        for (reply, expected) in cases {
            assert_eq!(decoded(reply.as_bytes(), Version::Resp3), expected);
        }
    }

    #[test]
    fn what_exceeds_a_bound_is_refused_before_it_has_arrived() {
        let long = [&b"+"[..], &vec![b'x'; MOST_LINE_BYTES + 1]].concat();
        let nested = b"*1\r\n".repeat(200_000);
        let cases: [(&[u8], &str); 12] = [
            (&long, "a line is too long"),
            (&nested, "too many arrays in each other"),
            (b"$107374182400\r\n", "a length is too large"),
            (b"*1000000000000000000\r\n", "a length is too large"),
            (b"*99999999999999999999999\r\n", "a length is no number"),
            (b"$-2\r\n", "a length is negative"),
            (b"$x\r\n", "a length is no number"),
            (b"$\r\n", "a length is no number"),
            (b"$3\r\nabcde", "a string does not end where it should"),
            (b"\r\n", "an empty line"),
            (b"HTTP/1.1 400 Bad Request\r\n", "a type of reply that does not exist"),
            (b"%100000\r\n", "a length is too large"),
        ];
        for (input, reason) in cases {
            let shown = &input[..input.len().min(40)];
            assert_eq!(Scanner::default().end(input), Err(BadReply(reason)), "{}", shown.escape_ascii());
        }
        assert_eq!(Scanner::default().end(&[b'1'; 1000]), Ok(None), "the line has not ended");
    }

    #[test]
    fn large_string_is_looked_at_only_when_it_is_whole() {
        let mut reply = b"$2097152\r\n".to_vec();
        reply.resize(reply.len() + 2_097_152, b'\n');
        let mut scanner = Scanner::default();
        assert_eq!(scanner.end(&reply[..100]), Ok(None));
        assert_eq!((scanner.needed, scanner.end(&reply)), (reply.len() + 2, Ok(None)));
        reply.extend_from_slice(b"\r\n:1\r\n");
        assert_eq!(scanner.end(&reply), Ok(Some(reply.len() - 4)));
        assert_eq!(scanner.end(&reply[reply.len() - 4..]), Ok(Some(4)));
    }

    proptest! {
        #[test]
        fn bounds_and_pieces_hold_for_any_input(
            input in proptest::collection::vec(
                prop_oneof![
                    3 => proptest::sample::select(b"+-:$*>%_!~\r\n0123".to_vec()),
                    1 => any::<u8>(),
                ],
                0..200,
            ),
        ) {
            check(&input);
        }

        #[test]
        fn commands_are_replies_too(input in proptest::collection::vec(any::<u8>(), 0..100)) {
            check(&input);
        }
    }
}
