//! From kinds to the paths of the API: built in for Kubernetes' own, discovered for others.

use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{Scope, pinned_kind};
use moka::future::Cache;
use tokio::time::Instant;

use super::error::{ReadError, within};
use crate::subject::OwnerReference;

/// Where kinds stand in the API.
pub(super) struct Resources {
    client: Client,
    discovered: Cache<GroupVersionKind, (ApiResource, Scope)>,
}

impl Resources {
    pub(super) fn new(client: Client) -> Self {
        Self { client, discovered: Cache::new(64) }
    }

    /// The resource of an owner. Of Kubernetes' own kinds, whatever version is claimed, the stable one is asked for:
    /// the UID tells the object, not the version.
    pub(super) async fn of(
        &self,
        owner: &OwnerReference,
        deadline: Instant,
    ) -> Result<(ApiResource, Scope), ReadError> {
        if let Some(built_in) = built_in(owner.group(), &owner.kind) {
            return Ok((built_in, Scope::Namespaced));
        }
        let kind = GroupVersionKind::gvk(owner.group(), owner.version(), &owner.kind);
        if let Some(known) = self.discovered.get(&kind).await {
            return Ok(known);
        }
        let what = format!("kind {} of {}", owner.kind, owner.api_version);
        let (resource, capabilities) = within(deadline, &what, pinned_kind(&self.client, &kind)).await?;
        let found = (resource, capabilities.scope);
        self.discovered.insert(kind, found.clone()).await;
        Ok(found)
    }
}

/// Kubernetes' own workloads and their revisions.
pub(super) fn built_in(group: &str, kind: &str) -> Option<ApiResource> {
    let plural = match (group, kind) {
        ("", "ReplicationController") => "replicationcontrollers",
        ("", "Pod") => "pods",
        ("apps", "ReplicaSet") => "replicasets",
        ("apps", "Deployment") => "deployments",
        ("apps", "StatefulSet") => "statefulsets",
        ("apps", "DaemonSet") => "daemonsets",
        ("apps", "ControllerRevision") => "controllerrevisions",
        ("batch", "Job") => "jobs",
        ("batch", "CronJob") => "cronjobs",
        _ => return None,
    };
    Some(ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural))
}
