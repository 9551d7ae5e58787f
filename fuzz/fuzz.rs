//! One program for all fuzzers: `FUZZ_TARGET` names the one that is meant. `./run` builds and runs it.
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

static CHOSEN: OnceLock<Target> = OnceLock::new();

fuzz_target!(
    init: {
        // The fuzzer's own hook would end the process where a handler panics on purpose.
        std::panic::set_hook(Box::new(|panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&"deliberate") {
                eprintln!("{panic}\n{}", std::backtrace::Backtrace::force_capture());
            }
        }));
        let name = env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        let known = TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target);
        let target = known.or((name == "tungstenite").then_some(beside_tungstenite as Target));
        let _ = CHOSEN.set(target.unwrap_or_else(|| panic!("there is no target {name}")));
    },
    |data: &[u8]| {
        let chosen = CHOSEN.get().expect("chosen at the start");
        if std::panic::catch_unwind(|| chosen(data)).is_err() {
            std::process::abort();
        }
    }
);

/// Bytes to be read, and nobody who listens.
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
fn beside_tungstenite(data: &[u8]) {
    let ours = heard(data);
    let config = WebSocketConfig::default().max_frame_size(Some(1 << 20)).max_message_size(Some(1 << 20));
    let mut theirs = WebSocket::from_raw_socket(Wire(Cursor::new(data.to_vec())), Role::Server, Some(config));
    let mut events = Vec::new();
    let failed = loop {
        match theirs.read() {
            Ok(Message::Text(text)) => events.push(Event::Text(text.to_string())),
            Ok(Message::Binary(bytes)) => events.push(Event::Binary(bytes.to_vec())),
            Ok(Message::Ping(data)) => events.push(Event::Ping(data.to_vec())),
            Ok(Message::Pong(data)) => events.push(Event::Pong(data.to_vec())),
            Ok(Message::Close(_)) => {
                events.push(Event::Close(Vec::new()));
                break false;
            }
            Ok(Message::Frame(_)) => unreachable!("only for sending"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break false,
            Err(Error::Capacity(CapacityError::TooManyHeaders)) => unreachable!("no headers here"),
            Err(_) => break true,
        }
    };
    let said = |events: &[Event]| -> Vec<Event> {
        let kept = events.iter().filter(|event| !matches!(event, Event::Failed(_)));
        kept.map(|event| if let Event::Close(_) = event { Event::Close(Vec::new()) } else { event.clone() }).collect()
    };
    let (ours_said, we_failed) = (said(&ours), matches!(ours.last(), Some(Event::Failed(_))));
    // We refuse as soon as it shows; they may be still waiting for the rest.
    assert!(we_failed || !failed, "they fail, we do not: {ours:?}");
    if !we_failed {
        assert_eq!(ours_said, events);
    } else {
        assert!(ours_said.starts_with(&events) || events.starts_with(&ours_said), "{ours_said:?} and {events:?}");
    }
}
