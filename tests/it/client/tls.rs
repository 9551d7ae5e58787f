//! Clients over TLS: trust, names, client certificates, and failures of the TLS handshake.

use super::*;

const URL: &str = "wss://localhost/chat";

/// A reactor with `server` over TLS on port 443, with a certificate for `localhost`.
fn reactor_serving_tls(server: Server) -> Reactor<Sim> {
    let mut reactor = reactor();
    reactor.listen("10.0.0.1:443", secure::server(server)).unwrap();
    reactor
}

#[test]
fn every_version_opens_echoes_and_closes_over_wss() {
    for version in Version::ALL.iter().copied() {
        let mut reactor = reactor_serving_tls(echo());
        let log = Log::default();
        let id = reactor
            .connect(URL, Client::new(recording(&log)).version(version).tls(trusting(&secure::LOCALHOST)))
            .unwrap();
        reactor.settle().unwrap();
        assert_eq!(drain(&log), [format!("open {version} None via 10.0.0.1:443")]);
        for text in ["hello", &"Zwölf Boxkämpfer ".repeat(10_000)] {
            reactor.hub().send(id, text);
            reactor.settle().unwrap();
            assert_eq!(drain(&log), [format!("message {}", Message::Text(text))], "{version}");
        }
        reactor.hub().close(id, CloseCode::NORMAL, "");
        reactor.advance(Duration::from_secs(20)).unwrap();
        assert_eq!((drain(&log).len(), reactor.hub().stats().connections), (1, 0), "{version}");
    }
}

#[test]
fn untrusted_or_misnamed_certificate_fails_unless_verification_is_disabled() {
    let other_root = trusting(&secure::self_signed(&["localhost"]));
    #[cfg(feature = "bundled-roots")]
    let bundled = TlsClientConfig::trusting_bundled_roots();
    #[cfg(not(feature = "bundled-roots"))]
    let bundled = other_root.clone();
    for (url, tls) in [
        (URL, other_root),
        (URL, bundled),
        ("wss://wrong.example/", trusting(&secure::LOCALHOST)),
        ("wss://10.0.0.1/", trusting(&secure::LOCALHOST)),
    ] {
        let mut reactor = reactor_serving_tls(echo());
        let log = Log::default();
        reactor.connect(url, Client::new(recording(&log)).tls(tls)).unwrap();
        reactor.settle().unwrap();
        let events = drain(&log);
        assert!(events[0].contains("invalid peer certificate") && events[1].starts_with("close 1006"), "{events:?}");
        assert_eq!(reactor.hub().stats().opened, 0);
        let log = Log::default();
        reactor.connect(url, Client::new(recording(&log)).tls(without_verification())).unwrap();
        reactor.settle().unwrap();
        assert_eq!(drain(&log), ["open RFC 6455 None via 10.0.0.1:443"]);
    }
}

#[test]
fn expired_certificate_is_rejected_even_if_its_root_is_trusted() {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    let expired = params.self_signed(&key).unwrap();
    // `TlsConfig` rejects an expired certificate: the server is configured by rustls itself.
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let server_config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(expired.pem().as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    let mut reactor = reactor();
    reactor.listen("10.0.0.1:443", echo().tls(std::sync::Arc::new(server_config))).unwrap();
    let log = Log::default();
    let client_config = TlsClientConfig::trusting_pem(expired.pem().as_bytes()).unwrap();
    reactor.connect(URL, Client::new(recording(&log)).tls(client_config)).unwrap();
    reactor.settle().unwrap();
    let events = drain(&log);
    assert!(events[0].contains("invalid peer certificate") && events[0].contains("xpired"), "{events:?}");
    assert_eq!(reactor.hub().stats().opened, 0);
}

#[test]
fn server_name_setting_replaces_the_host_in_sni_and_verification() {
    let server_pem = secure::self_signed(&["server.example"]);
    for (name, opens) in [(Some("server.example"), true), (None, false), (Some("other.example"), false)] {
        let mut reactor = reactor();
        let (log, server_names) = (Log::default(), Log::default());
        let recorded = Rc::clone(&server_names);
        let server = echo().tls(presenting(&server_pem)).on_request(move |request, _| {
            recorded.borrow_mut().extend(request.tls_info().unwrap().server_name.clone());
            Reply::upgrade()
        });
        reactor.listen("10.0.0.1:443", server).unwrap();
        let client = Client::new(recording(&log)).tls(trusting(&server_pem));
        let client = if let Some(name) = name { client.server_name(name) } else { client };
        reactor.connect("wss://10.0.0.1/", client).unwrap();
        reactor.settle().unwrap();
        assert_eq!(drain(&log)[0].starts_with("open"), opens, "{name:?}");
        assert_eq!(drain(&server_names), if opens { vec!["server.example"] } else { vec![] });
    }
}

#[test]
fn client_presents_its_certificate_to_a_server_that_requires_one() {
    let own = secure::self_signed(&["client"]);
    let config = presenting(&secure::LOCALHOST).require_client_certificates_pem(own.certificate.as_bytes()).unwrap();
    let mut reactor = reactor();
    let server = Server::new(|handshake| {
        let count = handshake.tls_info().unwrap().peer_certificates.len();
        Callbacks::new().on_open(move |ws, _| {
            ws.send(format!("{count}"));
        })
    });
    reactor.listen("10.0.0.1:443", server.tls(config)).unwrap();
    let log = Log::default();
    let identified = trusting(&secure::LOCALHOST).identity_pem(own.certificate.as_bytes(), own.key.as_bytes()).unwrap();
    reactor.connect(URL, Client::new(recording(&log)).tls(identified)).unwrap();
    reactor.settle().unwrap();
    assert_eq!(drain(&log)[1..], ["message 1"]);
    reactor.connect(URL, Client::new(recording(&log)).tls(trusting(&secure::LOCALHOST))).unwrap();
    reactor.settle().unwrap();
    assert!(drain(&log)[0].starts_with("error "), "no certificate to present");
}

/// The events of a client of `url` whose server sends these pieces and, unless they end the connection, ends the
/// stream.
fn events_after(url: &str, pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
    let mut reactor = reactor();
    reactor.kernel_mut().play("10.0.0.1:443".parse().unwrap());
    let log = Log::default();
    reactor.connect(url, Client::new(recording(&log)).tls(trusting(&secure::LOCALHOST))).unwrap();
    reactor.settle().unwrap();
    let (peer, _) = reactor.kernel_mut().dialed().unwrap();
    for piece in pieces {
        reactor.kernel_mut().send(peer, &piece);
        reactor.settle().unwrap();
    }
    reactor.kernel_mut().finish(peer);
    reactor.settle().unwrap();
    drain(&log)
}

const SPEAKS_PLAIN: &str = "error TLS failed: the server speaks plain HTTP, not TLS; the URL may need the scheme ws \
    (the URL of a proxy: http)";

#[test]
fn server_that_answers_tls_with_plain_http_is_named_in_the_error() {
    let response = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    for piece in [1, 4, response.len()] {
        let events = events_after(URL, response.chunks(piece).map(<[u8]>::to_vec));
        assert_eq!(events, [SPEAKS_PLAIN, "close 1006, TLS failed"]);
    }
}

#[test]
fn server_that_answers_tls_with_neither_tls_nor_http_is_reported() {
    for answer in [&b"220 mail.example ESMTP\r\n"[..], b"HTTP", b"\x15\x02\x01\0\x02\x02\x28"] {
        for piece in [1, answer.len()] {
            let events = events_after(URL, answer.chunks(piece).map(<[u8]>::to_vec));
            let expected = ["error TLS failed: the peer does not speak TLS", "close 1006, TLS failed"];
            assert_eq!(events, expected, "{}", answer.escape_ascii());
        }
    }
}

#[test]
fn alert_of_a_tls_server_is_named_and_an_end_without_an_alert_is_reported() {
    let alert = b"\x15\x03\x03\0\x02\x02\x46";
    for piece in [1, 2, alert.len()] {
        let events = events_after("ws://localhost:443/", alert.chunks(piece).map(<[u8]>::to_vec));
        assert_eq!(
            events,
            [
                "error opening handshake failed: the server speaks TLS; the URL may need the scheme wss",
                "close 1006, TLS failed"
            ]
        );
    }
    for (url, close) in [("ws://localhost:443/", "by the peer, not clean"), (URL, "unexpected end of file")] {
        let expected = [
            "error connection failed: the peer ended the stream before the opening handshake was complete".to_owned(),
            format!("close 1006, {close}"),
        ];
        assert_eq!(events_after(url, []), expected, "{url}");
    }
}

#[test]
fn tls_to_a_plain_port_and_plain_to_a_tls_port_fail_with_an_error() {
    let mut reactor = reactor_serving_tls(echo());
    reactor.listen("10.0.0.1:80", echo()).unwrap();
    let log = Log::default();
    reactor.connect("wss://localhost:80/", Client::new(recording(&log)).tls(trusting(&secure::LOCALHOST))).unwrap();
    reactor.settle().unwrap();
    let events = drain(&log);
    assert_eq!(events, [SPEAKS_PLAIN, "close 1006, TLS failed"]);
    reactor.connect("ws://localhost:443/", Client::new(recording(&log))).unwrap();
    reactor.settle().unwrap();
    let events = drain(&log);
    assert_eq!(events[0], "error the server responded with 400 Bad Request");
    assert!(events[1].starts_with("close 1006"), "{events:?}");
}
