//! Who may call the webhook: whoever shows a client certificate of one authority, with one of some common names.
//!
//! A certificate of another authority ends the handshake; without any the listener is reached, answers `/readyz`, and takes no
//! review. The authority's file is read again when it changes, as the serving certificate's.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::StatusCode;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConnection, SignatureScheme};

use super::ServerError;

/// How often the file is compared.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Who may call.
#[derive(Debug)]
pub struct Callers {
    file: PathBuf,
    names: Vec<String>,
    loaded: Mutex<Vec<u8>>,
    verifier: Arc<Following>,
}

/// Who called, as far as its connection shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// One that may, or anybody where anybody may.
    Known,
    /// It has shown no certificate.
    Nameless,
    /// It has, with another name.
    Other(String),
}

impl Callers {
    /// Those with a certificate of the authorities in a PEM file, and one of these common names.
    pub fn from_file(file: &Path, names: Vec<String>, provider: &Arc<CryptoProvider>) -> Result<Self, ServerError> {
        let bytes =
            std::fs::read(file).map_err(|why| ServerError::Callers { file: file.to_owned(), why: why.to_string() })?;
        let verifier = verifier(file, &bytes, provider)?;
        let verifier = Arc::new(Following(ArcSwap::from_pointee(Verifier(verifier))));
        Ok(Self { file: file.to_owned(), names, loaded: Mutex::new(bytes), verifier })
    }

    /// Follows the file for ever; one that cannot be used changes nothing.
    pub async fn follow(self: Arc<Self>, provider: Arc<CryptoProvider>) {
        let mut failed = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // What cannot be read just now is in the middle of being replaced.
            let Ok(bytes) = std::fs::read(&self.file) else { continue };
            let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            if *loaded == bytes || failed.as_ref() == Some(&bytes) {
                continue;
            }
            match verifier(&self.file, &bytes, &provider) {
                Ok(verifier) => {
                    self.verifier.0.store(Arc::new(Verifier(verifier)));
                    *loaded = bytes;
                    failed = None;
                    tracing::info!(file = %self.file.display(), "a new certificate authority of callers is in use");
                }
                Err(error) => {
                    tracing::error!(%error, "the certificate authority of callers that is in use stays");
                    failed = Some(bytes);
                }
            }
        }
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier) as _
    }

    /// Who is at the other end of a connection after its handshake.
    pub(super) fn caller(&self, connection: &ServerConnection) -> Caller {
        match connection.peer_certificates().and_then(|chain| chain.first()) {
            None => Caller::Nameless,
            Some(leaf) => self.named(leaf),
        }
    }

    fn named(&self, leaf: &CertificateDer<'_>) -> Caller {
        let read = x509_parser::parse_x509_certificate(leaf).ok();
        let names: Vec<String> = read
            .iter()
            .flat_map(|(_, leaf)| leaf.subject().iter_common_name())
            .filter_map(|name| name.as_str().ok().map(str::to_owned))
            .collect();
        match names.as_slice() {
            [only] if self.names.contains(only) => Caller::Known,
            // Of two names nobody can tell which one is meant.
            _ => Caller::Other(names.join(", ")),
        }
    }
}

impl Caller {
    /// Why no review is taken from it.
    pub(super) fn refusal(&self) -> Option<(StatusCode, String)> {
        match self {
            Self::Known => None,
            Self::Nameless => Some((
                StatusCode::UNAUTHORIZED,
                "reviews are taken from callers with a client certificate alone; give the API server one of the authority in --client-ca (FRESHGATE_CLIENT_CA)".to_owned(),
            )),
            Self::Other(names) => Some((
                StatusCode::FORBIDDEN,
                format!(
                    "reviews are not taken from {names:?}; name its common name with --client-name (FRESHGATE_CLIENT_NAMES), if it is the API server"
                ),
            )),
        }
    }
}

fn verifier(
    file: &Path,
    bytes: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, ServerError> {
    let failed = |why: String| ServerError::Callers { file: file.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("there is no certificate in it".to_owned()));
    }
    WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| failed(error.to_string()))
}

#[derive(Debug)]
struct Verifier(Arc<dyn ClientCertVerifier>);

/// Verifies by the authorities that are in use at the moment.
#[derive(Debug)]
struct Following(ArcSwap<Verifier>);

impl ClientCertVerifier for Following {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None are named: a list could not be swapped under a handshake, and callers have one certificate.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.load().0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.load().0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.load().0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().0.supported_verify_schemes()
    }
}
