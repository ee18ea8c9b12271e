//! Registering the gate: first it answers itself, then it is ready, then API servers are told of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use tokio::time::{Instant, sleep};

use crate::args::LifecycleArgs;
use crate::cluster::webhook_configuration::{Authorities, WebhookConfiguration};
use crate::server::readiness::Readiness;
use crate::server::self_check::{SelfCheck, SelfCheckError, from_here, is_ready_at};
use crate::webhook::{Registration, Target};

/// The pause between two self-checks.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long a Service may take to lead to a gate that is ready. Not for ever: the gate's own Pod may be kept from asking, where
/// an API server is not.
const SERVICE_WITHIN: Duration = Duration::from_secs(15);

/// What is registered, where the flags ask for it.
pub(super) fn registration(args: &LifecycleArgs, own_namespace: &str) -> Option<Registration> {
    let name = args.webhook_configuration.clone()?;
    let target = match &args.webhook_url {
        Some(url) => Target::Url(url.clone()),
        None => Target::Service {
            namespace: own_namespace.to_owned(),
            name: args.webhook_service.clone(),
            port: args.webhook_port,
        },
    };
    Some(Registration {
        name,
        target,
        failure_policy: args.webhook_failure_policy,
        timeout_seconds: args.webhook_timeout_seconds,
        own_namespace: own_namespace.to_owned(),
        excluded_namespaces: args.webhook_exclude_namespace.clone(),
    })
}

/// Registers the gate that listens there, and keeps it registered, for ever.
pub(super) async fn register(
    configuration: WebhookConfiguration,
    listening: SocketAddr,
    callers_are_checked: bool,
    client: kube::Client,
    readiness: Arc<Readiness>,
    provider: Arc<CryptoProvider>,
) {
    let target = configuration.registration.target.clone();
    let name = target.host().unwrap_or_default();
    let check = SelfCheck { address: from_here(listening), name, callers_are_checked };
    passed(&check, &configuration.authorities, &readiness, &provider).await;
    readiness.self_check_passed();
    if let Target::Service { port, .. } = target {
        service_answers(&check.name, port, &configuration.authorities, &provider).await;
    }
    configuration.keep(client).await;
}

/// Waits until the gate has answered itself.
async fn passed(check: &SelfCheck, authorities: &Authorities, readiness: &Readiness, provider: &Arc<CryptoProvider>) {
    let mut told: Option<Result<(), String>> = None;
    loop {
        if readiness.can_be_checked() {
            let asked = match authorities.now() {
                Ok(bundle) => {
                    check.pass(bundle.as_deref(), provider).await.map_err(|error: SelfCheckError| error.to_string())
                }
                Err(why) => Err(why),
            };
            match asked {
                Ok(()) => {
                    tracing::info!(name = check.name, "the gate has answered itself");
                    return;
                }
                Err(why) => {
                    let said = Some(Err(why.clone()));
                    if told != said {
                        tracing::error!(
                            why,
                            "the gate does not answer itself as an API server would ask; it is not ready"
                        );
                        told = said;
                    }
                }
            }
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// Waits until whichever replica answers at the Service's name is ready, so that under `Fail` nothing is refused meanwhile.
async fn service_answers(name: &str, port: u16, authorities: &Authorities, provider: &Arc<CryptoProvider>) {
    let until = Instant::now() + SERVICE_WITHIN;
    loop {
        let asked = match authorities.now() {
            Ok(bundle) => is_ready_at(name, port, bundle.as_deref(), provider).await.map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        match asked {
            Ok(()) => return,
            Err(why) if Instant::now() >= until => {
                tracing::warn!(name, why, "the gate's Service does not answer the gate; it is registered all the same");
                return;
            }
            Err(_) => sleep(AGAIN_AFTER).await,
        }
    }
}
