//! What is known of an image that runs, how it is written down, and when it is to be looked up again.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::dependency::contents::Contents;
use crate::dependency::finding::{Finding, Findings, NotLookedUp};
use crate::dependency::package::libyear::Libyears;
use crate::evidence::{Fact, ResolvedImage, UnknownReason};

/// How many times in an interval an index that is away is asked again.
const PATIENCE: i32 = 8;

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
    /// What is in it, where somebody looked.
    pub contents: Option<KnownContents>,
}

/// What is known of what is in an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownContents {
    /// When it was looked into, in UTC.
    pub looked_at: DateTime<Utc>,
    /// The digest that was looked into.
    pub digest: String,
    /// Which settings of indexes that was with ([`crate::dependency::index::settings::mark`]).
    pub indexes: String,
    /// Whether somebody was away who may answer before long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_passing: bool,
    /// Packages that are behind, and what ends.
    pub steps: Vec<Finding>,
    /// What could not be looked up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_looked_up: Vec<NotLookedUp>,
    /// How far its packages are behind, where dates are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libyears: Option<Libyears>,
}

impl KnownContents {
    /// What was found in an image.
    pub fn new(looked_at: DateTime<Utc>, digest: &str, indexes: &str, is_passing: bool, found: Contents) -> Self {
        Self {
            looked_at,
            digest: digest.to_owned(),
            indexes: indexes.to_owned(),
            is_passing,
            steps: found.findings.found,
            not_looked_up: found.findings.not_looked_up,
            libyears: found.libyears,
        }
    }

    fn findings(&self) -> Findings {
        let (found, not_looked_up) = (self.steps.clone(), self.not_looked_up.clone());
        Findings { found, not_looked_up, targets: BTreeMap::new() }
    }
}

/// The same, as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    /// Left out where it is when the row was written, as it always was once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scanned_at: Option<DateTime<Utc>>,
    found: Fact<ResolvedImage>,
    /// Each finding, and the reference that it leads to.
    steps: Vec<(Finding, Option<String>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    not_looked_up: Vec<NotLookedUp>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    targets: BTreeMap<String, Fact<ResolvedImage>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contents: Option<KnownContents>,
}

impl Known {
    /// When something of it was last learnt: a row is written at that time.
    pub fn learnt_at(&self) -> DateTime<Utc> {
        self.contents.as_ref().map_or(self.scanned_at, |contents| contents.looked_at.max(self.scanned_at))
    }

    /// As it is kept.
    pub fn to_json(&self) -> String {
        let steps = self.findings.found.iter().map(|finding| (finding.clone(), finding.target.clone())).collect();
        let written = Written {
            scanned_at: Some(self.scanned_at).filter(|at| *at != self.learnt_at()),
            found: self.found.clone(),
            steps,
            not_looked_up: self.findings.not_looked_up.clone(),
            targets: self.findings.targets.clone(),
            contents: self.contents.clone(),
        };
        // Texts, numbers and maps with texts as keys: nothing in it can fail to be written.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// As it was kept, in a row of that time; `None` where another version wrote what this one cannot read: it is looked up
    /// again.
    pub fn from_json(text: &str, learnt_at: DateTime<Utc>) -> Option<Self> {
        let written: Written = serde_json::from_str(text).ok()?;
        let found = written.steps.into_iter().map(|(finding, target)| Finding { target, ..finding }).collect();
        let findings = Findings { found, not_looked_up: written.not_looked_up, targets: written.targets };
        let scanned_at = written.scanned_at.unwrap_or(learnt_at);
        Some(Self { scanned_at, found: written.found, findings, contents: written.contents })
    }

    /// The digest that its findings are about.
    pub fn digest<'a>(&'a self, key: &'a ImageKey) -> Option<&'a str> {
        if key.running.is_empty() {
            self.found.known().map(|image| image.digest.as_str())
        } else {
            Some(key.running.as_str())
        }
    }

    /// What is in it, where that is of the digest that runs.
    pub fn contents<'a>(&'a self, key: &'a ImageKey) -> Option<&'a KnownContents> {
        let digest = self.digest(key);
        self.contents.as_ref().filter(|contents| digest == Some(contents.digest.as_str()))
    }

    /// All its next steps, of the image and of what is in it.
    pub fn all_findings(&self, key: &ImageKey) -> Findings {
        let mut all = self.findings.clone();
        if let Some(contents) = self.contents(key) {
            all.merge(contents.findings());
        }
        all
    }

    /// From when on it is to be looked into again, with these settings; `None` where nobody knows what runs.
    pub fn contents_due_at(&self, key: &ImageKey, indexes: &str, interval: TimeDelta) -> Option<DateTime<Utc>> {
        self.digest(key)?;
        Some(match self.contents(key).filter(|contents| contents.indexes == indexes) {
            None => DateTime::<Utc>::MIN_UTC,
            Some(contents) if contents.is_passing => contents.looked_at + interval / PATIENCE,
            Some(contents) => spread(contents.looked_at, key, interval),
        })
    }

    /// From when on it is to be looked up again: between half and all of the interval later, by the image's name. So what was
    /// looked up in one go, as at the first start, does not come due in one go.
    pub fn due_at(&self, key: &ImageKey, interval: TimeDelta) -> DateTime<Utc> {
        if self.is_passing() {
            return self.scanned_at;
        }
        spread(self.scanned_at, key, interval)
    }

    /// Whether what is unknown may be known at the next look.
    fn is_passing(&self) -> bool {
        matches!(&self.found, Fact::Unknown(unknown)
            if matches!(unknown.reason, UnknownReason::Unreachable | UnknownReason::RateLimited))
    }
}

/// Between half and all of the interval later, by the image's name.
fn spread(at: DateTime<Utc>, key: &ImageKey, interval: TimeDelta) -> DateTime<Utc> {
    let mut hash = DefaultHasher::new();
    key.hash(&mut hash);
    let half_ms = interval.num_milliseconds().max(0) / 2;
    let of_half = i64::try_from(hash.finish() % 1_000).unwrap_or(0);
    at + TimeDelta::milliseconds(half_ms + half_ms / 1_000 * of_half)
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
        Known { scanned_at: at(), found, findings: Findings::default(), contents: None }
    }

    fn contents(looked_at: DateTime<Utc>) -> KnownContents {
        let libyears =
            Libyears { total: 2.5, mean: 1.25, worst: 2.0, worst_package: Some("far 1.0.0".into()), packages: 2 };
        let mut found = Contents { libyears: Some(libyears), ..Contents::default() };
        found.findings.add(step(Kind::Package, "npm-1", None));
        found.findings.could_not("newer versions of npm:x", "its index is away");
        KnownContents::new(looked_at, "sha256:a", "settings", false, found)
    }

    fn image() -> Fact<ResolvedImage> {
        Fact::Known(ResolvedImage {
            digest: "sha256:a".to_owned(),
            platforms: Vec::new(),
            cache: Cache::Fetched,
            fetched_at: at(),
        })
    }

    fn step(kind: Kind, id: &str, target: Option<&str>) -> Finding {
        Finding {
            id: id.to_owned(),
            kind,
            step: Step::Patch,
            image: "node:1.0".to_owned(),
            from: "1.0".to_owned(),
            to: "1.1".to_owned(),
            age_days: Some(3),
            why: String::new(),
            how: String::new(),
            refused_on: None,
            target_refused_on: None,
            target: target.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let mut before = known(image());
        before.findings.add(step(Kind::NewerTag, "newer-tag-1", Some("node:1.1")));
        before.findings.could_not("newer tags of x", "its registry is away");
        before.findings.targets.insert("node:1.1".to_owned(), image());
        assert_eq!(Known::from_json(&before.to_json(), at()), Some(before.clone()));
        assert_eq!(Known::from_json("{}", at()), None);
        // A row is of the time at which something was last learnt; one without contents is as it always was.
        assert!(!before.to_json().contains("scannedAt") && !before.to_json().contains("contents"));
        before.contents = Some(contents(at() + TimeDelta::minutes(5)));
        assert_eq!(before.learnt_at(), at() + TimeDelta::minutes(5));
        assert_eq!(Known::from_json(&before.to_json(), before.learnt_at()), Some(before));
    }

    #[test]
    fn contents_are_told_of_the_digest_that_they_are_of() {
        let mut one = known(image());
        one.contents = Some(contents(at()));
        let (same, other) = (key("shop/app:1"), ImageKey { running: "sha256:b".into(), ..key("shop/app:1") });
        assert_eq!(one.all_findings(&same).found.len(), 1);
        assert_eq!(one.all_findings(&same).not_looked_up.len(), 1);
        assert_eq!(one.all_findings(&other), Findings::default());
    }

    #[test]
    fn contents_are_due_where_they_are_not_known_and_sooner_where_somebody_was_away() {
        let interval = TimeDelta::hours(8);
        let due = |known: &Known, key: &ImageKey| known.contents_due_at(key, "settings", interval);
        let (mut one, name) = (known(image()), key("shop/app:1"));
        assert_eq!(due(&one, &name), Some(DateTime::<Utc>::MIN_UTC));
        assert_eq!(due(&known(Fact::unknown(UnknownReason::Unreachable, "x")), &name), None, "nobody knows what runs");
        one.contents = Some(contents(at()));
        let after = due(&one, &name).unwrap() - at();
        assert!((TimeDelta::hours(4)..=interval).contains(&after), "{after}");
        assert_eq!(one.contents_due_at(&name, "other settings", interval), Some(DateTime::<Utc>::MIN_UTC));
        one.contents = Some(KnownContents { is_passing: true, ..contents(at()) });
        assert_eq!(due(&one, &name), Some(at() + TimeDelta::hours(1)));
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
