//! What becomes of a connection right after the callback that has asked for it: TLS.

use std::mem;

use super::{Reactor, connection::state::Phase};
use crate::net::{
    Kernel,
    tls::{TlsAcceptor, TlsConnector},
};

/// A change of a connection that only the loop can make.
pub(super) enum Conversion {
    /// Start TLS with the server of this name.
    TlsClient(TlsConnector, String),
    /// Start TLS as the server, behind this number of bytes of waiting output.
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    TlsServer(TlsAcceptor, usize),
}

impl<K: Kernel> Reactor<K> {
    /// Makes the changes that were requested.
    #[inline]
    pub(super) fn convert(&mut self) {
        if !self.hub.deferred.conversions.is_empty() {
            self.make_conversions();
        }
    }

    #[cold]
    fn make_conversions(&mut self) {
        for (id, conversion) in mem::take(&mut self.hub.deferred.conversions) {
            let is_open = self.hub.phase(id) == Phase::Open;
            match conversion {
                // In a replay the bytes are ciphertext; the plaintext has records of its own.
                Conversion::TlsServer(..) if self.hub.is_playback() => self.hub.callback.handed_on.clear(),
                Conversion::TlsClient(..) if self.hub.is_playback() => {}
                Conversion::TlsClient(tls, name) if is_open => self.start_tls_client(id, &tls, &name),
                Conversion::TlsServer(tls, plain) if is_open => self.start_tls_server(id, &tls, plain),
                Conversion::TlsClient(..) | Conversion::TlsServer(..) => {}
            }
        }
    }
}
