//! Session tickets and resumption.

use super::*;

#[test]
fn tls_info_has_the_negotiated_parameters_and_the_resumption() {
    let seen: Rc<RefCell<Option<TlsInfo>>> = Rc::default();
    let shared = Rc::clone(&seen);
    let server = Server::new(move |handshake| {
        assert!(handshake.is_secure());
        *shared.borrow_mut() = handshake.tls_info().cloned();
        Callbacks::new()
    });
    let mut reactor = listening(server.tls(config(&LOCALHOST).alpn(["http/1.1"])));
    let mut client = client_config_builder(&LOCALHOST.certificate).with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    client.enable_early_data = true;
    let client = Arc::new(client);
    assert!(Peer::new(&mut reactor, Arc::clone(&client), "localhost").opens(&mut reactor));
    let first = seen.take().unwrap();
    assert_eq!((first.protocol.as_str(), first.server_name.as_deref()), ("TLSv1_3", Some("localhost")));
    assert_eq!((first.alpn.as_deref(), first.resumed), (Some(&b"http/1.1"[..]), false));
    assert!(first.cipher_suite.starts_with("TLS13_"), "{}", first.cipher_suite);
    // The second connection resumes the session with the ticket of the first.
    let mut second = Peer::new(&mut reactor, client, "localhost");
    assert!(second.client.tls.early_data().is_none(), "no ticket allows early data");
    assert!(second.opens(&mut reactor));
    assert!(seen.take().unwrap().resumed);
}

#[test]
fn ticket_resumes_the_session_without_early_data() {
    let mut reactor = listening(secure::server(echo()));
    let mut config = client_config_builder(&LOCALHOST.certificate).with_no_client_auth();
    config.enable_early_data = true;
    let config = Arc::new(config);
    let mut first = Peer::new(&mut reactor, Arc::clone(&config), "localhost");
    assert!(first.opens(&mut reactor));
    let mut second = Peer::new(&mut reactor, config, "localhost");
    assert!(second.client.tls.early_data().is_none(), "the ticket allows no early data");
    assert!(second.opens(&mut reactor));
    assert_eq!(second.client.tls.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
}

// regression: cloned configurations shared their ticket key, so a listener that requires client certificates accepted a
// ticket from a listener that does not.
#[test]
fn ticket_of_one_listener_does_not_bypass_the_client_certificates_of_another() {
    let issuer = certificate_authority();
    let base = config(&LOCALHOST);
    let requiring = base.clone().require_client_certificates_pem(issuer.pem().as_bytes()).unwrap();
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.listen("10.0.0.1:443", echo().tls(base)).unwrap();
    reactor.listen("10.0.0.1:444", echo().tls(requiring)).unwrap();
    let config = secure::trust(&LOCALHOST);
    assert!(Peer::at("10.0.0.1:443", &mut reactor, Arc::clone(&config), "localhost").opens(&mut reactor));
    assert!(!Peer::at("10.0.0.1:444", &mut reactor, config, "localhost").opens(&mut reactor));
}

#[test]
fn reactors_of_a_group_resume_the_sessions_of_each_other_if_they_share_the_acceptor() {
    let acceptor = TlsAcceptor::from(config(&LOCALHOST));
    let shared = || acceptor.clone();
    let own = || TlsAcceptor::from(config(&LOCALHOST));
    let resumes = |acceptor: &dyn Fn() -> TlsAcceptor| {
        let mut reactors = ReactorGroup::simulated(2, ReactorConfig::default());
        for reactor in &mut reactors {
            reactor.listen("10.0.0.1:443", echo().tls(acceptor())).unwrap();
        }
        let client = secure::trust(&LOCALHOST);
        let mut kinds = reactors.iter_mut().map(|reactor| {
            let mut peer = Peer::new(reactor, Arc::clone(&client), "localhost");
            assert!(peer.opens(reactor));
            peer.client.tls.handshake_kind()
        });
        assert_eq!(kinds.next().unwrap(), Some(rustls::HandshakeKind::Full));
        kinds.next().unwrap() == Some(rustls::HandshakeKind::Resumed)
    };
    assert_eq!((resumes(&shared), resumes(&own)), (true, false));
}
