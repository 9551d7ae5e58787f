//! Bugs of TLS that were there once, each with the story that showed it.
#![cfg(feature = "tls")]

use crate::support::wire;
use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use crate::support::secure::{LOCALHOST, Peer, trust};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ws_reactor::{
    CloseCode, CloseReason, Reactor, ReactorConfig, Reply, Server, Stream, StreamConfig, StreamHandler, TlsConfig,
    Version, net::sim::Sim, on_message,
};

fn config() -> TlsConfig {
    TlsConfig::from_pem(LOCALHOST.certificate.as_bytes(), LOCALHOST.key.as_bytes()).unwrap()
}

fn echo() -> Server {
    Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    })
}

fn serving(server: Server, config_of_reactor: ReactorConfig) -> Reactor<Sim> {
    let mut reactor = Reactor::on(Sim::new(), config_of_reactor);
    reactor.listen("10.0.0.1:443", server.tls(config())).unwrap();
    reactor
}

fn client(reactor: &mut Reactor<Sim>) -> Peer {
    Peer::new(reactor, trust(&LOCALHOST), "localhost")
}

/// Speaks first, sends back what comes, and notes how it ended.
#[derive(Clone, Default)]
struct Raw {
    banner: usize,
    pauses: bool,
    closes: bool,
    end: Rc<RefCell<String>>,
}

impl StreamHandler for Raw {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        if self.pauses {
            stream.pause();
        }
        stream.write(&vec![b'x'; self.banner]);
        if self.closes {
            stream.close();
        }
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        stream.write(data);
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        *self.end.borrow_mut() = reason.to_string();
    }
}

fn raw(handler: &Raw) -> Reactor<Sim> {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let (handler, settings) = (handler.clone(), StreamConfig::default());
    reactor.listen_stream_over_tls("10.0.0.1:443", config(), settings, move |_| handler.clone()).unwrap();
    reactor
}

#[test]
fn a_ticket_of_an_open_listener_opens_no_other() {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let base = config();
    let guarded = base.clone().require_client_certificates_pem(issuer.pem().as_bytes()).unwrap();
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.listen("10.0.0.1:443", echo().tls(base)).unwrap();
    reactor.listen("10.0.0.1:444", echo().tls(guarded)).unwrap();
    let config = trust(&LOCALHOST);
    assert!(Peer::at("10.0.0.1:443", &mut reactor, Arc::clone(&config), "localhost").opens(&mut reactor));
    assert!(!Peer::at("10.0.0.1:444", &mut reactor, config, "localhost").opens(&mut reactor));
}

#[test]
fn what_is_said_before_the_handshake_is_said_after_it() {
    for banner in [1, 1000, 100_000] {
        for (pauses, closes) in [(false, false), (true, false), (false, true)] {
            let mut reactor = raw(&Raw { banner, pauses, closes, ..Raw::default() });
            let mut peer = client(&mut reactor);
            peer.talk(&mut reactor, b"").unwrap();
            assert_eq!(peer.heard.len(), banner, "pauses: {pauses}, closes: {closes}");
        }
    }
}

#[test]
fn an_end_behind_data_in_the_same_read_is_seen() {
    let handler = Raw::default();
    let mut reactor = raw(&handler);
    let mut peer = client(&mut reactor);
    peer.talk(&mut reactor, b"").unwrap();
    peer.client.encrypt(&mut b"last".to_vec());
    peer.client.tls.send_close_notify();
    peer.talk(&mut reactor, b"").unwrap();
    assert_eq!((peer.heard.as_slice(), handler.end.borrow().as_str()), (&b"last"[..], "1005, by the peer, clean"));
}

#[test]
fn what_the_transport_holds_outlives_the_end_of_the_peer() {
    let mut reactor = raw(&Raw::default());
    let mut peer = client(&mut reactor);
    peer.talk(&mut reactor, b"").unwrap();
    reactor.kernel_mut().hold(peer.id, 100);
    peer.talk(&mut reactor, &[b'x'; 10_000]).unwrap();
    peer.client.tls.send_close_notify();
    peer.talk(&mut reactor, b"").unwrap();
    reactor.kernel_mut().release(peer.id);
    peer.talk(&mut reactor, b"").unwrap();
    peer.talk(&mut reactor, b"").unwrap();
    assert_eq!(peer.heard.len(), 10_000);

    let closing = Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
            ws.close(CloseCode::NORMAL, "");
        })
    });
    let page = closing.on_request(|request, _| match request.is_upgrade() {
        true => Reply::upgrade(),
        false => Reply::html("x".repeat(300_000)),
    });
    let mut reactor = serving(page, ReactorConfig::default());
    let message = wire::text(Version::Rfc6455, "x".repeat(10_000));
    for (asked, least) in [(&message[..], 10_008), (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 300_000)] {
        let mut peer = client(&mut reactor);
        if least == 10_008 {
            assert!(peer.opens(&mut reactor));
            peer.heard.clear();
        } else {
            peer.talk(&mut reactor, b"").unwrap();
        }
        reactor.kernel_mut().hold(peer.id, 100);
        peer.talk(&mut reactor, asked).unwrap();
        reactor.kernel_mut().finish(peer.id);
        reactor.settle().unwrap();
        reactor.kernel_mut().release(peer.id);
        for _ in 0..20 {
            peer.talk(&mut reactor, b"").unwrap();
        }
        assert!(peer.heard.len() >= least, "{} of {least}", peer.heard.len());
    }
}

/// A record that nobody's keys have made.
const GARBAGE: &[u8] = b"\x17\x03\x03\x00\x20garbagegarbagegarbagegarbage1234";

#[test]
fn after_our_end_nothing_is_decrypted() {
    let mut reactor = serving(echo(), ReactorConfig::default());
    let mut peer = client(&mut reactor);
    assert!(peer.opens(&mut reactor));
    peer.talk(&mut reactor, &[0xff; 7]).unwrap();
    reactor.kernel_mut().send(peer.id, GARBAGE);
    reactor.settle().unwrap();
    assert!(!reactor.kernel_mut().is_closed(peer.id), "input is discarded, whatever it is");
}

#[test]
fn what_stands_before_a_bad_record_is_delivered() {
    let got = Rc::new(RefCell::new(0));
    let count = Rc::clone(&got);
    let server = Server::new(move |_| {
        let count = Rc::clone(&count);
        on_message(move |_, _| *count.borrow_mut() += 1)
    });
    let mut reactor = serving(server, ReactorConfig::default());
    let mut peer = client(&mut reactor);
    assert!(peer.opens(&mut reactor));
    peer.client.encrypt(&mut wire::text(Version::Rfc6455, "hi"));
    let both = [&peer.wire(), GARBAGE].concat();
    reactor.kernel_mut().send(peer.id, &both);
    reactor.settle().unwrap();
    assert_eq!(*got.borrow(), 1);
    assert!(reactor.kernel_mut().is_closed(peer.id));
}

#[test]
fn newcomers_do_not_push_in_front_of_who_waits() {
    let mut reactor = serving(echo(), ReactorConfig::new().tls_handshake_budget(2));
    let mut peers: Vec<Peer> = (0..3).map(|_| client(&mut reactor)).collect();
    reactor.settle().unwrap();
    for peer in &mut peers {
        let hello = peer.wire();
        reactor.kernel_mut().send(peer.id, &hello);
    }
    for _ in 0..20 {
        for _ in 0..2 {
            let stranger = client(&mut reactor);
            reactor.kernel_mut().send(stranger.id, b"\x16");
        }
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(peers.iter().all(|peer| !reactor.kernel_mut().received(peer.id).is_empty()));
}

#[test]
fn a_raw_handshake_that_stalls_is_given_up_and_one_that_ends_is_left_alone() {
    let mut reactor = raw(&Raw::default());
    let (mut done, mut stalled) = (client(&mut reactor), client(&mut reactor));
    done.talk(&mut reactor, b"here").unwrap();
    let hello = stalled.wire();
    reactor.kernel_mut().send(stalled.id, &hello[..3]);
    reactor.advance(Duration::from_secs(11)).unwrap();
    assert!(reactor.kernel_mut().is_closed(stalled.id) && !reactor.kernel_mut().is_closed(done.id));
}
