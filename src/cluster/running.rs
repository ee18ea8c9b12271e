//! What runs in a cluster: every workload that no other one answers for, that is not stopped, finished or going.

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, TypeMeta};
use kube::discovery;
use serde_json::Value;

use super::error::ReadError;
use super::resources::built_in;
use super::watch::list_all;
use crate::subject::kinds::{WorkloadKind, WorkloadKinds};

/// The namespace of the control plane: the webhook leaves it out.
const CONTROL_PLANE: &str = "kube-system";
/// What a kubelet puts on the API server's image of a static Pod.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Lists what runs, of all these kinds, and what is kept of each. A kind that the cluster does not have runs nothing.
pub async fn list<T>(
    client: &Client,
    kinds: &WorkloadKinds,
    keep: impl Fn(DynamicObject) -> T,
) -> Result<Vec<T>, ReadError> {
    let mut all = Vec::new();
    for kind in kinds.iter() {
        let Some(resource) = resource(client, kind).await? else { continue };
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let project = |mut object: DynamicObject| {
            // A list names the kind once, for all of its objects.
            object.types = Some(TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
            (runs(&object) && !is_answered_for(&object, kinds)).then(|| keep(object))
        };
        match list_all(&api, &format!("{} in all namespaces", resource.plural), &project).await {
            Ok((objects, _)) => all.extend(objects.into_iter().flatten()),
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Where a kind stands in the API; `None` where the cluster does not have it.
async fn resource(client: &Client, kind: &WorkloadKind) -> Result<Option<ApiResource>, ReadError> {
    if let Some(known) = built_in(&kind.group, &kind.kind) {
        return Ok(Some(known));
    }
    match discovery::group(client, &kind.group).await {
        Ok(group) => Ok(group.recommended_kind(&kind.kind).map(|(resource, _)| resource)),
        Err(kube::Error::Discovery(_)) => Ok(None),
        Err(error) => Err(ReadError::of(&format!("the kinds of {}", kind.group), &error)),
    }
}

/// Whether another workload of the same list made it, and is asked about in its place.
fn is_answered_for(object: &DynamicObject, kinds: &WorkloadKinds) -> bool {
    let owners = object.metadata.owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).any(|owner| {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        kinds.find(group, &owner.kind).is_some()
    })
}

/// Whether something of it runs or will: it is not stopped, finished or being deleted, and a review would see it.
fn runs(object: &DynamicObject) -> bool {
    let metadata = &object.metadata;
    let is_mirror = metadata.annotations.iter().flatten().any(|(key, _)| key == MIRROR_ANNOTATION);
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let is_finished = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"))
        || status["conditions"].as_array().into_iter().flatten().any(|condition| {
            matches!(condition["type"].as_str(), Some("Complete" | "Failed")) && condition["status"] == "True"
        });
    metadata.namespace.as_deref() != Some(CONTROL_PLANE)
        && metadata.deletion_timestamp.is_none()
        && !is_mirror
        && spec["replicas"] != 0
        && spec["suspend"] != Value::Bool(true)
        && !is_finished
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(change: impl FnOnce(&mut Value)) -> DynamicObject {
        let mut object = json!({
            "metadata": {"name": "app", "namespace": "shop"}, "spec": {"replicas": 2}, "status": {"phase": "Running"},
        });
        change(&mut object);
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_is_stopped_finished_or_going_does_not_run() {
        type Change = fn(&mut Value);
        let cases: [(Change, bool); 10] = [
            (|_| {}, true),
            (|object| object["spec"] = json!({"suspend": false}), true),
            (|object| object["status"]["conditions"] = json!([{"type": "Complete", "status": "False"}]), true),
            (|object| object["spec"]["replicas"] = json!(0), false),
            (|object| object["spec"]["suspend"] = json!(true), false),
            (|object| object["status"]["phase"] = json!("Succeeded"), false),
            (|object| object["status"]["conditions"] = json!([{"type": "Failed", "status": "True"}]), false),
            (|object| object["metadata"]["deletionTimestamp"] = json!("2026-11-24T12:00:00Z"), false),
            (|object| object["metadata"]["namespace"] = json!("kube-system"), false),
            (|object| object["metadata"]["annotations"] = json!({MIRROR_ANNOTATION: "x"}), false),
        ];
        for (number, (change, expected)) in cases.into_iter().enumerate() {
            assert_eq!(runs(&object(change)), expected, "case {number}");
        }
    }

    #[test]
    fn a_workload_answers_for_what_it_makes_and_an_unknown_operator_for_nothing() {
        for (api_version, kind, controller, expected) in [
            ("apps/v1", "ReplicaSet", true, true),
            ("batch/v1", "CronJob", true, true),
            ("apps/v1", "ReplicaSet", false, false),
            ("db.example/v1", "Cluster", true, false),
        ] {
            let owner =
                json!([{"apiVersion": api_version, "kind": kind, "name": "x", "uid": "u", "controller": controller}]);
            let object = object(|object| object["metadata"]["ownerReferences"] = owner);
            assert_eq!(is_answered_for(&object, &WorkloadKinds::default()), expected, "{kind}");
        }
    }
}
