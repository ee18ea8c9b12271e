//! Which service a workload belongs to: by a mapping that the administrator owns first, then by a label of its namespace,
//! then (if the source allows it) by a label of its own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::image::reference::glob_fits;

/// Where the name of a workload's service comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServiceRules {
    /// The places that are looked at, in this order; the first that names a service counts.
    /// Default `[Mapping, NamespaceLabel]`: a workload's own label is for whoever trusts its tenants.
    pub from: Vec<IdentityFrom>,
    /// Services of workloads by name: the first entry that fits counts.
    pub mapping: Vec<Mapping>,
    /// The label of namespaces that names the service; default `freshgate.dev/service`.
    pub namespace_label: String,
    /// The label of workloads (their own, then their template's) that names it; default `app.kubernetes.io/name`.
    pub workload_label: String,
}

impl Default for ServiceRules {
    fn default() -> Self {
        Self {
            from: vec![IdentityFrom::Mapping, IdentityFrom::NamespaceLabel],
            mapping: Vec::new(),
            namespace_label: "freshgate.dev/service".to_owned(),
            workload_label: "app.kubernetes.io/name".to_owned(),
        }
    }
}

/// A place that can name a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum IdentityFrom {
    /// The administrator's mapping.
    Mapping,
    /// A label of the namespace.
    NamespaceLabel,
    /// A label of the workload, which its tenants can write.
    WorkloadLabel,
}

impl IdentityFrom {
    /// The name as records have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mapping => "Mapping",
            Self::NamespaceLabel => "NamespaceLabel",
            Self::WorkloadLabel => "WorkloadLabel",
        }
    }
}

/// The service of some workloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mapping {
    /// Namespace, by name or glob; default all.
    #[serde(default = "any", skip_serializing_if = "is_any")]
    pub namespace: String,
    /// Kind, as `Deployment`; default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name, as a name or glob; default all.
    #[serde(default = "any", skip_serializing_if = "is_any")]
    pub name: String,
    /// Their service.
    pub service: String,
}

fn any() -> String {
    "*".to_owned()
}

fn is_any(glob: &str) -> bool {
    glob == "*"
}

/// A workload as far as its service goes.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Labels of its namespace, where they are known.
    pub namespace_labels: Option<&'a BTreeMap<String, String>>,
    /// Its own labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Labels of its template.
    pub template_labels: &'a BTreeMap<String, String>,
}

impl ServiceRules {
    /// The workload's service and the place that names it.
    pub fn service_of(&self, workload: Candidate<'_>) -> Option<(String, IdentityFrom)> {
        self.from.iter().find_map(|from| Some((self.named_by(*from, workload)?, *from)))
    }

    /// The service that one place names, whether it counts or not.
    pub fn named_by(&self, from: IdentityFrom, workload: Candidate<'_>) -> Option<String> {
        let named = match from {
            IdentityFrom::Mapping => self.mapping.iter().find(|entry| entry.fits(workload)).map(|entry| &entry.service),
            IdentityFrom::NamespaceLabel => {
                workload.namespace_labels.and_then(|labels| labels.get(&self.namespace_label))
            }
            IdentityFrom::WorkloadLabel => workload
                .labels
                .get(&self.workload_label)
                .filter(|named| !named.is_empty())
                .or_else(|| workload.template_labels.get(&self.workload_label)),
        };
        named.filter(|named| !named.is_empty()).cloned()
    }

    /// Whether a workload's own labels can say which service it is.
    pub fn trusts_workloads(&self) -> bool {
        self.from.contains(&IdentityFrom::WorkloadLabel)
    }
}

impl Mapping {
    fn fits(&self, workload: Candidate<'_>) -> bool {
        glob_fits(&self.namespace, workload.namespace)
            && glob_fits(&self.name, workload.name)
            && self.kind.as_deref().is_none_or(|kind| kind == workload.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn rules(from: &[IdentityFrom]) -> ServiceRules {
        let entry = |name: &str, service: &str| Mapping {
            namespace: "shop".into(),
            kind: None,
            name: name.into(),
            service: service.into(),
        };
        ServiceRules {
            from: from.to_vec(),
            mapping: vec![entry("checkout*", "checkout"), entry("*", "rest")],
            ..ServiceRules::default()
        }
    }

    #[test]
    fn the_first_place_that_names_a_service_counts() {
        use IdentityFrom::{Mapping, NamespaceLabel, WorkloadLabel};
        let of_namespace = labels(&[("freshgate.dev/service", "by-namespace")]);
        let own = labels(&[("app.kubernetes.io/name", "own")]);
        let of_template = labels(&[("app.kubernetes.io/name", "of-template")]);
        let find = |from: &[IdentityFrom], namespace: &str, own: &BTreeMap<String, String>| {
            let workload = Candidate {
                namespace,
                kind: "Deployment",
                name: "checkout-canary",
                namespace_labels: Some(&of_namespace),
                labels: own,
                template_labels: &of_template,
            };
            rules(from).service_of(workload).map(|(service, from)| (service, from.as_str()))
        };
        let found = |service: &str, from: &'static str| Some((service.to_owned(), from));
        let none = BTreeMap::new();
        assert_eq!(find(&[Mapping, NamespaceLabel, WorkloadLabel], "shop", &own), found("checkout", "Mapping"));
        assert_eq!(find(&[Mapping, NamespaceLabel], "bank", &own), found("by-namespace", "NamespaceLabel"));
        assert_eq!(find(&[Mapping, WorkloadLabel, NamespaceLabel], "bank", &own), found("own", "WorkloadLabel"));
        assert_eq!(find(&[Mapping, WorkloadLabel], "bank", &none), found("of-template", "WorkloadLabel"));
        assert_eq!(find(&[Mapping], "bank", &own), None);
        assert_eq!(find(&[], "shop", &own), None);
        let empty = labels(&[("app.kubernetes.io/name", "")]);
        assert_eq!(find(&[WorkloadLabel], "bank", &empty), found("of-template", "WorkloadLabel"));
    }

    #[test]
    fn a_mapping_may_be_for_one_kind() {
        let jobs =
            Mapping { namespace: "*".into(), kind: Some("Job".into()), name: "*".into(), service: "batch".into() };
        let rules = ServiceRules { mapping: vec![jobs], ..ServiceRules::default() };
        let none = BTreeMap::new();
        let of = |kind| {
            let (namespace_labels, labels, template_labels) = (None, &none, &none);
            rules.service_of(Candidate { namespace: "a", kind, name: "b", namespace_labels, labels, template_labels })
        };
        assert_eq!(of("Job").map(|(service, _)| service).as_deref(), Some("batch"));
        assert_eq!(of("Deployment"), None);
    }
}
