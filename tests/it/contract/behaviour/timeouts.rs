//! The close timeout, the ping interval and the stall timeout.

use super::*;

pub(super) fn peer_that_does_not_answer_a_close_is_cut_off_after_the_close_timeout(version: Version) {
    let (mut socket, log) = connect(version, unchanged, |ws, _| {
        ws.close(CloseCode::NORMAL, "");
    });
    socket.send("go");
    socket.advance(Duration::from_millis(4990));
    assert!(!socket.is_closed());
    socket.advance(Duration::from_millis(20));
    assert!(socket.is_closed());
    let mut expected = vec!["message of 2"];
    match version {
        Version::Hixie75 => expected.push("close 1006 \"\" Application unclean"),
        _ => {
            expected.extend(["error: the closing handshake timed out", "close 1006 \"\" Timeout(Closing) unclean"]);
        }
    }
    assert_eq!(events_after_open(&log), expected);
}

pub(super) fn silent_peer_is_pinged_and_cut_off_when_no_pong_arrives(version: Version) {
    let (mut socket, log) = connect_to_echo(version, unchanged);
    if !version.supports_ping() {
        socket.advance(Duration::from_secs(86_400));
        assert!(!socket.is_closed() && socket.received_bytes().is_empty(), "without pings, silence proves nothing");
        return;
    }
    socket.advance(Duration::from_millis(19_990));
    assert!(socket.received().is_empty());
    socket.advance(Duration::from_millis(20));
    assert_eq!(socket.received(), [Received::Ping(Vec::new())]);
    // An incomplete frame does not move the deadline.
    socket.send_bytes(&text(version, "whole")[..6]);
    socket.advance(Duration::from_millis(19_980));
    assert!(!socket.is_closed());
    socket.advance(Duration::from_millis(20));
    assert!(socket.is_closed());
    assert_eq!(
        events_after_open(&log),
        ["error: the peer did not answer a ping", "close 1006 \"\" Timeout(Pong) unclean"]
    );
}

pub(super) fn any_complete_frame_counts_as_an_answer_to_a_ping(version: Version) {
    if !version.supports_ping() {
        return;
    }
    let (mut socket, _) = connect_to_echo(version, unchanged);
    for _ in 0..5 {
        socket.advance(Duration::from_secs(30));
        assert_eq!(socket.received().last(), Some(&Received::Ping(Vec::new())));
        socket.send("here");
        assert_eq!(socket.received(), ["here".into()]);
    }
    let (mut silent, _) = connect_to_echo(version, |server| server.ping_after(None));
    silent.advance(Duration::from_secs(86_400));
    assert!(silent.received().is_empty() && !silent.is_closed());
}

pub(super) fn bytes_of_an_unfinished_message_keep_the_connection_alive_from_4_kib_per_timeout_on(version: Version) {
    if !version.supports_ping() {
        return;
    }
    let whole = text(version, "x".repeat(60_000));
    for (bytes, alive) in [(5000, true), (500, false)] {
        let (mut socket, log) = connect_to_echo(version, unchanged);
        for piece in whole.chunks(bytes).take(12) {
            socket.send_bytes(piece);
            socket.advance(Duration::from_secs(18));
        }
        assert_eq!(socket.is_closed(), !alive, "{bytes} bytes in 18 s");
        assert_eq!(log.borrow().last().unwrap().contains("Timeout(Pong)"), !alive, "{bytes}");
        if alive {
            let sent = whole.chunks(bytes).take(12).map(<[u8]>::len).sum();
            socket.send_bytes(&whole[sent..]);
            assert!(log.borrow().contains(&"message of 60000".to_owned()));
        }
    }
}

pub(super) fn small_fragments_of_an_unfinished_message_keep_the_connection_alive(version: Version) {
    if !version.supports_ping() {
        return;
    }
    let (mut socket, log) = connect_to_echo(version, unchanged);
    socket.send_bytes(&frame(version, Kind::Text, false, b"first"));
    for _ in 0..12 {
        socket.advance(Duration::from_secs(18));
        socket.send_bytes(&frame(version, Kind::Continuation, false, b"more"));
    }
    assert!(!socket.is_closed());
    socket.send_bytes(&frame(version, Kind::Continuation, true, b""));
    assert!(log.borrow().contains(&"message of 53".to_owned()));
}

pub(super) fn ping_behind_waiting_output_does_not_time_out(version: Version) {
    if !version.supports_ping() {
        return;
    }
    let (mut socket, log) = connect(version, unchanged, |ws, _| {
        assert!(ws.send("x".repeat(40_000)).is_queued());
    });
    socket.hold(1000);
    socket.send("go");
    // The peer takes 20 KB in each 25 s: it is no slow reader, and our ping waits behind the rest.
    socket.advance(Duration::from_secs(25));
    assert!(!socket.is_closed());
    socket.hold(21_000);
    socket.advance(Duration::from_secs(25));
    assert!(!socket.is_closed(), "{:?}", log.borrow());
}

pub(super) fn peer_that_reads_nothing_for_the_stall_timeout_is_closed(version: Version) {
    let without_pings = |server: Server| server.ping_after(None);
    let (mut socket, log) = connect(version, without_pings, |ws, _| {
        assert_eq!(ws.send("x".repeat(2000)), SendStatus::Queued);
    });
    socket.hold(1000);
    socket.send("go");
    socket.advance(Duration::from_millis(29_990));
    assert!(!socket.is_closed());
    socket.advance(Duration::from_millis(20));
    assert!(socket.is_closed());
    let end = our_end(version, CloseCode::TRY_AGAIN_LATER, "", ClosedBy::SlowReader);
    assert_eq!(events_after_open(&log), ["message of 2".to_owned(), SLOW_READER.to_owned(), end]);
}

pub(super) fn peer_that_sends_and_never_reads_is_closed_as_a_slow_reader(version: Version) {
    let (mut socket, log) = connect_to_echo(version, unchanged);
    socket.hold(1000);
    for _ in 0..20 {
        socket.send(&"x".repeat(10_000));
    }
    socket.advance(Duration::from_secs(41));
    assert!(socket.is_closed());
    let end = our_end(version, CloseCode::TRY_AGAIN_LATER, "", ClosedBy::SlowReader);
    assert_eq!(*log.borrow().last().unwrap(), end);
}

pub(super) fn reset_at_the_end_of_the_stall_timeout_ends_the_connection_once(version: Version) {
    let output = OutputLimits::new().limit_bytes(1000).pause_reading_bytes(1000);
    let configure = |server| limited(server, output);
    let (mut socket, log) = connect(version, configure, |ws, _| {
        ws.send("x".repeat(1000));
    });
    socket.hold(100);
    socket.send("go");
    socket.advance(Duration::from_millis(29_999));
    // The same turn sees the reset and the end of the stall timeout.
    socket.reset_after(Duration::from_millis(1));
    assert!(socket.is_closed());
    assert_eq!(log.borrow().iter().filter(|line| line.starts_with("close")).count(), 1);
}
