//! The client whose calls wait, against a server in another thread.

use std::{
    io::{self, Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use crate::support::threaded::ThreadedServer;
use ws_reactor::{
    BlockingSocket, Callbacks, CloseCode, ClosedBy, ConnectError, Error, OutputLimits, SendStatus, Server, Version,
    http::StatusCode,
    protocol::{ServerHandshake, ServerStep},
};

const FLOOD: usize = 200;

fn flooding(number: usize) -> String {
    format!("{number} {}", "x".repeat(100_000))
}

/// A server that echoes, closes with 4000 on `close`, and answers `flood` with many megabytes.
fn server() -> ThreadedServer {
    ThreadedServer::new(|| {
        let server = Server::new(|_| {
            Callbacks::new().on_message(|ws, message| {
                match message.as_text() {
                    Some("close") => ws.close(CloseCode::new(4000), "as you wish"),
                    Some("flood") => (0..FLOOD).map(|number| ws.send(flooding(number))).last().unwrap(),
                    _ => ws.send(message),
                };
            })
        });
        let output = OutputLimits::new().limit_bytes(usize::MAX);
        let server = server.configure(|config| config.websocket.stream.output = output);
        server.subprotocols(["chat"]).on_request(|request, _| match request.path() {
            "/closed" => ws_reactor::Reply::status(StatusCode::FORBIDDEN),
            _ => ws_reactor::Reply::upgrade(),
        })
    })
}

#[test]
fn what_is_sent_comes_back() {
    let server = server();
    let mut socket = BlockingSocket::connect_with(&server.url, |client| client.subprotocols(["chat"])).unwrap();
    assert_eq!(socket.handshake().subprotocol(), Some("chat"));
    for text in ["hello", "", &"x".repeat(5 << 20)] {
        socket.send(text).unwrap();
        assert_eq!(socket.receive().unwrap().as_message().as_text(), Some(text));
    }
    socket.send(b"\x00\xff").unwrap();
    assert_eq!(socket.receive().unwrap().as_message().as_bytes(), b"\x00\xff");
    assert!(socket.ping().unwrap() > Duration::ZERO);
    assert_eq!(socket.receive_within(Duration::ZERO).unwrap(), None);
    assert_eq!(socket.receive_within(Duration::from_millis(20)).unwrap(), None);
    let reason = socket.close(CloseCode::NORMAL, "done").unwrap();
    assert!(reason.clean && reason.by == ClosedBy::Application && reason.code == CloseCode::NORMAL, "{reason}");
    for gone in [socket.send("late").unwrap_err(), socket.receive().unwrap_err(), socket.ping().unwrap_err()] {
        assert!(matches!(gone, Error::Closed(_)), "{gone}");
    }
}

#[test]
fn more_than_is_taken_waits_where_it_is() {
    let server = server();
    let mut socket = BlockingSocket::connect(&server.url).unwrap();
    socket.send("flood").unwrap();
    // It waits here while nothing is read, and there while nothing is received.
    thread::sleep(Duration::from_millis(50));
    for number in 0..FLOOD {
        assert_eq!(socket.receive().unwrap().as_message().as_text(), Some(flooding(number).as_str()));
    }
    assert_eq!(socket.receive_within(Duration::from_millis(20)).unwrap(), None);
}

#[test]
fn an_end_is_told_with_its_reason() {
    let server = server();
    let mut socket = BlockingSocket::connect(&server.url).unwrap();
    socket.send("last").unwrap();
    socket.send("close").unwrap();
    assert_eq!(socket.receive().unwrap().as_message().as_text(), Some("last"), "what came before comes first");
    let Error::Closed(reason) = socket.receive().unwrap_err() else { panic!("it is closed") };
    assert_eq!((reason.code, reason.reason.as_str(), reason.clean), (CloseCode::new(4000), "as you wish", true));
    let error = socket.send("late").unwrap_err();
    assert_eq!(error.to_string(), "the connection has ended: 4000 (as you wish), by the peer, clean");
}

#[test]
fn send_that_fails_reports_the_cause_before_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    // The server opens the WebSocket, waits for the first octet of the message, and drops the socket with unread
    // input: a reset, and never an orderly end.
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut handshake, mut out, mut input) = (ServerHandshake::new(), Vec::new(), [0; 4096]);
        let length = stream.read(&mut input).unwrap();
        let Ok((_, Some(ServerStep::Request(request)))) = handshake.receive(&input[..length], &mut out) else {
            panic!("a request in one piece")
        };
        handshake.accept(request, &mut out).unwrap();
        stream.write_all(&out).unwrap();
        stream.peek(&mut input).unwrap();
    });
    let mut socket = BlockingSocket::connect(&url).unwrap();
    let error = socket.send(vec![0; 64 << 20]).unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error:?}");
    assert!(matches!(socket.receive().unwrap_err(), Error::Closed(_)));
    server.join().unwrap();
}

#[test]
fn what_cannot_be_opened_says_why() {
    let server = server();
    let error = BlockingSocket::connect(&format!("{}/closed", server.url)).unwrap_err();
    assert!(matches!(&error, Error::Refused(refusal) if refusal.body == b"Forbidden\n"), "{error}");
    assert!(matches!(
        BlockingSocket::connect("http://127.0.0.1").unwrap_err(),
        Error::Connect(ConnectError::Url { .. })
    ));
    let error = BlockingSocket::connect("ws://127.0.0.1:1").unwrap_err();
    let Error::Connect(ConnectError::Network { source, .. }) = &error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn what_a_version_cannot_say_is_an_error() {
    let server = server();
    let mut socket = BlockingSocket::connect_with(&server.url, |client| client.version(Version::Hixie76)).unwrap();
    assert!(matches!(socket.send(b"binary").unwrap_err(), Error::Unsent(SendStatus::Unsupported)));
    assert!(matches!(socket.ping().unwrap_err(), Error::Unsent(_)));
    assert!(matches!(socket.close(CloseCode::PROTOCOL_ERROR, "").unwrap_err(), Error::Unsent(_)));
    socket.send("text").unwrap();
    assert_eq!(socket.receive().unwrap().as_message().as_text(), Some("text"));
}
