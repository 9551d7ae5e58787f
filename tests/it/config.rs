//! Configuration: combinations of settings, and limits.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Callbacks, Client, ConnectionId, Error, Handler, MessageLimits, OwnedMessage, ProtocolError, Reactor,
    ReactorConfig, Received, SendStatus, Server, ServerConfig, TestSocket, Version, WebSocketConfig, net::sim::Sim,
    on_message,
};

use crate::support::{self, wire};

fn echo() -> impl Handler {
    on_message(|ws, message| {
        ws.send(message);
    })
}

#[test]
fn setting_is_kept_by_later_settings() {
    let request = String::from_utf8_lossy(support::REQUEST).replace("Version: 13", "Version: 8");
    let config = ServerConfig::new().opening_timeout(Duration::from_secs(1));
    let servers = [
        Server::new(|_| echo()).versions([Version::Rfc6455]).max_message_bytes(10).ping_after(None),
        Server::new(|_| echo())
            .versions([Version::Rfc6455])
            .configure(|config| config.websocket.pong_timeout = Duration::from_secs(1))
            .secure_proxy(true),
        Server::with_config(config.versions([Version::Rfc6455]), |_| echo()).subprotocols(["a"]),
        Server::with_config(
            ServerConfig::new()
                .versions([Version::Rfc6455])
                .websocket(WebSocketConfig::new().limits(MessageLimits::new().max_message_bytes(10)))
                .healthcheck(false),
            |_| echo(),
        ),
    ];
    for server in servers {
        let response = TestSocket::request(server, &request).received_bytes();
        assert!(response.starts_with(b"HTTP/1.1 426 "), "{}", String::from_utf8_lossy(&response));
    }
}

#[test]
fn message_limit_alone_allows_frames_of_that_length() {
    let long = OwnedMessage::binary(vec![7; 12 << 20]);
    let mut socket = TestSocket::connect(Server::new(|_| echo()).max_message_bytes(64 << 20), "/");
    socket.send(&long);
    // The socket's own limit is the default one, so the bytes are counted.
    assert_eq!(socket.received_bytes().len(), (12 << 20) + 10);
}

#[test]
fn client_takes_frames_up_to_its_message_limit() {
    let received = Rc::new(RefCell::new(Vec::new()));
    let lengths = Rc::clone(&received);
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let server = Server::new(|_| {
        Callbacks::new().on_open(|ws, _| {
            ws.send(vec![7; 12 << 20]);
        })
    });
    reactor.listen("10.0.0.1:80", server).unwrap();
    let handler = on_message(move |_, message| lengths.borrow_mut().push(message.len()));
    reactor.connect("ws://10.0.0.1/", Client::new(handler).max_message_bytes(64 << 20)).unwrap();
    reactor.settle().unwrap();
    assert_eq!(*received.borrow(), [12 << 20]);
}

#[test]
fn message_that_is_too_long_is_refused_with_its_length_and_the_limit() {
    let errors = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&errors);
    let handler = move |_: &_| {
        let log = Rc::clone(&log);
        Callbacks::new().on_error(move |_, error| match error {
            Error::Protocol(ProtocolError::TooBig { limit, length }) => log.borrow_mut().push((*limit, *length)),
            other => panic!("{other}"),
        })
    };
    let mut socket = TestSocket::connect(Server::new(handler).max_message_bytes(100), "/");
    socket.send("x".repeat(101).as_str());
    let [Received::Close(Some((code, reason)))] = &socket.received()[..] else { panic!("a close frame") };
    assert_eq!(
        (u16::from(*code), reason.as_str()),
        (1009, "Frame length too long (101 bytes); the limit is 100 bytes")
    );
    assert_eq!(*errors.borrow(), [(100, 101)]);
}

#[test]
fn connection_is_open_only_when_a_message_can_be_sent() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().play("10.0.0.1:80".parse().unwrap());
    let id = reactor.connect("ws://10.0.0.1/", Client::new(echo())).unwrap();
    let mut states = vec![(reactor.hub().is_open(id), reactor.hub().send(id, "early"))];
    reactor.settle().unwrap();
    states.push((reactor.hub().is_open(id), reactor.hub().send(id, "early")));
    assert_eq!(states, [(false, SendStatus::Unsupported); 2], "connecting, and waiting for the response");
    let (peer, _) = reactor.kernel_mut().dialed().unwrap();
    let request = reactor.kernel_mut().received(peer);
    reactor.kernel_mut().send(peer, &support::answer(&request));
    reactor.settle().unwrap();
    assert_eq!((reactor.hub().is_open(id), reactor.hub().send(id, "now")), (true, SendStatus::Queued));
    reactor.hub().close(id, ws_reactor::CloseCode::NORMAL, "");
    assert_eq!((reactor.hub().is_open(id), reactor.hub().send(id, "late")), (false, SendStatus::Closed));
}

#[test]
fn connection_of_a_server_is_not_open_during_its_handshake() {
    let mut socket = TestSocket::request(Server::new(|_| echo()), &support::REQUEST[..40]);
    let opening: Vec<ConnectionId> = socket.hub().connections().collect();
    assert_eq!(opening.len(), 1);
    assert!(!socket.hub().is_open(opening[0]));
    assert_eq!(socket.hub().send(opening[0], "early"), SendStatus::Unsupported);
    socket.send_bytes(&support::REQUEST[40..]);
    assert!(socket.hub().is_open(opening[0]));
}

// regression: a limit that was lowered during a frame of a Hixie version failed that frame.
#[test]
fn frame_limit_set_during_a_frame_applies_to_the_next_frame() {
    for version in Version::ALL.iter().copied() {
        let server = Server::new(|_| {
            Callbacks::new()
                .on_open(|ws, _| {
                    ws.set_timer(Duration::from_secs(1));
                })
                .on_timer(|ws, _| ws.set_max_frame_bytes(10))
                .on_message(|ws, message| {
                    ws.send(message);
                })
        });
        let mut socket = TestSocket::connect_as(version, server, "/");
        let text = wire::text(version, "a text of more than ten");
        let (first, second) = text.split_at(text.len() - 3);
        socket.send_bytes(first);
        socket.advance(Duration::from_secs(2));
        socket.send_bytes(&[second, &text[..]].concat());
        assert_eq!(socket.received()[0], "a text of more than ten".into(), "{version}");
        assert!(socket.is_ended(), "the next frame is too long");
    }
}
