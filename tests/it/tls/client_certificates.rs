//! Client certificates: optional, required, unknown.

use super::*;

#[test]
fn client_certificate_is_verified_and_is_mandatory_only_if_required() {
    let issuer = certificate_authority();
    let client_certificate = |issuer: Option<&CertifiedIssuer<'_, KeyPair>>| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["client".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = match issuer {
            Some(issuer) => params.signed_by(&key, issuer).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        (certificate.der().clone(), PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap())
    };
    let (known, unknown) = (client_certificate(Some(&issuer)), client_certificate(None));
    let roots = issuer.pem();
    let presenting = |(certificate, key): &(CertificateDer<'static>, PrivateKeyDer<'static>)| {
        let chain = vec![certificate.clone()];
        Arc::new(client_config_builder(&LOCALHOST.certificate).with_client_auth_cert(chain, key.clone_key()).unwrap())
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
        assert!(Peer::new(&mut reactor, presenting(&known), "localhost").opens(&mut reactor));
        assert_eq!(seen.borrow()[0].peer_certificates, [known.0.to_vec()]);
        assert!(!Peer::new(&mut reactor, presenting(&unknown), "localhost").opens(&mut reactor));
        assert_eq!(localhost_peer(&mut reactor).opens(&mut reactor), !required);
        assert_eq!(seen.borrow().len(), if required { 1 } else { 2 });
        assert!(seen.borrow().get(1).is_none_or(|info| info.peer_certificates.is_empty()));
    }
}
