//! The `ClusterRole` that what the gate makes goes with: whoever deletes the release leaves none of it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{Api, ObjectMeta};
use tokio::time::Instant;

use super::error::within;

/// How long what was found counts: the `ClusterRole` may be deleted and made again.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// How long asking may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
const KIND: &str = "ClusterRole";

/// The owner of what the gate makes; none where none is named.
#[derive(Debug, Default)]
pub struct Owner(Option<Named>);

struct Named {
    api: Api<ClusterRole>,
    name: String,
    /// What was found, and until when it counts.
    known: Mutex<(Option<OwnerReference>, Option<Instant>)>,
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Owner {
    /// A `ClusterRole` of this name.
    pub fn named(client: Client, name: String) -> Self {
        Self(Some(Named { api: Api::all(client), name, known: Mutex::default() }))
    }

    /// The reference to it as it stands now, or stood when it could last be asked for. `None` where there is none: an owner
    /// that does not exist would have its objects collected.
    pub(super) async fn reference(&self) -> Option<OwnerReference> {
        let named = self.0.as_ref()?;
        let known = named.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.1.is_some_and(|until| Instant::now() < until) {
            return known.0;
        }
        let what = format!("ClusterRole {:?}", named.name);
        let found = within(Instant::now() + ANSWER_WITHIN, &what, named.api.get_metadata_opt(&named.name)).await;
        let reference = match found {
            Ok(Some(role)) => role.metadata.uid.map(|uid| reference(&named.name, uid)),
            Ok(None) => {
                tracing::warn!("there is no {what}; what the gate makes has no owner until there is");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "the owner of what the gate makes cannot be read; it stays as it was");
                known.0
            }
        };
        let until = Some(Instant::now() + KNOWN_FOR);
        *named.known.lock().unwrap_or_else(PoisonError::into_inner) = (reference.clone(), until);
        reference
    }
}

fn reference(name: &str, uid: String) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        name: name.to_owned(),
        uid,
        controller: None,
        block_owner_deletion: None,
    }
}

/// Makes it the owner: instead of an earlier one, beside those that others have set.
pub(super) fn set(metadata: &mut ObjectMeta, owner: Option<OwnerReference>) {
    let Some(owner) = owner else { return };
    let owners = metadata.owner_references.get_or_insert_default();
    owners.retain(|one| !(one.api_version == API_VERSION && one.kind == KIND && one.name == owner.name));
    owners.push(owner);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_that_was_made_again_takes_the_place_of_the_earlier() {
        let mut metadata = ObjectMeta::default();
        let other = OwnerReference { kind: "Deployment".into(), ..reference("gate", "0".into()) };
        metadata.owner_references = Some(vec![other.clone()]);
        set(&mut metadata, Some(reference("gate", "1".into())));
        set(&mut metadata, Some(reference("gate", "2".into())));
        set(&mut metadata, None);
        assert_eq!(metadata.owner_references, Some(vec![other, reference("gate", "2".into())]));
    }
}
