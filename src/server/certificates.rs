//! The serving certificate: from files that may change under us, made by ourselves for development, or handed in by
//! whoever reads it elsewhere.
//!
//! Files are compared by their bytes every few seconds, so that a Secret's symlink swap is seen each time, not only the
//! first. A pair that cannot be used changes nothing: the one in use stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use x509_parser::extensions::GeneralName;

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
    /// What should be a certificate or a key is none.
    #[error("the TLS {place} cannot be used: {why}")]
    Unusable {
        /// The file, or the entry of a Secret.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key are not a pair.
    #[error("the TLS certificate in {certificate} and the key in {key} are not a pair: {why}")]
    NoPair {
        /// Where the certificate is.
        certificate: String,
        /// Where the key is.
        key: String,
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
    current: ArcSwapOption<CertifiedKey>,
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
        let pair = pair_of_files(certificate, key, &bytes, provider)?;
        Ok(Self {
            current: ArcSwapOption::from_pointee(pair),
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
        Ok(Self { current: ArcSwapOption::from_pointee(pair), files: None, self_made_pem: Some(made.cert.pem()) })
    }

    /// None yet: handshakes fail until one is handed in.
    pub fn awaited() -> Self {
        Self { current: ArcSwapOption::empty(), files: None, self_made_pem: None }
    }

    /// Whether there is one.
    pub fn are_loaded(&self) -> bool {
        self.current.load().is_some()
    }

    /// Serves this chain and key from now on, where they are a pair and a caller with these authorities believes it. Places
    /// are named in errors; where there is one, nothing changes.
    pub fn hand_in(
        &self,
        (chain, key): (&str, &str),
        authorities: &str,
        places: (&str, &str),
        provider: &Arc<CryptoProvider>,
    ) -> Result<(), CertificateError> {
        let unusable = |why: String| CertificateError::Unusable { place: places.0.to_owned(), why };
        let pair = pair(places.0, places.1, &(chain.into(), key.into()), provider)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(authorities.as_bytes()).filter_map(Result::ok));
        let leaf = pair.cert.first().ok_or_else(|| unusable("there is no certificate in it".to_owned()))?;
        let name = first_name(leaf).ok_or_else(|| unusable("it is for no name".to_owned()))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider))
            .build()
            .map_err(|error| unusable(format!("the authorities beside it cannot be used: {error}")))?;
        verifier
            .verify_server_cert(leaf, pair.cert.get(1..).unwrap_or_default(), &name, &[], UnixTime::now())
            .map_err(|error| unusable(format!("no caller would believe it: {error}")))?;
        self.current.store(Some(Arc::new(pair)));
        Ok(())
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
        match pair_of_files(&files.certificate, &files.key, &bytes, provider) {
            Ok(pair) => {
                self.current.store(Some(Arc::new(pair)));
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
    pub fn not_after(&self) -> i64 {
        let current = self.current.load();
        let leaf = current.as_ref().and_then(|pair| pair.cert.first());
        match leaf.map(|certificate| x509_parser::parse_x509_certificate(certificate)) {
            Some(Ok((_, leaf))) => leaf.validity().not_after.timestamp(),
            _ => 0,
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|why| CertificateError::Read { path: path.to_owned(), why })
}

fn pair_of_files(
    certificate: &Path,
    key: &Path,
    bytes: &(Vec<u8>, Vec<u8>),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let unusable = |error| match error {
        CertificateError::Unusable { place, why } => CertificateError::Unusable { place: format!("file {place}"), why },
        other => other,
    };
    pair(&certificate.display().to_string(), &key.display().to_string(), bytes, provider).map_err(unusable)
}

/// A name that a certificate is for.
fn first_name(leaf: &CertificateDer<'_>) -> Option<ServerName<'static>> {
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let names = leaf.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => ServerName::try_from((*name).to_owned()).ok(),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| ServerName::from(std::net::IpAddr::from(bytes))),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| ServerName::from(std::net::IpAddr::from(bytes))),
        },
        _ => None,
    })
}

fn pair(
    certificate: &str,
    key: &str,
    (certificate_pem, key_pem): &(Vec<u8>, Vec<u8>),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let unusable = |place: &str, why: String| CertificateError::Unusable { place: place.to_owned(), why };
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
