//! Targets for server-sent events, and for headers of the PROXY protocol.

use super::Choices;
use crate::protocol::event_stream::{COMMENT, Event, write_retry};

/// An event as a client dispatches it: name, id, data.
type Dispatched = (String, String, String);

/// A client reads exactly what was written, whatever is in the fields.
pub(super) fn event_stream(input: &[u8]) {
    let mut choices = Choices(input);
    let (mut out, mut expected, mut last) = (Vec::new(), Vec::<Dispatched>::new(), String::new());
    while !choices.is_over() && expected.len() < 20 {
        let [name, id, data] = [20, 20, 200].map(|most| String::from_utf8_lossy(choices.bytes(most)).into_owned());
        let is_line = |field: &str| !field.contains(['\r', '\n', '\0']);
        assert_eq!(Event::new(&data).name(&name).is_ok(), is_line(&name));
        assert_eq!(Event::new(&data).id(&id).is_ok(), is_line(&id));
        let (mut event, mut number, choice) = (Event::new(&data), None, choices.octet());
        let mut expected_name = "message".to_owned();
        if choice & 1 == 1
            && let Ok(named) = event.name(&name)
        {
            event = named;
            // A client takes an empty name for none.
            expected_name = if name.is_empty() { expected_name } else { name.clone() };
        }
        if choice & 2 == 2
            && let Ok(with_id) = event.id(&id)
        {
            event = with_id;
            last.clone_from(&id);
        }
        if choice & 4 == 4 {
            number = Some(u64::from(choice) * 0x0101_0101);
            last = number.unwrap_or_default().to_string();
        }
        match choice & 24 {
            8 => out.extend_from_slice(COMMENT),
            16 => write_retry(std::time::Duration::from_millis(u64::from(choice)), &mut out),
            _ => {}
        }
        event.write(number, &mut out);
        let lines = data.replace("\r\n", "\n").replace('\r', "\n");
        expected.push((expected_name, last.clone(), lines));
    }
    assert_eq!(dispatched(std::str::from_utf8(&out).unwrap()), expected);
}

/// The events of a stream, by the standard's own steps. WHATWG HTML §9.2.6.
fn dispatched(mut stream: &str) -> Vec<Dispatched> {
    let (mut events, mut name, mut id, mut data) = (Vec::new(), String::new(), String::new(), String::new());
    let mut has_data = false;
    while let Some(end) = stream.find(['\r', '\n']) {
        let line = &stream[..end];
        stream = if stream[end..].starts_with("\r\n") { &stream[end + 2..] } else { &stream[end + 1..] };
        if line.is_empty() {
            if has_data {
                data.pop();
                let name = if name.is_empty() { "message".to_owned() } else { name.clone() };
                events.push((name, id.clone(), std::mem::take(&mut data)));
            }
            (has_data, name) = (false, String::new());
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut name),
            "id" if !value.contains('\0') => value.clone_into(&mut id),
            "data" => {
                data.push_str(value);
                data.push('\n');
                has_data = true;
            }
            "retry" | "" | "id" => {}
            other => panic!("a field that was not written: {other:?}"),
        }
    }
    assert_eq!(stream, "", "the last line has an end");
    events
}

/// The result for a header of the PROXY protocol does not depend on what follows, and no start of it is complete.
#[cfg(feature = "proxy-protocol")]
pub(super) fn proxy_header(input: &[u8]) {
    use crate::net::proxy_header::ProxyHeader;
    let whole = ProxyHeader::read(input);
    let decided = (0..=input.len()).find(|end| ProxyHeader::read(&input[..*end]) != ProxyHeader::Partial);
    match decided {
        None => assert_eq!(whole, ProxyHeader::Partial),
        Some(end) => {
            assert_eq!(whole, ProxyHeader::read(&input[..end]), "later bytes change nothing");
            assert!(end <= 1024, "undecided after {end} bytes");
            if let ProxyHeader::Complete(length, _) = whole {
                assert_eq!(length, end);
            }
        }
    }
}

#[cfg(not(feature = "proxy-protocol"))]
pub(super) fn proxy_header(_: &[u8]) {}
