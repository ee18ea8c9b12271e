//! Writing into a budget source's status whether it is accepted, and whether it answers: for how many services, how old
//! its samples are, and what is wrong.
//!
//! Ages are told in few steps and times of failures are fixed, so that a source whose situation stays the same is not
//! written again after each poll. Where a leader is elected it alone writes.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Resource as _, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::error::{ReadError, within};
use super::leadership::Leadership;
use super::watch::Task;
use crate::budget::api::{BudgetSource, BudgetSourceStatus};
use crate::budget::poller::PollReport;
use crate::budget::snapshot::Snapshot;
use crate::clock;
use crate::policy::api::Condition;

/// The name under which the gate owns the fields of a status.
const FIELD_MANAGER: &str = "freshgate";

/// How long one write may take.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// The pause after a write that failed.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A message beyond this is cut; the definition allows 32,768 characters.
const LONGEST_MESSAGE_BYTES: usize = 4_096;

/// A source as it was seen, and what is wrong with it.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    name: String,
    uid: String,
    generation: i64,
    standing: BudgetSourceStatus,
    /// What is wrong with it.
    pub(super) problems: Vec<String>,
    generation_in_force: Option<i64>,
}

impl Accepted {
    pub(super) fn of(object: &DynamicObject, problems: Vec<String>, generation_in_force: Option<i64>) -> Self {
        let status = object.data.get("status").cloned().unwrap_or_default();
        Self {
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            // A status that cannot be read is as good as none: it will be written anew.
            standing: serde_json::from_value(status).unwrap_or_default(),
            problems,
            generation_in_force,
        }
    }

    fn words(&self) -> Words {
        if self.problems.is_empty() {
            return Words::new("Accepted", "True", "Valid", "The source is polled.".to_owned());
        }
        let in_force = match self.generation_in_force {
            Some(generation) => format!("generation {generation} stays in force"),
            None => "no version of it is in force".to_owned(),
        };
        Words::new("Accepted", "False", "Invalid", format!("{}; {in_force}.", cut(&self.problems.join("; "))))
    }
}

/// What a condition says, without the time, which no two replicas agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Words {
    type_: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Words {
    fn new(type_: &'static str, status: &'static str, reason: &'static str, message: String) -> Self {
        Self { type_, status, reason, message }
    }

    fn stand_in(&self, standing: &BudgetSourceStatus) -> bool {
        standing.conditions.iter().any(|one| {
            one.type_ == self.type_
                && one.status == self.status
                && one.reason == self.reason
                && one.message == self.message
        })
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_MESSAGE_BYTES)]
}

/// What a snapshot says about the reach of its source.
fn reach(PollReport { snapshot, failed, .. }: &PollReport, now: DateTime<Utc>) -> Words {
    let answered = snapshot.answered_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    let counted = |count: usize| if count == 1 { "1 service".to_owned() } else { format!("{count} services") };
    let services = counted(snapshot.budgets.len());
    match (&snapshot.trouble, answered) {
        (Some(trouble), None) => Words::new(
            "Reachable",
            "False",
            "Unreachable",
            format!("{}; it has not answered yet.", cut(&trouble.detail)),
        ),
        (Some(trouble), Some(_)) if *failed => {
            // Of the samples and not of the poll: that time stays while polls fail.
            let newest = newest(snapshot).map_or_else(String::new, |at| {
                format!(", the newest of {}", at.to_rfc3339_opts(SecondsFormat::Secs, true))
            });
            let message = format!("{}; what it said last of {services} stays{newest}.", cut(&trouble.detail));
            Words::new("Reachable", "False", "Unreachable", message)
        }
        (Some(trouble), Some(_)) => {
            let message = format!("It answers for {services}, but {}.", cut(&trouble.detail));
            Words::new("Reachable", "True", "PartlyInvalid", message)
        }
        (None, _) if snapshot.budgets.is_empty() => {
            let message = "It answers, but for no service: check the format, and that its rules are loaded.".to_owned();
            Words::new("Reachable", "True", "NoServices", message)
        }
        (None, _) => {
            let message = format!("It answers for {services}; {}.", ages(snapshot, now));
            Words::new("Reachable", "True", "Answers", message)
        }
    }
}

fn newest(snapshot: &Snapshot) -> Option<DateTime<Utc>> {
    snapshot.budgets.values().flatten().map(|sampled| sampled.budget.sampled_at).max()
}

/// How old samples are, in steps.
fn ages(snapshot: &Snapshot, now: DateTime<Utc>) -> String {
    let all = || snapshot.budgets.values().flatten().map(|sampled| &sampled.budget);
    let is_stale =
        all().filter(|one| now.signed_duration_since(one.sampled_at).num_seconds() > one.max_age_seconds).count();
    let unmeasured = all().filter(|one| one.figures().is_none()).count();
    let ages = match is_stale {
        0 => "no sample is older than maxAge".to_owned(),
        stale => format!("{stale} of their budgets have no sample that is newer than maxAge"),
    };
    match unmeasured {
        0 => ages,
        count => format!("{ages}, and {count} of their budgets have no figures"),
    }
}

/// Writes statuses beside the watch and the polls, so that a slow API server holds up neither.
#[derive(Debug)]
pub(super) struct StatusWriter {
    seen: mpsc::UnboundedSender<Accepted>,
    _task: Task,
}

impl StatusWriter {
    pub(super) fn start(
        api: Api<DynamicObject>,
        leadership: Leadership,
        reports: mpsc::UnboundedReceiver<PollReport>,
    ) -> Self {
        let (seen, received) = mpsc::unbounded_channel();
        Self { seen, _task: Task::spawn(write_all(api, leadership, received, reports)) }
    }

    /// A source was seen: its status is written, if it differs from what stands there.
    pub(super) fn accepted(&self, accepted: Accepted) {
        // It fails only when the task is gone, and then so is this.
        let _ = self.seen.send(accepted);
    }
}

async fn write_all(
    api: Api<DynamicObject>,
    leadership: Leadership,
    mut seen: mpsc::UnboundedReceiver<Accepted>,
    mut reports: mpsc::UnboundedReceiver<PollReport>,
) {
    let mut known: BTreeMap<String, Accepted> = BTreeMap::new();
    let mut last: BTreeMap<String, PollReport> = BTreeMap::new();
    let mut led = false;
    loop {
        let (leads, led_before) = (leadership.leads(), led);
        led = leads;
        let names: Vec<String> = tokio::select! {
            biased;
            // What was found while another led is written now, unless that one has.
            () = std::future::ready(()), if leads && !led_before => known.keys().cloned().collect(),
            () = leadership.gained(), if !leads => continue,
            accepted = seen.recv() => match accepted {
                Some(accepted) => {
                    let name = accepted.name.clone();
                    known.insert(name.clone(), accepted);
                    vec![name]
                }
                None => return,
            },
            Some(report) = reports.recv() => {
                let name = report.source.clone();
                last.insert(name.clone(), report);
                vec![name]
            }
        };
        for name in names {
            let Some(accepted) = known.get_mut(&name).filter(|_| leadership.leads()) else { continue };
            let mut wanted = vec![accepted.words()];
            // Until it was asked, what another replica, or this one before, found of it stays.
            if let Some(report) = last.get(&name).filter(|_| accepted.generation_in_force.is_some()) {
                wanted.push(reach(report, clock::now()));
            }
            let is_current = accepted.standing.observed_generation == Some(accepted.generation);
            if is_current && wanted.iter().all(|words| words.stand_in(&accepted.standing)) {
                continue;
            }
            match write(&api, accepted, &wanted).await {
                Ok(written) => accepted.standing = written,
                // It is gone, or another by now, whose own event will come.
                Err(ReadError::NotFound { .. } | ReadError::Refused { code: 409, .. }) => {
                    known.remove(&name);
                    last.remove(&name);
                }
                Err(error) => {
                    tracing::debug!(source = name, %error, "the status of a budget source cannot be written; the next poll tries again");
                    sleep(RETRY_AFTER).await;
                }
            }
        }
    }
}

async fn write(
    api: &Api<DynamicObject>,
    accepted: &Accepted,
    wanted: &[Words],
) -> Result<BudgetSourceStatus, ReadError> {
    let now = clock::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let standing = &accepted.standing.conditions;
    let condition = |words: &Words| {
        let unchanged = standing.iter().find(|one| one.type_ == words.type_ && one.status == words.status);
        Condition {
            type_: words.type_.to_owned(),
            status: words.status.to_owned(),
            reason: words.reason.to_owned(),
            message: words.message.clone(),
            last_transition_time: unchanged.map_or_else(|| now.clone(), |one| one.last_transition_time.clone()),
            observed_generation: Some(accepted.generation),
        }
    };
    let mut conditions: Vec<Condition> = wanted.iter().map(condition).collect();
    let others = standing.iter().filter(|one| wanted.iter().all(|words| words.type_ != one.type_));
    conditions.extend(others.cloned());
    let status = BudgetSourceStatus { observed_generation: Some(accepted.generation), conditions };
    let patch = json!({
        "apiVersion": BudgetSource::api_version(&()),
        "kind": BudgetSource::kind(&()),
        "metadata": {"name": accepted.name, "uid": accepted.uid},
        "status": status,
    });
    let what = format!("the status of BudgetSource {:?}", accepted.name);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    within(Instant::now() + WRITE_WITHIN, &what, api.patch_status(&accepted.name, &parameters, &Patch::Apply(&patch)))
        .await
        .map(|_| status)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::budget::measure::Unmeasured;
    use crate::budget::service::ServiceRules;
    use crate::budget::state::BudgetState;

    fn report(trouble: Option<&str>, answered: bool) -> PollReport {
        let trouble = trouble.map(|detail| Unmeasured::new(BudgetState::NoData, detail));
        let failed = trouble.is_some();
        let snapshot = Snapshot {
            source: "slo".into(),
            rules: ServiceRules::default(),
            format: "Sloth",
            budgets: HashMap::from([("checkout".to_owned(), Vec::new())]),
            trouble,
            answered_at: answered.then(clock::now),
        };
        PollReport { source: "slo".into(), snapshot: Arc::new(snapshot), failed }
    }

    #[test]
    fn the_words_say_how_many_how_old_and_what_is_wrong() {
        let said = |report: &PollReport| {
            let words = reach(report, clock::now());
            format!("{} {}: {}", words.status, words.reason, words.message)
        };
        assert_eq!(
            said(&report(None, true)),
            "True Answers: It answers for 1 service; no sample is older than maxAge."
        );
        assert_eq!(
            said(&report(Some("http://p:9090 did not answer in time"), true)),
            "False Unreachable: http://p:9090 did not answer in time; what it said last of 1 service stays."
        );
        assert_eq!(
            said(&report(Some("http://p:9090 cannot be reached"), false)),
            "False Unreachable: http://p:9090 cannot be reached; it has not answered yet."
        );
        let partly = PollReport { failed: false, ..report(Some("a.yaml:3: SLO \"x\": it names no service"), true) };
        assert_eq!(
            said(&partly),
            "True PartlyInvalid: It answers for 1 service, but a.yaml:3: SLO \"x\": it names no service."
        );
    }

    #[test]
    fn a_situation_that_stays_the_same_is_not_written_again() {
        let words = reach(&report(None, true), clock::now());
        let condition = Condition {
            type_: "Reachable".into(),
            status: "True".into(),
            reason: "Answers".into(),
            message: words.message.clone(),
            last_transition_time: "2026-01-01T00:00:00Z".into(),
            observed_generation: Some(1),
        };
        let standing = BudgetSourceStatus { observed_generation: Some(1), conditions: vec![condition] };
        assert!(words.stand_in(&standing));
        assert!(!reach(&report(Some("x"), true), clock::now()).stand_in(&standing));
    }
}
