//! Reads from the API server what decisions need: namespaces, nodes, owners, revisions, pull secrets. Each look-up ends at
//! the caller's deadline, and what it cannot tell it says in words.

mod owners;
pub mod policies;
mod template_images;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::{ControllerRevision, ReplicaSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use moka::future::Cache;
use serde_json::Value;
use tokio::time::Instant;

use crate::evidence::{OwnerFound, Revision};
use crate::image::registry::credentials::Credentials;
use crate::subject::kinds::WorkloadKinds;
use crate::subject::template::fingerprint;
use crate::subject::{OwnerReference, PullHints};

/// How long an owner's images are taken as they were; a mismatch is always looked up live.
const OWNER_FRESH_FOR: Duration = Duration::from_secs(60);
const OWNERS_IN_MEMORY: u64 = 10_000;
/// How long pull secrets are taken as they were.
const CREDENTIALS_FRESH_FOR: Duration = Duration::from_secs(60);
const CREDENTIALS_IN_MEMORY: u64 = 1_000;
/// Revisions of one workload that are looked at.
const MOST_REVISIONS: u32 = 500;

/// What the gate knows of its cluster.
pub struct Cluster {
    client: Client,
    kinds: WorkloadKinds,
    namespaces: Store<PartialObjectMeta<Namespace>>,
    nodes: Store<Node>,
    owners: Cache<String, Vec<String>>,
    /// Whether pull secrets may be read at all; off, where RBAC does not grant it.
    reads_pull_secrets: bool,
    credentials: Cache<(String, PullHints), Option<Credentials>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Cluster")
    }
}

impl Cluster {
    /// Starts to follow namespaces and nodes.
    pub fn start(client: Client, kinds: WorkloadKinds, reads_pull_secrets: bool) -> Self {
        let (namespaces, write) = reflector::store();
        let stream = watcher(Api::<PartialObjectMeta<Namespace>>::all(client.clone()), watcher::Config::default());
        tokio::spawn(follow("namespaces", stream.default_backoff().reflect(write).map(|event| event.map(|_| ()))));
        let (nodes, write) = reflector::store();
        let stream = watcher(Api::<Node>::all(client.clone()), watcher::Config::default());
        let stream = stream.modify(|node: &mut Node| {
            // Of a node only its platform counts; the rest is large and changes every few seconds.
            node.metadata = ObjectMeta {
                name: node.metadata.name.take(),
                resource_version: node.metadata.resource_version.take(),
                ..ObjectMeta::default()
            };
            node.spec = None;
            if let Some(status) = &mut node.status {
                *status =
                    k8s_openapi::api::core::v1::NodeStatus { node_info: status.node_info.take(), ..Default::default() };
            }
        });
        tokio::spawn(follow("nodes", stream.default_backoff().reflect(write).map(|event| event.map(|_| ()))));
        Self {
            client,
            kinds,
            namespaces,
            nodes,
            owners: Cache::builder().max_capacity(OWNERS_IN_MEMORY).time_to_live(OWNER_FRESH_FOR).build(),
            reads_pull_secrets,
            credentials: Cache::builder()
                .max_capacity(CREDENTIALS_IN_MEMORY)
                .time_to_live(CREDENTIALS_FRESH_FOR)
                .build(),
        }
    }

    /// Waits until namespaces and nodes are known.
    pub async fn ready(&self) {
        // An error means that the task has ended with the process.
        let _ = tokio::join!(self.namespaces.wait_until_ready(), self.nodes.wait_until_ready());
    }

    /// The API server's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A namespace's labels; from memory, else live. `None` where it cannot be told.
    pub async fn namespace_labels(&self, namespace: &str, deadline: Instant) -> Option<BTreeMap<String, String>> {
        if namespace.is_empty() {
            return None;
        }
        if let Some(known) = self.namespaces.get(&ObjectRef::new(namespace)) {
            return Some(known.labels().clone());
        }
        // Made a moment ago, most likely.
        let api = Api::<Namespace>::all(self.client.clone());
        let live = within(deadline, api.get_metadata_opt(namespace)).await.ok()??;
        Some(live.labels().clone())
    }

    /// The platforms of the nodes, as `linux/amd64`, each once and in order.
    pub fn node_platforms(&self) -> Vec<String> {
        let platforms: BTreeSet<String> = self
            .nodes
            .state()
            .iter()
            .filter_map(|node| {
                let info = node.status.as_ref()?.node_info.as_ref()?;
                Some(format!("{}/{}", info.operating_system, info.architecture))
            })
            .collect();
        platforms.into_iter().collect()
    }

    /// What there is of a claimed controller: from memory where that `covers` the object, else live.
    pub async fn owner(
        &self,
        namespace: &str,
        claimed: &OwnerReference,
        covers: impl Fn(&OwnerFound) -> bool,
        deadline: Instant,
    ) -> OwnerFound {
        let key = format!("{namespace}/{}/{}/{}", claimed.kind, claimed.name, claimed.uid);
        if let Some(images) = self.owners.get(&key).await {
            let found = OwnerFound::Images(images);
            if covers(&found) {
                return found;
            }
        }
        let found =
            match tokio::time::timeout_at(deadline, owners::look_up(&self.client, &self.kinds, namespace, claimed))
                .await
            {
                Ok(found) => found,
                Err(_) => OwnerFound::NotLookedUp { detail: "the API server did not answer in time".to_owned() },
            };
        if let OwnerFound::Images(images) = &found {
            self.owners.insert(key, images.clone()).await;
        }
        found
    }

    /// The revisions that a workload's controller keeps of it: ReplicaSets of a Deployment, ControllerRevisions of a
    /// StatefulSet or DaemonSet. Other kinds have none.
    pub async fn revisions(
        &self,
        kind: &str,
        namespace: &str,
        uid: &str,
        deadline: Instant,
    ) -> Result<Vec<Revision>, String> {
        let list = ListParams::default().limit(MOST_REVISIONS);
        match kind {
            "Deployment" => {
                let api = Api::<ReplicaSet>::namespaced(self.client.clone(), namespace);
                let sets = within(deadline, api.list(&list)).await?;
                let owned = sets.items.iter().filter(|set| is_owned_by(&set.metadata, uid));
                Ok(owned
                    .filter_map(|set| {
                        revision(&set.metadata, &serde_json::to_value(set.spec.as_ref()?.template.as_ref()?).ok()?)
                    })
                    .collect())
            }
            "StatefulSet" | "DaemonSet" => {
                let api = Api::<ControllerRevision>::namespaced(self.client.clone(), namespace);
                let revisions = within(deadline, api.list(&list)).await?;
                let owned = revisions.items.iter().filter(|one| is_owned_by(&one.metadata, uid));
                Ok(owned
                    .filter_map(|one| revision(&one.metadata, one.data.as_ref()?.0.pointer("/spec/template")?))
                    .collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The credentials of a workload's pull secrets and of its service account's, where they may be read.
    pub async fn pull_credentials(&self, namespace: &str, hints: &PullHints, deadline: Instant) -> Option<Credentials> {
        if !self.reads_pull_secrets {
            return None;
        }
        let key = (namespace.to_owned(), hints.clone());
        if let Some(known) = self.credentials.get(&key).await {
            return known;
        }
        let found = self.read_credentials(namespace, hints, deadline).await;
        self.credentials.insert(key, found.clone()).await;
        found
    }

    async fn read_credentials(&self, namespace: &str, hints: &PullHints, deadline: Instant) -> Option<Credentials> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), namespace);
        let account = within(deadline, accounts.get_opt(&hints.service_account)).await.ok().flatten();
        let of_account = account.into_iter().flat_map(|account| account.image_pull_secrets.unwrap_or_default());
        let names = hints.secrets.iter().cloned().chain(of_account.map(|reference| reference.name));
        let names: BTreeSet<String> = names.filter(|name| !name.is_empty()).collect();
        let secrets = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let mut all = Credentials::default();
        for name in names {
            let secret = match within(deadline, secrets.get_opt(&name)).await {
                Ok(secret) => secret,
                Err(detail) => {
                    tracing::warn!(namespace, secret = name, detail, "a pull secret could not be read");
                    None
                }
            };
            let config = secret.and_then(|secret| secret.data?.remove(".dockerconfigjson"));
            let Some(config) = config.and_then(|config| String::from_utf8(config.0).ok()) else {
                continue;
            };
            match Credentials::from_docker_config(&config) {
                Ok(credentials) => all = all.and(credentials),
                Err(error) => {
                    tracing::warn!(namespace, secret = name, %error, "a pull secret cannot be used");
                }
            }
        }
        (!all.is_empty()).then_some(all)
    }
}

/// Keeps a watch going; an error is told once until it works again.
async fn follow(what: &'static str, stream: impl futures::Stream<Item = Result<(), watcher::Error>>) {
    let mut stream = std::pin::pin!(stream);
    let mut broken = false;
    while let Some(event) = stream.next().await {
        match event {
            Ok(()) if broken => {
                broken = false;
                tracing::info!(what, "the watch works again");
            }
            Ok(()) => {}
            Err(error) if !broken => {
                broken = true;
                tracing::warn!(what, %error, "a watch broke; what it knew stays in use");
            }
            Err(_) => {}
        }
    }
}

/// An answer of the API server by the deadline, or why there is none.
async fn within<T>(deadline: Instant, asked: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match tokio::time::timeout_at(deadline, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(format!("the API server answered {}: {}", status.code, status.reason)),
        Ok(Err(_)) => Err("the API server could not be reached".to_owned()),
        Err(_) => Err("the API server did not answer in time".to_owned()),
    }
}

fn is_owned_by(metadata: &ObjectMeta, uid: &str) -> bool {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.uid == uid && owner.controller == Some(true))
}

fn revision(metadata: &ObjectMeta, template: &Value) -> Option<Revision> {
    Some(Revision {
        fingerprint: fingerprint(template),
        images: template_images::of(template),
        created_at: utc(metadata.creation_timestamp.as_ref()?)?,
    })
}

/// Kubernetes' times are of another crate; this is where they become ours.
fn utc(time: &Time) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.0.as_second(), 0)
}
