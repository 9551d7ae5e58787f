//! Server-sent events: the bytes of `text/event-stream`. WHATWG HTML §9.2.

use std::{fmt, io::Write, time::Duration};

/// A comment, which clients ignore: it keeps proxies from closing an idle stream.
#[cfg_attr(not(feature = "server"), allow(dead_code))]
pub(crate) const COMMENT: &[u8] = b":\n\n";

/// The last chunk of a stream in chunks. RFC 9112 §7.1.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends a part of a stream, which `write` appends, as a chunk of its own if the stream is in chunks.
pub(crate) fn write_part(in_chunks: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let length = out.len() - start;
    if in_chunks && length > 0 {
        out.splice(start..start, format!("{length:x}\r\n").into_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// A server-sent event. WHATWG HTML §9.2.
///
/// ```
/// use ws_reactor::Event;
///
/// let event = Event::new("EUR 1.17").name("price")?.id("7")?;
/// # Ok::<(), ws_reactor::EventError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) id: Option<&'a str>,
    pub(crate) data: &'a str,
}

/// Error of an [`Event`]: the name or the id has CR, LF or NUL. Such a field would end early, or be ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventError(());

impl fmt::Display for EventError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name or id of an event has CR, LF or NUL")
    }
}

impl std::error::Error for EventError {}

impl<'a> Event<'a> {
    /// An event with these data, in lines that end with CR, LF or CRLF. Clients join them by LF.
    pub fn new(data: &'a str) -> Self {
        Event { name: None, id: None, data }
    }

    /// Sets the name, which browsers call the type: the one that listeners are added for. Default `message`.
    ///
    /// # Errors
    ///
    /// [`EventError`]: the name has CR, LF or NUL.
    pub fn name(self, name: &'a str) -> Result<Self, EventError> {
        Ok(Event { name: Some(checked(name)?), ..self })
    }

    /// Sets the id, which a client sends as `Last-Event-ID` when it connects again.
    ///
    /// # Errors
    ///
    /// [`EventError`]: the id has CR, LF or NUL.
    pub fn id(self, id: &'a str) -> Result<Self, EventError> {
        Ok(Event { id: Some(checked(id)?), ..self })
    }

    /// Appends the event. Each line of the data has a line of its own. `number` replaces the id.
    pub(crate) fn write(self, number: Option<u64>, out: &mut Vec<u8>) {
        if let Some(name) = self.name {
            write_field("event", name.as_bytes(), out);
        }
        match (number, self.id) {
            // Writing to a `Vec` does not fail.
            (Some(number), _) => _ = writeln!(out, "id: {number}"),
            (None, Some(id)) => write_field("id", id.as_bytes(), out),
            (None, None) => {}
        }
        let mut rest = self.data.as_bytes();
        loop {
            let end = rest.iter().position(|octet| matches!(octet, b'\r' | b'\n'));
            write_field("data", &rest[..end.unwrap_or(rest.len())], out);
            let Some(end) = end else { break };
            let behind = if rest[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
            rest = &rest[behind..];
        }
        out.push(b'\n');
    }
}

fn checked(field: &str) -> Result<&str, EventError> {
    if field.contains(['\r', '\n', '\0']) { Err(EventError(())) } else { Ok(field) }
}

/// Appends a field. A client removes one space, so the value may begin with one.
fn write_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    for part in [name.as_bytes(), b": ", value, b"\n"] {
        out.extend_from_slice(part);
    }
}

/// Appends the time after which a client connects again.
pub(crate) fn write_retry(after: Duration, out: &mut Vec<u8>) {
    // Writing to a `Vec` does not fail.
    let _ = write!(out, "retry: {}\n\n", after.as_millis());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(event: Event<'_>, number: Option<u64>) -> Vec<u8> {
        let mut out = Vec::new();
        event.write(number, &mut out);
        out
    }

    /// The events that a client dispatches, by the rules of the standard: name, id, data. Panics at other fields.
    fn dispatched(stream: &[u8]) -> Vec<(String, String, String)> {
        let text = std::str::from_utf8(stream).unwrap().replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut id, mut name, mut lines) = (Vec::new(), String::new(), String::new(), Vec::new());
        for line in text.split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if !line.is_empty() => {}
                "" if lines.is_empty() => name.clear(),
                "" => {
                    let name = if name.is_empty() { "message".to_owned() } else { std::mem::take(&mut name) };
                    events.push((name, id.clone(), std::mem::take(&mut lines).join("\n")));
                }
                "event" => name = value.to_owned(),
                "id" => id = value.to_owned(),
                "data" => lines.push(value.to_owned()),
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
            let event = Event::new(data).name("n").unwrap().id(" 1").unwrap();
            let out = [written(event, None), written(Event::new("next"), Some(u64::MAX))].concat();
            let of = |name: &str, id: &str, data: &str| (name.to_owned(), id.to_owned(), data.to_owned());
            let next = of("message", "18446744073709551615", "next");
            assert_eq!(dispatched(&out), [of("n", " 1", expected), next], "{data:?}");
        }
    }

    #[test]
    fn event_has_the_fields_it_needs() {
        assert_eq!(written(Event::new("a\nb"), None), b"data: a\ndata: b\n\n");
        let event = Event::new("").name("tick").unwrap().id("x").unwrap();
        assert_eq!(written(event, None), b"event: tick\nid: x\ndata: \n\n");
        assert_eq!(written(event, Some(5)), b"event: tick\nid: 5\ndata: \n\n");
    }

    #[test]
    fn name_or_id_that_would_end_early_is_refused() {
        for field in ["a\nb", "a\r", "\0", "a\r\ndata: x"] {
            assert!(Event::new("").name(field).is_err() && Event::new("").id(field).is_err(), "{field:?}");
        }
    }

    #[test]
    fn part_of_a_stream_in_chunks_is_a_chunk() {
        let mut out = b"head".to_vec();
        write_part(true, &mut out, |out| Event::new("hello world").write(None, out));
        write_part(false, &mut out, |out| out.extend_from_slice(COMMENT));
        write_part(true, &mut out, |_| {});
        assert_eq!(out, b"head13\r\ndata: hello world\n\n\r\n:\n\n");
    }

    #[test]
    fn comment_and_retry_are_no_events() {
        let mut out = COMMENT.to_vec();
        assert!(dispatched(&out).is_empty());
        write_retry(Duration::from_millis(2500), &mut out);
        assert_eq!(out, b":\n\nretry: 2500\n\n");
    }
}
