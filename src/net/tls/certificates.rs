//! Certificates and keys: read from PEM, checked, and selected by name.

use std::{
    collections::HashMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, Error, InconsistentKeys, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use crate::net::tls::Certified;

/// Why a certificate, a key or a TLS configuration cannot be used.
///
/// `String` fields name the source: the path of the file, or a description such as `certificate` for PEM in memory.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    Read {
        /// Path or description of the source.
        file: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The source contains malformed PEM.
    NotPem(String),
    /// The source contains no certificate.
    NoCertificate(String),
    /// The source contains no private key, or an encrypted one.
    NoKey(String),
    /// The certificate is malformed, or the key cannot be used.
    Unusable {
        /// Path or description of the source.
        what: String,
        /// Error of rustls.
        source: Error,
    },
    /// The private key does not belong to the certificate.
    Mismatch {
        /// Source of the certificate.
        certificate: String,
        /// Source of the key.
        key: String,
    },
    /// The system's trusted roots are missing or unreadable.
    NoPlatformRoots,
    /// The certificate has expired.
    Expired(String),
    /// The certificate is not valid yet. The clock may be wrong.
    NotYetValid(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Read { file, .. } => write!(formatter, "{} cannot be read", file.display()),
            TlsError::NotPem(what) => write!(formatter, "{what}: not PEM"),
            TlsError::NoCertificate(what) => write!(formatter, "{what}: contains no certificate"),
            TlsError::NoKey(what) => {
                write!(formatter, "{what}: contains no private key (encrypted keys are not supported)")
            }
            TlsError::Unusable { what, .. } => write!(formatter, "{what} cannot be used"),
            TlsError::Mismatch { certificate, key } => {
                write!(formatter, "{key}: not the key of the certificate in {certificate}")
            }
            TlsError::NoPlatformRoots => formatter.write_str("no root certificates of the system could be loaded"),
            TlsError::Expired(what) => write!(formatter, "{what}: the certificate has expired"),
            TlsError::NotYetValid(what) => write!(formatter, "{what}: the certificate is not valid yet"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Read { source, .. } => Some(source),
            TlsError::Unusable { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// PEM data and its origin.
pub(super) struct Source {
    name: String,
    pem: Vec<u8>,
}

impl Source {
    pub(super) fn file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let path = path.as_ref();
        let pem = fs::read(path).map_err(|source| TlsError::Read { file: path.to_owned(), source })?;
        Ok(Source { name: path.display().to_string(), pem })
    }

    pub(super) fn bytes(name: &str, pem: &[u8]) -> Self {
        Source { name: name.to_owned(), pem: pem.to_vec() }
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.pem).collect();
        match found {
            Ok(certificates) if certificates.is_empty() => Err(TlsError::NoCertificate(self.name())),
            Ok(certificates) => Ok(certificates),
            Err(_) => Err(TlsError::NotPem(self.name())),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        use rustls::pki_types::pem::Error::NoItemsFound;
        PrivateKeyDer::from_pem_slice(&self.pem).map_err(|error| match error {
            NoItemsFound => TlsError::NoKey(self.name()),
            _ => TlsError::NotPem(self.name()),
        })
    }
}

/// Loads a certificate and its key, which must match and be valid today.
pub(super) fn load(certificate: &Source, key: &Source, provider: &CryptoProvider) -> Result<Certified, TlsError> {
    let chain = certificate.certificates()?;
    check_dates(certificate, &chain[0], provider)?;
    let key_der = key.key()?;
    match CertifiedKey::from_der(chain, key_der, provider) {
        Ok(certified) => Ok(Arc::new(certified)),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(TlsError::Mismatch { certificate: certificate.name(), key: key.name() })
        }
        Err(source) => Err(TlsError::Unusable { what: key.name(), source }),
    }
}

/// Checks the validity period. Verification runs against no roots: the period is checked before the signer.
fn check_dates(source: &Source, certificate: &CertificateDer<'_>, provider: &CryptoProvider) -> Result<(), TlsError> {
    let parsed = ParsedCertificate::try_from(certificate)
        .map_err(|error| TlsError::Unusable { what: source.name(), source: error })?;
    let algorithms = provider.signature_verification_algorithms.all;
    let verified =
        verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], UnixTime::now(), algorithms);
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    match verified {
        Err(Error::InvalidCertificate(Expired | ExpiredContext { .. })) => Err(TlsError::Expired(source.name())),
        Err(Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. })) => {
            Err(TlsError::NotYetValid(source.name()))
        }
        _ => Ok(()),
    }
}

/// The trusted roots in a source.
pub(super) fn roots(source: &Source) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in source.certificates()? {
        store.add(certificate).map_err(|error| TlsError::Unusable { what: source.name(), source: error })?;
    }
    Ok(store)
}

/// A verifier of client certificates with these roots.
pub(super) fn client_verifier(
    roots: &Source,
    required: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unusable = |source| TlsError::Unusable { what: roots.name(), source };
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self::roots(roots)?), provider);
    let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
    verifier.build().map_err(|error| unusable(Error::General(error.to_string())))
}

/// The certificates, by requested name.
#[derive(Debug, Clone)]
pub(super) struct ByName {
    default: Certified,
    names: HashMap<String, Certified>,
}

impl ByName {
    pub(super) fn new(default: Certified) -> Self {
        ByName { default, names: HashMap::new() }
    }

    pub(super) fn insert(&mut self, name: &str, certified: Certified) {
        self.names.insert(canonical(name), certified);
    }

    fn find(&self, name: &str) -> &Certified {
        let name = canonical(name);
        let any = || self.names.get(&format!("*.{}", name.split_once('.')?.1));
        self.names.get(&name).or_else(any).unwrap_or(&self.default)
    }
}

/// A name for comparison: lower case, without a final dot (RFC 6066 §3).
fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Certified> {
        Some(Arc::clone(hello.server_name().map_or(&self.default, |name| self.find(name))))
    }
}
