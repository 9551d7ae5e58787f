//! Limits on the size of messages and on queued output.

use super::*;

pub(super) fn limit_set_in_a_callback_applies_to_the_next_message(version: Version) {
    let (mut socket, _) = connect(version, unchanged, set_limit_and_echo);
    socket.send("a text of more than ten");
    assert_eq!(socket.received(), ["a text of more than ten".into()]);
    socket.send("a text of more than ten");
    assert_eq!(socket.received(), too_long(version, 23, 10));
    assert!(socket.is_ended());
}

pub(super) fn limit_set_in_a_callback_applies_to_messages_of_the_same_read(version: Version) {
    let (mut socket, _) = connect(version, unchanged, set_limit_and_echo);
    socket.send_bytes(&[text(version, "first"), text(version, "a text of more than ten")].concat());
    assert_eq!(socket.received(), [vec!["first".into()], too_long(version, 23, 10)].concat());
    assert!(socket.is_ended());
}

pub(super) fn fragments_above_the_message_limit_fail_the_connection(version: Version) {
    if is_hixie(version) {
        return;
    }
    let (mut socket, _) = connect_to_echo(version, |server| server.max_frame_bytes(50).max_message_bytes(60));
    let first = frame(version, Kind::Text, false, &[b'x'; 50]);
    socket.send_bytes(&[&first[..], &frame(version, Kind::Continuation, true, &[b'x'; 10])].concat());
    assert_eq!(socket.received().len(), 1);
    socket.send_bytes(&[&first[..], &frame(version, Kind::Continuation, true, &[b'x'; 11])].concat());
    assert_eq!(socket.received(), too_long(version, 61, 60));
}

pub(super) fn output_at_its_limit_closes_the_connection_or_drops_by_policy(version: Version) {
    for overflow in [Overflow::Close, Overflow::DropNewest] {
        let output = OutputLimits::new().high_water_bytes(50_000).limit_bytes(100_000).overflow(overflow);
        let last = if overflow == Overflow::Close { SendStatus::Closed } else { SendStatus::Dropped };
        let configure = |server| limited(server, output);
        let (mut socket, log) = connect(version, configure, move |ws, _| {
            let message = "x".repeat(60_000);
            let sent: Vec<SendStatus> = (0..4).map(|_| ws.send(&message)).collect();
            assert_eq!(sent, [SendStatus::Queued, SendStatus::Congested, last, last]);
        });
        socket.hold(1000);
        socket.send("go");
        assert_eq!(socket.is_closed(), overflow == Overflow::Close);
        if overflow == Overflow::Close {
            let end = our_end(version, CloseCode::TRY_AGAIN_LATER, "", ClosedBy::SlowReader);
            assert_eq!(events_after_open(&log), ["message of 2".to_owned(), SLOW_READER.to_owned(), end]);
        } else {
            socket.release();
            assert_eq!(socket.received().len(), 2);
        }
    }
}

fn set_limit_and_echo(ws: &mut WebSocket<'_>, text: &str) {
    ws.set_max_message_bytes(10);
    ws.send(text);
}

/// The close frame for a message above the limit.
fn too_long(version: Version, length: usize, limit: usize) -> Vec<Received> {
    let reason = format!("Frame length too long ({length} bytes); the limit is {limit} bytes");
    failed(version, CloseCode::MESSAGE_TOO_BIG, &reason)
}
