//! The encoder: messages, pings, pongs and close frames to bytes, for one version and one side.

use super::{
    close_code::{CloseCode, fitting},
    deflate::Deflation,
    framing::{HeaderBytes, MAX_CONTROL_BYTES, MAX_HEADER_BYTES, OpCode, hixie, hybi, hybi_early},
    mask::MaskingKey,
    message::Message,
    version::{Closing, Framing, Side, Version},
};

/// Encodes the output of one connection. Bytes are appended to the caller's buffer.
///
/// A client's frames are masked with `key`, which must be fresh and unpredictable for each frame (RFC 6455 §10.3). A
/// server's frames are not masked, and `key` is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoder {
    version: Version,
    side: Side,
}

impl Encoder {
    pub(crate) fn new(version: Version, side: Side) -> Self {
        Encoder { version, side }
    }

    pub(crate) fn version(self) -> Version {
        self.version
    }

    /// Returns `true` if frames are masked.
    pub(crate) fn masks(self) -> bool {
        self.side == Side::Client
    }

    /// Returns `true` if the version has this type of message.
    pub(crate) fn supports(self, message: Message<'_>) -> bool {
        message.is_text() || self.version.supports_binary()
    }

    /// Appends a whole message. The version must support its type.
    pub(crate) fn message(self, message: Message<'_>, key: MaskingKey, out: &mut Vec<u8>) {
        self.frame(data_op_code(message), message.as_bytes(), key, out);
    }

    /// Appends a whole message, compressed by `deflation` if that makes the message shorter.
    pub(crate) fn message_with(
        self,
        deflation: Option<&mut Deflation>,
        message: Message<'_>,
        key: MaskingKey,
        out: &mut Vec<u8>,
    ) {
        let compressed = deflation.and_then(|deflation| Some((deflation.message(message.as_bytes())?, deflation)));
        match compressed {
            Some((frame, deflation)) => {
                self.compressed(data_op_code(message), true, &frame, key, out);
                deflation.recycle(frame);
            }
            None => self.message(message, key, out),
        }
    }

    /// The header of a message, if the header has two octets and the payload follows unchanged.
    #[inline]
    pub(crate) fn short_header(self, message: Message<'_>) -> Option<[u8; 2]> {
        // The most common case.
        match (self.version, self.side) {
            (Version::Rfc6455, Side::Server) => hybi::short_header(data_op_code(message), message.len()),
            _ => None,
        }
    }

    /// The header of a message whose payload is written separately. `None` if the payload is not the unchanged end of
    /// the frame.
    pub(crate) fn message_header(self, message: Message<'_>) -> Option<HeaderBytes> {
        let (op_code, length) = (data_op_code(message), message.len());
        match (self.version.traits().framing, self.side) {
            (Framing::Hixie, _) | (Framing::MaskedFrame | Framing::Hybi, Side::Client) => None,
            (Framing::MoreBit, _) => Some(hybi_early::header(op_code, length, false)),
            (Framing::MaskedFrame, Side::Server) => Some(hybi_early::header(op_code, length, true)),
            (Framing::Hybi, Side::Server) => Some(hybi::header(op_code, length, None)),
        }
    }

    /// Appends a frame of a compressed message: the message type in the first frame, [`OpCode::Continuation`] in later
    /// ones, `fin` in the last. Only for versions with extensions.
    pub(crate) fn compressed(self, op_code: OpCode, fin: bool, payload: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
        out.reserve(MAX_HEADER_BYTES + payload.len());
        match self.side {
            Side::Server => {
                out.extend_from_slice(hybi::compressed_header(op_code, fin, payload.len(), None).as_bytes());
                out.extend_from_slice(payload);
            }
            Side::Client => {
                let header = hybi::compressed_header(op_code, fin, payload.len(), Some(key));
                hybi::write_masked(&header, payload, key, out);
            }
        }
    }

    /// Appends a ping. `data` is cut to 125 bytes, the limit of a control frame.
    pub(crate) fn ping(self, data: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
        self.control(OpCode::Ping, data, key, out);
    }

    /// Appends a pong, like [`ping`](Self::ping).
    pub(crate) fn pong(self, data: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
        self.control(OpCode::Pong, data, key, out);
    }

    /// Appends the start of the closing handshake, if the version has one. Without a code a close frame is empty. A
    /// reason over 123 bytes is cut at a character boundary. What the version cannot express is left out.
    pub(crate) fn close(self, code: Option<CloseCode>, reason: &str, key: MaskingKey, out: &mut Vec<u8>) {
        match (self.version.traits().closing, self.side) {
            (Closing::Stream, _) => {}
            (Closing::Octets, _) => out.extend_from_slice(&hixie::CLOSE),
            (Closing::Body { server, .. }, Side::Server) => self.frame(OpCode::Close, server, key, out),
            (Closing::Body { client, .. }, Side::Client) => self.frame(OpCode::Close, client, key, out),
            (Closing::Code { .. }, _) => {
                let mut body = [0; MAX_CONTROL_BYTES];
                let mut length = 0;
                if let Some(code) = code {
                    let reason = fitting(reason);
                    length = 2 + reason.len();
                    body[..2].copy_from_slice(&u16::from(code).to_be_bytes());
                    body[2..length].copy_from_slice(reason.as_bytes());
                }
                self.frame(OpCode::Close, &body[..length], key, out);
            }
        }
    }

    /// Appends the answer to a close frame with this body (RFC 6455 §5.5.1): the same code, or the whole body in
    /// versions without codes.
    pub(crate) fn close_answer(self, body: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
        match self.version.traits().closing {
            Closing::Stream | Closing::Octets => out.extend_from_slice(&hixie::CLOSE),
            Closing::Body { .. } => self.control(OpCode::Close, body, key, out),
            Closing::Code { .. } => self.control(OpCode::Close, &body[..body.len().min(2)], key, out),
        }
    }

    fn control(self, op_code: OpCode, data: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
        self.frame(op_code, &data[..data.len().min(MAX_CONTROL_BYTES)], key, out);
    }

    /// Appends a whole frame.
    #[inline]
    pub(crate) fn frame(self, op_code: OpCode, payload: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
        // The most common case.
        if (self.version, self.side) == (Version::Rfc6455, Side::Server) {
            return hybi::write(op_code, payload, out);
        }
        self.uncommon_frame(op_code, payload, key, out);
    }

    #[inline(never)]
    fn uncommon_frame(self, op_code: OpCode, payload: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
        out.reserve(MAX_HEADER_BYTES + payload.len());
        let header = match (self.version.traits().framing, self.side) {
            (Framing::Hixie, _) => return hixie::write_text(payload, out),
            (Framing::MaskedFrame, Side::Client) => return hybi_early::write_masked(op_code, payload, key, out),
            (Framing::Hybi, Side::Client) => {
                let header = hybi::header(op_code, payload.len(), Some(key));
                return hybi::write_masked(&header, payload, key, out);
            }
            (Framing::MoreBit, _) => hybi_early::header(op_code, payload.len(), false),
            (Framing::MaskedFrame, Side::Server) => hybi_early::header(op_code, payload.len(), true),
            (Framing::Hybi, Side::Server) => return hybi::write(op_code, payload, out),
        };
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(payload);
    }
}

/// The op-code of a message's first frame.
pub(crate) fn data_op_code(message: Message<'_>) -> OpCode {
    match message {
        Message::Text(_) => OpCode::Text,
        Message::Binary(_) => OpCode::Binary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Encoder {
        Encoder::new(Version::Rfc6455, Side::Server)
    }

    fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    // The samples of RFC 6455 §5.7.

    #[test]
    fn server_encodes_hello_unmasked() {
        let encoded = bytes(|out| server().message(Message::Text("Hello"), [9; 4], out));
        assert_eq!(encoded, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    #[test]
    fn client_encodes_hello_masked() {
        let client = Encoder::new(Version::Rfc6455, Side::Client);
        let encoded = bytes(|out| client.message(Message::Text("Hello"), [0x37, 0xfa, 0x21, 0x3d], out));
        assert_eq!(encoded, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        assert!(client.message_header(Message::Text("Hello")).is_none());
    }

    #[test]
    fn ping_and_pong_frames_carry_their_payload() {
        let encoded = bytes(|out| server().ping(b"Hello", [0; 4], out));
        assert_eq!(encoded, [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        let encoded = bytes(|out| server().pong(b"Hello", [0; 4], out));
        assert_eq!(encoded, [0x8a, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    #[test]
    fn lengths_of_256_bytes_and_64_kib_are_encoded_in_two_and_eight_octets() {
        let encoded = bytes(|out| server().message(Message::Binary(&[0; 256]), [0; 4], out));
        assert_eq!(encoded[..4], [0x82, 0x7e, 0x01, 0x00]);
        let encoded = bytes(|out| server().message(Message::Binary(&[0; 65536]), [0; 4], out));
        assert_eq!(encoded[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn message_header_equals_the_start_of_the_whole_frame() {
        let message = Message::Binary(&[7; 70_000]);
        let encoded = bytes(|out| server().message(message, [0; 4], out));
        assert_eq!(server().message_header(message).unwrap().as_bytes(), &encoded[..10]);
    }

    #[test]
    fn close_frame_has_code_and_truncated_reason_or_an_empty_payload() {
        let encoded = bytes(|out| server().close(Some(CloseCode::NORMAL), "bye", [0; 4], out));
        assert_eq!(encoded, [0x88, 0x05, 0x03, 0xe8, b'b', b'y', b'e']);
        assert_eq!(bytes(|out| server().close(None, "", [0; 4], out)), [0x88, 0x00]);
        let encoded = bytes(|out| server().close(Some(CloseCode::NORMAL), &"x".repeat(200), [0; 4], out));
        assert_eq!(encoded.len(), 2 + 125);
    }

    #[test]
    fn client_masks_in_every_version_and_binary_support_depends_on_the_version() {
        for version in Version::ALL.iter().copied() {
            assert!(Encoder::new(version, Side::Client).masks() && !Encoder::new(version, Side::Server).masks());
            let encoder = Encoder::new(version, Side::Server);
            assert!(encoder.supports(Message::Text("x")));
            assert_eq!(encoder.supports(Message::Binary(b"x")), version.supports_binary(), "{version}");
        }
    }

    #[test]
    fn rsv1_is_set_only_in_the_first_frame_of_a_compressed_message() {
        // The sample of RFC 7692 §7.2.3.1, whole and in two frames.
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let write = |op_code, fin, payload| bytes(|out| server().compressed(op_code, fin, payload, [0; 4], out));
        assert_eq!(write(OpCode::Text, true, &hello), [&[0xc1, 0x07], &hello[..]].concat());
        assert_eq!(write(OpCode::Text, false, &hello[..3]), [0x41, 0x03, 0xf2, 0x48, 0xcd]);
        assert_eq!(write(OpCode::Continuation, true, &hello[3..]), [0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00]);
        let client = Encoder::new(Version::Rfc6455, Side::Client);
        let encoded = bytes(|out| client.compressed(OpCode::Text, true, &hello, [1; 4], out));
        assert_eq!(encoded, [&[0xc1, 0x87, 1, 1, 1, 1], &hello.map(|octet| octet ^ 1)[..]].concat());
    }

    #[test]
    fn close_reply_has_the_format_of_its_version() {
        let answer =
            |version, body: &[u8]| bytes(|out| Encoder::new(version, Side::Server).close_answer(body, [0; 4], out));
        assert_eq!(answer(Version::Rfc6455, b"\x03\xe8bye"), [0x88, 2, 3, 0xe8]);
        assert_eq!(answer(Version::Rfc6455, b""), [0x88, 0]);
        assert_eq!(answer(Version::Hybi05, b"C"), [0x81, 1, b'C']);
        assert_eq!(answer(Version::Hybi03, b"why"), [0x01, 3, b'w', b'h', b'y']);
        assert_eq!(answer(Version::Hixie76, b""), [0xff, 0]);
    }
}
