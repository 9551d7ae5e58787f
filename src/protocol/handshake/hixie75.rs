//! The handshake of hixie-75 §4: without a proof. Clients compare the first lines and the location octet by octet.

use http::header;

use super::Handshake;
use crate::http::response;

/// Appends the 101, without the final empty line.
pub(super) fn answer(handshake: &Handshake, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Web Socket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n",
    );
    response::write_line("WebSocket-Origin", handshake.raw_header(header::ORIGIN), out);
    let mut location = Vec::new();
    handshake.write_location(&mut location);
    response::write_line("WebSocket-Location", &location, out);
}
