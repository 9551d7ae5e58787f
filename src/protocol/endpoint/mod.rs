//! The protocol for applications with sockets of their own: opening handshakes, decoder, encoder.

mod client;
mod codec;
mod server;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use self::{
    client::{ClientHandshake, PendingResponse, RequestError},
    codec::{EncodeError, MessageDecoder, MessageEncoder},
    server::{ServerHandshake, ServerStep},
};
use super::{
    Handshake, MessageLimits,
    deflate::{DeflateConfig, Deflation, Inflation, SharedContexts},
    mask::Masks,
    version::Side,
};
use crate::peer_addr::PeerAddr;

/// A completed opening handshake, with the codec of the connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The handshake: request, version, subprotocol, compression.
    pub handshake: Handshake,
    /// Decodes what the peer sends.
    pub decoder: MessageDecoder,
    /// Encodes what is sent to the peer.
    pub encoder: MessageEncoder,
}

impl Opened {
    fn new(
        handshake: Handshake,
        side: Side,
        limits: MessageLimits,
        masks: Option<Masks>,
        compression: &Compression,
    ) -> Self {
        let (version, agreed, contexts) = (handshake.version(), handshake.compression(), &compression.contexts);
        let inflation = agreed.map(|agreed| Inflation::new(agreed, side, contexts));
        let deflation = agreed.zip(compression.config.as_ref());
        let deflation = deflation.map(|(agreed, config)| Deflation::new(agreed, config, side, contexts));
        let decoder = MessageDecoder::new(version, side, limits, inflation);
        let encoder = MessageEncoder::new(version, side, masks, deflation);
        Opened { handshake, decoder, encoder }
    }
}

/// Compression that is offered or accepted, and the compressors of its connections.
#[derive(Debug, Clone, Default)]
struct Compression {
    config: Option<DeflateConfig>,
    contexts: SharedContexts,
}

/// Setters that both handshakes have.
macro_rules! shared_setters {
    () => {
        /// Sets the limits of received messages and frames. Default [`MessageLimits::default`]: 10 MiB.
        pub fn limits(mut self, limits: MessageLimits) -> Self {
            self.limits = limits;
            self
        }

        /// Sets the limits of the peer's request or response head. Default 16 KiB, 100 headers.
        pub fn head(mut self, limits: HeadLimits) -> Self {
            self.head = limits;
            self
        }

        /// Sets the address that [`Request::peer_addr`](crate::Request::peer_addr) returns. Default `0.0.0.0:0`.
        pub fn peer_addr(mut self, address: impl Into<PeerAddr>) -> Self {
            self.peer_addr = address.into();
            self
        }
    };
}
use shared_setters;

/// The address of a peer whose address was not given.
const UNKNOWN: PeerAddr = PeerAddr::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
