//! A second reading of the frames of RFC 6455 and of Hixie, which has nothing in common with the first: slow, whole, and after the words of the specification.

use super::Event;

/// What one end hears in `bytes`, up to its end or to what fails it.
pub(super) fn rfc6455(bytes: &[u8], by_server: bool, most_frame: u64, most_message: u64) -> Vec<Event> {
    let (mut events, mut at) = (Vec::new(), 0);
    let mut message: Option<(bool, Vec<u8>)> = None;
    loop {
        let rest = &bytes[at..];
        let Some(first) = rest.first() else { return events };
        let (fin, reserved, opcode) = (first >> 7 == 1, first >> 4 & 7, first & 15);
        let control = opcode >= 8;
        let known = matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10);
        if reserved != 0 || !known || control && !fin {
            return fail(events, 1002);
        }
        let Some(second) = rest.get(1) else { return events };
        let masked = second >> 7 == 1;
        if masked != by_server || control && second & 127 > 125 {
            return fail(events, 1002);
        }
        let wide = match second & 127 {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(digits) = rest.get(2..2 + wide) else { return events };
        let length = match wide {
            0 => u64::from(second & 127),
            _ => digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)),
        };
        if length >> 63 == 1 {
            return fail(events, 1002);
        }
        let header = 2 + wide + if masked { 4 } else { 0 };
        let Some(key) = rest.get(2 + wide..header) else { return events };
        let so_far = message.as_ref().map_or(0, |(_, parts)| parts.len() as u64);
        match (opcode, &message) {
            (0, None) | (1 | 2, Some(_)) => return fail(events, 1002),
            _ => {}
        }
        if !control && (length > most_frame || so_far + length > most_message) {
            return fail(events, 1009);
        }
        let came = &rest[header..rest.len().min(header + length as usize)];
        let payload: Vec<u8> =
            came.iter().enumerate().map(|(index, octet)| octet ^ key.get(index % 4).unwrap_or(&0)).collect();
        let whole = came.len() as u64 == length;
        if control {
            if !whole {
                return events;
            }
            match opcode {
                8 => return close(events, payload),
                9 => events.push(Event::Ping(payload)),
                _ => events.push(Event::Pong(payload)),
            }
        } else {
            let (text, mut parts) = message.take().unwrap_or((opcode == 1, Vec::new()));
            parts.extend(payload);
            let ends = whole && fin;
            // What can still become text is not refused yet.
            let bad = std::str::from_utf8(&parts).err().is_some_and(|error| error.error_len().is_some() || ends);
            if text && bad {
                return fail(events, 1007);
            }
            if !whole {
                return events;
            }
            match (ends, text) {
                (false, _) => message = Some((text, parts)),
                (true, true) => events.push(Event::Text(String::from_utf8(parts).unwrap_or_default())),
                (true, false) => events.push(Event::Binary(parts)),
            }
        }
        at += header + length as usize;
    }
}

fn close(mut events: Vec<Event>, body: Vec<u8>) -> Vec<Event> {
    let code = match body[..] {
        [] => 1000,
        [_] => return fail(events, 1002),
        [high, low, ..] => u16::from(high) << 8 | u16::from(low),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return fail(events, 1002);
    }
    if std::str::from_utf8(body.get(2..).unwrap_or_default()).is_err() {
        return fail(events, 1007);
    }
    events.push(Event::Close(body));
    events
}

fn fail(mut events: Vec<Event>, code: u16) -> Vec<Event> {
    events.push(Event::Failed(code));
    events
}
