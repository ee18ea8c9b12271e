//! What is known of an image that runs, how it is written down, and when it is to be looked up again.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::dependency::finding::{Finding, Findings, NotLookedUp};
use crate::evidence::{Fact, ResolvedImage, UnknownReason};

/// An image that runs somewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageKey {
    /// The namespace whose credentials open it; empty where none are needed. What one tenant's credentials opened is not told
    /// to another.
    pub scope: String,
    /// The reference, as workloads write it.
    pub image: String,
    /// The digest that Pods run under it; empty where none is known.
    pub running: String,
}

/// What is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// When it was looked up, in UTC.
    pub scanned_at: DateTime<Utc>,
    /// What its reference means.
    pub found: Fact<ResolvedImage>,
    /// Its next steps.
    pub findings: Findings,
}

/// The same, as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    found: Fact<ResolvedImage>,
    /// Each finding, and the reference that it leads to.
    steps: Vec<(Finding, Option<String>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    not_looked_up: Vec<NotLookedUp>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    targets: BTreeMap<String, Fact<ResolvedImage>>,
}

impl Known {
    /// As it is kept.
    pub fn to_json(&self) -> String {
        let steps = self.findings.found.iter().map(|finding| (finding.clone(), finding.target.clone())).collect();
        let written = Written {
            found: self.found.clone(),
            steps,
            not_looked_up: self.findings.not_looked_up.clone(),
            targets: self.findings.targets.clone(),
        };
        // Texts, numbers and maps with texts as keys: nothing in it can fail to be written.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// As it was kept; `None` where another version wrote what this one cannot read: it is looked up again.
    pub fn from_json(text: &str, scanned_at: DateTime<Utc>) -> Option<Self> {
        let written: Written = serde_json::from_str(text).ok()?;
        let found = written.steps.into_iter().map(|(finding, target)| Finding { target, ..finding }).collect();
        let findings = Findings { found, not_looked_up: written.not_looked_up, targets: written.targets };
        Some(Self { scanned_at, found: written.found, findings })
    }

    /// The digest that its findings are about.
    pub fn digest<'a>(&'a self, key: &'a ImageKey) -> Option<&'a str> {
        if key.running.is_empty() {
            self.found.known().map(|image| image.digest.as_str())
        } else {
            Some(key.running.as_str())
        }
    }

    /// From when on it is to be looked up again: between half and all of the interval later, by the image's name. So what was
    /// looked up in one go, as at the first start, does not come due in one go.
    pub fn due_at(&self, key: &ImageKey, interval: TimeDelta) -> DateTime<Utc> {
        if self.is_passing() {
            return self.scanned_at;
        }
        let mut hash = DefaultHasher::new();
        key.hash(&mut hash);
        let half_ms = interval.num_milliseconds().max(0) / 2;
        let of_half = i64::try_from(hash.finish() % 1_000).unwrap_or(0);
        self.scanned_at + TimeDelta::milliseconds(half_ms + half_ms / 1_000 * of_half)
    }

    /// Whether what is unknown may be known at the next look.
    fn is_passing(&self) -> bool {
        matches!(&self.found, Fact::Unknown(unknown)
            if matches!(unknown.reason, UnknownReason::Unreachable | UnknownReason::RateLimited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependency::finding::{Kind, Step};
    use crate::evidence::Cache;

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn key(image: &str) -> ImageKey {
        ImageKey { scope: String::new(), image: image.to_owned(), running: String::new() }
    }

    fn known(found: Fact<ResolvedImage>) -> Known {
        Known { scanned_at: at(), found, findings: Findings::default() }
    }

    fn image() -> Fact<ResolvedImage> {
        Fact::Known(ResolvedImage {
            digest: "sha256:a".to_owned(),
            platforms: Vec::new(),
            cache: Cache::Fetched,
            fetched_at: at(),
        })
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let finding = Finding {
            id: "newer-tag-1".to_owned(),
            kind: Kind::NewerTag,
            step: Step::Patch,
            image: "node:1.0".to_owned(),
            from: "1.0".to_owned(),
            to: "1.1".to_owned(),
            age_days: Some(3),
            why: String::new(),
            how: String::new(),
            refused_on: None,
            target_refused_on: None,
            target: Some("node:1.1".to_owned()),
        };
        let mut before = known(image());
        before.findings.add(finding);
        before.findings.could_not("newer tags of x", "its registry is away");
        before.findings.targets.insert("node:1.1".to_owned(), image());
        assert_eq!(Known::from_json(&before.to_json(), at()), Some(before));
        assert_eq!(Known::from_json("{}", at()), None);
    }

    #[test]
    fn what_was_looked_up_in_one_go_comes_due_over_half_the_interval() {
        let interval = TimeDelta::hours(6);
        let due: Vec<TimeDelta> = (0..200)
            .map(|number| known(image()).due_at(&key(&format!("shop/app-{number}:1")), interval) - at())
            .collect();
        assert!(due.iter().all(|after| (TimeDelta::hours(3)..=interval).contains(after)), "{due:?}");
        let early = due.iter().filter(|after| **after < TimeDelta::minutes(270)).count();
        assert!((70..=130).contains(&early), "{early} of 200 come in the first half");
    }

    #[test]
    fn what_could_not_be_reached_is_due_at_once_and_what_is_gone_is_not() {
        let unknown = |reason| known(Fact::unknown(reason, "x"));
        let due = |known: Known| known.due_at(&key("shop/app:1"), TimeDelta::hours(6)) - at();
        assert_eq!(due(unknown(UnknownReason::Unreachable)), TimeDelta::zero());
        assert!(due(unknown(UnknownReason::NotFound)) >= TimeDelta::hours(3));
    }
}
