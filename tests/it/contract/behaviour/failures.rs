//! Protocol violations, panics, and streams that end early.

use super::*;

pub(super) fn protocol_violation_is_answered_with_its_close_code_and_later_input_is_discarded(version: Version) {
    let mut cases = vec![(text(version, b"\xf5"), ProtocolError::InvalidUtf8)];
    if let Some(unknown) = wire::unknown(version) {
        let code = if version < Version::Hybi07 { 7 } else { 3 };
        cases.push((unknown, ProtocolError::UnknownOpCode(code)));
        let header = frame(version, Kind::Binary, true, &[0; 101])[..8].to_vec();
        cases.push((header, ProtocolError::TooBig { limit: 100, length: 101 }));
        cases.push((frame(version, Kind::Ping, false, b""), ProtocolError::FragmentedControl));
        cases.push((frame(version, Kind::Continuation, true, b""), ProtocolError::UnexpectedContinuation));
        let inside = [frame(version, Kind::Text, false, b"a"), text(version, "b")].concat();
        cases.push((inside, ProtocolError::ExpectedContinuation));
    } else {
        // A text frame of hixie has no length field: its size is known only at its end.
        cases.push(([&[0; 102][..], &[0xff]].concat(), ProtocolError::TooBig { limit: 100, length: 101 }));
        cases.push((vec![0x80, 0x85, 0x80, 0x00], ProtocolError::TooBig { limit: 100, length: 640 }));
    }
    if version == Version::Rfc6455 {
        cases.push((b"\x81\x05hello".to_vec(), ProtocolError::Unmasked));
        cases.push((frame(version, Kind::Close, true, b"\x07\xd0"), ProtocolError::InvalidCloseCode(2000)));
    }
    for (bytes, error) in cases {
        let (mut socket, log) = connect_to_echo(version, |server| server.max_frame_bytes(100));
        // The message before the violation is still answered, and the message after it is not read.
        socket.send_bytes(&[&text(version, "good"), &bytes[..], &text(version, "ignored")].concat());
        let (code, reason) = (error.close_code(), error.close_reason());
        let expected = [vec!["good".into()], failed(version, code, &reason)].concat();
        assert_eq!(socket.received(), expected, "{version}: {error}");
        assert!(socket.is_ended() && !socket.is_closed(), "the server ends its side at once and discards the input");
        socket.send_bytes(&vec![0; 200_000]);
        socket.advance(Duration::from_secs(5));
        assert!(socket.is_closed());
        let end = our_end(version, code, &reason, ClosedBy::Protocol(error));
        assert_eq!(
            events_after_open(&log),
            ["message of 4".to_owned(), format!("error: protocol error: {error}"), end]
        );
    }
}

pub(super) fn panic_in_a_handler_fails_the_connection_and_is_reported(version: Version) {
    let (mut socket, log) = connect(version, unchanged, |_, text| panic!("cannot handle {text:?}"));
    socket.send("this");
    let code = if version == Version::Rfc6455 { CloseCode::INTERNAL_ERROR } else { CloseCode::new(3000) };
    assert_eq!(socket.received(), failed(version, code, ""));
    socket.finish();
    let end = our_end(version, code, "", ClosedBy::Panic);
    let error = "error: the handler panicked: cannot handle \"this\"".to_owned();
    assert_eq!(events_after_open(&log), ["message of 4".to_owned(), error, end]);
}

pub(super) fn eof_without_a_close_frame_is_reported_as_unclean(version: Version) {
    let (mut socket, log) = connect_to_echo(version, unchanged);
    socket.finish();
    assert!(socket.is_closed());
    assert_eq!(events_after_open(&log), ["close 1006 \"\" Peer unclean"]);
}

pub(super) fn reset_is_reported_to_on_error_and_then_to_on_close(version: Version) {
    let (mut socket, log) = connect_to_echo(version, unchanged);
    socket.reset();
    let events = events_after_open(&log);
    assert!(events[0].starts_with("error: connection failed"), "{events:?}");
    assert_eq!(events[1..], ["close 1006 \"\" Network(ConnectionReset) unclean"]);
}
