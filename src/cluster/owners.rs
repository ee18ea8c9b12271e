//! Looks controllers up: whoever claims one must be one that it made, or could have made.

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::Value;

use super::template_images;
use crate::evidence::OwnerFound;
use crate::subject::OwnerReference;
use crate::subject::kinds::WorkloadKinds;

/// Revisions of one controller that are looked at.
const MOST_REVISIONS: u32 = 500;

/// What there is of a claimed controller, read live.
pub async fn look_up(client: &Client, kinds: &WorkloadKinds, namespace: &str, claimed: &OwnerReference) -> OwnerFound {
    let (group, version) = claimed.api_version.rsplit_once('/').unwrap_or(("", &claimed.api_version));
    let Some(kind) = kinds.find(group, &claimed.kind) else {
        return OwnerFound::UnknownKind;
    };
    let object = match get(client, group, version, namespace, claimed).await {
        Ok(Some(object)) => object,
        Ok(None) => {
            return OwnerFound::Forged {
                detail: format!("there is no {} {}/{}", claimed.kind, namespace, claimed.name),
            };
        }
        Err(error) => {
            return OwnerFound::NotLookedUp { detail: in_words(&error) };
        }
    };
    if object.metadata.uid.as_deref() != Some(&claimed.uid) {
        return OwnerFound::Forged {
            detail: format!("{} {}/{} has another UID than the one claimed", claimed.kind, namespace, claimed.name),
        };
    }
    let template = kind.template.iter().try_fold(&object.data, |value, key| value.get(key));
    let mut images = template.map(template_images::of).unwrap_or_default();
    match revisions(client, &claimed.kind, namespace, &claimed.uid).await {
        Ok(templates) => images.extend(templates.iter().flat_map(template_images::of)),
        Err(error) => {
            // What it made of earlier revisions is then judged as what it did not make.
            tracing::warn!(
                error = in_words(&error),
                owner = claimed.name,
                "the revisions of a controller could not be read"
            );
        }
    }
    images.sort();
    images.dedup();
    OwnerFound::Images(images)
}

async fn get(
    client: &Client,
    group: &str,
    version: &str,
    namespace: &str,
    claimed: &OwnerReference,
) -> Result<Option<DynamicObject>, kube::Error> {
    let kind = GroupVersionKind::gvk(group, version, &claimed.kind);
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind));
    api.get_opt(&claimed.name).await
}

/// The Pod templates of every revision that a controller owns.
async fn revisions(client: &Client, kind: &str, namespace: &str, uid: &str) -> Result<Vec<Value>, kube::Error> {
    let (revision_kind, path) = match kind {
        "Deployment" => ("ReplicaSet", "/spec/template"),
        "StatefulSet" | "DaemonSet" => ("ControllerRevision", "/data/spec/template"),
        _ => return Ok(Vec::new()),
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", revision_kind));
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    let all = api.list(&ListParams::default().limit(MOST_REVISIONS)).await?;
    let owned = all.items.into_iter().filter(|one| super::is_owned_by(&one.metadata, uid));
    Ok(owned.filter_map(|one| one.data.pointer(path).cloned()).collect())
}

fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => {
            format!("the API server answered {}: {}", status.code, status.reason)
        }
        _ => "the API server could not be reached".to_owned(),
    }
}
