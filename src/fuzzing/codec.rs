//! Target for the public codec: the handshake and the decoder of a server, with input in any pieces.

use super::Choices;
use crate::{
    Version,
    protocol::{Incoming, ServerHandshake, ServerStep, handshake::sample_request},
};

/// Items and output do not depend on the cuts of the input.
pub(super) fn codec(data: &[u8]) {
    let mut choices = Choices(data);
    let version = Version::ALL[choices.below(Version::ALL.len())];
    // A valid request, or arbitrary input.
    let mut input = if choices.octet() & 1 == 0 { sample_request(version, "/", "") } else { Vec::new() };
    input.extend_from_slice(choices.0);
    let whole = serve([&input[..]].into_iter());
    assert_eq!(serve(choices.pieces(&input).into_iter()), whole);
    assert_eq!(serve(input.chunks(1)), whole);
}

/// The received items and the output of an echo server.
fn serve<'d>(pieces: impl Iterator<Item = &'d [u8]>) -> (Vec<String>, Vec<u8>) {
    let (mut handshake, mut opened) = (ServerHandshake::new(), None);
    let (mut items, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut at = 0;
        loop {
            let Some(connection) = &mut opened else {
                match handshake.receive(&piece[at..], &mut out) {
                    Err(error) => {
                        items.push(error.to_string());
                        return (items, out);
                    }
                    Ok((used, None)) => {
                        assert_eq!(at + used, piece.len(), "without a step all input is used");
                        break;
                    }
                    Ok((used, Some(ServerStep::Request(request)))) => {
                        at += used;
                        if let Err(error) = handshake.accept(request, &mut out) {
                            items.push(error.to_string());
                            return (items, out);
                        }
                    }
                    Ok((used, Some(ServerStep::Open(connection)))) => {
                        at += used;
                        opened = Some(connection);
                    }
                }
                continue;
            };
            let (version, encoder) = (connection.handshake.version(), &mut connection.encoder);
            match connection.decoder.decode(&mut piece[at..]) {
                Ok((used, None)) => {
                    assert_eq!(at + used, piece.len(), "without an item all input is used");
                    break;
                }
                Ok((used, Some(incoming))) => {
                    at += used;
                    items.push(format!("{incoming:?}"));
                    encoder.answer(&incoming, &mut out);
                    if let Incoming::Message(message) = incoming {
                        let open = !encoder.is_closed();
                        assert_eq!(encoder.message(message, &mut out).is_ok(), open);
                    }
                }
                Err(error) => {
                    // Of two violations the first one found is reported. A version without close codes reports none.
                    let code = version.supports_close_codes().then(|| error.close_code());
                    items.push(format!("failed {code:?}"));
                    let length = out.len();
                    encoder.fail(error, &mut out);
                    out.truncate(length);
                    assert!(encoder.is_closed());
                    return (items, out);
                }
            }
        }
    }
    (items, out)
}
