//! The server side of the opening handshake, after the request is accepted: subprotocol, response, challenge.

use super::{Handshake, hixie76::THIRD_KEY_BYTES};
use crate::http::Request;

/// How a server chooses the subprotocol.
#[derive(Debug, Clone)]
pub(crate) enum Subprotocols {
    /// The first of these that the client offers.
    Preferred(Vec<String>),
    /// All that the client offers, in the client's spelling.
    Echoed,
}

impl Subprotocols {
    /// The subprotocol for `request`.
    pub(crate) fn choose(&self, request: &Request) -> Option<String> {
        match self {
            Subprotocols::Preferred(ours) => ours.iter().find(|ours| is_offered(request, ours)).cloned(),
            Subprotocols::Echoed => request.subprotocols_as_written(),
        }
    }
}

/// Returns `true` if the client offers the subprotocol.
pub(crate) fn is_offered(request: &Request, subprotocol: &str) -> bool {
    request.subprotocols().any(|offered| offered == subprotocol)
}

/// An accepted handshake whose challenge may be incomplete: the bytes behind the request head (hixie-76 §1.3).
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    pub(crate) handshake: Handshake,
    received: [u8; THIRD_KEY_BYTES],
    missing: usize,
}

impl Challenge {
    pub(crate) fn new(handshake: Handshake) -> Self {
        let missing = handshake.challenge_bytes();
        Challenge { handshake, received: [0; THIRD_KEY_BYTES], missing }
    }

    /// Takes input, and returns how much was used.
    pub(crate) fn read(&mut self, input: &[u8]) -> usize {
        let used = self.missing.min(input.len());
        let start = THIRD_KEY_BYTES - self.missing;
        self.received[start..start + used].copy_from_slice(&input[..used]);
        self.missing -= used;
        used
    }

    /// Returns `true` once the whole challenge has arrived, and in versions without a challenge.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// The rest of the response. `None` in versions without a challenge.
    pub(crate) fn proof(&self) -> Option<[u8; 16]> {
        (self.handshake.challenge_bytes() > 0).then(|| self.handshake.prove(&self.received))
    }
}
