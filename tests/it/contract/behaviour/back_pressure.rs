//! Slow readers, blocked sockets and paused connections.

use super::*;

pub(super) fn slow_reader_is_not_read_until_its_output_has_drained(version: Version) {
    let (mut socket, log) = connect_to_echo(version, unchanged);
    socket.hold(1000);
    let message = "x".repeat(10_000);
    for _ in 0..50 {
        socket.send(&message);
    }
    let delivered = events_after_open(&log).len();
    assert!((7..12).contains(&delivered), "reading stops above 64 KiB of output: {delivered} messages were read");
    socket.release();
    assert_eq!(socket.received(), vec![message.as_str().into(); 50]);
    let events = events_after_open(&log);
    assert_eq!(events.iter().filter(|line| *line == "message of 10000").count(), 50);
    assert!(events.contains(&"drain".to_owned()));
}

pub(super) fn slices_of_the_input_are_sent_unchanged_while_the_peer_does_not_read(version: Version) {
    let output = OutputLimits::new().pause_reading_bytes(4 << 20).limit_bytes(8 << 20);
    for room in [1, 1000, 20_000, 45_000, 100_000] {
        let output = output.clone();
        let configure = |server| limited(server, output);
        let (mut socket, _) = connect(version, configure, |ws, text| {
            ws.send(text);
            ws.send(&text[1000..18_000]);
            ws.send("and so on");
        });
        socket.hold(room);
        let messages = ["a", "b", "c", "d"].map(|letter| letter.repeat(20_000));
        let bytes: Vec<u8> = messages.iter().flat_map(|message| text(version, message)).collect();
        socket.send_bytes(&bytes[..45_000]);
        socket.send_bytes(&bytes[45_000..]);
        socket.release();
        let expected = messages.iter().flat_map(|message| [message, &message[1000..18_000], "and so on"]);
        let expected: Vec<Received> = expected.map(Into::into).collect();
        assert!(socket.received() == expected, "{version}, {room} bytes of room");
    }
}

pub(super) fn pings_while_the_socket_is_blocked_get_the_newest_pong_only(version: Version) {
    if !version.supports_ping() {
        return;
    }
    let (mut socket, _) = connect(version, unchanged, |ws, _| {
        ws.send("x".repeat(50_000));
    });
    socket.hold(1000);
    socket.send("go");
    for number in 0..100_u8 {
        socket.ping(&[number]);
    }
    socket.release();
    assert_eq!(socket.received(), [Received::from("x".repeat(50_000).as_str()), Received::Pong(vec![99])]);
}

pub(super) fn paused_connection_is_not_read_and_loses_no_message(version: Version) {
    let (mut socket, log) = connect(version, unchanged, |ws, text| {
        ws.send(text);
        if text == "pause" {
            let id = ws.id();
            ws.pause();
            ws.hub().add_timer(Duration::from_secs(100), move |hub| {
                hub.resume(id);
            });
        }
    });
    socket.send_bytes(&[text(version, "pause"), text(version, "one")].concat());
    socket.send("two");
    assert_eq!((socket.received(), events_after_open(&log).len()), (vec!["pause".into()], 1));
    socket.advance(Duration::from_millis(99_990));
    assert!(!socket.is_closed(), "a paused connection has no pong timeout");
    socket.received();
    socket.advance(Duration::from_millis(20));
    assert_eq!(socket.received(), ["one".into(), "two".into()]);
    // Here the message that pauses is the last of its read.
    socket.send_bytes(&[text(version, "three"), text(version, "pause")].concat());
    socket.send("four");
    assert_eq!(socket.received(), ["three".into(), "pause".into()]);
    socket.advance(Duration::from_secs(101));
    assert_eq!(socket.received().last(), Some(&"four".into()));
}
