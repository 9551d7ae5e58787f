//! Server certificates: selection by server name, replacement, verification by the client.

use super::*;

#[test]
fn server_presents_the_certificate_of_the_requested_server_name() {
    let (chat, any) = (self_signed(&["chat.example.com"]), self_signed(&["*.example.net"]));
    let config = config(&LOCALHOST)
        .named_pem("Chat.Example.com", chat.certificate.as_bytes(), chat.key.as_bytes())
        .unwrap()
        .named_pem("*.example.net", any.certificate.as_bytes(), any.key.as_bytes())
        .unwrap();
    let mut reactor = listening(echo().tls(config));
    for (name, pem) in [("localhost", &*LOCALHOST), ("chat.example.com", &chat), ("a.example.net", &any)] {
        let mut peer = Peer::new(&mut reactor, secure::trust(pem), name);
        assert!(peer.opens(&mut reactor), "{name}");
        assert_eq!(peer.presented(), der(pem), "{name}");
    }
    // For an unknown name the server presents its default certificate, which the client refuses.
    let mut unknown = Peer::new(&mut reactor, secure::trust(&LOCALHOST), "b.a.example.net");
    let refused = unknown.talk(&mut reactor, b"").unwrap_err();
    assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{refused}");
}

#[test]
fn replaced_certificate_applies_only_to_connections_accepted_later() {
    let (old, new) = (self_signed(&["localhost"]), self_signed(&["localhost"]));
    let tls = TlsAcceptor::from(config(&old));
    let mut reactor = listening(echo().tls(tls.clone()));
    let both = Pem { certificate: format!("{}{}", old.certificate, new.certificate), key: String::new() };
    let trusted = secure::trust(&both);
    let mut peers = Vec::new();
    for number in 0..1000 {
        peers.push(Peer::new(&mut reactor, Arc::clone(&trusted), "localhost"));
        if number % 10 == 5 {
            // Every tenth connection is in the middle of its handshake when the certificate is replaced.
            let hello = peers[number].output();
            reactor.kernel_mut().send(peers[number].id, &hello);
        }
        if number == 500 {
            reactor.turn(Some(Duration::ZERO)).unwrap();
            tls.replace(config(&new));
        }
    }
    let opened = peers[0].opens(&mut reactor);
    assert!(opened && peers[0].presented() == der(&old));
    for peer in &mut peers[1..] {
        assert!(peer.opens(&mut reactor));
    }
    assert_eq!(peers[999].presented(), der(&new));
    let presented: Vec<bool> = peers.iter().map(|peer| peer.presented() == der(&new)).collect();
    assert!(presented.is_sorted(), "the new certificate follows the old one");
    // Open connections stay open.
    for peer in &mut peers {
        peer.received.clear();
        peer.talk(&mut reactor, &wire::text(Version::Rfc6455, "still here")).unwrap();
        assert_eq!(peer.received, b"\x81\x0astill here");
    }
}

/// A stopped clock.
#[derive(Debug)]
struct Year(u64);

impl rustls::time_provider::TimeProvider for Year {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs((self.0 - 1970) * 31_557_600)))
    }
}

#[test]
fn client_refuses_expired_and_untrusted_certificates() {
    let expiring = {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2090, 1, 1);
        Pem { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    };
    let mut reactor = listening(echo().tls(config(&expiring)));
    for (year, opens) in [(2080, true), (2091, false)] {
        let mut client = client_config_builder(&expiring.certificate).with_no_client_auth();
        client.time_provider = Arc::new(Year(year));
        let mut peer = Peer::new(&mut reactor, Arc::new(client), "localhost");
        let result = peer.talk(&mut reactor, &wire::request(Version::Rfc6455, "/", ""));
        assert_eq!(result.is_ok(), opens, "{year}: {result:?}");
    }
    let refused = localhost_peer(&mut reactor).talk(&mut reactor, b"").unwrap_err();
    assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{refused}");
}
