//! Payloads that are not valid DEFLATE or not valid UTF-8.

use super::*;

#[test]
fn invalid_deflate_stream_fails_the_connection_with_1007() {
    for takeover in [false, true] {
        let config = if takeover { DeflateConfig::dedicated() } else { DeflateConfig::shared() };
        for garbage in [&[0x07][..], &[0xff; 40], &[0xf2, 0x00, 0x11, 0x00, 0x00], &[0x00, 0x05, 0x00, 0xfa]] {
            let mut world = World::new(echo().deflate(config));
            let mut client = world.connect();
            world.send_bytes(client.peer, &wire::raw(FIN | RSV1 | BINARY, garbage));
            assert_eq!(world.close_code(&mut client), 1007, "{garbage:x?}, takeover {takeover}");
        }
    }
    // A truncated stream.
    let mut world = World::new(echo().deflate(DeflateConfig::shared()));
    let mut client = world.connect();
    let whole = client.deflate.as_mut().unwrap().compress(&noise(1000));
    world.send_bytes(client.peer, &wire::raw(FIN | RSV1 | BINARY, &whole[..whole.len() / 2]));
    assert_eq!(world.close_code(&mut client), 1007);
}

#[test]
fn message_that_still_has_its_00_00_ff_ff_tail_fails_with_1007() {
    for (config, offer) in [
        (DeflateConfig::dedicated(), "permessage-deflate"),
        (DeflateConfig::shared(), "permessage-deflate; client_no_context_takeover"),
    ] {
        let request = String::from_utf8_lossy(support::REQUEST)
            .replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n"));
        let mut socket = TestSocket::request(echo().deflate(config), request);
        assert!(socket.received_bytes().starts_with(b"HTTP/1.1 101 "));
        let frame = |payload: &[u8]| [&[0xc1, 0x80 | payload.len() as u8, 0, 0, 0, 0][..], payload].concat();
        // The example of RFC 7692 §7.2.3.1, first without the tail.
        let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        socket.send_bytes(&frame(hello));
        assert!(!socket.received_bytes().is_empty() && !socket.is_ended());
        socket.send_bytes(&frame(&[&hello[..], b"\x00\x00\xff\xff"].concat()));
        let failed = socket.received_bytes();
        assert_eq!(failed[..1], [0x88], "expected a close frame: {failed:?}");
        assert_eq!(failed[2..4], 1007_u16.to_be_bytes());
    }
}

#[test]
fn invalid_utf8_in_a_compressed_text_fails_with_1007_before_the_end_of_the_message() {
    let mut world = World::new(echo().deflate(DeflateConfig::dedicated()));
    let mut client = world.connect();
    let compressed = client.deflate.as_mut().unwrap().compress(&[&b"fine so far "[..], b"\xff", &noise(500)].concat());
    // The rest of the message never arrives.
    world.send_bytes(client.peer, &wire::raw(RSV1 | TEXT, &compressed[..200]));
    assert_eq!(world.close_code(&mut client), 1007);

    let mut client = world.connect();
    let truncated_character = client.deflate.as_mut().unwrap().compress("caf\u{e9}".as_bytes().split_last().unwrap().1);
    world.send_bytes(client.peer, &wire::raw(FIN | RSV1 | TEXT, &truncated_character));
    assert_eq!(world.close_code(&mut client), 1007);
}
