//! TLS configurations: files, `rustls` configurations, listeners with and without TLS.

use super::*;

#[test]
fn unusable_certificate_or_key_is_refused_with_the_name_of_its_file() {
    let folder = std::env::temp_dir().join(format!("ws-reactor-tls-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let other = self_signed(&["localhost"]);
    let (cert, key) = (file("cert.pem", &LOCALHOST.certificate), file("key.pem", &LOCALHOST.key));
    let valid_between = |from: i32, until: i32| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let (expired, early) = (valid_between(2001, 2002), valid_between(2090, 2091));
    let cases = [
        (folder.join("missing.pem"), key.clone(), "missing.pem cannot be read: No such file"),
        (cert.clone(), folder.join("nokey.pem"), "nokey.pem cannot be read: No such file"),
        (file("text.pem", "hello"), key.clone(), "text.pem: contains no certificate"),
        (key.clone(), key.clone(), "key.pem: contains no certificate"),
        (cert.clone(), cert.clone(), "cert.pem: contains no private key"),
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
        let error = format!("{:#}", Error::from(TlsConfig::from_pem_files(&certificate, &key).expect_err(expected)));
        assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
    }
    assert!(TlsConfig::from_pem_files(&cert, &key).is_ok());
    let error = config(&LOCALHOST).named_pem_files("a", &cert, folder.join("nokey.pem")).unwrap_err().to_string();
    assert!(error.contains("nokey.pem"), "{error}");
    let error = config(&LOCALHOST).require_client_certificates(&key).unwrap_err().to_string();
    assert!(error.contains("key.pem: contains no certificate"), "{error}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn custom_rustls_server_config_is_used() {
    let chain = vec![CertificateDer::from_pem_slice(LOCALHOST.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(LOCALHOST.key.as_bytes()).unwrap();
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).unwrap().with_no_client_auth();
    let mut reactor = listening(echo().tls(Arc::new(builder.with_single_cert(chain, key).unwrap())));
    let mut peer = localhost_peer(&mut reactor);
    assert!(peer.opens(&mut reactor));
    assert_eq!(peer.client.tls.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
}

#[test]
fn plain_and_tls_listeners_work_in_one_reactor() {
    let mut reactor = listening(secure::server(echo()));
    reactor.listen("10.0.0.1:80", echo()).unwrap();
    let mut secure = localhost_peer(&mut reactor);
    assert!(secure.opens(&mut reactor));
    let plain = reactor.kernel_mut().connect("10.0.0.1:80".parse().unwrap()).unwrap();
    reactor.kernel_mut().send(plain, &wire::request(Version::Rfc6455, "/", ""));
    reactor.settle().unwrap();
    assert!(reactor.kernel_mut().received(plain).starts_with(b"HTTP/1.1 101 "));
    assert_eq!(reactor.hub().stats().opened, 2);
}
