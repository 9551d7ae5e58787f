//! TLS by rustls: the configuration of listeners, from files that are checked when named.

mod certificates;
mod client;
mod first_bytes;
mod session;
pub(crate) mod testing;

use std::{
    fmt,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ALL_VERSIONS, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    server::{NoServerSessionStorage, danger::ClientCertVerifier},
    sign::CertifiedKey,
    version::TLS13,
};

use self::certificates::{ByName, Source};
pub use self::{
    certificates::TlsError,
    client::{TlsClientConfig, TlsConnector},
};
pub(crate) use self::{client::default_client, first_bytes::is_plain_http, session::Session};

/// TLS configuration of a listener, for [`Server::tls`](crate::Server::tls).
///
/// Each method that takes a file reads and checks the file at once. A missing file, invalid PEM, an expired
/// certificate, or a key that does not match is a [`TlsError`], which names the file. The validity period of client
/// roots is not checked.
///
/// The defaults are TLS 1.3 and 1.2, resumption by tickets (RFC 8446 §2.2), no ALPN and no client certificates. 0-RTT
/// data is never accepted.
///
/// Cryptography is [ring](https://docs.rs/ring)'s. For another provider pass an
/// [`Arc<rustls::ServerConfig>`](rustls::ServerConfig) in place of a `TlsConfig`. Measured in one run, server CPU of
/// aws-lc-rs relative to ring: echo of 125 bytes 1.01, 1 KiB 1.09, 16 KiB 0.91; full handshake 0.95, resumed handshake
/// 1.04; a clean build 1.7 times the CPU, a program 1.9 times the size.
///
/// An idle connection takes 8.5 KB of resident memory, nearly all of it in rustls: the state of a connection, and a
/// buffer of 4 KiB for the next record.
///
/// ```no_run
/// use ws_reactor::{Server, TlsConfig, on_message};
///
/// let tls = TlsConfig::from_pem_files("cert.pem", "key.pem")?
///     .named_pem_files("chat.example.com", "chat.pem", "chat.key")?;
/// let server = Server::new(|_| on_message(|ws, message| { ws.send(message); })).tls(tls);
/// # Ok::<(), ws_reactor::TlsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TlsConfig {
    certificates: ByName,
    /// Verifies client certificates, if requested.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    tickets: bool,
    alpn: Vec<Vec<u8>>,
    only_tls_1_3: bool,
}

impl TlsConfig {
    /// Reads a certificate chain from a PEM file, end-entity certificate first, and its unencrypted private key from
    /// another. The key is in PKCS #8, PKCS #1 or SEC 1 form.
    ///
    /// # Errors
    ///
    /// A file cannot be read, is not PEM, or lacks the item; the certificate is expired or not yet valid; the key
    /// cannot be used or does not match.
    pub fn from_pem_files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsError> {
        Self::presenting(Source::file(certificate)?, Source::file(key)?)
    }

    /// Like [`from_pem_files`](Self::from_pem_files), from memory.
    ///
    /// # Errors
    ///
    /// Those of [`from_pem_files`](Self::from_pem_files), except [`TlsError::Read`].
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::presenting(Source::bytes("certificate", certificate), Source::bytes("key", key))
    }

    fn presenting(certificate: Source, key: Source) -> Result<Self, TlsError> {
        let default = certificates::load(&certificate, &key, &provider())?;
        Ok(TlsConfig {
            certificates: ByName::new(default),
            clients: None,
            tickets: true,
            alpn: Vec::new(),
            only_tls_1_3: false,
        })
    }

    /// Adds a certificate for clients that request `name` (SNI, RFC 6066 §3). Other clients get the first certificate.
    ///
    /// `*.example.com` matches names with one more label. Case does not matter. The certificate is not checked against
    /// `name`.
    ///
    /// # Errors
    ///
    /// Those of [`from_pem_files`](Self::from_pem_files).
    pub fn named_pem_files(
        self,
        name: &str,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        self.named(name, &Source::file(certificate)?, &Source::file(key)?)
    }

    /// Like [`named_pem_files`](Self::named_pem_files), from memory.
    ///
    /// # Errors
    ///
    /// Those of [`from_pem_files`](Self::from_pem_files), except [`TlsError::Read`].
    pub fn named_pem(self, name: &str, certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let (of, to) = (format!("certificate of {name}"), format!("key of {name}"));
        self.named(name, &Source::bytes(&of, certificate), &Source::bytes(&to, key))
    }

    fn named(mut self, name: &str, certificate: &Source, key: &Source) -> Result<Self, TlsError> {
        let certified = certificates::load(certificate, key, &provider())?;
        self.certificates.insert(name, certified);
        Ok(self)
    }

    /// Requests client certificates that are signed by a root in a PEM file. RFC 8446 §4.3.2.
    ///
    /// A client without a certificate is accepted; a client with an invalid one is refused. [`TlsInfo`](crate::TlsInfo)
    /// has the certificates. A later call replaces the roots.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not PEM, has no certificate, or has a certificate that cannot be used.
    pub fn client_certificates(self, roots: impl AsRef<Path>) -> Result<Self, TlsError> {
        self.asking(&Source::file(roots)?, false)
    }

    /// Like [`client_certificates`](Self::client_certificates), from memory.
    ///
    /// # Errors
    ///
    /// Those of [`client_certificates`](Self::client_certificates), except [`TlsError::Read`].
    pub fn client_certificates_pem(self, roots: &[u8]) -> Result<Self, TlsError> {
        self.asking(&Source::bytes("client roots", roots), false)
    }

    /// Like [`client_certificates`](Self::client_certificates), and refuses clients without a certificate.
    ///
    /// # Errors
    ///
    /// Those of [`client_certificates`](Self::client_certificates).
    pub fn require_client_certificates(self, roots: impl AsRef<Path>) -> Result<Self, TlsError> {
        self.asking(&Source::file(roots)?, true)
    }

    /// Like [`require_client_certificates`](Self::require_client_certificates), from memory.
    ///
    /// # Errors
    ///
    /// Those of [`client_certificates`](Self::client_certificates), except [`TlsError::Read`].
    pub fn require_client_certificates_pem(self, roots: &[u8]) -> Result<Self, TlsError> {
        self.asking(&Source::bytes("client roots", roots), true)
    }

    fn asking(mut self, roots: &Source, required: bool) -> Result<Self, TlsError> {
        self.clients = Some(certificates::client_verifier(roots, required, provider())?);
        Ok(self)
    }

    /// Sets the ALPN protocols, the preferred one first. Default: none, and a client's offer is not answered. RFC 7301.
    ///
    /// A client that offers only other protocols is refused.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Disables TLS 1.2. Default: TLS 1.3 and 1.2.
    pub fn only_tls_1_3(mut self) -> Self {
        self.only_tls_1_3 = true;
        self
    }

    /// Disables resumption. By default sessions are resumed by tickets, which are valid for some hours and until the
    /// configuration of the [`TlsAcceptor`] is replaced. RFC 8446 §2.2.
    pub fn without_tickets(mut self) -> Self {
        self.tickets = false;
        self
    }

    fn build(self) -> ServerConfig {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions(self.only_tls_1_3));
        let builder = builder.expect("ring has cipher suites for both versions");
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config = builder.with_cert_resolver(Arc::new(self.certificates));
        config.alpn_protocols = self.alpn;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // Each configuration has its own ticket keys: with a ticket of another configuration a client could pass as one
        // whose certificate was verified.
        match self.tickets.then(ring::Ticketer::new) {
            Some(Ok(ticketer)) => config.ticketer = ticketer,
            Some(Err(error)) => {
                log::warn!(target: "ws_reactor::net", "connections will not be resumed: {error}");
                config.send_tls13_tickets = 0;
            }
            None => config.send_tls13_tickets = 0,
        }
        config
    }
}

/// The enabled TLS versions.
fn versions(only_tls_1_3: bool) -> &'static [&'static SupportedProtocolVersion] {
    const NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];
    if only_tls_1_3 { NEWEST } else { ALL_VERSIONS }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The TLS configuration of a listener, shared by its clones. A clone can [`replace`](Self::replace) the configuration
/// while the listener is open, from any thread.
///
/// Reactors that share a port should share one `TlsAcceptor`: then a session can be resumed on each of them.
///
/// ```no_run
/// use ws_reactor::{Error, Reactor, Server, TlsAcceptor, TlsConfig, on_message};
///
/// let tls = TlsAcceptor::from(TlsConfig::from_pem_files("cert.pem", "key.pem")?);
/// let renewed = tls.clone();
/// let mut reactor = Reactor::new()?;
/// reactor.hub().add_periodic_timer(std::time::Duration::from_secs(86_400), move |_| {
///     // A certificate that cannot be read leaves the old one in place.
///     if let Ok(config) = TlsConfig::from_pem_files("cert.pem", "key.pem") {
///         renewed.replace(config);
///     }
/// });
/// reactor.listen("0.0.0.0:443", Server::new(|_| on_message(|ws, message| { ws.send(message); })).tls(tls))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TlsAcceptor {
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl TlsAcceptor {
    /// Replaces the configuration for new connections, on all clones. Open connections keep theirs.
    pub fn replace(&self, tls: impl Into<TlsAcceptor>) {
        let new = tls.into().current();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// The configuration for new connections.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<TlsConfig> for TlsAcceptor {
    fn from(config: TlsConfig) -> Self {
        Arc::new(config.build()).into()
    }
}

impl From<Arc<ServerConfig>> for TlsAcceptor {
    fn from(config: Arc<ServerConfig>) -> Self {
        TlsAcceptor { current: Arc::new(RwLock::new(config)) }
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsAcceptor").finish_non_exhaustive()
    }
}

/// A certificate chain and its key, ready to sign.
type Certified = Arc<CertifiedKey>;
