//! The pull secrets that a workload's Pods would use, as docker configs. Never logged, never recorded.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::{Api, Client};
use moka::future::Cache;
use tokio::time::{Instant, timeout_at};

use super::error::{ReadError, within};

/// How long a secret is remembered, or that it may not be read: a rotated one is used soon, a rollout reads it once.
const REMEMBERED: Duration = Duration::from_mins(1);

/// How often it is said that the secrets of a namespace may not be read.
const COMPLAINT_EVERY: Duration = Duration::from_hours(1);

/// Secrets beyond this of one workload are not read; nobody has so many.
const MOST_SECRETS: usize = 16;

/// How long a look-up may take that nobody waits for any more.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(30);

const ENTRIES: u64 = 10_000;

/// A docker config as text. It holds passwords, so it shows nothing of itself.
#[derive(Clone)]
pub struct DockerConfig(String);

impl DockerConfig {
    /// The text: `{"auths": {…}}`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for DockerConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DockerConfig(…)")
    }
}

/// What was read by namespace and name; a refusal is remembered as well, because each review would ask in vain.
type Remembered<T> = Cache<(String, String), Result<T, ReadError>>;

/// What comes of a look-up that others may have begun: in time or not, answered or not, and what is remembered of it.
type Answer<T> = Result<Result<Result<T, ReadError>, Arc<ReadError>>, tokio::time::error::Elapsed>;

/// Reads pull secrets, where the operator lets the gate do so.
pub struct PullSecrets {
    client: Client,
    /// By namespace and name; `None` where there is no such secret, or none that can be used.
    configs: Remembered<Option<DockerConfig>>,
    /// Names of the secrets of a service account, by namespace and name.
    accounts: Remembered<Arc<Vec<String>>>,
    /// Namespaces whose secrets were complained about.
    complaints: Cache<String, ()>,
}

impl PullSecrets {
    pub(super) fn new(client: Client) -> Self {
        let short = || Cache::builder().max_capacity(ENTRIES).time_to_live(REMEMBERED);
        Self {
            client,
            configs: short().build(),
            accounts: Cache::builder().max_capacity(ENTRIES).time_to_live(REMEMBERED).build(),
            complaints: Cache::builder().max_capacity(ENTRIES).time_to_live(COMPLAINT_EVERY).build(),
        }
    }

    /// The docker configs that the kubelet would use: of the secrets that the template names, or where it names none,
    /// of those of its service account (`default` without one). What cannot be read is left out.
    pub async fn of(
        &self,
        namespace: &str,
        of_template: &[String],
        service_account: Option<&str>,
        deadline: Instant,
    ) -> Vec<DockerConfig> {
        let names = if of_template.is_empty() {
            let account = service_account.unwrap_or("default");
            self.of_account(namespace, account, deadline).await
        } else {
            Arc::new(of_template.to_vec())
        };
        let configs = names.iter().take(MOST_SECRETS).map(|name| self.config(namespace, name, deadline));
        join_all(configs).await.into_iter().flatten().collect()
    }

    async fn of_account(&self, namespace: &str, name: &str, deadline: Instant) -> Arc<Vec<String>> {
        let key = (namespace.to_owned(), name.to_owned());
        let what = format!("ServiceAccount {name:?} in namespace {namespace:?}");
        let looked_up = self.accounts.try_get_with(key, async {
            let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
            let bound = Instant::now() + LOOK_UP_WITHIN;
            let account = within(bound, &what, api.get(name)).await;
            let secrets = account.map(|account| account.image_pull_secrets.unwrap_or_default());
            keep(secrets.map(|secrets| Arc::new(secrets.into_iter().map(|secret| secret.name).collect())))
        });
        let answer = timeout_at(deadline, looked_up).await;
        self.or_complain(namespace, &what, answer).await.unwrap_or_default()
    }

    async fn config(&self, namespace: &str, name: &str, deadline: Instant) -> Option<DockerConfig> {
        let key = (namespace.to_owned(), name.to_owned());
        let what = format!("Secret {name:?} in namespace {namespace:?}");
        let looked_up = self.configs.try_get_with(key, async {
            let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
            let bound = Instant::now() + LOOK_UP_WITHIN;
            keep(match within(bound, &what, api.get(name)).await {
                Ok(secret) => Ok(docker_config(secret)),
                // Pods start without a missing pull secret too.
                Err(ReadError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            })
        });
        let answer = timeout_at(deadline, looked_up).await;
        self.or_complain(namespace, &what, answer).await.flatten()
    }

    /// The answer; why there is none is said once an hour for each namespace.
    async fn or_complain<T>(&self, namespace: &str, what: &str, answer: Answer<T>) -> Option<T> {
        let error = match answer {
            Ok(Ok(Ok(answer))) => return Some(answer),
            Ok(Ok(Err(error))) => error,
            Ok(Err(error)) => error.as_ref().clone(),
            Err(_) => ReadError::TimedOut { what: what.to_owned() },
        };
        let first = self.complaints.entry(namespace.to_owned()).or_insert(()).await.is_fresh();
        if first {
            tracing::warn!(namespace, %error, "pull secrets could not be read; images are asked for without");
        }
        None
    }
}

/// What is remembered of an answer: rights change seldom, other failures pass.
fn keep<T>(answer: Result<T, ReadError>) -> Result<Result<T, ReadError>, ReadError> {
    match answer {
        Err(error @ ReadError::Forbidden { .. }) => Ok(Err(error)),
        answer => answer.map(Ok),
    }
}

/// The docker config of a secret of either type.
fn docker_config(secret: Secret) -> Option<DockerConfig> {
    let data = secret.data?;
    if let Some(config) = data.get(".dockerconfigjson") {
        return String::from_utf8(config.0.clone()).ok().map(DockerConfig);
    }
    // The older type is the inside of the newer one.
    let auths: serde_json::Value = serde_json::from_slice(&data.get(".dockercfg")?.0).ok()?;
    Some(DockerConfig(serde_json::json!({"auths": auths}).to_string()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(key: &str, content: &str) -> Secret {
        Secret { data: Some([(key.to_owned(), ByteString(content.as_bytes().to_vec()))].into()), ..Secret::default() }
    }

    #[test]
    fn both_types_of_secret_are_read() {
        let config = docker_config(secret(".dockerconfigjson", r#"{"auths":{}}"#)).unwrap();
        assert_eq!(config.as_str(), r#"{"auths":{}}"#);
        let config = docker_config(secret(".dockercfg", r#"{"r.example":{"auth":"x"}}"#)).unwrap();
        assert_eq!(config.as_str(), r#"{"auths":{"r.example":{"auth":"x"}}}"#);
        assert!(docker_config(secret(".dockercfg", "no JSON")).is_none());
        assert!(docker_config(secret("password", "x")).is_none());
        assert!(docker_config(Secret::default()).is_none());
    }

    #[test]
    fn a_config_does_not_show_itself() {
        assert_eq!(format!("{:?}", DockerConfig("secret".to_owned())), "DockerConfig(…)");
    }
}
