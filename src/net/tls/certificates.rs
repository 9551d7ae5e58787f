//! Certificates and keys: read from PEM, checked, and chosen by name.

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

use super::Certified;

/// What is wrong with a certificate or a key, and with which.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read.
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is something that begins like PEM and is none.
    NotPem(String),
    /// There is no certificate in it.
    NoCertificate(String),
    /// There is no private key in it, or it is encrypted.
    NoKey(String),
    /// A certificate that is none, or a key that cannot be used.
    Unusable {
        /// The file.
        what: String,
        /// What rustls said.
        source: Error,
    },
    /// The key is not that of the certificate.
    Mismatch {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
    },
    /// The system trusts nobody, or nothing of it can be read.
    NoPlatformRoots,
    /// The certificate has expired.
    Expired(String),
    /// The certificate is not valid yet; the clock may be wrong.
    NotYetValid(String),
    /// The whole does not fit together.
    Rustls(Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Read { file, .. } => write!(formatter, "{} cannot be read", file.display()),
            TlsError::NotPem(what) => write!(formatter, "{what}: not PEM"),
            TlsError::NoCertificate(what) => write!(formatter, "{what}: no certificate in it"),
            TlsError::NoKey(what) => write!(formatter, "{what}: no private key in it (an encrypted one is not taken)"),
            TlsError::Unusable { what, .. } => write!(formatter, "{what} cannot be used"),
            TlsError::Mismatch { certificate, key } => {
                write!(formatter, "{key}: not the key of the certificate in {certificate}")
            }
            TlsError::NoPlatformRoots => formatter.write_str("no roots of the system could be read"),
            TlsError::Expired(what) => write!(formatter, "{what}: the certificate has expired"),
            TlsError::NotYetValid(what) => write!(formatter, "{what}: the certificate is not valid yet"),
            TlsError::Rustls(_) => formatter.write_str("the TLS configuration does not fit together"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Read { source, .. } => Some(source),
            TlsError::Unusable { source, .. } | TlsError::Rustls(source) => Some(source),
            _ => None,
        }
    }
}

/// PEM, and where it is from.
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

/// A certificate and its key, which belong together and may be used today.
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

/// Whether a certificate may be used today. It is verified against no root at all: its dates are looked at before its signer is looked for.
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

/// The certificates that are trusted to have signed others.
pub(super) fn roots(source: &Source) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in source.certificates()? {
        store.add(certificate).map_err(|error| TlsError::Unusable { what: source.name(), source: error })?;
    }
    Ok(store)
}

/// What judges the certificates of clients by the roots that have to have signed them.
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

/// Which certificate is presented to whom.
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

/// A name as names are compared: without regard to case, and to a dot at its end (RFC 6066 §3).
fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Certified> {
        Some(Arc::clone(hello.server_name().map_or(&self.default, |name| self.find(name))))
    }
}
