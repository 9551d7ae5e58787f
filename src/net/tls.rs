//! TLS, by rustls: what a listener presents and demands, from files that are checked when they are named.

mod certificates;
mod client;
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
pub(crate) use self::{client::default_client, session::Session};

/// What a listener presents and demands, to be given to [`Server::tls`](crate::Server::tls).
///
/// Every call that names a file reads it and checks it: what is missing, no PEM or expired, and a key of another certificate, is an error at once, which
/// says of which file it speaks.
///
/// TLS 1.3 and 1.2 are spoken, connections are resumed by tickets (RFC 8446 §2.2), and data before the handshake is done (0-RTT) is
/// not taken. Cryptography is [ring](https://docs.rs/ring)'s; whoever wants another brings an [`Arc<rustls::ServerConfig>`](rustls::ServerConfig) of
/// their own, which is taken in place of this. (Measured in one run, server CPU with aws-lc-rs beside ring: echo of 125 bytes 1.01, 1 KiB 1.09,
/// 16 KiB 0.91; full handshake 0.95, resumed 1.04; a clean build 1.7 times the CPU, a program 1.9 times the size.)
///
/// An idle connection costs 8.5 KB of resident memory, nearly all of it in rustls: the state of a connection, and 4 KiB that it keeps for the
/// next record.
///
/// ```no_run
/// use ws_reactor::{Server, TlsConfig, on_message};
///
/// let tls = TlsConfig::from_pem_files("cert.pem", "key.pem")?.named_pem_files("chat.example.com", "chat.pem", "chat.key")?;
/// let server = Server::new(|_| on_message(|ws, message| { ws.send(message); })).tls(tls);
/// # Ok::<(), ws_reactor::TlsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TlsConfig {
    certificates: ByName,
    /// What judges the certificates of clients, if they are asked for any.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    tickets: bool,
    alpn: Vec<Vec<u8>>,
    only_tls_1_3: bool,
}

impl TlsConfig {
    /// Presents the certificate, with those that lead to its root behind it, in a PEM file, by the private key in another (PKCS #8, PKCS #1 or SEC 1, not encrypted).
    pub fn from_pem_files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsError> {
        Self::presenting(Source::file(certificate)?, Source::file(key)?)
    }

    /// As [`from_pem_files`](Self::from_pem_files), from memory.
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

    /// Presents another certificate to clients that ask for `name` (SNI), which may be `*.example.com` for whatever is one label below. All others are
    /// presented the first. Whether the certificate is for that name is for clients to say.
    pub fn named_pem_files(
        self,
        name: &str,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        self.named(name, &Source::file(certificate)?, &Source::file(key)?)
    }

    /// As [`named_pem_files`](Self::named_pem_files), from memory.
    pub fn named_pem(self, name: &str, certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let (of, to) = (format!("certificate of {name}"), format!("key of {name}"));
        self.named(name, &Source::bytes(&of, certificate), &Source::bytes(&to, key))
    }

    fn named(mut self, name: &str, certificate: &Source, key: &Source) -> Result<Self, TlsError> {
        let certified = certificates::load(certificate, key, &provider())?;
        self.certificates.insert(name, certified);
        Ok(self)
    }

    /// Asks clients for a certificate that one of those in a PEM file has signed. One that has none is let in, and seen without; one that shows a bad one is refused.
    pub fn client_certificates(self, roots: impl AsRef<Path>) -> Result<Self, TlsError> {
        self.asking(&Source::file(roots)?, false)
    }

    /// As [`client_certificates`](Self::client_certificates), from memory.
    pub fn client_certificates_pem(self, roots: &[u8]) -> Result<Self, TlsError> {
        self.asking(&Source::bytes("client roots", roots), false)
    }

    /// As [`client_certificates`](Self::client_certificates), and refuses clients that show none.
    pub fn require_client_certificates(self, roots: impl AsRef<Path>) -> Result<Self, TlsError> {
        self.asking(&Source::file(roots)?, true)
    }

    /// As [`require_client_certificates`](Self::require_client_certificates), from memory.
    pub fn require_client_certificates_pem(self, roots: &[u8]) -> Result<Self, TlsError> {
        self.asking(&Source::bytes("client roots", roots), true)
    }

    fn asking(mut self, roots: &Source, required: bool) -> Result<Self, TlsError> {
        self.clients = Some(certificates::client_verifier(roots, required, provider())?);
        Ok(self)
    }

    /// The protocols offered by ALPN, the preferred first (RFC 7301). By default there are none, and what clients offer is not answered. A client that
    /// offers others only is refused.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Speaks TLS 1.3 and nothing older.
    pub fn only_tls_1_3(mut self) -> Self {
        self.only_tls_1_3 = true;
        self
    }

    /// Resumes no connections. By default they are, by tickets that are good for some hours, and for as long as the configuration is in use.
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
        // Each has keys of its own: by the ticket of another a client could pass for one whose certificate was looked at.
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

/// The versions of TLS that are spoken.
fn versions(only_tls_1_3: bool) -> &'static [&'static SupportedProtocolVersion] {
    const NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];
    if only_tls_1_3 { NEWEST } else { ALL_VERSIONS }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The TLS of a listener, shared: a clone that was kept can [`replace`](Self::replace) it while the listener is open, from any thread.
///
/// Reactors that share a port should share one, too: by its keys a connection is resumed whichever of them it comes to.
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
    /// From now on new connections get this one; those that are open keep what they have.
    pub fn replace(&self, tls: impl Into<TlsAcceptor>) {
        let new = tls.into().current();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// What new connections get now.
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

/// A certificate and its key, ready to sign.
type Certified = Arc<CertifiedKey>;
