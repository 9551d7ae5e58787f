//! TLS under servers and raw streams: configuration, certificates, handshakes, records, closing.

mod certificates;
mod client_certificates;
mod closing;
mod configuration;
mod handshakes;
mod raw_streams;
mod records;
mod starttls;
mod tickets;
mod timeouts;

use std::{cell::RefCell, fs, rc::Rc, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use ws_reactor::{
    Callbacks, CloseCode, CloseReason, Error, Reactor, ReactorConfig, ReactorGroup, Reply, Server, Stream,
    StreamConfig, StreamHandler, TestSocket, TlsAcceptor, TlsConfig, TlsInfo, Version, net::sim::Sim, on_message,
};

use crate::support::{
    played::echo,
    secure::{self, LOCALHOST, Peer, Pem, client_config_builder, self_signed},
    wire,
};

fn config(pem: &Pem) -> TlsConfig {
    TlsConfig::from_pem(pem.certificate.as_bytes(), pem.key.as_bytes()).unwrap()
}

/// A reactor with this server on the address of [`Peer::new`].
fn listening(server: Server) -> Reactor<Sim> {
    listening_with(ReactorConfig::default(), server)
}

fn listening_with(config: ReactorConfig, server: Server) -> Reactor<Sim> {
    let mut reactor = Reactor::on(Sim::new(), config);
    reactor.listen("10.0.0.1:443", server).unwrap();
    reactor
}

/// A client that trusts [`LOCALHOST`].
fn localhost_peer(reactor: &mut Reactor<Sim>) -> Peer {
    Peer::new(reactor, secure::trust(&LOCALHOST), "localhost")
}

fn der(pem: &Pem) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap().to_vec()
}

/// A certificate authority for client certificates.
fn certificate_authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a banner on connect, echoes all data, and records the close reason.
#[derive(Clone, Default)]
struct RawEcho {
    banner_bytes: usize,
    pauses: bool,
    closes: bool,
    close_reason: Rc<RefCell<String>>,
}

impl StreamHandler for RawEcho {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        if self.pauses {
            stream.pause();
        }
        stream.write(&vec![b'x'; self.banner_bytes]);
        if self.closes {
            stream.close();
        }
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        stream.write(data);
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        *self.close_reason.borrow_mut() = reason.to_string();
    }
}

/// A reactor with `handler` for raw streams over TLS.
fn raw_echo(handler: &RawEcho) -> Reactor<Sim> {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let (handler, settings) = (handler.clone(), StreamConfig::default());
    reactor.listen_stream_over_tls("10.0.0.1:443", config(&LOCALHOST), settings, move |_| handler.clone()).unwrap();
    reactor
}

/// A record that is not encrypted with the keys of any session.
const BAD_RECORD: &[u8] = b"\x17\x03\x03\x00\x20garbagegarbagegarbagegarbage1234";
