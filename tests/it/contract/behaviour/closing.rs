//! The closing handshake, termination, shutdown and stop.

use super::*;

pub(super) fn close_frame_of_the_peer_is_answered_with_its_code(version: Version) {
    let (mut socket, log) = connect_to_echo(version, unchanged);
    // A message behind the close frame is not delivered.
    let close = frame(version, Kind::Close, true, b"\x0f\xa1enough");
    socket.send_bytes(&[close, text(version, "late")].concat());
    let answer = match version.number() {
        75 | 76 => vec![0xff, 0],
        1..=3 => b"\x01\x08\x0f\xa1enough".to_vec(),
        5 => b"\x81\x08\x0f\xa1enough".to_vec(),
        6 => vec![0x81, 2, 0x0f, 0xa1],
        _ => vec![0x88, 2, 0x0f, 0xa1],
    };
    assert_eq!(socket.received_bytes(), answer);
    assert!(socket.is_closed());
    assert_eq!(events_after_open(&log), [peers_end(version, 4001, "enough", ClosedBy::Peer)]);
}

pub(super) fn empty_close_frame_is_answered_with_an_empty_close_frame(version: Version) {
    let (mut socket, log) = connect_to_echo(version, unchanged);
    socket.send_bytes(&frame(version, Kind::Close, true, b""));
    assert_eq!(socket.received(), [Received::Close(None)]);
    assert_eq!(events_after_open(&log), [peers_end(version, 1005, "", ClosedBy::Peer)]);
}

pub(super) fn close_by_the_application_waits_for_the_close_frame_of_the_peer(version: Version) {
    let (mut socket, log) = connect(version, unchanged, |ws, _| {
        ws.send("last words");
        assert_eq!(ws.close(CloseCode::NORMAL, "done"), SendStatus::Queued);
        assert_eq!(ws.close(CloseCode::NORMAL, "again"), SendStatus::Closed);
        assert_eq!(ws.send("late"), SendStatus::Closed);
    });
    socket.send("go");
    assert_eq!(socket.received(), [vec!["last words".into()], closed(version, CloseCode::NORMAL, "done")].concat());
    socket.send("not delivered");
    if version.supports_ping() {
        socket.ping(b"hi");
        let first_byte = if version < Version::Hybi05 {
            3
        } else if version < Version::Hybi07 {
            0x83
        } else {
            0x8a
        };
        assert_eq!(socket.received_bytes(), [first_byte, 2, b'h', b'i'], "a ping is still answered");
    }
    assert!(!socket.is_closed());
    // hixie-75 has no closing handshake: the server ends its stream instead.
    assert_eq!(socket.is_ended(), version == Version::Hixie75);
    match version {
        Version::Hixie75 => socket.finish(),
        _ => socket.close(CloseCode::NORMAL, "yes"),
    }
    assert!(socket.is_closed() && socket.received().is_empty());
    assert_eq!(
        events_after_open(&log),
        ["message of 2".to_owned(), peers_end(version, 1000, "yes", ClosedBy::Application)]
    );
}

pub(super) fn close_behind_output_above_the_high_water_mark_still_receives_the_answer(version: Version) {
    let (mut socket, log) = connect(version, unchanged, |ws, _| {
        ws.send("x".repeat(200_000));
        ws.close(CloseCode::NORMAL, "");
    });
    socket.hold(1000);
    // `TestSocket` panics if the reactor spins, here while reading is paused and the answer waits to be read.
    socket.send("go");
    match version {
        Version::Hixie75 => socket.finish(),
        _ => socket.close(CloseCode::NORMAL, "seen"),
    }
    socket.release();
    assert!(socket.is_closed());
    assert_eq!(*log.borrow().last().unwrap(), peers_end(version, 1000, "seen", ClosedBy::Application));
}

pub(super) fn reply_before_a_close_or_a_panic_is_sent_before_the_close_frame(version: Version) {
    type End = fn(&mut WebSocket<'_>);
    let ends: [End; 2] = [|ws| _ = ws.close(CloseCode::NORMAL, "enough"), |_| panic!("enough")];
    for (number, end) in ends.into_iter().enumerate() {
        let (mut socket, _) = connect(version, unchanged, move |ws, text| {
            ws.send(text);
            end(ws);
        });
        socket.hold(1000);
        let message = "mixed Ω 🦀 ".repeat(3000);
        socket.send(&message);
        socket.send("a message after the end is not delivered");
        socket.release();
        let received = socket.received();
        // A failure drops messages of which no byte has been written. This one is partly written.
        assert_eq!(received.first(), Some(&Received::from(message.as_str())), "{version}, end {number}");
    }
}

pub(super) fn close_code_that_must_not_be_sent_is_refused_and_the_connection_stays_open(version: Version) {
    let (mut socket, _) = connect(version, unchanged, |ws, _| {
        for code in [1002, 1004, 1005, 1006, 1015, 2000, 2999, 5000] {
            assert_eq!(ws.close(CloseCode::from(code), ""), SendStatus::Unsupported, "{code}");
        }
        ws.send("still open");
    });
    socket.send("go");
    assert_eq!(socket.received(), ["still open".into()]);
}

pub(super) fn terminate_ends_the_connection_without_a_close_frame(version: Version) {
    let (mut socket, log) = connect(version, unchanged, |ws, _| ws.terminate());
    socket.send("go");
    assert!(socket.is_closed() && socket.received().is_empty());
    assert_eq!(events_after_open(&log), ["message of 2", "close 1006 \"\" Application unclean"]);
}

pub(super) fn shutdown_sends_going_away_and_stop_sends_no_close_frame(version: Version) {
    let (mut socket, log) = connect_to_echo(version, unchanged);
    socket.hub().shutdown(Duration::from_secs(9));
    socket.settle();
    assert_eq!(socket.received(), closed(version, CloseCode::GOING_AWAY, ""));
    match version {
        Version::Hixie75 => socket.finish(),
        _ => socket.close(CloseCode::GOING_AWAY, ""),
    }
    assert_eq!(events_after_open(&log), [peers_end(version, 1001, "", ClosedBy::Shutdown)]);
    let (mut socket, log) = connect_to_echo(version, unchanged);
    socket.hub().stop();
    socket.settle();
    assert!(socket.is_closed() && socket.received().is_empty());
    assert_eq!(events_after_open(&log), ["close 1006 \"\" Shutdown unclean"]);
}
