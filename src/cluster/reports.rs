//! Bringing reports into the cluster: one for each namespace and each kind of report that is installed, written only where it
//! says something else than before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::Value;
use tokio::time::Instant;

use super::error::{ReadError, within};
use super::leadership::Leadership;
use super::owner_reference::Owner;
use crate::scanner::report::{self, FLAVOURS, Flavour, HASH_ANNOTATION, LABEL, NAME};
use crate::scanner::tally::OfNamespace;

/// The name under which the gate owns the fields of its reports.
const FIELD_MANAGER: &str = "freshgate";
/// How long one request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Reports in one page of a list; only their metadata comes.
const PAGE_OBJECTS: u32 = 500;

/// The reports of a cluster.
pub struct ClusterReports {
    client: Client,
    owner: Arc<Owner>,
    leadership: Leadership,
}

impl ClusterReports {
    /// Of this cluster; they go with the owner, where there is one.
    pub fn new(client: Client, owner: Arc<Owner>, leadership: Leadership) -> Self {
        Self { client, owner, leadership }
    }

    /// Writes what differs, and removes what is of namespaces in which nothing runs any more. Of those of which nothing is known
    /// now, what stands there stays.
    pub async fn write(&self, namespaces: &BTreeMap<String, OfNamespace>, unknown: &BTreeSet<String>) {
        for flavour in FLAVOURS {
            match self.write_all(flavour, namespaces, unknown).await {
                Ok(()) => {}
                // The kind is not installed.
                Err(ReadError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(kind = flavour.kind, %error, "reports are not written; the next scan tries again");
                }
            }
        }
    }

    async fn write_all(
        &self,
        flavour: Flavour,
        namespaces: &BTreeMap<String, OfNamespace>,
        unknown: &BTreeSet<String>,
    ) -> Result<(), ReadError> {
        let resource = resource(flavour);
        let mut standing = self.standing(flavour, &resource).await?;
        for (namespace, found) in namespaces {
            let before = standing.remove(namespace);
            let mut report = report::report(flavour, namespace, found);
            if before.flatten() == Some(report.hash) {
                continue;
            }
            if !self.leadership.leads() {
                return Ok(());
            }
            if let Some(owner) = self.owner.reference().await {
                report.object["metadata"]["ownerReferences"] = serde_json::json!([owner]);
            }
            self.put(namespace, &resource, &report.object).await?;
        }
        for namespace in standing.keys().filter(|namespace| !unknown.contains(*namespace)) {
            if !self.leadership.leads() {
                return Ok(());
            }
            let api = self.api(namespace, &resource);
            let what = format!("{} of namespace {namespace:?}", flavour.kind);
            match within(Instant::now() + ANSWER_WITHIN, &what, api.delete(NAME, &DeleteParams::default())).await {
                Ok(_) | Err(ReadError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What stands there, and what it says, by namespace.
    async fn standing(
        &self,
        flavour: Flavour,
        resource: &ApiResource,
    ) -> Result<BTreeMap<String, Option<String>>, ReadError> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
        let mut page = ListParams::default().labels(&format!("{}={}", LABEL.0, LABEL.1)).limit(PAGE_OBJECTS);
        let mut standing = BTreeMap::new();
        loop {
            let list = within(Instant::now() + ANSWER_WITHIN, flavour.plural, api.list_metadata(&page)).await?;
            for object in list.items {
                let metadata = object.metadata;
                // One of another name is somebody else's, whatever its label says.
                if let Some(namespace) = metadata.namespace.filter(|_| metadata.name.as_deref() == Some(NAME)) {
                    let hash = metadata.annotations.and_then(|mut all| all.remove(HASH_ANNOTATION));
                    standing.insert(namespace, hash);
                }
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(standing),
            }
        }
    }

    async fn put(&self, namespace: &str, resource: &ApiResource, object: &Value) -> Result<(), ReadError> {
        let api = self.api(namespace, resource);
        let what = format!("{} of namespace {namespace:?}", resource.kind);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(object);
        let write = api.patch(NAME, &parameters, &patch);
        match within(Instant::now() + ANSWER_WITHIN, &what, write).await {
            Ok(_) => Ok(()),
            // The namespace is gone, or on its way: there is nothing to report of it.
            Err(error @ (ReadError::NotFound { .. } | ReadError::Forbidden { .. }))
                if self.is_going(namespace).await =>
            {
                tracing::debug!(namespace, %error, "a namespace went while it was scanned");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a namespace is being deleted, or is gone.
    async fn is_going(&self, namespace: &str) -> bool {
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        let what = format!("namespace {namespace:?}");
        match within(Instant::now() + ANSWER_WITHIN, &what, api.get_metadata(namespace)).await {
            Ok(found) => found.metadata.deletion_timestamp.is_some(),
            Err(error) => matches!(error, ReadError::NotFound { .. }),
        }
    }

    fn api(&self, namespace: &str, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, resource)
    }
}

fn resource(flavour: Flavour) -> ApiResource {
    let kind = GroupVersionKind::gvk(flavour.group, flavour.version, flavour.kind);
    ApiResource::from_gvk_with_plural(&kind, flavour.plural)
}
