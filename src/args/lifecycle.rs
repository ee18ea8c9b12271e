//! Flags about the gate's life in a cluster: who leads, certificates of its own, the webhook configuration, and who may call.

use std::path::PathBuf;

use chrono::TimeDelta;
use clap::{Args, Subcommand, value_parser};

use crate::policy::duration::PolicyDuration;
use crate::webhook::keeping::DriftMode;
use crate::webhook::{FailurePolicy, PATH};

/// Flags of `serve` about a cluster.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "In a cluster")]
pub struct LifecycleArgs {
    /// Secret of the gate's namespace in which the leader keeps a certificate authority and the serving certificate of all
    /// replicas; made where it is missing, and rotated
    #[arg(long, value_name = "NAME", env = "FRESHGATE_TLS_SECRET")]
    pub tls_secret: Option<String>,
    /// How long the certificates of --tls-secret live, as 90d; they are replaced after two thirds of it
    #[arg(long, value_name = "DURATION", env = "FRESHGATE_TLS_LIFETIME", default_value = "90d", value_parser = lifetime)]
    pub tls_lifetime: TimeDelta,
    /// Lease of the gate's namespace by which replicas elect who writes certificates, statuses, checkpoints and the webhook
    /// configuration; without it a process is its own leader
    #[arg(long, value_name = "NAME", env = "FRESHGATE_LEADER_LEASE")]
    pub leader_lease: Option<String>,
    /// Make and keep this webhook configuration, once the gate has answered itself
    // Help is printed as it is; what rustdoc wants in code marks would have them here too.
    #[arg(
        help = "ValidatingWebhookConfiguration that the gate makes and keeps, once it has answered itself",
        long,
        value_name = "NAME",
        env = "FRESHGATE_WEBHOOK_CONFIGURATION"
    )]
    pub webhook_configuration: Option<String>,
    /// Service of the gate's namespace that API servers call
    #[arg(long, value_name = "NAME", env = "FRESHGATE_WEBHOOK_SERVICE", default_value = "freshgate")]
    pub webhook_service: String,
    /// Port of that Service
    #[arg(long, value_name = "PORT", env = "FRESHGATE_WEBHOOK_PORT", default_value_t = 443, value_parser = value_parser!(u16).range(1..))]
    pub webhook_port: u16,
    /// Address that API servers call instead of a Service, by https
    #[arg(long, value_name = "URL", env = "FRESHGATE_WEBHOOK_URL", value_parser = url)]
    pub webhook_url: Option<String>,
    /// What becomes of workloads while the gate cannot be asked: they pass, or they are refused
    #[arg(long, value_enum, env = "FRESHGATE_WEBHOOK_FAILURE_POLICY", default_value_t)]
    pub webhook_failure_policy: FailurePolicy,
    /// Seconds that API servers wait for an answer, 3 to 30; also for reviews that do not say
    #[arg(long, value_name = "SECONDS", env = "FRESHGATE_WEBHOOK_TIMEOUT_SECONDS", default_value_t = 10, value_parser = value_parser!(u32).range(3..=30))]
    pub webhook_timeout_seconds: u32,
    /// Namespace of which nothing is sent to the gate, beside kube-system and its own (repeatable)
    #[arg(long, value_name = "NAMESPACE", env = "FRESHGATE_WEBHOOK_EXCLUDE_NAMESPACES", value_delimiter = ',')]
    pub webhook_exclude_namespace: Vec<String>,
    /// The owner of what the gate makes.
    #[arg(
        help = "ClusterRole with which the webhook configuration, the Secret of --tls-secret and the Lease are deleted",
        long,
        value_name = "NAME",
        env = "FRESHGATE_WEBHOOK_OWNER"
    )]
    pub webhook_owner: Option<String>,
    /// Authorities of the certificate of --tls-cert, in PEM, for the webhook configuration; without the file those that API
    /// servers believe anyway
    #[arg(long, value_name = "FILE", env = "FRESHGATE_WEBHOOK_CA")]
    pub webhook_ca: Option<PathBuf>,
    /// What becomes of changes that somebody else makes to the webhook configuration
    #[arg(long, value_enum, env = "FRESHGATE_WEBHOOK_DRIFT", default_value_t)]
    pub webhook_drift: DriftMode,
    /// Certificate authority, in PEM, of which callers of the webhook must show a certificate; read again when it changes
    #[arg(long, value_name = "FILE", env = "FRESHGATE_CLIENT_CA")]
    pub client_ca: Option<PathBuf>,
    /// Common name that the certificate of a caller may have (repeatable)
    #[arg(long, value_name = "NAME", env = "FRESHGATE_CLIENT_NAMES", value_delimiter = ',')]
    pub client_name: Vec<String>,
}

/// Commands about the webhook.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Prove by dry runs that the API server asks the gate: exit 0 one Deployment was refused and one admitted, 1 not so, 2
    /// the cluster cannot be asked
    Test(WebhookTestArgs),
}

/// Flags of `webhook test`.
#[derive(Clone, Debug, Args)]
pub struct WebhookTestArgs {
    /// Namespace to try it in
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    pub namespace: String,
    /// Policy of that namespace that wants digests
    #[arg(long, value_name = "NAME")]
    pub policy: String,
    /// Seconds for the webhook and the policy to come into force, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..=3_600))]
    pub timeout_seconds: u64,
}

/// Shorter, and certificates would be replaced before API servers know of them.
const SHORTEST_LIFETIME_SECONDS: i64 = 20;
/// Longer, and a certificate could not say when it ends.
const LONGEST_LIFETIME_SECONDS: i64 = 100 * 365 * 86_400;

fn lifetime(written: &str) -> Result<TimeDelta, String> {
    let span = PolicyDuration::parse(written).map_err(|error| error.to_string())?;
    if (SHORTEST_LIFETIME_SECONDS..=LONGEST_LIFETIME_SECONDS).contains(&span.seconds()) {
        Ok(span.delta())
    } else {
        Err("certificates live between 20s and 100y, as 90d".to_owned())
    }
}

/// An address that an API server takes. One without a path is of the gate's only one.
fn url(written: &str) -> Result<String, String> {
    let form = || format!("write it as https://gate.example:8443{PATH}");
    let mut url = url::Url::parse(written).map_err(|error| format!("{error}; {}", form()))?;
    if url.scheme() != "https" || url.host_str().is_none() {
        return Err(format!("API servers call by https alone; {}", form()));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("API servers take neither a user nor a query in it; {}", form()));
    }
    if url.path() == "/" {
        url.set_path(PATH);
    }
    if url.path() != PATH {
        return Err(format!("the gate answers at {PATH} alone; {}", form()));
    }
    Ok(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_that_api_servers_take() {
        for good in ["https://gate.example:8443", "https://gate.example:8443/", "https://gate.example:8443/validate"] {
            assert_eq!(url(good).as_deref(), Ok("https://gate.example:8443/validate"));
        }
        for (wrong, word) in [
            ("http://gate.example", "by https alone"),
            ("gate.example", "write it as https://"),
            ("https://gate.example/other", "/validate alone"),
            ("https://user@gate.example/", "neither a user"),
            ("https://gate.example/validate?a=b", "nor a query"),
        ] {
            let said = url(wrong).unwrap_err();
            assert!(said.contains(word) && said.contains("https://gate.example:8443/validate"), "{said}");
        }
    }

    #[test]
    fn a_life_has_bounds() {
        assert_eq!(lifetime("90d"), Ok(TimeDelta::days(90)));
        assert!(lifetime("5s").unwrap_err().contains("between 20s and 100y"));
        assert!(lifetime("soon").is_err());
    }
}
