//! TLS for clients: trusted roots, and the client's certificate.

#[cfg(any(feature = "bundled-roots", feature = "platform-roots"))]
use std::sync::LazyLock;
use std::{fmt, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::net::tls::{
    certificates::{self, Source, TlsError},
    provider, versions,
};

/// TLS configuration of a client, for [`Client::tls`](crate::Client::tls).
///
/// The server's certificate is verified against the given roots and the name in the URL. The defaults are TLS 1.3 and
/// 1.2, resumption of sessions, no ALPN and no client certificate. 0-RTT data is never sent.
///
/// ```no_run
/// use ws_reactor::{Callbacks, Client, TlsClientConfig};
///
/// let tls = TlsClientConfig::trusting_pem_file("our-root.pem")?;
/// let client = Client::new(Callbacks::new()).tls(tls);
/// # Ok::<(), ws_reactor::TlsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TlsClientConfig {
    roots: Option<RootCertStore>,
    identity: Option<Arc<CertifiedKey>>,
    alpn: Vec<Vec<u8>>,
    only_tls_1_3: bool,
}

impl TlsClientConfig {
    /// Trusts the roots in a PEM file, and no others.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not PEM, has no certificate, or has a certificate that cannot be used.
    pub fn trusting_pem_file(roots: impl AsRef<Path>) -> Result<Self, TlsError> {
        Ok(Self::trusting(certificates::roots(&Source::file(roots)?)?))
    }

    /// Like [`trusting_pem_file`](Self::trusting_pem_file), from memory.
    ///
    /// # Errors
    ///
    /// Those of [`trusting_pem_file`](Self::trusting_pem_file), except [`TlsError::Read`].
    pub fn trusting_pem(roots: &[u8]) -> Result<Self, TlsError> {
        Ok(Self::trusting(certificates::roots(&Source::bytes("roots", roots))?))
    }

    /// Trusts Mozilla's roots, as of the build of this crate.
    #[cfg(feature = "bundled-roots")]
    pub fn trusting_bundled_roots() -> Self {
        Self::trusting(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
    }

    /// Trusts the roots of the system.
    ///
    /// The call reads the system's files, which takes some milliseconds. Roots that cannot be read are logged and left
    /// out.
    ///
    /// # Errors
    ///
    /// [`TlsError::NoPlatformRoots`] if no root is left.
    #[cfg(feature = "platform-roots")]
    pub fn trusting_platform_roots() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            log::warn!(target: "ws_reactor::net", "a root of the system is left out: {error}");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() { Err(TlsError::NoPlatformRoots) } else { Ok(Self::trusting(roots)) }
    }

    fn trusting(roots: RootCertStore) -> Self {
        TlsClientConfig { roots: Some(roots), identity: None, alpn: Vec::new(), only_tls_1_3: false }
    }

    /// **Dangerous.** Accepts every certificate, for any name. For tests: an attacker between client and server can
    /// read and change all messages.
    pub fn dangerously_trusting_everybody() -> Self {
        TlsClientConfig { roots: None, identity: None, alpn: Vec::new(), only_tls_1_3: false }
    }

    /// Presents a certificate to servers that request one: a certificate chain in a PEM file, and its private key in
    /// another.
    ///
    /// # Errors
    ///
    /// A file cannot be read, is not PEM, or lacks the item; the certificate is expired or not yet valid; the key
    /// cannot be used or does not match.
    pub fn identity_pem_files(self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsError> {
        self.identity(&Source::file(certificate)?, &Source::file(key)?)
    }

    /// Like [`identity_pem_files`](Self::identity_pem_files), from memory.
    ///
    /// # Errors
    ///
    /// Those of [`identity_pem_files`](Self::identity_pem_files), except [`TlsError::Read`].
    pub fn identity_pem(self, certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        self.identity(&Source::bytes("certificate", certificate), &Source::bytes("key", key))
    }

    fn identity(mut self, certificate: &Source, key: &Source) -> Result<Self, TlsError> {
        self.identity = Some(certificates::load(certificate, key, &provider())?);
        Ok(self)
    }

    /// Sets the ALPN protocols, the preferred one first. Default: none. RFC 7301.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Disables TLS 1.2. Default: TLS 1.3 and 1.2.
    pub fn only_tls_1_3(mut self) -> Self {
        self.only_tls_1_3 = true;
        self
    }

    fn build(self) -> ClientConfig {
        let builder =
            ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions(self.only_tls_1_3));
        let builder = builder.expect("ring has cipher suites for both versions");
        let builder = match self.roots {
            Some(roots) => builder.with_root_certificates(roots),
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Everybody(provider()))),
        };
        let mut config = match self.identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn;
        config
    }
}

/// The TLS of a client, for any number of connections. Connections made with clones of one `TlsConnector` resume each
/// other's sessions.
///
/// A `TlsConnector` is made from a [`TlsClientConfig`] or an [`Arc<rustls::ClientConfig>`](rustls::ClientConfig).
#[derive(Clone)]
pub struct TlsConnector(pub(crate) Arc<ClientConfig>);

impl From<TlsClientConfig> for TlsConnector {
    fn from(config: TlsClientConfig) -> Self {
        TlsConnector(Arc::new(config.build()))
    }
}

/// The default of a client: shared by all, so that connections resume each other's sessions.
#[cfg(feature = "platform-roots")]
pub(crate) fn default_client() -> Option<TlsConnector> {
    static DEFAULT: LazyLock<Option<TlsConnector>> = LazyLock::new(|| {
        let config = TlsClientConfig::trusting_platform_roots();
        config.inspect_err(|error| log::error!(target: "ws_reactor::net", "{error}")).ok().map(TlsConnector::from)
    });
    DEFAULT.clone()
}

/// The default of a client: shared by all, so that connections resume each other's sessions.
#[cfg(all(feature = "bundled-roots", not(feature = "platform-roots")))]
pub(crate) fn default_client() -> Option<TlsConnector> {
    static DEFAULT: LazyLock<TlsConnector> = LazyLock::new(|| TlsClientConfig::trusting_bundled_roots().into());
    Some(DEFAULT.clone())
}

/// Without roots a client has no default.
#[cfg(not(any(feature = "bundled-roots", feature = "platform-roots")))]
pub(crate) fn default_client() -> Option<TlsConnector> {
    None
}

impl From<Arc<ClientConfig>> for TlsConnector {
    fn from(config: Arc<ClientConfig>) -> Self {
        TlsConnector(config)
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsConnector").finish_non_exhaustive()
    }
}

/// Accepts any certificate, with any signer, name and time. The server's possession of the key is still verified.
#[derive(Debug)]
struct Everybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Everybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
