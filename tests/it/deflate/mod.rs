//! permessage-deflate: negotiation with servers and clients of every kind, and messages whose end was left on.
#![cfg(feature = "deflate")]

mod messages;

use std::{cell::RefCell, rc::Rc};

use ws_reactor::{
    Callbacks, Client, DeflateConfig, Reactor, ReactorConfig, Server, TestSocket,
    net::sim::{PeerId, Sim},
    on_message,
};

use crate::support;

/// A client whose server is played by the test, and what its handler was told.
struct Played {
    reactor: Reactor<Sim>,
    peer: PeerId,
    told: Rc<RefCell<Vec<String>>>,
    offer: String,
}

fn played(config: DeflateConfig, extensions: &str) -> Played {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().play("10.0.0.1:80".parse().unwrap());
    let told = Rc::new(RefCell::new(Vec::new()));
    let (opened, received, failed) = (Rc::clone(&told), Rc::clone(&told), Rc::clone(&told));
    let handler = Callbacks::new()
        .on_open(move |ws, handshake| {
            opened.borrow_mut().push(format!("open {}", handshake.deflate().is_some()));
            ws.send("client ".repeat(100));
        })
        .on_message(move |_, message| received.borrow_mut().push(message.to_string()))
        .on_error(move |_, error| failed.borrow_mut().push(format!("{error:#}")));
    reactor.connect("ws://10.0.0.1/", Client::new(handler).deflate(config)).unwrap();
    reactor.settle().unwrap();
    let (peer, _) = reactor.kernel_mut().dialed().unwrap();
    let request = reactor.kernel_mut().received(peer);
    let text = String::from_utf8_lossy(&request).into_owned();
    let offer = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: ")).unwrap().to_owned();
    let answer = String::from_utf8(support::answer(&request)).unwrap();
    let line = format!("Sec-WebSocket-Extensions: {extensions}\r\n\r\n");
    let answer = answer.replace("\r\n\r\n", &format!("\r\n{line}"));
    reactor.kernel_mut().send(peer, answer.as_bytes());
    reactor.settle().unwrap();
    Played { reactor, peer, told, offer }
}

#[test]
fn client_offers_its_wish_and_a_bare_fallback() {
    let offer = played(DeflateConfig::dedicated(), "permessage-deflate").offer;
    assert_eq!(offer, "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12, permessage-deflate");
    let offer = played(DeflateConfig::shared(), "permessage-deflate").offer;
    let wish = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits";
    assert_eq!(offer, format!("{wish}, permessage-deflate"));
}

#[test]
fn client_works_with_any_legal_answer() {
    for config in [DeflateConfig::dedicated(), DeflateConfig::shared()] {
        for answer in [
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=8; client_max_window_bits=9",
        ] {
            let mut played = played(config, answer);
            assert_eq!(played.told.take(), ["open true"], "{answer}");
            // The sample of RFC 7692 §7.2.3.1, twice.
            let hello = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00".repeat(2);
            played.reactor.kernel_mut().send(played.peer, &hello);
            played.reactor.settle().unwrap();
            assert_eq!(played.told.take(), ["Hello", "Hello"], "{answer}");
            let sent = played.reactor.kernel_mut().received(played.peer);
            let compressed = sent[0] & 0x40 != 0;
            assert_eq!(compressed, !answer.contains("client_max_window_bits=8"), "zlib has no window of 8 bits");
        }
    }
}

#[test]
fn illegal_answer_names_its_parameter() {
    let told = played(DeflateConfig::shared(), "permessage-deflate; server_max_window_bits=16").told.take();
    let expected =
        "opening handshake failed: the server's permessage-deflate has a bad parameter: server_max_window_bits";
    assert_eq!(told, [expected]);
}

fn echo() -> Server {
    Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    })
}

fn answer_to(server: Server, offer: &str) -> String {
    let request = String::from_utf8_lossy(support::REQUEST)
        .replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n"));
    let answer = TestSocket::request(server, request).received_bytes();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: ")).unwrap_or_default().to_owned()
}

#[test]
fn server_names_its_window_only_to_clients_that_offered_one() {
    let server = || echo().deflate(DeflateConfig::dedicated());
    assert_eq!(answer_to(server(), "permessage-deflate"), "permessage-deflate");
    let hint = answer_to(server(), "permessage-deflate; client_max_window_bits");
    assert_eq!(hint, "permessage-deflate; client_max_window_bits=12");
    let offered = answer_to(server(), "permessage-deflate; server_max_window_bits=15");
    assert_eq!(offered, "permessage-deflate; server_max_window_bits=12");
}

#[test]
fn message_whose_tail_was_left_on_fails_itself_and_not_the_next() {
    for (config, offer) in [
        (DeflateConfig::dedicated(), "permessage-deflate"),
        (DeflateConfig::shared(), "permessage-deflate; client_no_context_takeover"),
    ] {
        let request = String::from_utf8_lossy(support::REQUEST)
            .replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n"));
        let mut socket = TestSocket::request(echo().deflate(config), request);
        assert!(socket.received_bytes().starts_with(b"HTTP/1.1 101 "));
        let frame = |payload: &[u8]| [&[0xc1, 0x80 | payload.len() as u8, 0, 0, 0, 0][..], payload].concat();
        // RFC 7692 §7.2.3.1, first as it should be.
        let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        socket.send_bytes(&frame(hello));
        assert!(!socket.received_bytes().is_empty() && !socket.is_ended());
        socket.send_bytes(&frame(&[&hello[..], b"\x00\x00\xff\xff"].concat()));
        let failed = socket.received_bytes();
        assert_eq!(failed[..1], [0x88], "the message itself fails: {failed:?}");
        assert_eq!(failed[2..4], 1007_u16.to_be_bytes());
    }
}
