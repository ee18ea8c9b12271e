//! Controllers are looked up, never believed: an object that claims one passes only if it exists and names its images.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::discovery::Scope;
use moka::future::Cache;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::error::{ReadError, within};
use super::resources::Resources;
use super::revisions;
use super::template_images::image_references;
use crate::evidence::{OwnerFound, Revision};
use crate::store::ledger::WorkloadKey;
use crate::subject::kinds::WorkloadKinds;
use crate::subject::ownership::{Ownership, ownership};
use crate::subject::{OwnerReference, Subject};

/// How long an owner's images are remembered: a rollout makes many Pods in a row, and none should cost a read.
const REMEMBERED: Duration = Duration::from_secs(30);

/// How long a look-up may take that nobody waits for any more.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(30);

/// Owners that are remembered.
const REMEMBERED_OWNERS: u64 = 10_000;

/// Looks up controllers and the revisions that workloads own.
pub struct Owners {
    client: Client,
    kinds: WorkloadKinds,
    resources: Resources,
    /// By namespace, claim, and whether its template counts. Only what was found: that something is missing is always
    /// read live.
    found: Cache<(String, OwnerReference, bool), Arc<OwnerFound>>,
}

impl Owners {
    pub(super) fn new(client: Client, kinds: WorkloadKinds) -> Self {
        Self {
            resources: Resources::new(client.clone()),
            client,
            kinds,
            found: Cache::builder().max_capacity(REMEMBERED_OWNERS).time_to_live(REMEMBERED).build(),
        }
    }

    /// What is there of the controller that an object claims. With `fresh` nothing remembered is used: for an object
    /// whose images are not among those remembered.
    pub async fn find(&self, subject: &Subject, owner: &OwnerReference, fresh: bool, deadline: Instant) -> OwnerFound {
        let namespace = subject.namespace.as_str();
        let template = match ownership(&subject.group, &subject.kind, owner, &self.kinds) {
            Ownership::Impossible => {
                let detail = format!("no {} makes objects of kind {}", owner.kind, subject.kind);
                return OwnerFound::Forged { detail };
            }
            Ownership::Unknown => None,
            Ownership::ByTemplate => self.template_path(owner),
        };
        let key = (namespace.to_owned(), owner.clone(), template.is_some());
        if fresh {
            self.found.invalidate(&key).await;
        }
        // One look-up serves all who ask at once, so it has a bound of its own, and each keeps its own deadline.
        let looked_up = self.found.try_get_with(key, async {
            let bound = Instant::now() + LOOK_UP_WITHIN;
            self.look_up(namespace, owner, template.as_deref(), bound).await.map(Arc::new)
        });
        match timeout_at(deadline, looked_up).await {
            Ok(Ok(found)) => found.as_ref().clone(),
            Ok(Err(failure)) => failure.as_ref().clone().into(),
            Err(_) => Failure::NotRead(ReadError::TimedOut { what: owner.in_words(namespace) }).into(),
        }
    }

    /// The revisions that a workload owns, oldest first; none for kinds that keep none, nor where the workload is
    /// gone or another by now.
    pub async fn revisions(
        &self,
        namespace: &str,
        workload: &OwnerReference,
        deadline: Instant,
    ) -> Result<Vec<Revision>, ReadError> {
        if !revisions::are_kept_by(workload.group(), &workload.kind) {
            return Ok(Vec::new());
        }
        let object = match self.read(namespace, workload, deadline).await {
            Ok(object) => object,
            Err(ReadError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if object.metadata.uid.as_deref() != Some(&workload.uid) {
            return Ok(Vec::new());
        }
        revisions::of(&self.client, workload.group(), &workload.kind, &object, deadline).await
    }

    /// The image references that a workload runs at this moment; `None` where it is gone, scaled to nothing, or nobody
    /// knows in time.
    pub async fn running(&self, workload: &WorkloadKey, deadline: Instant) -> Option<Vec<String>> {
        let kind = self.kinds.iter().find(|known| known.kind == workload.kind)?;
        let version = if kind.group == "argoproj.io" { "v1alpha1" } else { "v1" };
        let api_version = if kind.group.is_empty() { version.to_owned() } else { format!("{}/{version}", kind.group) };
        let reference = OwnerReference {
            api_version,
            kind: workload.kind.clone(),
            name: workload.name.clone(),
            uid: String::new(),
        };
        let object = self.read(&workload.namespace, &reference, deadline).await.ok()?;
        let stopped = object.data["spec"]["replicas"] == 0 || object.metadata.deletion_timestamp.is_some();
        let template = match self.template_path(&reference) {
            Some(path) => object.data.pointer(&path)?,
            None => &object.data,
        };
        (!stopped).then(|| image_references(template))
    }

    /// The JSON pointer to the template, for kinds that have one. A Pod is none: it controls nothing.
    fn template_path(&self, owner: &OwnerReference) -> Option<String> {
        let kind = self.kinds.find(owner.group(), &owner.kind)?;
        let parts = kind.template.iter().map(|part| format!("/{part}"));
        Some(parts.collect::<String>()).filter(|path| !path.is_empty())
    }

    async fn look_up(
        &self,
        namespace: &str,
        owner: &OwnerReference,
        template: Option<&str>,
        deadline: Instant,
    ) -> Result<OwnerFound, Failure> {
        let object = match self.read(namespace, owner, deadline).await {
            Ok(object) => object,
            Err(error @ ReadError::NotFound { .. }) => {
                return Err(Failure::Forged(error.to_string()));
            }
            Err(error) => return Err(Failure::NotRead(error)),
        };
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        if uid != owner.uid {
            return Err(Failure::Forged(format!("{} has the UID {uid}, not {}", owner.in_words(namespace), owner.uid)));
        }
        let Some(template) = template else {
            return Ok(OwnerFound::UnknownKind);
        };
        let mut templates = vec![image_references(object.data.pointer(template).unwrap_or(&Value::Null))];
        let revisions = revisions::of(&self.client, owner.group(), &owner.kind, &object, deadline)
            .await
            .map_err(Failure::NotRead)?;
        for revision in revisions {
            if !templates.contains(&revision.images) {
                templates.push(revision.images);
            }
        }
        Ok(OwnerFound::Templates(templates))
    }

    async fn read(
        &self,
        namespace: &str,
        owner: &OwnerReference,
        deadline: Instant,
    ) -> Result<DynamicObject, ReadError> {
        let (resource, scope) = self.resources.of(owner, deadline).await?;
        let api: Api<DynamicObject> = match scope {
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), namespace, &resource),
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
        };
        within(deadline, &owner.in_words(namespace), api.get(&owner.name)).await
    }
}

/// Why nothing was found.
#[derive(Clone, Debug)]
enum Failure {
    /// A live read showed that the claim is false.
    Forged(String),
    /// Nobody knows.
    NotRead(ReadError),
}

impl From<Failure> for OwnerFound {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Forged(detail) => Self::Forged { detail },
            Failure::NotRead(error) => Self::NotLookedUp { detail: error.to_string() },
        }
    }
}
