//! What is done about the configuration that stands in the cluster: made, put back, or left as somebody else wants it.
//!
//! A process that starts makes it, whatever stands there. After that the gate tells its own changes from others': what stands is
//! compared with what the gate last saw standing as it wanted it. Followers look as well, so that whichever leads next
//! knows that somebody deleted it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde_json::Value;

use super::drift::{Difference, beside_drift, differences, in_words};

/// What stands where the gate is being taken out of the cluster: an empty configuration with this annotation.
const REMOVED: &str = "freshgate.dev/removed";
/// Where it was deleted, it is not made again before this has passed: whoever replaces it deletes first.
const MADE_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What becomes of somebody else's change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DriftMode {
    /// It is told, and stays
    #[default]
    Report,
    /// It is told, and put back
    Enforce,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Nothing.
    Nothing,
    /// This is to be applied.
    Apply(Value),
    /// What is left of an uninstall that broke off is to be deleted: this UID.
    Delete(String),
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It was not made yet.
    #[default]
    Absent,
    /// As the gate wants it, or as it is about to be.
    AsWanted,
    /// Somebody else has changed or deleted it: in words.
    Drifted(String),
    /// The gate is being taken out of the cluster.
    Removed,
}

/// What is remembered from look to look.
#[derive(Debug)]
pub struct Keeping {
    mode: DriftMode,
    started: DateTime<Utc>,
    /// What the gate wanted when it last stood so.
    agreed: Option<Value>,
    /// Whether any has been seen, or made.
    existed: bool,
    /// When it was first seen gone, counted as `look` counts.
    gone_since: Option<Duration>,
    removed: bool,
    /// How it stood at the last look.
    pub standing: Standing,
}

impl Keeping {
    /// For a process that started then.
    pub fn new(mode: DriftMode, started: DateTime<Utc>) -> Self {
        Self {
            mode,
            started,
            agreed: None,
            existed: false,
            gone_since: None,
            removed: false,
            standing: Standing::Absent,
        }
    }

    /// Looks at what stands there, so long `after` the first look; only a leader acts.
    pub fn look(&mut self, wanted: &Value, live: Option<&Value>, leads: bool, after: Duration) -> Act {
        let act = self.decide(wanted, live, after);
        if leads { act } else { Act::Nothing }
    }

    /// What was to be applied stands now.
    pub fn applied(&mut self, wanted: &Value) {
        (self.agreed, self.existed, self.gone_since) = (Some(wanted.clone()), true, None);
        if self.standing == Standing::Absent {
            self.standing = Standing::AsWanted;
        }
    }

    fn decide(&mut self, wanted: &Value, live: Option<&Value>, after: Duration) -> Act {
        if let Some(live) = live.filter(|live| is_tombstone(live)) {
            return self.tombstone(live);
        }
        if self.removed {
            self.standing = Standing::Removed;
            return Act::Nothing;
        }
        let Some(live) = live else { return self.gone(wanted, after) };
        (self.existed, self.gone_since) = (true, None);
        if differences(wanted, live).is_empty() {
            self.agreed = Some(wanted.clone());
            self.standing = Standing::AsWanted;
            return Act::Nothing;
        }
        let Some(agreed) = &self.agreed else {
            self.standing = Standing::AsWanted;
            return Act::Apply(wanted.clone());
        };
        let theirs = theirs(agreed, wanted, live);
        if theirs.is_empty() {
            self.standing = Standing::AsWanted;
            return Act::Apply(wanted.clone());
        }
        self.standing = Standing::Drifted(in_words(&theirs));
        match self.mode {
            DriftMode::Enforce => Act::Apply(wanted.clone()),
            // Certificates go on being rotated, also where somebody else has changed another field.
            DriftMode::Report => {
                let merged = beside_drift(agreed, wanted, live);
                if differences(&merged, live).is_empty() { Act::Nothing } else { Act::Apply(merged) }
            }
        }
    }

    fn gone(&mut self, wanted: &Value, after: Duration) -> Act {
        if !self.existed {
            self.standing = Standing::Absent;
            return Act::Apply(wanted.clone());
        }
        self.standing = Standing::Drifted("it is deleted".to_owned());
        let since = *self.gone_since.get_or_insert(after);
        let may = self.mode == DriftMode::Enforce && after.saturating_sub(since) >= MADE_AGAIN_AFTER;
        if may { Act::Apply(wanted.clone()) } else { Act::Nothing }
    }

    fn tombstone(&mut self, live: &Value) -> Act {
        let metadata = &live["metadata"];
        let made = metadata["creationTimestamp"].as_str().and_then(|made| DateTime::parse_from_rfc3339(made).ok());
        // Times in the API have no fractions.
        let is_left_over = made.is_some_and(|made| made.timestamp() < self.started.timestamp());
        if is_left_over && !self.removed {
            self.standing = Standing::Absent;
            return metadata["uid"].as_str().map_or(Act::Nothing, |uid| Act::Delete(uid.to_owned()));
        }
        (self.removed, self.standing) = (true, Standing::Removed);
        Act::Nothing
    }
}

/// What of the differences from what was agreed is not what the gate itself wants by now.
fn theirs(agreed: &Value, wanted: &Value, live: &Value) -> Vec<Difference> {
    let from_wanted = differences(wanted, live);
    let mut found = differences(agreed, live);
    found.retain(|one| from_wanted.iter().any(|other| other.place == one.place));
    found
}

fn is_tombstone(live: &Value) -> bool {
    live["metadata"]["annotations"][REMOVED] == "true"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::registration;
    use super::*;

    fn wanted(authorities: &str) -> Value {
        registration().manifest(Some(authorities), &[], None)
    }

    fn started() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    /// One that has seen it as it is wanted.
    fn settled(mode: DriftMode) -> Keeping {
        let mut keeping = Keeping::new(mode, started());
        assert_eq!(keeping.look(&wanted("1"), Some(&wanted("1")), true, Duration::ZERO), Act::Nothing);
        assert_eq!(keeping.standing, Standing::AsWanted);
        keeping
    }

    fn ignoring(authorities: &str) -> Value {
        let mut live = wanted(authorities);
        live["webhooks"][0]["failurePolicy"] = json!("Ignore");
        live
    }

    #[test]
    fn a_process_that_starts_makes_it_whatever_stands_there() {
        let now = Duration::ZERO;
        for live in [None, Some(ignoring("0"))] {
            for mode in [DriftMode::Report, DriftMode::Enforce] {
                let mut keeping = Keeping::new(mode, started());
                assert_eq!(keeping.look(&wanted("1"), live.as_ref(), false, now), Act::Nothing, "it does not lead");
                assert_eq!(keeping.look(&wanted("1"), live.as_ref(), true, now), Act::Apply(wanted("1")));
                keeping.applied(&wanted("1"));
                assert_eq!(keeping.look(&wanted("1"), Some(&wanted("1")), true, now), Act::Nothing);
                assert_eq!(keeping.standing, Standing::AsWanted);
            }
        }
    }

    #[test]
    fn a_change_by_somebody_else_stays_or_is_put_back_and_the_gates_own_goes_on_beside_it() {
        let (now, live) = (Duration::ZERO, ignoring("1"));
        let mut report = settled(DriftMode::Report);
        assert_eq!(report.look(&wanted("1"), Some(&live), true, now), Act::Nothing);
        let Standing::Drifted(words) = &report.standing else { panic!("{:?}", report.standing) };
        assert!(words.contains("failurePolicy is \"Ignore\""), "{words}");
        assert_eq!(report.look(&wanted("2"), Some(&live), true, now), Act::Apply(ignoring("2")));
        report.applied(&wanted("2"));
        assert_eq!(report.look(&wanted("2"), Some(&ignoring("2")), true, now), Act::Nothing);
        assert!(matches!(report.standing, Standing::Drifted(_)));
        // Undone by whoever did it.
        report.look(&wanted("2"), Some(&wanted("2")), true, now);
        assert_eq!(report.standing, Standing::AsWanted);

        let mut enforce = settled(DriftMode::Enforce);
        assert_eq!(enforce.look(&wanted("1"), Some(&live), true, now), Act::Apply(wanted("1")));
        // What only the gate has changed is no drift.
        assert_eq!(enforce.look(&wanted("2"), Some(&wanted("1")), true, now), Act::Apply(wanted("2")));
        assert_eq!(enforce.standing, Standing::AsWanted);
    }

    #[test]
    fn deleted_it_stays_deleted_unless_enforced_and_then_not_at_once() {
        let now = Duration::ZERO;
        let mut report = settled(DriftMode::Report);
        for seconds in [0, 10, 3_600] {
            let now = now + Duration::from_secs(seconds);
            assert_eq!(report.look(&wanted("1"), None, true, now), Act::Nothing);
            assert_eq!(report.standing, Standing::Drifted("it is deleted".into()));
        }
        // A follower that saw it deleted leaves it so when it leads.
        let mut follower = settled(DriftMode::Report);
        assert_eq!(follower.look(&wanted("1"), None, false, now), Act::Nothing);
        assert_eq!(follower.look(&wanted("1"), None, true, now), Act::Nothing);

        let mut enforce = settled(DriftMode::Enforce);
        assert_eq!(enforce.look(&wanted("1"), None, true, now), Act::Nothing);
        assert_eq!(enforce.look(&wanted("1"), None, true, now + Duration::from_secs(4)), Act::Nothing);
        assert_eq!(enforce.look(&wanted("1"), None, true, now + Duration::from_secs(5)), Act::Apply(wanted("1")));
    }

    #[test]
    fn while_the_gate_is_being_removed_it_does_nothing_for_the_rest_of_its_life() {
        let tombstone = |age: i64| {
            let made = started() - chrono::TimeDelta::seconds(age);
            json!({"metadata": {
                "name": "freshgate", "uid": "t", "annotations": {REMOVED: "true"},
                "creationTimestamp": made.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            }})
        };
        let now = Duration::ZERO;
        let mut keeping = settled(DriftMode::Enforce);
        for live in [Some(tombstone(-60)), None, Some(wanted("0")), None] {
            assert_eq!(keeping.look(&wanted("1"), live.as_ref(), true, now), Act::Nothing);
            assert_eq!(keeping.standing, Standing::Removed);
        }
        // One that was there before the process is left over from an uninstall that broke off.
        let mut later = Keeping::new(DriftMode::Report, started());
        assert_eq!(later.look(&wanted("1"), Some(&tombstone(60)), true, now), Act::Delete("t".into()));
        assert_eq!(later.look(&wanted("1"), None, true, now), Act::Apply(wanted("1")));
    }
}
