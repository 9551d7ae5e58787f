//! The keys of the handshake in hixie-76 and the drafts up to hybi-03.

use super::*;

#[test]
fn response_head_is_sent_before_the_third_key_arrives() {
    for version in [Version::Hixie76, Version::Hybi01, Version::Hybi03] {
        let (bytes, answer) = (request(version, "/", ""), answer(version, "ws", "/", ""));
        let (head, third_key) = bytes.split_at(bytes.len() - 8);
        let mut socket = TestSocket::request(echo(), head);
        let (answer_head, digest) = answer.split_at(answer.len() - 16);
        assert_eq!(socket.received_bytes(), answer_head);
        socket.send_bytes(&third_key[..7]);
        assert!(socket.received_bytes().is_empty());
        socket.send_bytes(&[&third_key[7..], &text(version, "at once")].concat());
        assert_eq!(socket.received_bytes(), [digest, &text(version, "at once")].concat());
    }
}

#[test]
fn client_with_an_incomplete_third_key_is_cut_off_by_the_opening_timeout() {
    let (server, errors) = server_that_must_refuse();
    let bytes = request(Version::Hixie76, "/", "");
    let mut socket = TestSocket::request(server, &bytes[..bytes.len() - 1]);
    socket.advance(Duration::from_millis(9_990));
    assert!(!socket.is_closed());
    socket.advance(Duration::from_millis(20));
    assert!(socket.is_closed());
    assert_eq!(errors.borrow()[0].to_string(), "the opening handshake timed out");
}

#[test]
fn invalid_key_header_is_refused_before_the_third_key_arrives() {
    let key1 = "Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n";
    let key2 = "Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n";
    for version in [Version::Hixie76, Version::Hybi02] {
        for (from, to) in [
            (key1, ""),
            (key2, ""),
            (key1, "Sec-WebSocket-Key1: 4@146546xW%0l15\r\n"),
            (key2, "Sec-WebSocket-Key2: 129985Y31.P00\r\n"),
            (key2, "Sec-WebSocket-Key2: 12998 5 Y3 1  .P01\r\n"),
            (key1, &format!("{key1}{key1}")),
            (key1, "Sec-WebSocket-Key1: 99999999999 9\r\n"),
            (key1, "Sec-WebSocket-Key1:\r\n"),
        ] {
            let bytes = request_with(version, from, to);
            assert_refused(&bytes[..bytes.len() - 8], HandshakeError::Challenge);
        }
    }
    // A key without digits counts as zero, and needs a space to divide by.
    let no_digits = request_with(Version::Hixie76, "4 @1  46546xW%0l 1 5", "a b");
    assert!(TestSocket::request(echo(), no_digits).received_bytes().starts_with(b"HTTP/1.1 101 "));
}
