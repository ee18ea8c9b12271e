//! Exceptions: what somebody with the right to do so has let in although a rule would not. Pure: no IO, no clock.
//!
//! An exception touches a decision, never a measurement. Here stand those that are good.

pub mod api;
pub mod book;
pub mod check;
pub mod crd;
pub mod file;
pub mod signature;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use self::api::{Reason, Target};
use crate::verdict::Rule;

/// An exception that is good: granted, not forged, for exact targets. It is evidence, and stands in the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Name of the exception.
    pub name: String,
    /// The rules that it is for.
    pub rules: Vec<Rule>,
    /// Why it was granted.
    pub reason: Reason,
    /// The only digest that it is for, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The service whose outage is the reason, with [`Reason::DependencyOutage`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependency: Option<String>,
    /// The ticket that says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Who granted it.
    pub granted_by: String,
    /// When it was granted, in UTC.
    pub granted_at: DateTime<Utc>,
    /// From when on it has no effect, in UTC.
    pub expires_at: DateTime<Utc>,
}

impl Grant {
    /// Whether it is for a rule at `now`. Which digests it is for, and whether a dependency is out, is the rule's matter.
    pub fn holds(&self, rule: Rule, now: DateTime<Utc>) -> bool {
        now < self.expires_at && self.rules.contains(&rule)
    }

    /// Whether it is for an image of this digest; one that names a digest is for no image whose digest is unknown.
    pub fn fits_digest(&self, digest: Option<&str>) -> bool {
        self.digest.as_deref().is_none_or(|wanted| digest == Some(wanted))
    }
}

/// Kinds and grants, by name of the workload.
type ByName = HashMap<String, Vec<(String, Arc<Grant>)>>;

/// All exceptions that are good, by target. Those that have expired are among them: who decides compares with its `now`.
#[derive(Clone, Debug, Default)]
pub struct Exceptions {
    /// By namespace, then by name: so that asking for one copies no text.
    by_namespace: HashMap<String, ByName>,
    count: usize,
}

impl Exceptions {
    /// Indexes grants by their targets.
    pub fn new(grants: impl IntoIterator<Item = (Vec<Target>, Grant)>) -> Self {
        // By name, so that the same exceptions give the same evidence in whatever order they came.
        let mut by_name: Vec<(Vec<Target>, Grant)> = grants.into_iter().collect();
        by_name.sort_by(|(_, one), (_, other)| (&one.name, one.granted_at).cmp(&(&other.name, other.granted_at)));
        let mut all = Self { count: by_name.len(), ..Self::default() };
        for (targets, grant) in by_name {
            let grant = Arc::new(grant);
            let distinct: BTreeSet<Target> = targets.into_iter().collect();
            for Target { namespace, kind, name } in distinct {
                let of_name = all.by_namespace.entry(namespace).or_default().entry(name).or_default();
                of_name.push((kind, Arc::clone(&grant)));
            }
        }
        all
    }

    /// The exceptions for one workload, by name of the exception.
    pub fn of(&self, namespace: &str, kind: &str, name: &str) -> Vec<Grant> {
        let of_name = self.by_namespace.get(namespace).and_then(|names| names.get(name));
        let of_kind = of_name.into_iter().flatten().filter(|(of, _)| of == kind);
        of_kind.map(|(_, grant)| grant.as_ref().clone()).collect()
    }

    /// How many exceptions there are, whatever their targets.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn grant(name: &str) -> Grant {
        Grant {
            name: name.to_owned(),
            rules: vec![Rule::ImageAge],
            reason: Reason::Security,
            digest: None,
            dependency: None,
            ticket: None,
            granted_by: "alice".to_owned(),
            granted_at: at(0),
            expires_at: at(60),
        }
    }

    fn target(namespace: &str, kind: &str, name: &str) -> Target {
        Target { namespace: namespace.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }

    fn names(exceptions: &Exceptions, namespace: &str, kind: &str, name: &str) -> Vec<String> {
        exceptions.of(namespace, kind, name).into_iter().map(|grant| grant.name).collect()
    }

    #[test]
    fn only_exact_targets_are_found() {
        let checkout = target("shop", "Deployment", "checkout");
        let exceptions = Exceptions::new([
            (vec![checkout.clone(), target("pay", "CronJob", "bill")], grant("two")),
            (vec![checkout.clone(), checkout], grant("one")),
        ]);
        assert_eq!(names(&exceptions, "shop", "Deployment", "checkout"), ["one", "two"]);
        assert_eq!(names(&exceptions, "pay", "CronJob", "bill"), ["two"]);
        for (namespace, kind, name) in [
            ("shop", "StatefulSet", "checkout"),
            ("shop", "Deployment", "checkout2"),
            ("pay", "Deployment", "checkout"),
            ("shop", "Deployment", "*"),
            ("", "", ""),
        ] {
            assert_eq!(names(&exceptions, namespace, kind, name), Vec::<String>::new(), "{namespace}/{kind}/{name}");
        }
        assert_eq!(exceptions.len(), 2);
    }

    #[test]
    fn a_grant_is_for_its_rules_until_it_ends_and_for_its_digest_alone() {
        let grant = grant("one");
        assert!(grant.holds(Rule::ImageAge, at(59)));
        assert!(!grant.holds(Rule::ImageAge, at(60)));
        assert!(!grant.holds(Rule::ErrorBudget, at(0)));
        assert!(grant.fits_digest(None) && grant.fits_digest(Some("sha256:a")));
        let narrow = Grant { digest: Some("sha256:a".to_owned()), ..grant };
        assert!(narrow.fits_digest(Some("sha256:a")));
        assert!(!narrow.fits_digest(Some("sha256:b")) && !narrow.fits_digest(None));
    }

    #[test]
    fn a_grant_is_written_as_records_have_it_and_read_back() {
        let written = serde_json::to_value(grant("one")).unwrap();
        let expected = serde_json::json!({
            "name": "one", "rules": ["imageAge"], "reason": "security", "grantedBy": "alice",
            "grantedAt": "2027-01-15T08:00:00Z", "expiresAt": "2027-01-15T08:01:00Z",
        });
        assert_eq!(written, expected);
        assert_eq!(serde_json::from_value::<Grant>(written).unwrap(), grant("one"));
    }
}
