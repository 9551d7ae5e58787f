//! Messages, fragments and pings.

use super::*;

pub(super) fn message_is_echoed_with_its_type_and_payload(version: Version) {
    let (mut socket, log) = connect_to_echo(version, unchanged);
    socket.send("text, κόσμε, \0");
    socket.send("");
    assert_eq!(socket.received(), ["text, κόσμε, \0".into(), "".into()]);
    if version.supports_binary() {
        socket.send(b"\x00\xff");
        assert_eq!(socket.received(), [Received::Message(vec![0, 0xff].into())]);
    }
    assert_eq!(log.borrow()[0], "open /path");
}

pub(super) fn message_of_any_size_is_echoed_unchanged(version: Version) {
    let (mut socket, _) = connect_to_echo(version, unchanged);
    for size in [1, 125, 126, 127, 65_535, 65_536, 65_537, 300_000, 5 << 20] {
        let message: String = (0..size).map(|index: usize| char::from((index * 7 % 128) as u8)).collect();
        socket.send(&message);
        assert_eq!(socket.received(), [message.as_str().into()], "{size} bytes");
        if version.supports_binary() {
            let message: Vec<u8> = (0..size).map(|index: usize| (index * 7) as u8).collect();
            socket.send(&message);
            assert_eq!(socket.received(), [Received::Message(message.into())], "{size} bytes");
        }
    }
}

pub(super) fn large_multibyte_text_is_echoed_unchanged(version: Version) {
    let (mut socket, _) = connect_to_echo(version, unchanged);
    let message = "mixed Ω 🦀 ".repeat(30_000);
    socket.send(&message);
    assert_eq!(socket.received(), [message.as_str().into()]);
}

pub(super) fn messages_of_one_read_are_echoed_in_order(version: Version) {
    let (mut socket, _) = connect_to_echo(version, unchanged);
    let bytes: Vec<u8> = (0..3000).flat_map(|number| text(version, format!("message {number}"))).collect();
    socket.send_bytes(&bytes);
    let expected: Vec<Received> = (0..3000).map(|number| format!("message {number}").as_str().into()).collect();
    assert_eq!(socket.received(), expected);
}

pub(super) fn fragments_are_delivered_as_one_message(version: Version) {
    if is_hixie(version) {
        return;
    }
    let (mut socket, log) = connect_to_echo(version, unchanged);
    let fragments = [
        frame(version, Kind::Text, false, "κό".as_bytes()),
        frame(version, Kind::Ping, true, b"between"),
        frame(version, Kind::Continuation, false, b"\xcf"),
        frame(version, Kind::Continuation, false, b""),
        frame(version, Kind::Continuation, true, b"\x83\xce\xbc\xce\xb5"),
    ];
    socket.send_bytes(&fragments.concat());
    assert_eq!(socket.received(), [Received::Pong(b"between".to_vec()), "κόσμε".into()]);
    assert_eq!(events_after_open(&log), ["ping 7", "message of 10"]);
}

pub(super) fn feature_that_the_version_lacks_returns_unsupported_and_sends_nothing(version: Version) {
    let (mut socket, _) = connect(version, unchanged, |ws, _| {
        let sent = [ws.send(b"octets"), ws.ping(b""), ws.pong(b"")];
        assert_eq!(sent, if ws.supports_ping() { [SendStatus::Queued; 3] } else { [SendStatus::Unsupported; 3] });
        assert_eq!(ws.supports_ping(), !is_hixie(ws.version()));
        assert_eq!(ws.supports_close_codes(), ws.version() >= Version::Hybi06);
        ws.subscribe("all");
        let published = ws.publish("all", b"octets");
        assert_eq!((published.queued, published.unsupported), if ws.supports_ping() { (1, 0) } else { (0, 1) });
    });
    socket.send("go");
    assert_eq!(socket.received().len(), if is_hixie(version) { 0 } else { 4 });
}

pub(super) fn ping_is_answered_with_its_payload_and_reported_to_the_handler(version: Version) {
    if !version.supports_ping() {
        return;
    }
    let (mut socket, log) = connect_to_echo(version, unchanged);
    socket.ping(b"are you there");
    socket.pong(b"unsolicited");
    assert_eq!(socket.received(), [Received::Pong(b"are you there".to_vec())]);
    assert_eq!(events_after_open(&log), ["ping 13", "pong 11"]);
}
