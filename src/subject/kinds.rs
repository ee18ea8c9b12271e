//! Which kinds carry a Pod template, and where in the object it stands.

use serde::{Deserialize, Serialize};

/// A kind that is judged: its API group, its name, and the path to its Pod template.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkloadKind {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind, as `Deployment`.
    pub kind: String,
    /// Path to the Pod template, as `spec.template`; empty where the object is itself one (a Pod).
    pub template: Vec<String>,
}

impl WorkloadKind {
    fn new(group: &str, kind: &str, template: &[&str]) -> Self {
        Self {
            group: group.to_owned(),
            kind: kind.to_owned(),
            template: template.iter().map(|&part| part.to_owned()).collect(),
        }
    }

    /// Reads `GROUP/KIND=path.to.template`, the form of the setting for kinds that are not built in.
    pub fn parse(written: &str) -> Result<Self, String> {
        let form = || format!("{written:?} is not GROUP/KIND=PATH, as `apps.kruise.io/CloneSet=spec.template`");
        let (kind, path) = written.split_once('=').ok_or_else(form)?;
        let (group, kind) = kind.split_once('/').ok_or_else(form)?;
        let template: Vec<&str> = path.split('.').collect();
        if kind.is_empty() || template.iter().any(|part| part.is_empty()) {
            return Err(form());
        }
        Ok(Self::new(group, kind, &template))
    }
}

/// The kinds that the gate judges.
#[derive(Clone, Debug)]
pub struct WorkloadKinds(Vec<WorkloadKind>);

impl Default for WorkloadKinds {
    fn default() -> Self {
        let template = &["spec", "template"];
        Self(vec![
            WorkloadKind::new("apps", "Deployment", template),
            WorkloadKind::new("", "Pod", &[]),
            WorkloadKind::new("apps", "ReplicaSet", template),
            WorkloadKind::new("apps", "StatefulSet", template),
            WorkloadKind::new("apps", "DaemonSet", template),
            WorkloadKind::new("batch", "Job", template),
            WorkloadKind::new("batch", "CronJob", &["spec", "jobTemplate", "spec", "template"]),
            WorkloadKind::new("", "ReplicationController", template),
            WorkloadKind::new("argoproj.io", "Rollout", template),
            WorkloadKind::new("serving.knative.dev", "Service", template),
        ])
    }
}

impl WorkloadKinds {
    /// The built-in kinds and some of the operator's.
    pub fn with(more: Vec<WorkloadKind>) -> Self {
        let mut kinds = Self::default();
        kinds.0.extend(more);
        kinds
    }

    /// The kind, where it is one that is judged.
    pub fn find(&self, group: &str, kind: &str) -> Option<&WorkloadKind> {
        self.0.iter().find(|known| known.kind == kind && known.group == group)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &WorkloadKind> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_group_and_name() {
        let kinds = WorkloadKinds::with(vec![WorkloadKind::parse("apps.kruise.io/CloneSet=spec.template").unwrap()]);
        for (group, kind, path) in [
            ("apps", "Deployment", Some("spec.template")),
            ("", "Pod", Some("")),
            ("batch", "CronJob", Some("spec.jobTemplate.spec.template")),
            ("apps.kruise.io", "CloneSet", Some("spec.template")),
            ("", "Service", None),
            ("serving.knative.dev", "Service", Some("spec.template")),
            ("", "Deployment", None),
        ] {
            let found = kinds.find(group, kind).map(|known| known.template.join("."));
            assert_eq!(found.as_deref(), path, "{group}/{kind}");
        }
    }

    #[test]
    fn a_setting_that_is_no_kind_says_the_form() {
        for written in ["CloneSet", "apps/CloneSet", "CloneSet=spec", "a/B=spec..template", "a/=spec"] {
            assert!(WorkloadKind::parse(written).unwrap_err().contains("GROUP/KIND=PATH"), "{written}");
        }
    }
}
