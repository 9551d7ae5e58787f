//! The framing of the hybi drafts and of RFC 6455.

use super::*;

#[test]
fn length_of_64_bits_is_read_in_full() {
    for version in Version::ALL.iter().copied().filter(|version| !is_hixie(*version)) {
        // 2^40 + 2: truncated to 32 bits, the length would be 2.
        let header = |length: u64| {
            let mut bytes = frame(version, Kind::Binary, true, &[0; 65_536]);
            let key_bytes = if matches!(version.number(), 5 | 6) { 4 } else { 0 };
            for (index, octet) in length.to_be_bytes().iter().enumerate() {
                let mask = if key_bytes > 0 { bytes[(2 + index) % 4] } else { 0 };
                bytes[key_bytes + 2 + index] = octet ^ mask;
            }
            bytes.truncate(14);
            bytes
        };
        for (length, error) in [
            ((1 << 40) + 2, "Frame length too long (1099511627778 bytes); the limit is 10485760 bytes"),
            (1 << 63, "64-bit length with the most significant bit set"),
        ] {
            let mut socket = TestSocket::connect_as(version, echo(), "/");
            socket.send_bytes(&header(length));
            let code = if length >> 63 == 0 { CloseCode::MESSAGE_TOO_BIG } else { CloseCode::PROTOCOL_ERROR };
            assert_eq!(socket.received(), failed(version, code, error), "{version}");
        }
    }
}

#[test]
fn close_frame_of_an_early_draft_names_the_side_that_begins() {
    for (version, body) in [(Version::Hybi01, &b""[..]), (Version::Hybi03, b""), (Version::Hybi05, b"S")] {
        let closing = Server::new(|_| {
            on_message(|ws, _| {
                ws.close(CloseCode::NORMAL, "not sent");
            })
        });
        let mut socket = TestSocket::connect_as(version, closing, "/");
        socket.send("go");
        let first = if version < Version::Hybi05 { 0x01 } else { 0x81 };
        assert_eq!(socket.received_bytes(), [&[first, body.len() as u8][..], body].concat(), "{version}");
    }
}

#[test]
fn unmasked_frames_and_unassigned_close_codes_are_accepted_before_rfc_6455_only() {
    for version in [Version::Hybi07, Version::Hybi08, Version::Rfc6455] {
        let mut socket = TestSocket::connect_as(version, echo(), "/");
        socket.send_bytes(b"\x81\x02hi\x88\x02\x07\xd0");
        match version {
            Version::Rfc6455 => {
                assert_eq!(socket.received(), failed(version, CloseCode::PROTOCOL_ERROR, "frame not masked"));
            }
            _ => assert_eq!(socket.received_bytes(), b"\x81\x02hi\x88\x02\x07\xd0"),
        }
    }
}
