//! The serving certificate: from files that may change under us, or made by ourselves for development.
//!
//! Files are compared by their bytes every few seconds, so that a Secret's symlink swap is seen each time, not only the
//! first. A pair that cannot be used changes nothing: the one in use stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use crate::metrics::Metrics;

/// How often files are compared.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("the TLS file {path} cannot be read: {why}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("the TLS file {path} cannot be used: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key are not a pair.
    #[error("the TLS certificate in {certificate} and the key in {key} are not a pair: {why}")]
    NoPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        why: String,
    },
    /// A self-made one could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(String),
}

/// The certificate in use; connections made after a change see the new one.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<CertifiedKey>,
    files: Option<Files>,
    /// The certificate in PEM, for a `caBundle`; only for a self-made one.
    self_made_pem: Option<String>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    loaded: std::sync::Mutex<(Vec<u8>, Vec<u8>)>,
}

impl Certificates {
    /// Loads a chain and its key from PEM files.
    pub fn from_files(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let bytes = (read(certificate)?, read(key)?);
        let pair = pair(certificate, key, &bytes, provider)?;
        Ok(Self {
            current: ArcSwap::from_pointee(pair),
            files: Some(Files {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                loaded: std::sync::Mutex::new(bytes),
            }),
            self_made_pem: None,
        })
    }

    /// Makes a certificate for these names; for development, and for API servers that are given it as `caBundle`.
    pub fn self_made(names: &[String], provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let made = rcgen::generate_simple_self_signed(names.to_vec())
            .map_err(|error| CertificateError::Make(error.to_string()))?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|error| CertificateError::Make(error.to_owned()))?;
        let pair = CertifiedKey::from_der(vec![made.cert.der().clone()], key, provider)
            .map_err(|error| CertificateError::Make(error.to_string()))?;
        Ok(Self { current: ArcSwap::from_pointee(pair), files: None, self_made_pem: Some(made.cert.pem()) })
    }

    /// The self-made certificate in PEM.
    pub fn self_made_pem(&self) -> Option<&str> {
        self.self_made_pem.as_deref()
    }

    /// Follows the files for ever; sets the metrics of expiry and failure.
    pub async fn follow(self: Arc<Self>, provider: Arc<CryptoProvider>, metrics: Arc<Metrics>) {
        metrics.certificate_not_after.set(self.not_after());
        let mut failed: Option<(Vec<u8>, Vec<u8>)> = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look(&provider, &metrics, &mut failed);
        }
    }

    /// Looks at the files once. A failure is told once for each content, not at each look.
    fn look(&self, provider: &CryptoProvider, metrics: &Metrics, failed: &mut Option<(Vec<u8>, Vec<u8>)>) {
        let Some(files) = &self.files else { return };
        // What cannot be read just now is in the middle of being replaced.
        let (Ok(certificate), Ok(key)) = (read(&files.certificate), read(&files.key)) else {
            return;
        };
        let bytes = (certificate, key);
        let mut loaded = files.loaded.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *loaded == bytes || failed.as_ref() == Some(&bytes) {
            return;
        }
        match pair(&files.certificate, &files.key, &bytes, provider) {
            Ok(pair) => {
                self.current.store(Arc::new(pair));
                *loaded = bytes;
                *failed = None;
                metrics.certificate_not_after.set(self.not_after());
                tracing::info!(certificate = %files.certificate.display(), "a new TLS certificate is in use");
            }
            Err(error) => {
                metrics.certificate_reload_failures.inc();
                tracing::error!(%error, "the TLS certificate in use stays");
                *failed = Some(bytes);
            }
        }
    }

    /// When the certificate in use ends, as a Unix time in seconds; 0 where it does not say.
    fn not_after(&self) -> i64 {
        let current = self.current.load();
        let leaf = current.cert.first().map(|certificate| x509_parser::parse_x509_certificate(certificate));
        match leaf {
            Some(Ok((_, leaf))) => leaf.validity().not_after.timestamp(),
            _ => 0,
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|why| CertificateError::Read { path: path.to_owned(), why })
}

fn pair(
    certificate: &Path,
    key: &Path,
    (certificate_pem, key_pem): &(Vec<u8>, Vec<u8>),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let unusable = |path: &Path, why: String| CertificateError::Unusable { path: path.to_owned(), why };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate_pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(certificate, "there is no certificate in it".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| unusable(key, error.to_string()))?;
    let pair = CertifiedKey::from_der(chain, private, provider).map_err(|error| CertificateError::NoPair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        why: error.to_string(),
    })?;
    Ok(pair)
}
