//! TLS for tests: certificates made on the spot, and a client of rustls over bytes.
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

/// A certificate that signs itself, and its key, in PEM.
pub(crate) struct Pem {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate for these names. Its signatures have all one length, so that a seed tells the same story twice.
pub(crate) fn made(names: &[&str]) -> Pem {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let CertifiedKey { cert, signing_key } = CertifiedKey { cert: certificate, signing_key: key };
    Pem { certificate: cert.pem(), key: signing_key.serialize_pem() }
}

/// One for all who do not care.
pub(crate) static LOCALHOST: LazyLock<Pem> = LazyLock::new(|| made(&["localhost"]));

/// The server, with that certificate.
pub(crate) fn server(server: Server) -> Server {
    let config = TlsConfig::from_pem(LOCALHOST.certificate.as_bytes(), LOCALHOST.key.as_bytes()).unwrap();
    server.tls(config)
}

/// A client's configuration, which trusts these certificates.
pub(crate) fn trusting(pem: &str) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots)
}

/// A client of the server above.
pub(crate) fn client() -> Client {
    static CONFIG: LazyLock<Arc<ClientConfig>> =
        LazyLock::new(|| Arc::new(trusting(&LOCALHOST.certificate).with_no_client_auth()));
    Client::new(Arc::clone(&CONFIG), "localhost")
}

/// A client's end, and what it has to send.
pub(crate) struct Client {
    pub(crate) tls: ClientConnection,
    wire: Vec<u8>,
}

impl Client {
    pub(crate) fn new(config: Arc<ClientConfig>, name: &str) -> Self {
        let mut tls = ClientConnection::new(config, ServerName::try_from(name.to_owned()).unwrap()).unwrap();
        tls.set_buffer_limit(None);
        Client { tls, wire: Vec::new() }
    }

    /// Takes all of `plaintext`, and gives what is to be sent.
    pub(crate) fn encrypt(&mut self, plaintext: &mut Vec<u8>) -> &mut Vec<u8> {
        self.tls.writer().write_all(plaintext).unwrap();
        plaintext.clear();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.wire).unwrap();
        }
        &mut self.wire
    }

    /// Takes what has come.
    pub(crate) fn decrypt(&mut self, mut ciphertext: &[u8], plaintext: &mut Vec<u8>) {
        while !ciphertext.is_empty() {
            self.tls.read_tls(&mut ciphertext).unwrap();
            self.tls.process_new_packets().expect("the server keeps to TLS");
            let _ = self.tls.reader().read_to_end(plaintext);
        }
    }
}

/// A client's configuration, which trusts that certificate.
pub(crate) fn trust(pem: &Pem) -> Arc<ClientConfig> {
    Arc::new(trusting(&pem.certificate).with_no_client_auth())
}

/// A client on a simulated network.
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) client: Client,
    pub(crate) heard: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(reactor: &mut Reactor<Sim>, config: Arc<ClientConfig>, name: &str) -> Self {
        Peer::at("10.0.0.1:443", reactor, config, name)
    }

    pub(crate) fn at(address: &str, reactor: &mut Reactor<Sim>, config: Arc<ClientConfig>, name: &str) -> Self {
        let id = reactor.kernel_mut().connect(address.parse().unwrap()).unwrap();
        Peer { id, client: Client::new(config, name), heard: Vec::new() }
    }

    /// What it has to send, taken.
    pub(crate) fn wire(&mut self) -> Vec<u8> {
        std::mem::take(self.client.encrypt(&mut Vec::new()))
    }

    /// Lets both ends talk until neither has more to say; an error of the client's own is given.
    pub(crate) fn talk(&mut self, reactor: &mut Reactor<Sim>, say: &[u8]) -> Result<(), rustls::Error> {
        self.client.encrypt(&mut say.to_vec());
        for _ in 0..20 {
            let wire = self.wire();
            reactor.kernel_mut().send(self.id, &wire);
            reactor.settle().unwrap();
            let received = reactor.kernel_mut().received(self.id);
            if wire.is_empty() && received.is_empty() {
                break;
            }
            let mut rest = &received[..];
            while !rest.is_empty() {
                self.client.tls.read_tls(&mut rest).unwrap();
                self.client.tls.process_new_packets()?;
                let _ = self.client.tls.reader().read_to_end(&mut self.heard);
            }
        }
        Ok(())
    }

    /// Opens a WebSocket, and says whether that was granted.
    pub(crate) fn opens(&mut self, reactor: &mut Reactor<Sim>) -> bool {
        let talked = self.talk(reactor, &super::wire::request(Version::Rfc6455, "/", ""));
        talked.is_ok() && self.heard.starts_with(b"HTTP/1.1 101 ")
    }

    /// The certificate that the server has presented.
    pub(crate) fn presented(&self) -> Vec<u8> {
        self.client.tls.peer_certificates().unwrap()[0].to_vec()
    }
}
