//! The handshake of RFC 6455 §4.2, and of the drafts since hybi-04.

use base64::{
    Engine, alphabet,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
};
use http::{StatusCode, header};
use sha1::{Digest, Sha1};

use super::{Handshake, HandshakeError};
use crate::http::{Request, response};

/// Appended to the key for the accept value (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The key of the example in RFC 6455 §1.3.
pub(super) const SAMPLE_KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Base64 for keys. The padding bits of the last octet may be anything, as in an example of RFC 6455 §4.1.
const KEYS: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Checks beyond the upgrade itself: one key, and for `strict` versions all of RFC 6455 §4.2.1.
pub(super) fn check(request: &Request, strict: bool) -> Result<(), HandshakeError> {
    if strict && request.http().version() != http::Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    if strict && !request.headers().contains_key(header::HOST) {
        return Err(HandshakeError::Host);
    }
    let mut keys = request.headers().get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(HandshakeError::Key) };
    match (strict, KEYS.decode_slice(key, &mut [0; 18])) {
        (true, Ok(16)) => Ok(()),
        (false, _) if !key.is_empty() => Ok(()),
        _ => Err(HandshakeError::Key),
    }
}

/// Appends the 101, without the final empty line, in the lines and spelling of WebSocket servers since hybi-06.
pub(super) fn answer(handshake: &Handshake, out: &mut Vec<u8>) {
    response::write_status(StatusCode::SWITCHING_PROTOCOLS, out);
    out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\n");
    let accept = accept(handshake.raw_header(header::SEC_WEBSOCKET_KEY));
    response::write_line("Sec-WebSocket-Accept", accept.as_bytes(), out);
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455 §4.2.2).
pub(super) fn accept(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_value_for_the_key_of_rfc_6455_section_1_3_is_that_of_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
