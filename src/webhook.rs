//! The webhook configuration: what an API server is told to send, and where. Pure: the manifest, how the one that stands in
//! a cluster differs from it, and what is to be done then.
//!
//! Every field that the API has is written out, so that nothing is left to a default that somebody else could change.

pub mod conditions;
pub mod drift;
pub mod keeping;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use self::conditions::{CONTROLLER, NO_CONTROLLER, changed};
use crate::subject::kinds::WorkloadKind;

/// API version of the object.
pub const API_VERSION: &str = "admissionregistration.k8s.io/v1";
/// Its kind.
pub const KIND: &str = "ValidatingWebhookConfiguration";
/// Where the gate answers reviews.
pub const PATH: &str = "/validate";
/// Where the gate's own definitions are, all of them cluster-scoped.
const OWN_GROUP: &str = "freshgate.dev";
/// Of this namespace nothing is ever sent: what a cluster needs to mend itself is there.
const ALWAYS_EXCLUDED: &str = "kube-system";

/// What becomes of a request that the gate does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FailurePolicy {
    /// It passes.
    #[default]
    Ignore,
    /// It is refused.
    Fail,
}

impl FailurePolicy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "Ignore",
            Self::Fail => "Fail",
        }
    }
}

/// Where an API server finds the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Behind a Service.
    Service {
        /// Its namespace, which is the gate's.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
    },
    /// At an address.
    Url(String),
}

impl Target {
    /// The host name that an API server expects the certificate to be for.
    pub fn host(&self) -> Option<String> {
        match self {
            Self::Service { namespace, name, .. } => Some(format!("{name}.{namespace}.svc")),
            Self::Url(url) => url::Url::parse(url).ok()?.host_str().map(str::to_owned),
        }
    }
}

/// A kind beside Kubernetes' own that is judged, as the cluster serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedKind {
    /// The kind.
    pub kind: WorkloadKind,
    /// Its name in the API, as `rollouts`.
    pub resource: String,
}

/// What the gate registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Name of the configuration.
    pub name: String,
    /// Where the gate is.
    pub target: Target,
    /// For workloads that no controller owns.
    pub failure_policy: FailurePolicy,
    /// Seconds that an API server waits.
    pub timeout_seconds: u32,
    /// The gate's own namespace: its Pods never depend on it.
    pub own_namespace: String,
    /// Other namespaces of which nothing is sent.
    pub excluded_namespaces: Vec<String>,
}

/// One operation on some resources.
struct Rule<'a> {
    group: &'a str,
    version: &'a str,
    operations: &'a [&'a str],
    resources: Vec<&'a str>,
}

impl Rule<'_> {
    fn manifest(&self) -> Value {
        json!({
            "apiGroups": [self.group], "apiVersions": [self.version], "operations": self.operations,
            "resources": self.resources, "scope": if self.group == OWN_GROUP { "Cluster" } else { "Namespaced" },
        })
    }
}

const MADE: &[&str] = &["CREATE", "UPDATE"];
const DELETED: &[&str] = &["DELETE"];

impl Registration {
    /// The object, with these authorities for the gate's certificate (none: those of the system), the kinds beside
    /// Kubernetes' own, and an owner.
    pub fn manifest(&self, authorities: Option<&str>, served: &[ServedKind], owner: Option<&OwnerReference>) -> Value {
        let others = |operations: &'static [&'static str]| {
            served.iter().map(move |one| Rule {
                group: &one.kind.group,
                version: "*",
                operations,
                resources: vec![&one.resource],
            })
        };
        let rule = |group, version, operations, resources: &[&'static str]| Rule {
            group,
            version,
            operations,
            resources: resources.to_vec(),
        };
        let made: Vec<Value> = [
            rule("apps", "*", MADE, &["deployments", "statefulsets", "daemonsets", "replicasets"]),
            rule("batch", "*", MADE, &["jobs", "cronjobs"]),
            rule("", "v1", MADE, &["pods", "pods/ephemeralcontainers", "replicationcontrollers"]),
        ]
        .into_iter()
        .chain(others(MADE))
        .map(|rule| rule.manifest())
        .collect();
        let deleted: Vec<Value> = [
            rule("apps", "*", DELETED, &["deployments", "statefulsets", "daemonsets"]),
            rule("batch", "*", DELETED, &["cronjobs"]),
        ]
        .into_iter()
        .chain(others(DELETED))
        .map(|rule| rule.manifest())
        .collect();
        let exceptions = [rule(OWN_GROUP, "*", MADE, &["gateexceptions"]).manifest()];
        let kinds: Vec<&WorkloadKind> = served.iter().map(|one| &one.kind).collect();
        let changed = json!({"name": "changed", "expression": changed(&kinds)});
        let no_controller = json!({"name": "no-controller", "expression": NO_CONTROLLER});
        let namespaces = self.namespaces();
        let webhooks = [
            // What people and pipelines make. Whether it waits for a gate that is away is theirs to choose.
            self.entry("workloads", self.failure_policy, &namespaces, &made, json!([no_controller, changed,])),
            // What controllers make is never held up by a gate that is away.
            self.entry(
                "owned",
                FailurePolicy::Ignore,
                &namespaces,
                &made,
                json!([
                    {"name": "controller", "expression": CONTROLLER}, changed,
                ]),
            ),
            // Deletion always passes. It is told to the gate so that what is put back later counts as what ran until then.
            self.entry("deleted", FailurePolicy::Ignore, &namespaces, &deleted, json!([no_controller])),
            // An exception that the gate does not see being made has no effect, so it is better refused at once.
            self.entry("exceptions", FailurePolicy::Fail, &json!({}), &exceptions, json!([])),
        ];
        let mut manifest = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "metadata": {
                "name": self.name, "labels": {"app.kubernetes.io/name": "freshgate"},
                // Else a controller of AKS adds terms of its own, and they would be drift for ever.
                "annotations": {"admissions.enforcer/disabled": "true"},
            },
            "webhooks": webhooks.map(|mut entry| {
                entry["clientConfig"] = self.client_config(authorities);
                entry
            }),
        });
        if let Some(owner) = owner {
            manifest["metadata"]["ownerReferences"] = json!([owner]);
        }
        manifest
    }

    fn entry(
        &self,
        name: &str,
        failure_policy: FailurePolicy,
        namespaces: &Value,
        rules: &[Value],
        match_conditions: Value,
    ) -> Value {
        json!({
            "name": format!("{name}.freshgate.dev"),
            "admissionReviewVersions": ["v1"],
            "sideEffects": "NoneOnDryRun",
            "matchPolicy": "Equivalent",
            "failurePolicy": failure_policy.as_str(),
            "timeoutSeconds": self.timeout_seconds,
            "namespaceSelector": namespaces,
            "objectSelector": {},
            "matchConditions": match_conditions,
            "rules": rules,
        })
    }

    fn client_config(&self, authorities: Option<&str>) -> Value {
        let mut config = match &self.target {
            Target::Service { namespace, name, port } => {
                json!({"service": {"namespace": namespace, "name": name, "port": port, "path": PATH}})
            }
            Target::Url(url) => json!({"url": url}),
        };
        if let Some(authorities) = authorities {
            config["caBundle"] = json!(STANDARD.encode(authorities));
        }
        config
    }

    /// By name alone: a label on a namespace is its owner's to set.
    fn namespaces(&self) -> Value {
        let mut excluded: Vec<&str> = vec![ALWAYS_EXCLUDED, &self.own_namespace];
        excluded.extend(self.excluded_namespaces.iter().map(String::as_str));
        excluded.sort_unstable();
        excluded.dedup();
        json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": excluded},
        ]})
    }
}

/// The authorities that every entry of a configuration carries, where all carry the same.
pub fn authorities_in(live: &Value) -> Option<String> {
    let entries = live["webhooks"].as_array()?;
    let bundles: Vec<&str> =
        entries.iter().map(|entry| entry["clientConfig"]["caBundle"].as_str()).collect::<Option<_>>()?;
    let first = *bundles.first()?;
    let same = bundles.iter().all(|bundle| *bundle == first);
    same.then(|| STANDARD.decode(first).ok().and_then(|bytes| String::from_utf8(bytes).ok())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn registration() -> Registration {
        Registration {
            name: "freshgate".into(),
            target: Target::Service { namespace: "gate".into(), name: "freshgate".into(), port: 443 },
            failure_policy: FailurePolicy::Fail,
            timeout_seconds: 7,
            own_namespace: "gate".into(),
            excluded_namespaces: vec!["storage".into(), "kube-system".into()],
        }
    }

    #[test]
    fn nothing_of_the_clusters_own_or_the_gates_own_waits_for_the_gate() {
        let manifest = registration().manifest(Some("PEM"), &[], None);
        let policy = |name: &str| {
            let entries = manifest["webhooks"].as_array().unwrap();
            let entry = entries.iter().find(|entry| entry["name"] == format!("{name}.freshgate.dev")).unwrap();
            let excluded = entry["namespaceSelector"]["matchExpressions"][0]["values"].clone();
            (entry["failurePolicy"].as_str().unwrap().to_owned(), excluded)
        };
        let excluded = json!(["gate", "kube-system", "storage"]);
        assert_eq!(policy("workloads"), ("Fail".into(), excluded.clone()));
        assert_eq!(policy("owned"), ("Ignore".into(), excluded.clone()));
        assert_eq!(policy("deleted"), ("Ignore".into(), excluded));
        assert_eq!(policy("exceptions").0, "Fail");
        for entry in manifest["webhooks"].as_array().unwrap() {
            assert_eq!(entry["timeoutSeconds"], 7);
            let service = json!({"namespace": "gate", "name": "freshgate", "port": 443, "path": "/validate"});
            assert_eq!(entry["clientConfig"], json!({"service": service, "caBundle": "UEVN"}));
        }
        assert_eq!(authorities_in(&manifest).as_deref(), Some("PEM"));
    }

    #[test]
    fn kinds_that_the_cluster_serves_get_rules_and_are_compared_by_their_path() {
        let kind = WorkloadKind::parse("apps.kruise.io/CloneSet=spec.template").unwrap();
        let deep = WorkloadKind::parse("example.org/Batch=spec.in.pod-template").unwrap();
        let served =
            [ServedKind { kind, resource: "clonesets".into() }, ServedKind { kind: deep, resource: "batches".into() }];
        let manifest = registration().manifest(None, &served, None);
        let rules = manifest["webhooks"][0]["rules"].as_array().unwrap();
        assert_eq!(
            (&rules[3]["apiGroups"], &rules[3]["resources"]),
            (&json!(["apps.kruise.io"]), &json!(["clonesets"]))
        );
        assert_eq!(manifest["webhooks"][2]["rules"][3]["operations"], json!(["DELETE"]));
        let expression = manifest["webhooks"][0]["matchConditions"][1]["expression"].as_str().unwrap();
        assert!(expression.contains(r#"object.?spec[?"in"][?"pod-template"]"#), "{expression}");
        assert!(!expression.contains("CloneSet"), "the usual path needs no word: {expression}");
        assert!(manifest["webhooks"][0]["clientConfig"].get("caBundle").is_none());
    }

    #[test]
    fn the_name_is_the_one_that_an_api_server_expects() {
        assert_eq!(registration().target.host().as_deref(), Some("freshgate.gate.svc"));
        assert_eq!(Target::Url("https://gate.example:8443/validate".into()).host().as_deref(), Some("gate.example"));
        assert_eq!(Target::Url("https://[::1]:8443/validate".into()).host().as_deref(), Some("[::1]"));
    }
}
