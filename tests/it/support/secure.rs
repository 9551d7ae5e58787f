//! TLS for tests: generated certificates, and a `rustls` client over byte buffers.
#![allow(dead_code)]

use std::{
    io::{Read, Write},
    sync::{Arc, LazyLock},
};

use rcgen::{CertificateParams, CertifiedKey, KeyPair, PKCS_ED25519};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use ws_reactor::{
    Reactor, Server, TlsConfig, Version,
    net::sim::{PeerId, Sim},
};

/// A self-signed certificate and its key, in PEM.
pub(crate) struct Pem {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A self-signed certificate for these names. All signatures of an Ed25519 key have one length, so that a simulation is
/// reproducible from its seed.
pub(crate) fn self_signed(names: &[&str]) -> Pem {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let CertifiedKey { cert, signing_key } = CertifiedKey { cert: certificate, signing_key: key };
    Pem { certificate: cert.pem(), key: signing_key.serialize_pem() }
}

/// The certificate of most tests.
pub(crate) static LOCALHOST: LazyLock<Pem> = LazyLock::new(|| self_signed(&["localhost"]));

/// The server over TLS, with the certificate [`LOCALHOST`].
pub(crate) fn server(server: Server) -> Server {
    let config = TlsConfig::from_pem(LOCALHOST.certificate.as_bytes(), LOCALHOST.key.as_bytes()).unwrap();
    server.tls(config)
}

/// A client configuration that trusts these certificates, still without a client certificate.
pub(crate) fn client_config_builder(pem: &str) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots)
}

/// A client of [`server`].
pub(crate) fn client() -> Client {
    static CONFIG: LazyLock<Arc<ClientConfig>> =
        LazyLock::new(|| Arc::new(client_config_builder(&LOCALHOST.certificate).with_no_client_auth()));
    Client::new(Arc::clone(&CONFIG), "localhost")
}

/// The client end of a TLS connection, and its unsent ciphertext.
pub(crate) struct Client {
    pub(crate) tls: ClientConnection,
    output: Vec<u8>,
}

impl Client {
    pub(crate) fn new(config: Arc<ClientConfig>, name: &str) -> Self {
        let mut tls = ClientConnection::new(config, ServerName::try_from(name.to_owned()).unwrap()).unwrap();
        tls.set_buffer_limit(None);
        Client { tls, output: Vec::new() }
    }

    /// Encrypts and empties `plaintext`; returns the ciphertext to send, for the caller to drain.
    pub(crate) fn encrypt(&mut self, plaintext: &mut Vec<u8>) -> &mut Vec<u8> {
        self.tls.writer().write_all(plaintext).unwrap();
        plaintext.clear();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.output).unwrap();
        }
        &mut self.output
    }

    /// Decrypts `ciphertext` and appends the result to `plaintext`.
    pub(crate) fn decrypt(&mut self, mut ciphertext: &[u8], plaintext: &mut Vec<u8>) {
        while !ciphertext.is_empty() {
            self.tls.read_tls(&mut ciphertext).unwrap();
            self.tls.process_new_packets().expect("the server sends valid TLS");
            let _ = self.tls.reader().read_to_end(plaintext);
        }
    }
}

/// A client configuration that trusts this certificate.
pub(crate) fn trust(pem: &Pem) -> Arc<ClientConfig> {
    Arc::new(client_config_builder(&pem.certificate).with_no_client_auth())
}

/// A TLS client on a simulated network, and the plaintext received.
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) client: Client,
    pub(crate) received: Vec<u8>,
}

impl Peer {
    /// Connects to port 443 of 10.0.0.1; `name` is the server name.
    pub(crate) fn new(reactor: &mut Reactor<Sim>, config: Arc<ClientConfig>, name: &str) -> Self {
        Peer::at("10.0.0.1:443", reactor, config, name)
    }

    pub(crate) fn at(address: &str, reactor: &mut Reactor<Sim>, config: Arc<ClientConfig>, name: &str) -> Self {
        let id = reactor.kernel_mut().connect(address.parse().unwrap()).unwrap();
        Peer { id, client: Client::new(config, name), received: Vec::new() }
    }

    /// Takes the ciphertext to send.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        std::mem::take(self.client.encrypt(&mut Vec::new()))
    }

    /// Sends `plaintext`, then exchanges bytes until neither end has more to send. Returns a TLS error of the client.
    pub(crate) fn talk(&mut self, reactor: &mut Reactor<Sim>, plaintext: &[u8]) -> Result<(), rustls::Error> {
        self.client.encrypt(&mut plaintext.to_vec());
        for _ in 0..20 {
            let output = self.output();
            reactor.kernel_mut().send(self.id, &output);
            reactor.settle().unwrap();
            let received = reactor.kernel_mut().received(self.id);
            if output.is_empty() && received.is_empty() {
                break;
            }
            let mut rest = &received[..];
            while !rest.is_empty() {
                self.client.tls.read_tls(&mut rest).unwrap();
                self.client.tls.process_new_packets()?;
                let _ = self.client.tls.reader().read_to_end(&mut self.received);
            }
        }
        Ok(())
    }

    /// Sends an opening handshake; returns whether the server accepted it.
    pub(crate) fn opens(&mut self, reactor: &mut Reactor<Sim>) -> bool {
        let result = self.talk(reactor, &super::wire::request(Version::Rfc6455, "/", ""));
        result.is_ok() && self.received.starts_with(b"HTTP/1.1 101 ")
    }

    /// The certificate presented by the server, in DER.
    pub(crate) fn presented(&self) -> Vec<u8> {
        self.client.tls.peer_certificates().unwrap()[0].to_vec()
    }
}
