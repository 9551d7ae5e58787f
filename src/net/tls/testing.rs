//! A TLS client for tests: bytes in, bytes out.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::net::tls::provider;

/// A client that trusts given certificates.
#[derive(Debug)]
pub(crate) struct Client {
    tls: ClientConnection,
}

impl Client {
    /// A client of the server `name` that trusts the certificates in `pem`.
    ///
    /// # Panics
    ///
    /// `pem` or `name` is malformed.
    pub(crate) fn new(name: &str, pem: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.expect("PEM")).expect("a certificate");
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for both versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut tls = ClientConnection::new(Arc::new(config), name).expect("a client");
        tls.set_buffer_limit(None);
        Client { tls }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Encrypts plaintext, once the handshake is finished.
    pub(crate) fn say(&mut self, plaintext: &[u8]) {
        self.tls.writer().write_all(plaintext).expect("it has no limit");
    }

    /// The bytes to send.
    pub(crate) fn outgoing(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).expect("memory takes all");
        }
        bytes
    }

    /// Reads ciphertext and returns the plaintext.
    ///
    /// # Panics
    ///
    /// The bytes are not a TLS server's.
    pub(crate) fn hear(&mut self, mut ciphertext: &[u8]) -> Vec<u8> {
        let mut plaintext = Vec::new();
        while !ciphertext.is_empty() {
            self.tls.read_tls(&mut ciphertext).expect("memory gives all");
            self.tls.process_new_packets().expect("the server keeps to TLS");
            // An end without close_notify is for the caller to judge.
            let _ = self.tls.reader().read_to_end(&mut plaintext);
        }
        plaintext
    }
}
