//! What runs in a cluster: every workload that no other one answers for, that is not stopped, finished or going; and which
//! digests its Pods run. Lists are read where they stand, page by page: nothing of them is kept but what is asked for.

use std::borrow::Cow;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::request::Request;
use kube::discovery;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::error::{ReadError, within};
use super::resources::built_in;
use crate::subject::kinds::{WorkloadKind, WorkloadKinds};

/// The namespace of the control plane: the webhook leaves it out.
const CONTROL_PLANE: &str = "kube-system";
/// Objects in one page.
const PAGE_OBJECTS: u32 = 500;
/// How long the API server may take for a page.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How often a list is begun again whose pages the API server has forgotten meanwhile.
const MOST_BEGINNINGS: usize = 3;

/// A workload that runs.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// `group/version`, or `v1`.
    pub api_version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// The object, as JSON. A list names the kind once for all, so it stands beside it.
    pub object: &'a str,
}

/// What a Pod runs under a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodImage<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The reference, as it is written.
    pub image: &'a str,
    /// The digest that the kubelet says it is.
    pub digest: &'a str,
}

/// Lists what runs, of all these kinds, and what is kept of each; tells of every image that a Pod runs. A kind that the
/// cluster does not have runs nothing.
pub async fn list<T>(
    client: &Client,
    kinds: &WorkloadKinds,
    mut keep: impl FnMut(Running<'_>) -> T,
    mut pod_image: impl FnMut(PodImage<'_>),
) -> Result<Vec<T>, ReadError> {
    let mut all = Vec::new();
    for kind in kinds.iter() {
        let Some(resource) = resource(client, kind).await? else { continue };
        let mut of_kind = Vec::new();
        let mut beginnings = 0;
        let listed = loop {
            of_kind.clear();
            beginnings += 1;
            let look = |text: &str| {
                let seen: Seen<'_> = match serde_json::from_str(text) {
                    Ok(seen) => seen,
                    Err(error) => {
                        // One that is of no form that its kind has is no reason to see none of the others.
                        tracing::warn!(kind = resource.kind, %error, "a workload cannot be read and is passed over");
                        return;
                    }
                };
                if !runs(&seen) {
                    return;
                }
                if resource.kind == "Pod" {
                    pod_images(&seen).for_each(&mut pod_image);
                }
                if !is_answered_for(&seen, kinds) {
                    let (api_version, kind) = (&resource.api_version, &resource.kind);
                    let (namespace, name) = (&*seen.metadata.namespace, &*seen.metadata.name);
                    of_kind.push(keep(Running { api_version, kind, namespace, name, object: text }));
                }
            };
            match pages(client, &resource, look).await {
                Err(error) if error.is_expired() && beginnings < MOST_BEGINNINGS => {}
                listed => break listed,
            }
        };
        match listed {
            Ok(()) => all.append(&mut of_kind),
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Looks at each object of a list, as it stands there.
async fn pages(client: &Client, resource: &ApiResource, mut look: impl FnMut(&str)) -> Result<(), ReadError> {
    let what = format!("{} in all namespaces", resource.plural);
    let unreadable = |cause: String| ReadError::Unreachable { what: what.clone(), cause };
    let url = Api::<DynamicObject>::all_with(client.clone(), resource).resource_url().to_owned();
    let mut parameters = ListParams::default().limit(PAGE_OBJECTS);
    loop {
        let request = Request::new(&url).list(&parameters).map_err(|error| unreadable(error.to_string()))?;
        let text = within(Instant::now() + ANSWER_WITHIN, &what, client.request_text(request)).await?;
        let page: Page<'_> = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        for object in page.items {
            look(object.get());
        }
        if page.metadata.next.is_empty() {
            return Ok(());
        }
        parameters = parameters.continue_token(&page.metadata.next);
        // What reads a large cluster on one thread lets others have it in between.
        tokio::task::yield_now().await;
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: String,
}

/// What counts of an object: everything else is skipped where it stands.
#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    spec: Spec<'a>,
    #[serde(borrow, default)]
    status: Status<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(default)]
    deletion_timestamp: Option<Value>,
    #[serde(borrow, default)]
    annotations: Option<Annotations<'a>>,
    #[serde(borrow, default)]
    owner_references: Vec<OwnerSeen<'a>>,
}

/// What a kubelet puts on the API server's image of a static Pod. Annotations can be long, and the others are skipped.
#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(borrow, default, rename = "kubernetes.io/config.mirror")]
    mirror: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnerSeen<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    controller: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(default)]
    replicas: Option<Value>,
    #[serde(default)]
    suspend: Option<Value>,
    #[serde(borrow, default)]
    containers: Vec<Container<'a>>,
    #[serde(borrow, default)]
    init_containers: Vec<Container<'a>>,
    #[serde(borrow, default)]
    ephemeral_containers: Vec<Container<'a>>,
}

#[derive(Deserialize)]
struct Container<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    image: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(borrow, default)]
    phase: Cow<'a, str>,
    #[serde(borrow, default)]
    conditions: Vec<ConditionSeen<'a>>,
    #[serde(borrow, default)]
    container_statuses: Vec<ContainerStatus<'a>>,
    #[serde(borrow, default)]
    init_container_statuses: Vec<ContainerStatus<'a>>,
    #[serde(borrow, default)]
    ephemeral_container_statuses: Vec<ContainerStatus<'a>>,
}

#[derive(Deserialize)]
struct ConditionSeen<'a> {
    #[serde(borrow, default, rename = "type")]
    type_: Cow<'a, str>,
    #[serde(borrow, default)]
    status: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ContainerStatus<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default, rename = "imageID")]
    image_id: Cow<'a, str>,
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

/// The images of a Pod whose digest its kubelet tells. An image that never was in a registry has none.
fn pod_images<'a>(pod: &'a Seen<'_>) -> impl Iterator<Item = PodImage<'a>> {
    let (spec, status) = (&pod.spec, &pod.status);
    let pairs = [
        (&spec.containers, &status.container_statuses),
        (&spec.init_containers, &status.init_container_statuses),
        (&spec.ephemeral_containers, &status.ephemeral_container_statuses),
    ];
    pairs.into_iter().flat_map(|(containers, statuses)| {
        statuses.iter().filter_map(|status| {
            let container = containers.iter().find(|container| container.name == status.name)?;
            let (_, digest) = status.image_id.split_once('@')?;
            let image = &*container.image;
            digest.starts_with("sha256:").then_some(PodImage { namespace: &pod.metadata.namespace, image, digest })
        })
    })
}

/// Whether another workload of the same list made it, and is asked about in its place.
fn is_answered_for(object: &Seen<'_>, kinds: &WorkloadKinds) -> bool {
    object.metadata.owner_references.iter().filter(|owner| owner.controller).any(|owner| {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        kinds.find(group, &owner.kind).is_some()
    })
}

/// Whether something of it runs or will: it is not stopped, finished or being deleted, and a review would see it.
fn runs(object: &Seen<'_>) -> bool {
    let (metadata, spec, status) = (&object.metadata, &object.spec, &object.status);
    let is_mirror = metadata.annotations.as_ref().is_some_and(|annotations| annotations.mirror.is_some());
    let is_finished = matches!(&*status.phase, "Succeeded" | "Failed")
        || status
            .conditions
            .iter()
            .any(|condition| matches!(&*condition.type_, "Complete" | "Failed") && condition.status == "True");
    metadata.namespace != CONTROL_PLANE
        && metadata.deletion_timestamp.is_none()
        && !is_mirror
        && spec.replicas.as_ref().is_none_or(|replicas| *replicas != 0)
        && spec.suspend != Some(Value::Bool(true))
        && !is_finished
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(change: impl FnOnce(&mut Value)) -> String {
        let mut object = json!({
            "metadata": {"name": "app", "namespace": "shop"}, "spec": {"replicas": 2}, "status": {"phase": "Running"},
        });
        change(&mut object);
        object.to_string()
    }

    fn seen(text: &str) -> Seen<'_> {
        serde_json::from_str(text).unwrap()
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
            (|object| object["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"}), false),
        ];
        for (number, (change, expected)) in cases.into_iter().enumerate() {
            assert_eq!(runs(&seen(&object(change))), expected, "case {number}");
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
            assert_eq!(is_answered_for(&seen(&object), &WorkloadKinds::default()), expected, "{kind}");
        }
    }

    #[test]
    fn a_pod_tells_which_digest_it_runs_under_each_reference() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let pod = object(|object| {
            object["spec"] = json!({
                "containers": [{"name": "app", "image": "shop/app:1"}, {"name": "local", "image": "local"}],
                "initContainers": [{"name": "init", "image": "shop/init:1"}],
            });
            object["status"] = json!({
                "phase": "Running",
                "containerStatuses": [
                    {"name": "local", "image": "x", "imageID": digest},
                    {"name": "app", "image": "docker.io/shop/app:1", "imageID": format!("docker.io/shop/app@{digest}")},
                    {"name": "gone", "image": "x", "imageID": format!("x@{digest}")},
                ],
                "initContainerStatuses": [
                    {"name": "init", "image": "x", "imageID": format!("docker-pullable://shop/init@{digest}")},
                ],
            });
        });
        let pod = seen(&pod);
        let found: Vec<(&str, &str)> = pod_images(&pod).map(|one| (one.image, one.digest)).collect();
        assert_eq!(found, [("shop/app:1", digest.as_str()), ("shop/init:1", digest.as_str())]);
    }
}
