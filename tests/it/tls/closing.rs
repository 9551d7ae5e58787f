//! `close_notify`, EOF, and output that is left at the end of a connection.

use super::*;

#[test]
fn eof_without_close_notify_is_clean_only_after_a_closing_handshake() {
    for (closing, expected) in [(true, "1000, by the peer, clean"), (false, "1006, by the peer, not clean")] {
        let close_reason: Rc<RefCell<String>> = Rc::default();
        let log = Rc::clone(&close_reason);
        let server = Server::new(move |_| {
            let log = Rc::clone(&log);
            Callbacks::new().on_close(move |_, reason| *log.borrow_mut() = reason.to_string())
        });
        let trusted = LOCALHOST.certificate.as_bytes();
        let mut socket = TestSocket::connect_over_tls(Version::Rfc6455, secure::server(server), "/", trusted);
        if closing {
            socket.close(CloseCode::NORMAL, "");
        }
        socket.finish();
        assert!(socket.is_closed());
        assert_eq!(*close_reason.borrow(), expected);
    }
}

#[test]
fn server_sends_close_notify_after_its_close_frame() {
    let mut reactor = listening(secure::server(echo()));
    let mut peer = localhost_peer(&mut reactor);
    assert!(peer.opens(&mut reactor));
    peer.received.clear();
    peer.talk(&mut reactor, &wire::frame(Version::Rfc6455, wire::Kind::Close, true, b"\x03\xe8")).unwrap();
    assert_eq!(peer.received, b"\x88\x02\x03\xe8");
    let state = peer.client.tls.process_new_packets().unwrap();
    assert!(state.peer_has_closed(), "close_notify was received");
}

// regression: input was still decrypted after our close_notify.
#[test]
fn bad_record_after_our_close_notify_is_discarded() {
    let mut reactor = listening(secure::server(echo()));
    let mut peer = localhost_peer(&mut reactor);
    assert!(peer.opens(&mut reactor));
    peer.talk(&mut reactor, &[0xff; 7]).unwrap();
    reactor.kernel_mut().send(peer.id, BAD_RECORD);
    reactor.settle().unwrap();
    assert!(!reactor.kernel_mut().is_closed(peer.id), "all input is discarded");
}

// regression: the end of the peer discarded output that `rustls` held.
#[test]
fn output_held_by_the_transport_is_sent_after_the_peer_half_closes() {
    let mut reactor = raw_echo(&RawEcho::default());
    let mut peer = localhost_peer(&mut reactor);
    peer.talk(&mut reactor, b"").unwrap();
    reactor.kernel_mut().hold(peer.id, 100);
    peer.talk(&mut reactor, &[b'x'; 10_000]).unwrap();
    peer.client.tls.send_close_notify();
    peer.talk(&mut reactor, b"").unwrap();
    reactor.kernel_mut().release(peer.id);
    peer.talk(&mut reactor, b"").unwrap();
    peer.talk(&mut reactor, b"").unwrap();
    assert_eq!(peer.received.len(), 10_000);

    let closing = Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
            ws.close(CloseCode::NORMAL, "");
        })
    });
    let page = closing.on_request(|request, _| match request.is_upgrade() {
        true => Reply::upgrade(),
        false => Reply::html("x".repeat(300_000)),
    });
    let mut reactor = listening(secure::server(page));
    let message = wire::text(Version::Rfc6455, "x".repeat(10_000));
    for (input, least) in [(&message[..], 10_008), (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 300_000)] {
        let mut peer = localhost_peer(&mut reactor);
        if least == 10_008 {
            assert!(peer.opens(&mut reactor));
            peer.received.clear();
        } else {
            peer.talk(&mut reactor, b"").unwrap();
        }
        reactor.kernel_mut().hold(peer.id, 100);
        peer.talk(&mut reactor, input).unwrap();
        reactor.kernel_mut().finish(peer.id);
        reactor.settle().unwrap();
        reactor.kernel_mut().release(peer.id);
        for _ in 0..20 {
            peer.talk(&mut reactor, b"").unwrap();
        }
        assert!(peer.received.len() >= least, "{} of {least} bytes", peer.received.len());
    }
}
