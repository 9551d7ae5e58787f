//! The framing of hixie-75 and hixie-76.

use super::*;

/// An open connection of hixie-75 or hixie-76.
fn connect(version: Version, server: Server) -> TestSocket {
    assert!(is_hixie(version));
    TestSocket::connect_as(version, server, "/")
}

#[test]
fn frames_other_than_text_are_skipped() {
    for version in [Version::Hixie75, Version::Hixie76] {
        let skipped: [&[u8]; 7] = [
            b"\x01junk\xff",
            b"\x7f\xff",
            b"\x80\x03\xff\x00\xff",
            b"\xfe\x00",
            b"\xff\x01\x00",
            b"\x80\x80\x00",
            b"\x85\x00",
        ];
        let bytes: Vec<u8> = skipped.iter().flat_map(|frame| [frame, &b"\x00on\xff"[..]].concat()).collect();
        let expected = b"\x00on\xff".repeat(7);
        for size in [1, 2, 3, 5, 1000] {
            let mut socket = connect(version, echo());
            bytes.chunks(size).for_each(|piece| socket.send_bytes(piece));
            assert_eq!(socket.received_bytes(), expected, "{version}, in pieces of {size} bytes");
        }
        // A large frame is skipped without being stored: only the frame limit applies to it.
        let mut socket = connect(version, echo());
        socket.send_bytes(b"\x80\x83\x80\x00");
        socket.send_bytes(&[0x00; 49_152]);
        socket.send("on");
        assert_eq!(socket.received(), ["on".into()]);
    }
}

#[test]
fn frame_above_the_limit_fails_the_connection_in_every_framing() {
    for version in [Version::Hixie75, Version::Hixie76] {
        let framings: [&[u8]; 5] = [
            &[&[0][..], &[b'x'; 101]].concat(),
            &[&[1][..], &[b'x'; 101]].concat(),
            b"\x80\x65",
            b"\x80\xa0\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", // 2^70, from the tests of em-websocket
            &[0x80; 12],
        ];
        for bytes in framings {
            let limits = Rc::<RefCell<Vec<usize>>>::default();
            let recorded = Rc::clone(&limits);
            let server = Server::new(move |_| {
                let recorded = Rc::clone(&recorded);
                Callbacks::new().on_error(move |_, error| match error {
                    Error::Protocol(ProtocolError::TooBig { limit, .. }) => recorded.borrow_mut().push(*limit),
                    other => panic!("not too big: {other}"),
                })
            });
            let mut socket = connect(version, server.max_frame_bytes(100));
            socket.send_bytes(bytes);
            assert_eq!(socket.received(), failed(version, CloseCode::MESSAGE_TOO_BIG, ""));
            assert!(socket.is_ended() && limits.take() == [100], "{version}: {bytes:?}");
        }
    }
}

#[test]
fn text_is_delivered_at_its_end_and_its_utf_8_is_checked_as_it_arrives() {
    for version in [Version::Hixie75, Version::Hixie76] {
        let mut socket = connect(version, echo());
        socket.send_bytes(b"\x00no end");
        socket.send_bytes(" κ".as_bytes());
        assert!(socket.received().is_empty());
        socket.send_bytes(b"\xff\x00a\0b\xff");
        assert_eq!(socket.received(), ["no end κ".into(), "a\0b".into()]);
        socket.send_bytes(b"\x00bad \xc0");
        assert!(socket.received().is_empty() && socket.is_ended(), "refused before the end of the frame");
        let mut incomplete = connect(version, echo());
        incomplete.send_bytes(b"\x00half a charact\xce\xff");
        assert!(incomplete.received().is_empty() && incomplete.is_ended());
    }
}

#[test]
fn close_frame_of_hixie_closes_the_connection_in_both_directions() {
    for version in [Version::Hixie75, Version::Hixie76] {
        let mut socket = connect(version, echo());
        socket.send_bytes(b"\x00last\xff\xff\x00\x00ignored\xff");
        assert_eq!(socket.received_bytes(), b"\x00last\xff\xff\x00", "answered, and later input is ignored");
        assert!(socket.is_closed());
    }
    let closing = Server::new(|_| {
        on_message(|ws, _| {
            assert_eq!(ws.close(CloseCode::NORMAL, "not sent"), SendStatus::Queued);
        })
    });
    let mut socket = connect(Version::Hixie76, closing);
    socket.send("go");
    assert_eq!(socket.received_bytes(), b"\xff\x00");
    assert!(!socket.is_ended() && !socket.is_closed(), "the server waits for the close frame of the peer");
    socket.send_bytes(b"\x00late\xff\xff\x00");
    assert!(socket.is_closed() && socket.received_bytes().is_empty());
}
