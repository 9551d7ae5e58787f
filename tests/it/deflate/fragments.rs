//! Fragmented compressed messages, and the reserved bits.

use super::*;

#[test]
fn fragmented_message_is_one_stream_and_pings_between_fragments_are_not_compressed() {
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let mut world = World::new(echo().deflate(compress_all(config)));
        let mut client = world.connect();
        for (round, step) in [1, 2, 3, 100, 300].into_iter().enumerate() {
            let text: String = (0..200).map(|number| record(number * 17 + round * 12_345)).collect();
            let compressed = client.deflate.as_mut().unwrap().compress(text.as_bytes());
            let count = compressed.chunks(step).count();
            for (index, piece) in compressed.chunks(step).enumerate() {
                let first = if index == 0 { RSV1 | TEXT } else { 0 } | if index + 1 == count { FIN } else { 0 };
                world.send_bytes(client.peer, &wire::raw(first, piece));
                if index == 0 {
                    world.send_bytes(client.peer, &wire::raw(FIN | wire::late(Kind::Ping), b"between"));
                }
            }
            let frames = world.frames(&mut client);
            assert_eq!(frames[0], Frame { first: 0x8a, payload: b"between".to_vec() });
            assert_eq!(
                assemble(&mut client, frames),
                [(TEXT, text.clone().into_bytes(), true)],
                "fragments of {step} bytes"
            );
        }
        // Octet by octet, with a compressed message between uncompressed messages.
        let bytes = [
            wire::raw(FIN | TEXT, b"plain"),
            wire::raw(
                FIN | RSV1 | BINARY,
                &client.deflate.as_mut().unwrap().compress(b"compressed, compressed, compressed"),
            ),
            wire::raw(TEXT, b"pla"),
            wire::raw(FIN, b"in"),
        ];
        for byte in bytes.concat() {
            world.send_bytes(client.peer, &[byte]);
            world.reactor.settle().unwrap();
        }
        let echoed: Vec<Vec<u8>> = world.messages(&mut client).into_iter().map(|(_, message, _)| message).collect();
        assert_eq!(echoed, [&b"plain"[..], b"compressed, compressed, compressed", b"plain"]);
    }
}

#[test]
fn misplaced_rsv1_and_any_rsv2_or_rsv3_fail_the_connection_with_1002() {
    for bytes in [
        wire::raw(FIN | RSV1, &[0]),
        [wire::raw(RSV1 | TEXT, &[0]), wire::raw(FIN | RSV1, &[0])].concat(),
        wire::raw(FIN | RSV1 | wire::late(Kind::Ping), b""),
        wire::raw(FIN | RSV1 | wire::late(Kind::Close), b""),
        wire::raw(FIN | 0x20 | TEXT, b""),
        wire::raw(FIN | 0x70 | TEXT, b""),
    ] {
        let mut world = World::new(echo().deflate(DeflateConfig::shared()));
        let mut client = world.connect();
        world.send_bytes(client.peer, &bytes);
        assert_eq!(world.close_code(&mut client), 1002, "{bytes:x?}");
    }
}
