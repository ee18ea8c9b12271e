//! Where the serving certificate comes from, and whom callers have to believe for it.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use tokio::sync::watch;

use super::StartError;
use crate::args::ServeArgs;
use crate::authority::Wanted;
use crate::clock;
use crate::cluster::certificate_secret::CertificateSecret;
use crate::cluster::leadership::Leadership;
use crate::cluster::owner_reference::Owner;
use crate::cluster::webhook_configuration::Authorities;
use crate::metrics::Metrics;
use crate::server::certificates::Certificates;
use crate::server::readiness::Readiness;

/// What is served at first: of files, self-made, or nothing until the Secret has it.
pub(super) fn certificates(args: &ServeArgs, provider: &CryptoProvider) -> Result<Certificates, StartError> {
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        return Ok(Certificates::from_files(certificate, key, provider)?);
    }
    if args.lifecycle.tls_secret.is_some() {
        return Ok(Certificates::awaited());
    }
    let made = Certificates::self_made(&args.tls_name, provider)?;
    if let (Some(path), Some(pem)) = (&args.tls_write_cert, made.self_made_pem()) {
        std::fs::write(path, pem).map_err(|why| StartError::Write { path: path.clone(), why })?;
    }
    Ok(made)
}

/// What the Secret with certificates needs to know.
pub(super) struct SecretSettings {
    pub(super) namespace: String,
    pub(super) leadership: Leadership,
    pub(super) owner: Arc<Owner>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) metrics: Arc<Metrics>,
    /// Told by whoever keeps the webhook configuration, where the gate does.
    pub(super) registered: Option<watch::Receiver<Option<String>>>,
}

/// Begins to follow the Secret, where there is one; says whom callers have to believe.
pub(super) fn follow_secret(args: &ServeArgs, client: Option<&kube::Client>, settings: SecretSettings) -> Authorities {
    let (Some(name), Some(client)) = (&args.lifecycle.tls_secret, client) else {
        return match (&args.lifecycle.webhook_ca, settings.certificates.self_made_pem()) {
            (Some(file), _) => Authorities::OfFile(file.clone()),
            (None, Some(pem)) => Authorities::These(pem.to_owned()),
            (None, None) => Authorities::System,
        };
    };
    let (bundle, told) = watch::channel(None);
    let SecretSettings { namespace, leadership, owner, certificates, readiness, provider, metrics, registered } =
        settings;
    let secret = CertificateSecret {
        namespace,
        name: name.clone(),
        wanted: Wanted { names: args.tls_name.clone(), lifetime: args.lifecycle.tls_lifetime },
        leadership,
        owner,
        certificates,
        readiness,
        bundle,
        registered,
        provider,
        metrics,
        clock: clock::now,
    };
    tokio::spawn(secret.follow(client.clone()));
    Authorities::OfSecret(told)
}
