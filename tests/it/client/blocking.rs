//! `BlockingSocket`, with a server in another thread.

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

/// The number of messages in reply to `flood`.
const FLOOD: usize = 200;

fn flood_message(number: usize) -> String {
    format!("{number} {}", "x".repeat(100_000))
}

/// An echo server that closes with 4000 on `close`, replies to `flood` with many megabytes, and refuses `/closed`.
fn server() -> ThreadedServer {
    ThreadedServer::new(|| {
        let server = Server::new(|_| {
            Callbacks::new().on_message(|ws, message| {
                match message.as_text() {
                    Some("close") => ws.close(CloseCode::new(4000), "as requested"),
                    Some("flood") => (0..FLOOD).map(|number| ws.send(flood_message(number))).last().unwrap(),
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
fn messages_are_echoed_and_close_is_clean_after_which_calls_fail_with_closed() {
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
    for error in [socket.send("late").unwrap_err(), socket.receive().unwrap_err(), socket.ping().unwrap_err()] {
        assert!(matches!(error, Error::Closed(_)), "{error}");
    }
}

#[test]
fn flood_that_is_not_received_at_once_is_delivered_complete_and_in_order() {
    let server = server();
    let mut socket = BlockingSocket::connect(&server.url).unwrap();
    socket.send("flood").unwrap();
    // Messages wait in the client while `receive` is not called, and in the server while the client does not read.
    thread::sleep(Duration::from_millis(50));
    for number in 0..FLOOD {
        assert_eq!(socket.receive().unwrap().as_message().as_text(), Some(flood_message(number).as_str()));
    }
    assert_eq!(socket.receive_within(Duration::from_millis(20)).unwrap(), None);
}

#[test]
fn close_by_the_server_is_reported_after_earlier_messages_with_its_code_and_reason() {
    let server = server();
    let mut socket = BlockingSocket::connect(&server.url).unwrap();
    socket.send("last").unwrap();
    socket.send("close").unwrap();
    assert_eq!(
        socket.receive().unwrap().as_message().as_text(),
        Some("last"),
        "a message before the close is received first"
    );
    let Error::Closed(reason) = socket.receive().unwrap_err() else { panic!("the connection is still open") };
    assert_eq!((reason.code, reason.reason.as_str(), reason.clean), (CloseCode::new(4000), "as requested", true));
    let error = socket.send("late").unwrap_err();
    assert_eq!(error.to_string(), "the connection has ended: 4000 (as requested), by the peer, clean");
}

#[test]
fn send_that_fails_reports_the_network_error_and_the_next_call_reports_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    // The server opens the WebSocket, waits for the first byte of the message, and drops the socket with unread
    // input, which resets the connection.
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut handshake, mut out, mut input) = (ServerHandshake::new(), Vec::new(), [0; 4096]);
        let length = stream.read(&mut input).unwrap();
        let Ok((_, Some(ServerStep::Request(request)))) = handshake.receive(&input[..length], &mut out) else {
            panic!("the request did not arrive in one read")
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
fn failed_connect_reports_the_refusal_the_bad_url_or_the_network_error() {
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
fn call_that_the_version_does_not_support_returns_unsent_and_the_socket_stays_usable() {
    let server = server();
    let mut socket = BlockingSocket::connect_with(&server.url, |client| client.version(Version::Hixie76)).unwrap();
    assert!(matches!(socket.send(b"binary").unwrap_err(), Error::Unsent(SendStatus::Unsupported)));
    assert!(matches!(socket.ping().unwrap_err(), Error::Unsent(_)));
    assert!(matches!(socket.close(CloseCode::PROTOCOL_ERROR, "").unwrap_err(), Error::Unsent(_)));
    socket.send("text").unwrap();
    assert_eq!(socket.receive().unwrap().as_message().as_text(), Some("text"));
}

// regression: a blocking `send` over TLS left part of the message unsent until the next call.
#[cfg(feature = "tls")]
#[test]
fn blocking_send_over_wss_delivers_every_message_without_further_calls() {
    use super::{Client, Reactor, secure, without_verification};
    use std::sync::mpsc;

    const MESSAGES: usize = 100;
    let (send_port, port) = mpsc::channel();
    let (send_count, count) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut reactor = Reactor::new().unwrap();
        let server = Server::new(move |_| {
            let (send_count, mut received) = (send_count.clone(), 0);
            // Reads nothing for 200 ms, so that the client's socket fills up.
            Callbacks::new()
                .on_open(|ws, _| {
                    let id = ws.id();
                    ws.pause();
                    ws.hub().add_timer(Duration::from_millis(200), move |hub| {
                        hub.resume(id);
                    });
                })
                .on_message(move |ws, _| {
                    received += 1;
                    if received == MESSAGES {
                        send_count.send(received).unwrap();
                        ws.hub().stop();
                    }
                })
        });
        let listening = reactor.listen("127.0.0.1:0", secure::server(server)).unwrap();
        send_port.send(listening.addr.port()).unwrap();
        reactor.run().unwrap();
    });
    let url = format!("wss://localhost:{}/", port.recv().unwrap());
    // `BlockingSocket` replaces the handler.
    let client = |_| Client::new(Callbacks::new()).tls(without_verification());
    let mut socket = BlockingSocket::connect_with(&url, client).unwrap();
    for _ in 0..MESSAGES {
        socket.send("x".repeat(100_000)).unwrap();
    }
    assert_eq!(count.recv_timeout(Duration::from_secs(20)), Ok(MESSAGES), "no call is made meanwhile");
    server.join().unwrap();
    drop(socket);
}
