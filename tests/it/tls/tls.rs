//! TLS as an operator meets it: what is refused when it is set up, whom a server presents what, and what misbehaving
//! clients get.
#![cfg(feature = "tls")]

use crate::support::secure;
use crate::support::wire;
use std::{cell::RefCell, fs, rc::Rc, sync::Arc, time::Duration};

use crate::support::secure::{Client, LOCALHOST, Peer, Pem, made, trusting};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use ws_reactor::{
    Callbacks, CloseReason, Reactor, ReactorConfig, Server, Stream, StreamConfig, StreamHandler, TestSocket,
    TlsAcceptor, TlsConfig, TlsInfo, Version, net::sim::Sim, on_message,
};

fn echo() -> Server {
    Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    })
}

fn config(pem: &Pem) -> TlsConfig {
    TlsConfig::from_pem(pem.certificate.as_bytes(), pem.key.as_bytes()).unwrap()
}

fn listening(server: Server) -> Reactor<Sim> {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.listen("10.0.0.1:443", server).unwrap();
    reactor
}

fn trust(pem: &Pem) -> Arc<rustls::ClientConfig> {
    secure::trust(pem)
}

fn der(pem: &Pem) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap().to_vec()
}

#[test]
fn what_cannot_be_presented_is_refused_by_the_name_of_its_file() {
    let folder = std::env::temp_dir().join(format!("ws-reactor-tls-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let other = made(&["localhost"]);
    let (cert, key) = (file("cert.pem", &LOCALHOST.certificate), file("key.pem", &LOCALHOST.key));
    let dated = |from: i32, until: i32| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let (expired, early) = (dated(2001, 2002), dated(2090, 2091));
    let cases = [
        (folder.join("missing.pem"), key.clone(), "missing.pem cannot be read: No such file"),
        (cert.clone(), folder.join("nokey.pem"), "nokey.pem cannot be read: No such file"),
        (file("text.pem", "hello"), key.clone(), "text.pem: no certificate in it"),
        (key.clone(), key.clone(), "key.pem: no certificate in it"),
        (cert.clone(), cert.clone(), "cert.pem: no private key in it"),
        (
            file("broken.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n"),
            key.clone(),
            "broken.pem: not PEM",
        ),
        (
            file("empty.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            key.clone(),
            "empty.pem cannot be used: ",
        ),
        (cert.clone(), file("other.pem", &other.key), "other.pem: not the key of the certificate in "),
        (file("old.pem", &expired.0), file("old.key", &expired.1), "old.pem: the certificate has expired"),
        (file("early.pem", &early.0), file("early.key", &early.1), "early.pem: the certificate is not valid yet"),
    ];
    for (certificate, key, expected) in cases {
        let error = format!(
            "{:#}",
            ws_reactor::Error::from(TlsConfig::from_pem_files(&certificate, &key).expect_err(expected))
        );
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
    assert!(TlsConfig::from_pem_files(&cert, &key).is_ok());
    let error = config(&LOCALHOST).named_pem_files("a", &cert, folder.join("nokey.pem")).unwrap_err().to_string();
    assert!(error.contains("nokey.pem"), "{error}");
    let error = config(&LOCALHOST).require_client_certificates(&key).unwrap_err().to_string();
    assert!(error.contains("key.pem: no certificate in it"), "{error}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn each_name_is_presented_its_own_certificate() {
    let (chat, any) = (made(&["chat.example.com"]), made(&["*.example.net"]));
    let config = config(&LOCALHOST)
        .named_pem("Chat.Example.com", chat.certificate.as_bytes(), chat.key.as_bytes())
        .unwrap()
        .named_pem("*.example.net", any.certificate.as_bytes(), any.key.as_bytes())
        .unwrap();
    let mut reactor = listening(echo().tls(config));
    for (name, pem) in [("localhost", &*LOCALHOST), ("chat.example.com", &chat), ("a.example.net", &any)] {
        let mut peer = Peer::new(&mut reactor, trust(pem), name);
        assert!(peer.opens(&mut reactor), "{name}");
        assert_eq!(peer.presented(), der(pem), "{name}");
    }
    // Whoever asks for another gets the first, and is free to refuse it.
    let mut stranger = Peer::new(&mut reactor, trust(&LOCALHOST), "b.a.example.net");
    let refused = stranger.talk(&mut reactor, b"").unwrap_err();
    assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{refused}");
}

#[test]
fn clients_are_asked_for_certificates_or_have_to_show_them() {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let signed = |by: Option<&CertifiedIssuer<'_, KeyPair>>| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["client".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = match by {
            Some(issuer) => params.signed_by(&key, issuer).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        (certificate.der().clone(), PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap())
    };
    let (known, stranger) = (signed(Some(&issuer)), signed(None));
    let roots = issuer.pem();
    let with = |(certificate, key): &(CertificateDer<'static>, PrivateKeyDer<'static>)| {
        let chain = vec![certificate.clone()];
        Arc::new(trusting(&LOCALHOST.certificate).with_client_auth_cert(chain, key.clone_key()).unwrap())
    };
    for required in [false, true] {
        let seen: Rc<RefCell<Vec<TlsInfo>>> = Rc::default();
        let shared = Rc::clone(&seen);
        let server = Server::new(move |handshake| {
            shared.borrow_mut().push(handshake.tls_info().unwrap().clone());
            Callbacks::new()
        });
        let config = match required {
            false => config(&LOCALHOST).client_certificates_pem(roots.as_bytes()).unwrap(),
            true => config(&LOCALHOST).require_client_certificates_pem(roots.as_bytes()).unwrap(),
        };
        let mut reactor = listening(server.tls(config));
        assert!(Peer::new(&mut reactor, with(&known), "localhost").opens(&mut reactor));
        assert_eq!(seen.borrow()[0].peer_certificates, [known.0.to_vec()]);
        assert!(!Peer::new(&mut reactor, with(&stranger), "localhost").opens(&mut reactor));
        assert_eq!(Peer::new(&mut reactor, trust(&LOCALHOST), "localhost").opens(&mut reactor), !required);
        assert_eq!(seen.borrow().len(), if required { 1 } else { 2 });
        assert!(seen.borrow().get(1).is_none_or(|secured| secured.peer_certificates.is_empty()));
    }
}

#[test]
fn a_handler_sees_what_was_agreed_upon() {
    let seen: Rc<RefCell<Option<TlsInfo>>> = Rc::default();
    let shared = Rc::clone(&seen);
    let server = Server::new(move |handshake| {
        assert!(handshake.is_secure());
        *shared.borrow_mut() = handshake.tls_info().cloned();
        Callbacks::new()
    });
    let mut reactor = listening(server.tls(config(&LOCALHOST).alpn(["http/1.1"])));
    let mut client = trusting(&LOCALHOST.certificate).with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    client.enable_early_data = true;
    let client = Arc::new(client);
    assert!(Peer::new(&mut reactor, Arc::clone(&client), "localhost").opens(&mut reactor));
    let first = seen.take().unwrap();
    assert_eq!((first.protocol.as_str(), first.server_name.as_deref()), ("TLSv1_3", Some("localhost")));
    assert_eq!((first.alpn.as_deref(), first.resumed), (Some(&b"http/1.1"[..]), false));
    assert!(first.cipher_suite.starts_with("TLS13_"), "{}", first.cipher_suite);
    // The ticket of the first connection saves the second a signature.
    let mut again = Peer::new(&mut reactor, client, "localhost");
    assert!(again.client.tls.early_data().is_none(), "no ticket allows data before the handshake");
    assert!(again.opens(&mut reactor));
    assert!(seen.take().unwrap().resumed);
}

#[test]
fn a_certificate_is_replaced_while_a_thousand_handshakes_are_made() {
    let (old, new) = (made(&["localhost"]), made(&["localhost"]));
    let tls = TlsAcceptor::from(config(&old));
    let mut reactor = listening(echo().tls(tls.clone()));
    let both = Pem { certificate: format!("{}{}", old.certificate, new.certificate), key: String::new() };
    let trusted = trust(&both);
    let mut peers = Vec::new();
    for number in 0..1000 {
        peers.push(Peer::new(&mut reactor, Arc::clone(&trusted), "localhost"));
        if number % 10 == 5 {
            // Some are in the middle of a handshake then.
            let wire = std::mem::take(peers[number].client.encrypt(&mut Vec::new()));
            reactor.kernel_mut().send(peers[number].id, &wire);
        }
        if number == 500 {
            reactor.turn(Some(Duration::ZERO)).unwrap();
            tls.replace(config(&new));
        }
    }
    let live = peers[0].opens(&mut reactor);
    assert!(live && peers[0].presented() == der(&old));
    for peer in &mut peers[1..] {
        assert!(peer.opens(&mut reactor));
    }
    assert_eq!(peers[999].presented(), der(&new));
    let presented: Vec<bool> = peers.iter().map(|peer| peer.presented() == der(&new)).collect();
    assert!(presented.is_sorted(), "first the old, then the new");
    // Those that were open stay so.
    for peer in &mut peers {
        peer.heard.clear();
        peer.talk(&mut reactor, &wire::text(Version::Rfc6455, "still here")).unwrap();
        assert_eq!(peer.heard, b"\x81\x0astill here");
    }
}

#[test]
fn old_handshakes_say_wss_over_tls() {
    for version in [Version::Hixie75, Version::Hixie76, Version::Hybi03] {
        let mut reactor = listening(secure::server(echo()));
        let mut peer = Peer::new(&mut reactor, trust(&LOCALHOST), "localhost");
        peer.talk(&mut reactor, &wire::request(version, "/x", "")).unwrap();
        assert_eq!(peer.heard, wire::answer(version, "wss", "/x", ""), "{version}");
    }
}

#[test]
fn a_configuration_of_ones_own_is_taken() {
    let chain = vec![CertificateDer::from_pem_slice(LOCALHOST.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(LOCALHOST.key.as_bytes()).unwrap();
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).unwrap().with_no_client_auth();
    let mut reactor = listening(echo().tls(Arc::new(builder.with_single_cert(chain, key).unwrap())));
    let mut peer = Peer::new(&mut reactor, trust(&LOCALHOST), "localhost");
    assert!(peer.opens(&mut reactor));
    assert_eq!(peer.client.tls.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
}

#[test]
fn small_messages_of_a_callback_fill_one_record() {
    let server = Server::new(|_| {
        on_message(|ws, _| {
            for number in 0..20 {
                ws.send(format!("message {number}"));
            }
        })
    });
    let mut reactor = listening(secure::server(server));
    let mut peer = Peer::new(&mut reactor, trust(&LOCALHOST), "localhost");
    assert!(peer.opens(&mut reactor));
    peer.client.encrypt(&mut wire::text(Version::Rfc6455, "go"));
    let asked = peer.wire();
    reactor.kernel_mut().send(peer.id, &asked);
    reactor.settle().unwrap();
    let received = reactor.kernel_mut().received(peer.id);
    // A record says its length behind its type and version (RFC 8446 §5.2).
    let length = usize::from(u16::from_be_bytes([received[3], received[4]]));
    assert_eq!((received[0], received.len()), (0x17, 5 + length), "one record and no more");
    assert!(length > 20 * 12);
}

#[test]
fn the_smallest_read_buffers_do_for_tls() {
    for read_buffer_bytes in [1, 2, 100] {
        let config = ReactorConfig::new().read_buffer_bytes(read_buffer_bytes);
        let mut reactor = Reactor::on(Sim::new(), config);
        reactor.listen("10.0.0.1:443", secure::server(echo())).unwrap();
        let mut peer = Peer::new(&mut reactor, trust(&LOCALHOST), "localhost");
        assert!(peer.opens(&mut reactor), "{read_buffer_bytes}");
        peer.heard.clear();
        let message = "x".repeat(20_000);
        peer.talk(&mut reactor, &wire::text(Version::Rfc6455, &message)).unwrap();
        assert!(peer.heard[..4] == [0x81, 126, 0x4e, 0x20] && peer.heard[4..] == *message.as_bytes());
    }
}

#[test]
fn plain_and_secure_listeners_stand_side_by_side() {
    let mut reactor = listening(secure::server(echo()));
    reactor.listen("10.0.0.1:80", echo()).unwrap();
    let mut secure = Peer::new(&mut reactor, trust(&LOCALHOST), "localhost");
    assert!(secure.opens(&mut reactor));
    let plain = reactor.kernel_mut().connect("10.0.0.1:80".parse().unwrap()).unwrap();
    reactor.kernel_mut().send(plain, &wire::request(Version::Rfc6455, "/", ""));
    reactor.settle().unwrap();
    assert!(reactor.kernel_mut().received(plain).starts_with(b"HTTP/1.1 101 "));
    assert_eq!(reactor.hub().stats().opened, 2);
}

#[test]
fn whoever_speaks_otherwise_than_the_port_is_cut_and_told_of() {
    let errors: Rc<RefCell<Vec<String>>> = Rc::default();
    let telling = |server: Server| {
        let told = Rc::clone(&errors);
        server.on_error(move |_, error| told.borrow_mut().push(format!("{error:#}")))
    };
    let mut plain = TestSocket::request(telling(secure::server(echo())), wire::request(Version::Rfc6455, "/", ""));
    assert!(plain.is_closed());
    assert_eq!(errors.take(), ["TLS failed: the peer speaks something else where TLS is spoken"]);
    let hello = std::mem::take(Client::new(trust(&LOCALHOST), "localhost").encrypt(&mut Vec::new()));
    let mut encrypted = TestSocket::request(telling(echo()), &hello);
    assert!(encrypted.is_closed() && encrypted.received_bytes().is_empty());
    assert_eq!(errors.take(), ["TLS failed: a client speaks TLS where plain HTTP is spoken"]);
    let mut garbage = TestSocket::request(telling(secure::server(echo())), b"\x16\x03\x01\x00\x04\xff\xff\xff\xff");
    assert!(garbage.is_closed());
    assert_eq!(errors.take().len(), 1);
}

#[test]
fn one_deadline_covers_tls_and_the_request() {
    let hello = std::mem::take(Client::new(trust(&LOCALHOST), "localhost").encrypt(&mut Vec::new()));
    for said in [&hello[..], &hello[..20], b""] {
        let mut stalled = TestSocket::request(secure::server(echo()), said);
        stalled.advance(Duration::from_millis(9_990));
        assert!(!stalled.is_closed());
        stalled.advance(Duration::from_millis(20));
        assert!(stalled.is_closed());
    }
}

#[test]
fn who_takes_long_for_tls_has_less_time_for_the_request() {
    let mut reactor = listening(secure::server(echo()));
    let mut peer = Peer::new(&mut reactor, trust(&LOCALHOST), "localhost");
    reactor.advance(Duration::from_secs(9)).unwrap();
    peer.talk(&mut reactor, b"").unwrap();
    assert!(!peer.client.tls.is_handshaking());
    peer.talk(&mut reactor, &wire::request(Version::Rfc6455, "/", "")[..40]).unwrap();
    reactor.advance(Duration::from_millis(990)).unwrap();
    assert!(!reactor.kernel_mut().is_ended(peer.id));
    reactor.advance(Duration::from_millis(20)).unwrap();
    assert!(reactor.kernel_mut().is_ended(peer.id), "ten seconds for both");
}

#[test]
fn key_updates_without_end_do_not_hold_up_who_is_there() {
    let mut reactor = listening(secure::server(echo()));
    let [mut tireless, mut bystander] = [0; 2].map(|_| Peer::new(&mut reactor, trust(&LOCALHOST), "localhost"));
    assert!(tireless.opens(&mut reactor) && bystander.opens(&mut reactor));
    let mut wire = Vec::new();
    for _ in 0..1000 {
        tireless.client.tls.refresh_traffic_keys().unwrap();
        tireless.client.encrypt(&mut wire::text(Version::Rfc6455, "x"));
        wire.append(tireless.client.encrypt(&mut Vec::new()));
    }
    reactor.kernel_mut().send(tireless.id, &wire);
    bystander.client.encrypt(&mut wire::text(Version::Rfc6455, "meanwhile"));
    let said = bystander.wire();
    reactor.kernel_mut().send(bystander.id, &said);
    for _ in 0..3 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(!reactor.kernel_mut().received(bystander.id).is_empty(), "it is answered");
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().messages_in, 1001);
    // Those with nothing between are too many at some time.
    for _ in 0..100 {
        tireless.client.tls.refresh_traffic_keys().unwrap();
    }
    let _ = tireless.talk(&mut reactor, b"");
    assert!(reactor.kernel_mut().is_ended(tireless.id) && !reactor.kernel_mut().is_ended(bystander.id));
}

#[test]
fn an_end_without_close_notify_is_clean_after_a_closing_handshake_only() {
    for (closing, end) in [(true, "1000, by the peer, clean"), (false, "1006, by the peer, not clean")] {
        let said: Rc<RefCell<String>> = Rc::default();
        let log = Rc::clone(&said);
        let server = Server::new(move |_| {
            let log = Rc::clone(&log);
            Callbacks::new().on_close(move |_, reason| *log.borrow_mut() = reason.to_string())
        });
        let trusted = LOCALHOST.certificate.as_bytes();
        let mut socket = TestSocket::connect_over_tls(Version::Rfc6455, secure::server(server), "/", trusted);
        if closing {
            socket.close(ws_reactor::CloseCode::NORMAL, "");
        }
        socket.finish();
        assert!(socket.is_closed());
        assert_eq!(*said.borrow(), end);
    }
}

#[test]
fn our_end_is_announced_by_close_notify() {
    let mut reactor = listening(secure::server(echo()));
    let mut peer = Peer::new(&mut reactor, trust(&LOCALHOST), "localhost");
    assert!(peer.opens(&mut reactor));
    peer.heard.clear();
    peer.talk(&mut reactor, &wire::frame(Version::Rfc6455, wire::Kind::Close, true, b"\x03\xe8")).unwrap();
    assert_eq!(peer.heard, b"\x88\x02\x03\xe8");
    let state = peer.client.tls.process_new_packets().unwrap();
    assert!(state.peer_has_closed(), "close_notify has come");
}

#[test]
fn who_comes_back_by_a_ticket_may_not_speak_before_the_handshake_is_done() {
    let mut reactor = listening(secure::server(echo()));
    let mut eager = trusting(&LOCALHOST.certificate).with_no_client_auth();
    eager.enable_early_data = true;
    let eager = Arc::new(eager);
    let mut first = Peer::new(&mut reactor, Arc::clone(&eager), "localhost");
    assert!(first.opens(&mut reactor));
    let mut second = Peer::new(&mut reactor, eager, "localhost");
    assert!(second.client.tls.early_data().is_none(), "the ticket allows none");
    assert!(second.opens(&mut reactor));
    assert_eq!(second.client.tls.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
}

#[test]
fn key_updates_and_a_slow_reader_lose_nothing() {
    let mut reactor = listening(secure::server(echo()));
    let mut peer = Peer::new(&mut reactor, trust(&LOCALHOST), "localhost");
    assert!(peer.opens(&mut reactor));
    peer.heard.clear();
    let mut expected = Vec::new();
    for round in 0..50_usize {
        let message = "x".repeat(round * 997);
        peer.client.tls.refresh_traffic_keys().unwrap();
        if round % 7 == 0 {
            reactor.kernel_mut().hold(peer.id, 100 + round);
        }
        let frame = wire::text(Version::Rfc6455, &message);
        peer.client.encrypt(&mut frame.clone());
        let wire = std::mem::take(peer.client.encrypt(&mut Vec::new()));
        for piece in wire.chunks(1 + round * 13) {
            reactor.kernel_mut().send(peer.id, piece);
            reactor.settle().unwrap();
        }
        // A server's frame is the client's without its key.
        let header = frame.len() - message.len() - 4;
        expected.extend([frame[0], frame[1] & 0x7f]);
        expected.extend(&frame[2..header]);
        expected.extend(message.as_bytes());
        if round % 7 == 6 {
            reactor.kernel_mut().release(peer.id);
            peer.talk(&mut reactor, b"").unwrap();
        }
    }
    reactor.kernel_mut().release(peer.id);
    for _ in 0..10 {
        peer.talk(&mut reactor, b"").unwrap();
    }
    assert!(peer.heard == expected, "{} of {} bytes came back", peer.heard.len(), expected.len());
}

/// A clock that stands.
#[derive(Debug)]
struct Year(u64);

impl rustls::time_provider::TimeProvider for Year {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs((self.0 - 1970) * 31_557_600)))
    }
}

#[test]
fn clients_refuse_what_has_expired_and_what_nobody_has_signed() {
    let short = {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2090, 1, 1);
        Pem { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    };
    let mut reactor = listening(echo().tls(config(&short)));
    for (year, opens) in [(2080, true), (2091, false)] {
        let mut client = trusting(&short.certificate).with_no_client_auth();
        client.time_provider = Arc::new(Year(year));
        let mut peer = Peer::new(&mut reactor, Arc::new(client), "localhost");
        let talked = peer.talk(&mut reactor, &wire::request(Version::Rfc6455, "/", ""));
        assert_eq!(talked.is_ok(), opens, "{year}: {talked:?}");
    }
    let refused = Peer::new(&mut reactor, trust(&LOCALHOST), "localhost").talk(&mut reactor, b"").unwrap_err();
    assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{refused}");
}

/// Sends everything back, and says how it ended.
struct Back(Rc<RefCell<String>>);

impl StreamHandler for Back {
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        assert!(stream.tls_info().is_some());
        stream.write(data);
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        *self.0.borrow_mut() = reason.to_string();
    }
}

#[test]
fn raw_streams_have_tls_too_and_see_a_torn_end() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let config = config(&LOCALHOST);
    let end: Rc<RefCell<String>> = Rc::default();
    let said = Rc::clone(&end);
    let settings = StreamConfig::default();
    reactor.listen_stream_over_tls("10.0.0.1:443", config, settings, move |_| Back(Rc::clone(&said))).unwrap();
    for torn in [false, true] {
        let mut peer = Peer::new(&mut reactor, trust(&LOCALHOST), "localhost");
        peer.talk(&mut reactor, b"raw").unwrap();
        assert_eq!(peer.heard, b"raw");
        if !torn {
            peer.client.tls.send_close_notify();
            peer.talk(&mut reactor, b"").unwrap();
            assert!(peer.client.tls.process_new_packets().unwrap().peer_has_closed(), "an end is answered by an end");
        }
        reactor.kernel_mut().finish(peer.id);
        reactor.settle().unwrap();
        let expected = if torn { "1006, unexpected end of file" } else { "1005, by the peer, clean" };
        assert_eq!(*end.borrow(), expected);
    }
}

#[test]
fn a_storm_of_handshakes_takes_turns() {
    let config_of_reactor = ReactorConfig::new().tls_handshake_budget(3);
    let mut reactor = Reactor::on(Sim::new(), config_of_reactor);
    reactor.listen("10.0.0.1:443", secure::server(echo())).unwrap();
    let mut peers: Vec<Peer> = (0..30).map(|_| Peer::new(&mut reactor, trust(&LOCALHOST), "localhost")).collect();
    for peer in &mut peers {
        let hello = std::mem::take(peer.client.encrypt(&mut Vec::new()));
        reactor.kernel_mut().send(peer.id, &hello);
    }
    let mut answered = Vec::new();
    for _ in 0..12 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
        answered.push(peers.iter().filter(|peer| !reactor.kernel_mut().received(peer.id).is_empty()).count());
    }
    assert!(answered.iter().all(|count| *count <= 3), "{answered:?}");
    assert_eq!(answered.iter().sum::<usize>(), 30, "{answered:?}");
}

#[test]
fn a_handshake_is_pending_from_before_tls() {
    let mut reactor = listening(echo().tls(config(&LOCALHOST)).configure(|config| config.pending_handshakes = Some(1)));
    let connect = |reactor: &mut Reactor<Sim>| {
        let peer = reactor.kernel_mut().connect(([10, 0, 0, 1], 443).into()).unwrap();
        reactor.settle().unwrap();
        peer
    };
    // Nobody says a word, and only one is waited for.
    let (first, second) = (connect(&mut reactor), connect(&mut reactor));
    assert!(!reactor.kernel_mut().is_closed(first) && reactor.kernel_mut().is_closed(second));
    let stats = reactor.hub().stats();
    assert_eq!((stats.pending_handshakes, stats.turned_away), (1, 1));
    reactor.advance(Duration::from_secs(11)).unwrap();
    assert_eq!(reactor.hub().stats().pending_handshakes, 0);
}
