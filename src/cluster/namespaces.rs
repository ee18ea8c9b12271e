//! Labels of namespaces: watched, and read live where the watch does not know or is broken.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;

use super::error::{ReadError, within};
use super::watch::{Change, MetadataOf, Task, WatchHealth, follow, list_all};

/// A picture older than this is only used where the API server does not answer.
const TRUSTED_SECONDS: f64 = 60.0;

type Labels = BTreeMap<String, String>;

/// Labels of all namespaces.
#[derive(Debug)]
pub struct NamespaceLabels {
    api: Api<MetadataOf<Namespace>>,
    seen: Arc<RwLock<HashMap<String, Labels>>>,
    health: Arc<WatchHealth>,
    _watch: Task,
}

impl NamespaceLabels {
    pub(super) fn start(client: Client) -> Self {
        let api: Api<MetadataOf<Namespace>> = Api::all(client);
        let seen: Arc<RwLock<HashMap<String, Labels>>> = Arc::default();
        let health = Arc::new(WatchHealth::default());
        let store = Arc::clone(&seen);
        let watch = Task::spawn(follow(
            api.clone(),
            "namespaces",
            Arc::clone(&health),
            |namespace| (namespace.name_any(), labels_of(namespace)),
            move |change| {
                let mut store = store.write().unwrap_or_else(PoisonError::into_inner);
                match change {
                    Change::All(namespaces) => *store = namespaces.into_iter().collect(),
                    Change::Set((name, labels)) => {
                        store.insert(name, labels);
                    }
                    Change::Gone(name) => {
                        store.remove(&name);
                    }
                }
            },
        ));
        Self { api, seen, health, _watch: watch }
    }

    /// The labels of a namespace.
    pub async fn of(&self, namespace: &str, deadline: Instant) -> Result<Labels, ReadError> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned();
        let trusted = self.health.is_synced() && self.health.staleness_seconds() <= TRUSTED_SECONDS;
        match seen {
            Some(labels) if trusted => Ok(labels),
            // In a box: few reviews carry it.
            seen => match Box::pin(self.read(namespace, deadline)).await {
                Ok(labels) => Ok(labels),
                Err(error @ ReadError::NotFound { .. }) => Err(error),
                Err(error) => seen.ok_or(error),
            },
        }
    }

    async fn read(&self, namespace: &str, deadline: Instant) -> Result<Labels, ReadError> {
        let what = format!("namespace {namespace:?}");
        within(deadline, &what, self.api.get(namespace)).await.map(labels_of)
    }

    /// How old the picture is.
    pub fn health(&self) -> &WatchHealth {
        &self.health
    }
}

/// The labels of all namespaces, as they are now.
pub async fn list(client: &Client) -> Result<BTreeMap<String, Labels>, ReadError> {
    let api: Api<MetadataOf<Namespace>> = Api::all(client.clone());
    let read = |namespace: MetadataOf<Namespace>| (namespace.name_any(), labels_of(namespace));
    Ok(list_all(&api, "namespaces", &read).await?.0.into_iter().collect())
}

fn labels_of(namespace: MetadataOf<Namespace>) -> Labels {
    namespace.metadata.labels.unwrap_or_default()
}
