//! `GateException`, the object by which somebody lets a workload in although a rule would not: the same in a cluster and
//! in a file. Pure.
//!
//! Shapes are checked here and by the CRD's schema; what needs the time, policies or the user is checked at admission.

use std::fmt;

use chrono::{DateTime, Utc};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::policy::api::Condition;
use crate::verdict::Rule;

/// Lets named workloads in although a rule would refuse them, for a reason and for a while. It has an effect once the
/// gate has granted it; what it says cannot be changed afterwards.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "freshgate.dev",
    version = "v1alpha1",
    kind = "GateException",
    plural = "gateexceptions",
    singular = "gateexception",
    shortname = "gexc",
    category = "freshgate",
    status = "GateExceptionStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateExceptionSpec {
    /// The workloads that it is for, each by its exact name; at most 100.
    pub targets: Vec<Target>,
    /// The rules that it is for: `imageAge`, `errorBudget`.
    pub rules: Vec<Rule>,
    /// Why. Each reason has a verb of its own (`grant-incident` and so on) that whoever creates this needs in the
    /// namespace of every target, and a longest duration.
    pub reason: Reason,
    /// Why, in words.
    pub text: String,
    /// The ticket that says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// From when on it has no effect.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires_at: DateTime<Utc>,
    /// The only image digest that it is for, as `sha256:…`; without it, whatever the targets run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The service whose outage is the reason; needed for, and only for, `dependency-outage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependency: Option<Dependency>,
}

/// One workload, exactly: no globs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its namespace.
    pub namespace: String,
    /// Its kind, as `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Another service that this one depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// The service, by the name that its error budget has. The exception has an effect only while that budget is
    /// exhausted too.
    pub service: String,
}

/// Why an exception is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A vulnerability is closed by it.
    Security,
    /// An incident is under way: it works at once, is short, and loud.
    Incident,
    /// It makes the service more reliable.
    ReliabilityFix,
    /// The budget was spent by the outage of another service.
    DependencyOutage,
    /// None of these.
    Other,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::Security, Self::Incident, Self::ReliabilityFix, Self::DependencyOutage, Self::Other];

    /// The name as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Security => "security",
            Self::Incident => "incident",
            Self::ReliabilityFix => "reliability-fix",
            Self::DependencyOutage => "dependency-outage",
            Self::Other => "other",
        }
    }

    /// The RBAC verb on `gateexceptions` that granting it needs.
    pub fn verb(self) -> String {
        format!("grant-{}", self.as_str())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What the gate says of an exception. Whatever else is written here has no effect: the signature decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateExceptionStatus {
    /// Who granted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_by: Option<Grantor>,
    /// When it was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub granted_at: Option<DateTime<Utc>>,
    /// The spec that was granted, as `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_hash: Option<String>,
    /// The key that signed this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The gate's signature over UID, spec, grantor and time, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// `Active` says whether it has an effect, and if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Who granted an exception, as the API server authenticated the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grantor {
    /// Name of the user.
    pub username: String,
    /// UID of the user, where the authenticator gives one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// SHA-256 of a spec: of its fields as this type writes them, so that neither their order nor their spelling counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpecHash([u8; 32]);

impl SpecHash {
    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SpecHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for SpecHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl GateExceptionSpec {
    /// What identifies this spec. A field that a later version adds must be left out where it is not set, or what was
    /// granted before an upgrade would be inert after it.
    pub fn hash(&self) -> SpecHash {
        // Strings, lists and times: nothing in it can fail to be written.
        SpecHash(Sha256::digest(serde_json::to_vec(self).unwrap_or_default()).into())
    }

    /// The namespaces of its targets, each once.
    pub fn namespaces(&self) -> Vec<&str> {
        let mut namespaces: Vec<&str> = self.targets.iter().map(|target| target.namespace.as_str()).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: serde_json::Value) -> Result<GateExceptionSpec, serde_json::Error> {
        serde_json::from_value(value)
    }

    fn spec() -> serde_json::Value {
        json!({
            "targets": [{"namespace": "shop", "kind": "Deployment", "name": "checkout"}],
            "rules": ["errorBudget"], "reason": "reliability-fix", "text": "adds the missing back-off",
            "ticket": "OPS-1234", "expiresAt": "2026-11-24T12:00:00Z"
        })
    }

    #[test]
    fn the_hash_follows_what_is_said_and_not_how() {
        let hash = read(spec()).unwrap().hash();
        let text = r#"{"expiresAt":"2026-11-24T13:00:00+01:00","ticket":"OPS-1234","text":"adds the missing back-off",
            "reason":"reliability-fix","rules":["errorBudget"],"targets":[{"name":"checkout","namespace":"shop","kind":"Deployment"}]}"#;
        assert_eq!(serde_json::from_str::<GateExceptionSpec>(text).unwrap().hash(), hash);
        // It must stay what it is: exceptions that were granted before an upgrade are good after it.
        assert_eq!(hash.to_string(), "sha256:54006be22fe64a8adf368f15a1574925b82d2f03d06c4b99d2228d84346e642a");
        for (field, value) in [
            ("ticket", json!("OPS-1235")),
            ("reason", json!("other")),
            ("rules", json!(["imageAge"])),
            ("rules", json!(["errorBudget", "imageAge"])),
            ("expiresAt", json!("2026-11-24T12:00:01Z")),
            ("digest", json!("sha256:00")),
            ("targets", json!([{"namespace": "shop", "kind": "Deployment", "name": "cart"}])),
        ] {
            let mut other = spec();
            other[field] = value;
            assert_ne!(read(other).unwrap().hash(), hash, "{field}");
        }
    }

    #[test]
    fn a_field_of_a_later_version_is_not_passed_over() {
        let mut later = spec();
        later["onlyOn"] = json!("Sunday");
        assert!(read(later).unwrap_err().to_string().contains("unknown field `onlyOn`"));
    }

    #[test]
    fn reasons_are_written_as_their_verbs_name_them() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
        assert_eq!(Reason::ReliabilityFix.verb(), "grant-reliability-fix");
    }
}
