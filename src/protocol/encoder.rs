//! The encoder: messages, pings and closes to bytes, for one version and one side.

use super::{
    close::{CloseCode, fitting},
    framing::{OpCode, hybi, hybi::HeaderBytes},
    mask::{MaskingKey, unmask},
    message::Message,
    version::{Framing, Side, Version},
};

/// The outbound half of the protocol. It holds no bytes: what it writes is appended to the caller's buffer.
///
/// A client's frames are masked by the key given, which must be fresh and unpredictable for each (RFC 6455 §10.3); a server's are not, and the key is not looked at.
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

    /// Appends a whole message.
    pub(crate) fn message(self, message: Message<'_>, key: MaskingKey, out: &mut Vec<u8>) {
        self.frame(data_op_code(message), message.as_bytes(), key, out);
    }

    /// The header alone of an unmasked message of `length` bytes, whose payload is to follow from where it lies; `None` if this side masks.
    pub(crate) fn message_header(self, message: Message<'_>) -> Option<HeaderBytes> {
        match (self.version.traits().framing, self.side) {
            (Framing::Hybi, Side::Server) => Some(HeaderBytes::new(data_op_code(message), message.len(), None)),
            (Framing::Hybi, Side::Client) => None,
        }
    }

    /// Appends a ping. `data` beyond 125 bytes does not fit a control frame and is left out.
    pub(crate) fn ping(self, data: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
        self.control(OpCode::Ping, data, key, out);
    }

    /// Appends a pong, as [`ping`](Self::ping).
    pub(crate) fn pong(self, data: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
        self.control(OpCode::Pong, data, key, out);
    }

    /// Appends a close frame; without a code it is empty. A reason over 123 bytes is shortened at a character.
    pub(crate) fn close(self, code: Option<CloseCode>, reason: &str, key: MaskingKey, out: &mut Vec<u8>) {
        let mut body = [0; hybi::MAX_CONTROL_BYTES];
        let mut length = 0;
        if let Some(code) = code {
            let reason = fitting(reason);
            length = 2 + reason.len();
            body[..2].copy_from_slice(&u16::from(code).to_be_bytes());
            body[2..length].copy_from_slice(reason.as_bytes());
        }
        self.frame(OpCode::Close, &body[..length], key, out);
    }

    fn control(self, op_code: OpCode, data: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
        self.frame(op_code, &data[..data.len().min(hybi::MAX_CONTROL_BYTES)], key, out);
    }

    fn frame(self, op_code: OpCode, payload: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
        match self.version.traits().framing {
            Framing::Hybi => {
                let key = (self.side == Side::Client).then_some(key);
                let header = HeaderBytes::new(op_code, payload.len(), key);
                out.reserve(header.as_bytes().len() + payload.len());
                out.extend_from_slice(header.as_bytes());
                let start = out.len();
                out.extend_from_slice(payload);
                if let Some(key) = key {
                    unmask(&mut out[start..], key, 0);
                }
            }
        }
    }
}

fn data_op_code(message: Message<'_>) -> OpCode {
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
    fn a_server_writes_hello_unmasked() {
        let written = bytes(|out| server().message(Message::Text("Hello"), [9; 4], out));
        assert_eq!(written, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    #[test]
    fn a_client_writes_hello_masked() {
        let client = Encoder::new(Version::Rfc6455, Side::Client);
        let written = bytes(|out| client.message(Message::Text("Hello"), [0x37, 0xfa, 0x21, 0x3d], out));
        assert_eq!(written, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        assert!(client.message_header(Message::Text("Hello")).is_none());
    }

    #[test]
    fn ping_and_pong_carry_hello() {
        let written = bytes(|out| server().ping(b"Hello", [0; 4], out));
        assert_eq!(written, [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        let written = bytes(|out| server().pong(b"Hello", [0; 4], out));
        assert_eq!(written, [0x8a, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    #[test]
    fn lengths_of_256_bytes_and_64_kib_take_two_and_eight_octets() {
        let written = bytes(|out| server().message(Message::Binary(&[0; 256]), [0; 4], out));
        assert_eq!(written[..4], [0x82, 0x7e, 0x01, 0x00]);
        let written = bytes(|out| server().message(Message::Binary(&[0; 65536]), [0; 4], out));
        assert_eq!(written[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_header_alone_is_the_start_of_the_frame() {
        let message = Message::Binary(&[7; 70_000]);
        let written = bytes(|out| server().message(message, [0; 4], out));
        assert_eq!(server().message_header(message).unwrap().as_bytes(), &written[..10]);
    }

    #[test]
    fn a_close_frame_has_code_and_reason_or_nothing() {
        let written = bytes(|out| server().close(Some(CloseCode::Normal), "bye", [0; 4], out));
        assert_eq!(written, [0x88, 0x05, 0x03, 0xe8, b'b', b'y', b'e']);
        assert_eq!(bytes(|out| server().close(None, "", [0; 4], out)), [0x88, 0x00]);
        let written = bytes(|out| server().close(Some(CloseCode::Normal), &"x".repeat(200), [0; 4], out));
        assert_eq!(written.len(), 2 + 125);
    }
}
