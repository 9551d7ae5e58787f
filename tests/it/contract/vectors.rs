//! The examples of the drafts in `tests/vectors`, received and sent by a server.

use std::{cell::RefCell, fs, path::Path, rc::Rc};

use ws_reactor::{Callbacks, Message, Server, TestSocket, Version};

fn vectors() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"))
}

/// The notation of `frames.txt`: `text Hello`, `binary 256`, `ping Hello`.
fn notation(message: Message<'_>) -> String {
    match message {
        Message::Text(text) => format!("text {text}").trim_end().to_owned(),
        Message::Binary(bytes) => {
            assert!(bytes.iter().all(|byte| *byte == 0));
            format!("binary {}", bytes.len())
        }
    }
}

/// The octets of `frames.txt`: hexadecimal numbers, and `*256` for 256 zeros.
fn octets(hexadecimal: &str) -> Vec<u8> {
    let octets = hexadecimal.split_whitespace().map(|word| match word.strip_prefix('*') {
        Some(count) => vec![0; count.parse().unwrap()],
        None => vec![u8::from_str_radix(word, 16).unwrap()],
    });
    octets.collect::<Vec<_>>().concat()
}

/// A connection to a server that sends `message` when it opens and records every message, ping and pong.
fn open(version: Version, message: &'static str, events: &Rc<RefCell<Vec<String>>>) -> TestSocket {
    let events = Rc::clone(events);
    let server = Server::new(move |_| {
        let (messages, pings, pongs) = (Rc::clone(&events), Rc::clone(&events), Rc::clone(&events));
        Callbacks::new()
            .on_open(move |ws, _| {
                match message.split_once(' ').unwrap_or((message, "")) {
                    ("text", text) => ws.send(text),
                    ("binary", length) => ws.send(vec![0; length.parse().unwrap()]),
                    ("ping", data) => ws.ping(data.as_bytes()),
                    _ => return,
                };
            })
            .on_message(move |_, incoming| messages.borrow_mut().push(notation(incoming)))
            .on_ping(move |_, data| pings.borrow_mut().push(format!("ping {}", data.escape_ascii())))
            .on_pong(move |_, data| pongs.borrow_mut().push(format!("pong {}", data.escape_ascii())))
    });
    TestSocket::connect_as(version, server, "/")
}

#[test]
fn example_frames_of_the_drafts_are_decoded_and_encoded_exactly() {
    let lines =
        include_str!("../../vectors/frames.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut seen = 0;
    for line in lines {
        let (head, meaning) = line.split_once(':').unwrap();
        let (versions, (direction, bytes)) = match head.split_once("<-") {
            Some((versions, bytes)) => (versions, ("<-", bytes)),
            None => head.split_once("->").map(|(versions, bytes)| (versions, ("->", bytes))).unwrap(),
        };
        let (meaning, bytes) = (meaning.trim(), octets(bytes));
        for number in versions.split_whitespace() {
            let version = Version::from_number(number.parse().unwrap()).unwrap();
            let events = Rc::default();
            if direction == "->" {
                let mut socket = open(version, meaning, &events);
                assert_eq!(socket.received_bytes(), bytes, "{version}: {line}");
            } else {
                open(version, "", &events).send_bytes(&bytes);
                assert_eq!(*events.borrow(), [meaning], "{version}: {line}");
                events.borrow_mut().clear();
                let mut socket = open(version, "", &events);
                bytes.iter().take(300).for_each(|byte| socket.send_bytes(&[*byte]));
                socket.send_bytes(&bytes[bytes.len().min(300)..]);
                assert_eq!(*events.borrow(), [meaning], "byte by byte, {version}: {line}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 101);
}

#[test]
fn example_handshakes_of_the_drafts_get_the_exact_response() {
    let files = fs::read_dir(vectors().join("handshakes")).unwrap().map(|entry| entry.unwrap().path());
    let mut seen = 0;
    for path in files {
        let file = fs::read_to_string(&path).unwrap();
        let file: String = file.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        let (request, answer) = file.split_once("----\n").unwrap();
        // The body after the empty line has no line end.
        let wire = |text: &str| {
            let (head, rest) = text.split_once("\n\n").unwrap();
            format!("{}\r\n\r\n{}", head.replace('\n', "\r\n"), rest.trim_end_matches('\n'))
        };
        let server = || Server::new(|_| Callbacks::new()).subprotocols(["chat", "sample"]);
        let mut whole = TestSocket::request(server(), wire(request));
        assert_eq!(String::from_utf8(whole.received_bytes()).unwrap(), wire(answer), "{}", path.display());
        let mut pieces = TestSocket::request(server(), "");
        wire(request).bytes().for_each(|byte| pieces.send_bytes(&[byte]));
        assert_eq!(
            String::from_utf8(pieces.received_bytes()).unwrap(),
            wire(answer),
            "byte by byte, {}",
            path.display()
        );
        seen += 1;
    }
    assert_eq!(seen, 10);
}
