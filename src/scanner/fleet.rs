//! What runs in the cluster, as a review of its making would have it, and which digests its Pods run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::admission::decode::{Review, decode};
use crate::cluster::error::ReadError;
use crate::cluster::running::{self, PodImage, Running};
use crate::subject::Subject;
use crate::subject::kinds::WorkloadKinds;

/// A workload that runs.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The workload.
    pub subject: Subject,
    /// Its `group/version`, or `v1`.
    pub api_version: String,
}

/// All that runs.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// The workloads, by namespace.
    pub workloads: Vec<Workload>,
    /// The digests that Pods run, by namespace and reference as written.
    running: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Fleet {
    /// Lists what runs, without what is in these namespaces.
    pub async fn list(
        client: &kube::Client,
        kinds: &WorkloadKinds,
        left_out: &BTreeSet<String>,
    ) -> Result<Self, ReadError> {
        let mut running: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        let keep = |one: Running<'_>| {
            if left_out.contains(one.namespace) {
                return None;
            }
            match subject(one, kinds) {
                Ok(subject) => Some(Workload { subject: subject?, api_version: one.api_version.to_owned() }),
                Err(problem) => {
                    tracing::warn!(problem, "a workload cannot be read and is not scanned");
                    None
                }
            }
        };
        let pod_image = |one: PodImage<'_>| {
            if !left_out.contains(one.namespace) {
                let images = running.entry(one.namespace.to_owned()).or_default();
                images.entry(one.image.to_owned()).or_default().insert(one.digest.to_owned());
            }
        };
        let found = running::list(client, kinds, keep, pod_image).await?;
        let mut workloads: Vec<Workload> = found.into_iter().flatten().collect();
        workloads.sort_by(|one, other| one.subject.namespace.cmp(&other.subject.namespace));
        Ok(Self { workloads, running })
    }

    /// The digests that Pods of a namespace run under a reference; none where nobody tells.
    pub fn digests(&self, namespace: &str, image: &str) -> impl Iterator<Item = &str> {
        let of_namespace = self.running.get(namespace).and_then(|images| images.get(image));
        of_namespace.into_iter().flatten().map(String::as_str)
    }
}

/// The workload as a review of its making would have it; `None` for a kind that is not judged. An error names it.
pub fn subject(one: Running<'_>, kinds: &WorkloadKinds) -> Result<Option<Subject>, String> {
    let (group, version) = one.api_version.rsplit_once('/').unwrap_or(("", one.api_version));
    let kind = json!({"group": group, "version": version, "kind": one.kind});
    // The object stays as it came: taking it apart to put it together again would cost more than all the rest.
    let body = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"scan","kind":{kind},"name":{},"namespace":{},"operation":"CREATE","dryRun":true,"object":{}}}}}"#,
        json!(one.name),
        json!(one.namespace),
        one.object,
    );
    match decode(body.as_bytes(), kinds) {
        Ok(Review { subject, .. }) => Ok(subject),
        Err(error) => Err(format!("{} {:?} in {:?}: {error}", one.kind, one.name, one.namespace)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_holds_is_read_as_a_review_of_its_making() {
        let object = json!({
            "metadata": {"name": "app", "namespace": "shop", "labels": {"team": "blue"}},
            "spec": {"template": {"metadata": {"labels": {}}, "spec": {"containers": [{"name": "app", "image": "shop/app:1"}]}}},
        });
        let object = object.to_string();
        let one =
            Running { api_version: "apps/v1", kind: "Deployment", namespace: "shop", name: "app", object: &object };
        let found = subject(one, &WorkloadKinds::default()).unwrap().unwrap();
        assert_eq!(found.in_words(), "Deployment shop/app");
        assert_eq!(found.images[0].image, "shop/app:1");
        assert_eq!(subject(Running { kind: "ConfigMap", ..one }, &WorkloadKinds::default()), Ok(None));
        let broken = r#"{"metadata": {"name": "app"}, "spec": {"template": 3}}"#;
        let said = subject(Running { object: broken, ..one }, &WorkloadKinds::default()).unwrap_err();
        assert!(said.starts_with("Deployment \"app\" in \"shop\": request.object"), "{said}");
    }
}
