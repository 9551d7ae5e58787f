//! Server-sent events: the bytes of `text/event-stream`. WHATWG HTML §9.2.

use std::{io::Write, time::Duration};

/// A comment, which clients ignore: it keeps proxies from closing an idle stream.
#[cfg_attr(not(feature = "server"), allow(dead_code))]
pub(crate) const COMMENT: &[u8] = b":\n\n";

/// Appends an event with these data. Each line of the data has a line of its own, whether it ends with CR, LF or CRLF.
pub(crate) fn write_event(data: &str, out: &mut Vec<u8>) {
    let mut rest = data.as_bytes();
    loop {
        let end = rest.iter().position(|octet| matches!(octet, b'\r' | b'\n'));
        // A client removes one space, so the data may begin with one.
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
        out.push(b'\n');
        let Some(end) = end else { break };
        let behind = if rest[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
        rest = &rest[behind..];
    }
    out.push(b'\n');
}

/// Appends the time after which a client connects again.
#[cfg_attr(not(feature = "server"), allow(dead_code))]
pub(crate) fn write_retry(after: Duration, out: &mut Vec<u8>) {
    // Writing to a `Vec` does not fail.
    let _ = write!(out, "retry: {}\n\n", after.as_millis());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of the events that a client dispatches, by the rules of the standard. Panics at other fields.
    fn dispatched(stream: &[u8]) -> Vec<String> {
        let text = std::str::from_utf8(stream).unwrap().replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut lines) = (Vec::new(), Vec::new());
        for line in text.split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            match field {
                "" if !line.is_empty() => {}
                "" if lines.is_empty() => {}
                "" => events.push(std::mem::take(&mut lines).join("\n")),
                "data" => lines.push(value.strip_prefix(' ').unwrap_or(value).to_owned()),
                field => panic!("{field:?}"),
            }
        }
        assert!(lines.is_empty(), "an event has no end");
        events
    }

    #[test]
    fn client_gets_each_text_with_its_lines() {
        let as_they_are =
            ["", " ", "  two", "a", "a\n", "\n", "\n\n", "a\nb", ":x", "id: 5\n\nevent: x", "é\u{feff}", "data"];
        let with_line_feeds =
            [("a\rb", "a\nb"), ("a\r\nb", "a\nb"), ("a\n\rb", "a\n\nb"), ("\r", "\n"), ("a\r\n", "a\n")];
        for (data, expected) in as_they_are.map(|data| (data, data)).into_iter().chain(with_line_feeds) {
            let mut out = Vec::new();
            write_event(data, &mut out);
            write_event("next", &mut out);
            assert_eq!(dispatched(&out), [expected, "next"], "{data:?}");
        }
    }

    #[test]
    fn comment_and_retry_are_no_events() {
        let mut out = COMMENT.to_vec();
        assert!(dispatched(&out).is_empty());
        write_retry(Duration::from_millis(2500), &mut out);
        assert_eq!(out, b":\n\nretry: 2500\n\n");
    }
}
