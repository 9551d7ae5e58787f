//! Records: sizes, key updates, bad records.

use super::*;

#[test]
fn small_messages_of_one_callback_share_one_record() {
    let server = Server::new(|_| {
        on_message(|ws, _| {
            for number in 0..20 {
                ws.send(format!("message {number}"));
            }
        })
    });
    let mut reactor = listening(secure::server(server));
    let mut peer = localhost_peer(&mut reactor);
    assert!(peer.opens(&mut reactor));
    peer.client.encrypt(&mut wire::text(Version::Rfc6455, "go"));
    let output = peer.output();
    reactor.kernel_mut().send(peer.id, &output);
    reactor.settle().unwrap();
    let received = reactor.kernel_mut().received(peer.id);
    // The length of a record follows its type and version (RFC 8446 §5.2).
    let length = usize::from(u16::from_be_bytes([received[3], received[4]]));
    assert_eq!((received[0], received.len()), (0x17, 5 + length), "exactly one record");
    assert!(length > 20 * 12);
}

#[test]
fn smallest_read_buffers_suffice_for_tls() {
    for read_buffer_bytes in [1, 2, 100] {
        let config = ReactorConfig::new().read_buffer_bytes(read_buffer_bytes);
        let mut reactor = listening_with(config, secure::server(echo()));
        let mut peer = localhost_peer(&mut reactor);
        assert!(peer.opens(&mut reactor), "{read_buffer_bytes}");
        peer.received.clear();
        let message = "x".repeat(20_000);
        peer.talk(&mut reactor, &wire::text(Version::Rfc6455, &message)).unwrap();
        assert!(peer.received[..4] == [0x81, 126, 0x4e, 0x20] && peer.received[4..] == *message.as_bytes());
    }
}

#[test]
fn endless_key_updates_do_not_delay_other_connections() {
    let mut reactor = listening(secure::server(echo()));
    let [mut updating, mut bystander] = [0; 2].map(|_| localhost_peer(&mut reactor));
    assert!(updating.opens(&mut reactor) && bystander.opens(&mut reactor));
    let mut key_updates = Vec::new();
    for _ in 0..1000 {
        updating.client.tls.refresh_traffic_keys().unwrap();
        updating.client.encrypt(&mut wire::text(Version::Rfc6455, "x"));
        key_updates.append(updating.client.encrypt(&mut Vec::new()));
    }
    reactor.kernel_mut().send(updating.id, &key_updates);
    bystander.client.encrypt(&mut wire::text(Version::Rfc6455, "meanwhile"));
    let output = bystander.output();
    reactor.kernel_mut().send(bystander.id, &output);
    for _ in 0..3 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(!reactor.kernel_mut().received(bystander.id).is_empty(), "the other connection gets its echo");
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().messages_in, 1001);
    // Key updates without data between them exceed a limit of `rustls`.
    for _ in 0..100 {
        updating.client.tls.refresh_traffic_keys().unwrap();
    }
    let _ = updating.talk(&mut reactor, b"");
    assert!(reactor.kernel_mut().is_ended(updating.id) && !reactor.kernel_mut().is_ended(bystander.id));
}

#[test]
fn key_updates_with_a_slow_reader_lose_no_data() {
    let mut reactor = listening(secure::server(echo()));
    let mut peer = localhost_peer(&mut reactor);
    assert!(peer.opens(&mut reactor));
    peer.received.clear();
    let mut expected = Vec::new();
    for round in 0..50_usize {
        let message = "x".repeat(round * 997);
        peer.client.tls.refresh_traffic_keys().unwrap();
        if round % 7 == 0 {
            reactor.kernel_mut().hold(peer.id, 100 + round);
        }
        let frame = wire::text(Version::Rfc6455, &message);
        peer.client.encrypt(&mut frame.clone());
        let output = peer.output();
        for piece in output.chunks(1 + round * 13) {
            reactor.kernel_mut().send(peer.id, piece);
            reactor.settle().unwrap();
        }
        // The echo is the frame of the client without its masking key.
        let header = frame.len() - message.len() - 4;
        expected.extend([frame[0], frame[1] & 0x7f]);
        expected.extend(&frame[2..header]);
        expected.extend(message.as_bytes());
        if round % 7 == 6 {
            reactor.kernel_mut().release(peer.id);
            peer.talk(&mut reactor, b"").unwrap();
        }
    }
    reactor.kernel_mut().release(peer.id);
    for _ in 0..10 {
        peer.talk(&mut reactor, b"").unwrap();
    }
    assert!(peer.received == expected, "{} of {} bytes were received", peer.received.len(), expected.len());
}

// regression: data decrypted before a bad record was discarded.
#[test]
fn data_before_a_bad_record_is_delivered() {
    let handled = Rc::new(RefCell::new(0));
    let count = Rc::clone(&handled);
    let server = Server::new(move |_| {
        let count = Rc::clone(&count);
        on_message(move |_, _| *count.borrow_mut() += 1)
    });
    let mut reactor = listening(server.tls(config(&LOCALHOST)));
    let mut peer = localhost_peer(&mut reactor);
    assert!(peer.opens(&mut reactor));
    peer.client.encrypt(&mut wire::text(Version::Rfc6455, "hi"));
    let both = [&peer.output(), BAD_RECORD].concat();
    reactor.kernel_mut().send(peer.id, &both);
    reactor.settle().unwrap();
    assert_eq!(*handled.borrow(), 1);
    assert!(reactor.kernel_mut().is_closed(peer.id));
}
