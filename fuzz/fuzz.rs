//! One program for all fuzz targets: the environment variable `FUZZ_TARGET` selects one. `./run` builds and runs it.
#![no_main]

use std::{
    env,
    io::{self, Cursor, Read, Write},
    sync::OnceLock,
};

use libfuzzer_sys::fuzz_target;
use tungstenite::{
    Message, WebSocket,
    error::{CapacityError, Error},
    protocol::{Role, WebSocketConfig},
};
use ws_reactor::fuzzing::{Event, TARGETS, Target, heard};

/// The target of `FUZZ_TARGET`.
static SELECTED: OnceLock<Target> = OnceLock::new();

fuzz_target!(
    init: {
        // The hook of libfuzzer-sys aborts on every panic, but some handlers panic on purpose.
        std::panic::set_hook(Box::new(|panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&"deliberate") {
                eprintln!("{panic}\n{}", std::backtrace::Backtrace::force_capture());
            }
        }));
        let name = env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        let known = TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target);
        let target = known.or((name == "tungstenite").then_some(compare_with_tungstenite as Target));
        let _ = SELECTED.set(target.unwrap_or_else(|| panic!("there is no target {name}")));
    },
    |data: &[u8]| {
        let target = SELECTED.get().expect("selected at the start");
        if std::panic::catch_unwind(|| target(data)).is_err() {
            std::process::abort();
        }
    }
);

/// A stream that yields the given bytes and discards everything written.
struct Wire(Cursor<Vec<u8>>);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            length => Ok(length),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compares our decoder with tungstenite on the frames of a client.
///
/// Tungstenite reports invalid text only at the end of its message, reports some errors in another order, and accepts a
/// ping whose length is not encoded in the shortest form. Where our decoder fails, only the events before are compared.
fn compare_with_tungstenite(data: &[u8]) {
    let ours = heard(data);
    let config = WebSocketConfig::default().max_frame_size(Some(1 << 20)).max_message_size(Some(1 << 20));
    let mut theirs = WebSocket::from_raw_socket(Wire(Cursor::new(data.to_vec())), Role::Server, Some(config));
    let mut events = Vec::new();
    let they_failed = loop {
        match theirs.read() {
            Ok(Message::Text(text)) => events.push(Event::Text(text.to_string())),
            Ok(Message::Binary(bytes)) => events.push(Event::Binary(bytes.to_vec())),
            Ok(Message::Ping(data)) => events.push(Event::Ping(data.to_vec())),
            Ok(Message::Pong(data)) => events.push(Event::Pong(data.to_vec())),
            Ok(Message::Close(_)) => {
                events.push(Event::Close(Vec::new()));
                break false;
            }
            Ok(Message::Frame(_)) => unreachable!("tungstenite returns no raw frame when reading"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break false,
            Err(Error::Capacity(CapacityError::TooManyHeaders)) => unreachable!("there is no handshake"),
            Err(_) => break true,
        }
    };
    let comparable = |events: &[Event]| -> Vec<Event> {
        let kept = events.iter().filter(|event| !matches!(event, Event::Failed(_)));
        kept.map(|event| if let Event::Close(_) = event { Event::Close(Vec::new()) } else { event.clone() }).collect()
    };
    let (decoded, we_failed) = (comparable(&ours), matches!(ours.last(), Some(Event::Failed(_))));
    // Our decoder fails at the first invalid byte; tungstenite may still wait for the rest of the message.
    assert!(we_failed || !they_failed, "only tungstenite fails: {ours:?}");
    if !we_failed {
        assert_eq!(decoded, events);
    } else {
        assert!(decoded.starts_with(&events) || events.starts_with(&decoded), "{decoded:?} and {events:?}");
    }
}
