//! What budget sources need of a cluster: Secrets and ConfigMaps of the gate's own namespace and no other, and the objects
//! of Sloth and Pyrra, where they are there.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::time::Instant;

use super::error::{ReadError, within};
use crate::budget::api::SecretKey;

/// How long one read may take.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// How long custom resources are remembered: they change when people change them.
const REMEMBERED: Duration = Duration::from_mins(2);

/// Objects in one page of a list, and pages of it.
const PAGE_OBJECTS: u32 = 500;
const MOST_PAGES: usize = 40;

/// Where a Pod finds the name of its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Secrets that are made for something else and must not be sent as a password.
const FOREIGN_SECRETS: [&str; 5] = [
    "kubernetes.io/service-account-token",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/dockercfg",
    "kubernetes.io/ssh-auth",
    "bootstrap.kubernetes.io/token",
];

/// A certificate and its private key.
const TLS_SECRET: &str = "kubernetes.io/tls";

/// A kind of objects that declare objectives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeclaredBy {
    /// `PrometheusServiceLevel` of Sloth.
    Sloth,
    /// `ServiceLevelObjective` of Pyrra.
    Pyrra,
}

/// Reads what sources need.
pub struct ClusterMaterials {
    client: Client,
    namespace: String,
    declared: Mutex<HashMap<DeclaredBy, (Instant, Arc<Vec<Value>>)>>,
}

/// The namespace that the gate is in: as it is told, or as its Pod knows.
pub fn own_namespace() -> Option<String> {
    let told = std::env::var("POD_NAMESPACE").ok().or_else(|| std::fs::read_to_string(NAMESPACE_FILE).ok());
    told.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

impl ClusterMaterials {
    /// Reads Secrets and ConfigMaps of this namespace alone.
    pub fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace, declared: Mutex::default() }
    }

    /// One entry of a Secret. An error says why there is none, in words that may be shown.
    ///
    /// What `is_sent` to the source leaves the cluster: no private key may, whatever the object says.
    pub async fn secret(&self, wanted: &SecretKey, is_sent: bool) -> Result<Vec<u8>, String> {
        let what = format!("Secret {:?} in namespace {:?}", wanted.name, self.namespace);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = within(Instant::now() + READ_WITHIN, &what, api.get(&wanted.name))
            .await
            .map_err(|error| error.to_string())?;
        let is_foreign = |kind: &&str| FOREIGN_SECRETS.contains(kind) || is_sent && *kind == TLS_SECRET;
        if let Some(foreign) = secret.type_.as_deref().filter(is_foreign) {
            return Err(format!(
                "a Secret of type {foreign} is made for something else; put the entry into one of type Opaque"
            ));
        }
        let entry = secret.data.and_then(|mut data| data.remove(&wanted.key));
        entry.map(|entry| entry.0).ok_or_else(|| format!("it has no entry {:?}", wanted.key))
    }

    /// The entries of a ConfigMap.
    pub async fn config_map(&self, name: &str) -> Result<Vec<(String, String)>, String> {
        let what = format!("ConfigMap {name:?} in namespace {:?}", self.namespace);
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let found =
            within(Instant::now() + READ_WITHIN, &what, api.get(name)).await.map_err(|error| error.to_string())?;
        let entries = found.data.unwrap_or_default().into_iter();
        Ok(entries.map(|(key, text)| (format!("ConfigMap {name}/{key}"), text)).collect())
    }

    /// The objects that declare objectives; none where their kind is not there or may not be read.
    pub async fn declared(&self, by: DeclaredBy) -> Arc<Vec<Value>> {
        let known = self.declared.lock().unwrap_or_else(PoisonError::into_inner).get(&by).cloned();
        if let Some((read_at, objects)) = &known
            && read_at.elapsed() < REMEMBERED
        {
            return Arc::clone(objects);
        }
        let objects = match self.list(by).await {
            Ok(objects) => Arc::new(objects),
            Err(ReadError::NotFound { .. } | ReadError::Forbidden { .. }) => Arc::default(),
            Err(error) => {
                tracing::debug!(%error, "objectives that custom resources declare could not be read");
                known.map(|(_, objects)| objects).unwrap_or_default()
            }
        };
        let mut all = self.declared.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(by, (Instant::now(), Arc::clone(&objects)));
        objects
    }

    async fn list(&self, by: DeclaredBy) -> Result<Vec<Value>, ReadError> {
        let (kind, plural) = match by {
            DeclaredBy::Sloth => {
                (GroupVersionKind::gvk("sloth.slok.dev", "v1", "PrometheusServiceLevel"), "prometheusservicelevels")
            }
            DeclaredBy::Pyrra => {
                (GroupVersionKind::gvk("pyrra.dev", "v1alpha1", "ServiceLevelObjective"), "servicelevelobjectives")
            }
        };
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural));
        let mut objects = Vec::new();
        let mut page = ListParams::default().limit(PAGE_OBJECTS);
        for _ in 0..MOST_PAGES {
            let list = within(Instant::now() + READ_WITHIN, plural, api.list(&page)).await?;
            objects.extend(list.items.into_iter().map(|object| {
                let (name, labels) = (object.name_any(), object.labels().clone());
                let spec = object.data.get("spec").cloned().unwrap_or_default();
                serde_json::json!({"metadata": {"name": name, "labels": labels}, "spec": spec})
            }));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
        Ok(objects)
    }
}
