//! Which kinds make objects of which others. A claim that no controller would make is false, whatever exists by its name.

use super::OwnerReference;
use super::kinds::WorkloadKinds;

/// What a claimed controller can be to an object of some kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It makes such objects from its template, which says what they run.
    ByTemplate,
    /// Its kind is one that Kubernetes does not know: an operator's.
    Unknown,
    /// Kubernetes' own, and it makes no such objects.
    Impossible,
}

/// API groups of Kubernetes itself: what controls what in them is known.
const BUILT_IN_GROUPS: [&str; 20] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
];

/// What is made from templates that stand in other objects.
const MADE_FROM_TEMPLATES: [(&str, &str); 4] =
    [("", "Pod"), ("apps", "ReplicaSet"), ("", "ReplicationController"), ("batch", "Job")];

/// What `owner` can be to an object of this group and kind.
pub fn ownership(group: &str, kind: &str, owner: &OwnerReference, kinds: &WorkloadKinds) -> Ownership {
    match ((group, kind), (owner.group(), owner.kind.as_str())) {
        (
            ("", "Pod"),
            ("apps", "ReplicaSet" | "StatefulSet" | "DaemonSet") | ("", "ReplicationController") | ("batch", "Job"),
        )
        | (("apps", "ReplicaSet"), ("apps", "Deployment") | ("argoproj.io", "Rollout"))
        | (("batch", "Job"), ("batch", "CronJob")) => Ownership::ByTemplate,
        (_, (group, _)) if BUILT_IN_GROUPS.contains(&group) => Ownership::Impossible,
        (made, (group, owner)) if MADE_FROM_TEMPLATES.contains(&made) && has_template(group, owner, kinds) => {
            Ownership::ByTemplate
        }
        _ => Ownership::Unknown,
    }
}

fn has_template(group: &str, kind: &str, kinds: &WorkloadKinds) -> bool {
    kinds.find(group, kind).is_some_and(|known| !known.template.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::kinds::WorkloadKind;
    use super::*;

    #[test]
    fn only_what_controllers_make_can_be_theirs() {
        let kinds = WorkloadKinds::with(vec![WorkloadKind::parse("apps.kruise.io/CloneSet=spec.template").unwrap()]);
        for (made, owner, expected) in [
            ("/Pod", "apps/v1 ReplicaSet", Ownership::ByTemplate),
            ("/Pod", "apps/v1 StatefulSet", Ownership::ByTemplate),
            ("/Pod", "batch/v1 Job", Ownership::ByTemplate),
            ("/Pod", "v1 ReplicationController", Ownership::ByTemplate),
            ("apps/ReplicaSet", "apps/v1 Deployment", Ownership::ByTemplate),
            ("apps/ReplicaSet", "argoproj.io/v1alpha1 Rollout", Ownership::ByTemplate),
            ("batch/Job", "batch/v1 CronJob", Ownership::ByTemplate),
            ("/Pod", "apps.kruise.io/v1alpha1 CloneSet", Ownership::ByTemplate),
            ("apps/Deployment", "apps/v1 Deployment", Ownership::Impossible),
            ("apps/Deployment", "apps/v1 ReplicaSet", Ownership::Impossible),
            ("/Pod", "apps/v1 Deployment", Ownership::Impossible),
            ("/Pod", "v1 Pod", Ownership::Impossible),
            ("/Pod", "v1 ConfigMap", Ownership::Impossible),
            ("apps/ReplicaSet", "batch/v1 Job", Ownership::Impossible),
            ("batch/CronJob", "batch/v1 CronJob", Ownership::Impossible),
            ("apps/StatefulSet", "monitoring.coreos.com/v1 Prometheus", Ownership::Unknown),
            ("/Pod", "tekton.dev/v1 TaskRun", Ownership::Unknown),
            // Knative's Service makes Deployments by way of others, never from its own template.
            ("apps/Deployment", "serving.knative.dev/v1 Service", Ownership::Unknown),
            ("apps/Deployment", "apps.kruise.io/v1alpha1 CloneSet", Ownership::Unknown),
        ] {
            let (group, kind) = made.split_once('/').unwrap();
            let (api_version, owner_kind) = owner.split_once(' ').unwrap();
            let claimed = OwnerReference {
                api_version: api_version.into(),
                kind: owner_kind.into(),
                name: "x".into(),
                uid: "u".into(),
            };
            assert_eq!(ownership(group, kind, &claimed, &kinds), expected, "{made} of {owner}");
        }
    }
}
