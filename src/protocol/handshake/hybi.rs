//! The handshake of RFC 6455 §4.2, and of the drafts from hybi-04 on.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode, header};
use sha1::{Digest, Sha1};

use super::{Handshake, HandshakeError};
use crate::{
    http::{Request, response},
    protocol::version::Version,
};

/// Joined to the key to show that the server understood it (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The version that `Sec-WebSocket-Version` names.
pub(super) fn version(request: &Request) -> Result<Version, HandshakeError> {
    let mut named = request.headers().get_all(header::SEC_WEBSOCKET_VERSION).iter();
    match (named.next().and_then(|value| value.to_str().ok()), named.next()) {
        (Some(number), None) => {
            number.trim().parse().ok().and_then(Version::from_number).ok_or(HandshakeError::Version)
        }
        _ => Err(HandshakeError::Version),
    }
}

/// What RFC 6455 §4.2.1 demands beyond the upgrade itself.
pub(super) fn check(request: &Request) -> Result<(), HandshakeError> {
    if request.http().version() != http::Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    let mut keys = request.headers().get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(HandshakeError::Key) };
    match STANDARD.decode(key) {
        Ok(bytes) if bytes.len() == 16 => Ok(()),
        _ => Err(HandshakeError::Key),
    }
}

/// Appends the 101, in the lines and spelling of WebSocket servers since hybi-06.
pub(super) fn answer(handshake: &Handshake, headers: &HeaderMap, out: &mut Vec<u8>) {
    response::write_status(StatusCode::SWITCHING_PROTOCOLS, out);
    out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
    let key = handshake.request.headers().get(header::SEC_WEBSOCKET_KEY);
    out.extend_from_slice(accept(key.map_or(&[], |key| key.as_bytes())).as_bytes());
    out.extend_from_slice(b"\r\n");
    if let Some(subprotocol) = handshake.subprotocol() {
        out.extend_from_slice(b"Sec-WebSocket-Protocol: ");
        out.extend_from_slice(subprotocol.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    response::write_headers(headers, out);
    out.extend_from_slice(b"\r\n");
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455 §4.2.2).
fn accept(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_rfc_6455_section_1_3_is_accepted_as_it_says() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
