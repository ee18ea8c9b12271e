//! Writing into a policy's status whether it is accepted, and if not, why.
//!
//! Several replicas write the same words, so each writes only what differs from what it sees, and only once for a
//! generation: replicas of two versions of the gate do not fight over the words during an upgrade. Where a leader is elected
//! it alone writes.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::SecondsFormat;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::error::{ReadError, within};
use super::leadership::Leadership;
use super::watch::Task;
use crate::clock;
use crate::policy::api::{Condition, GatePolicy, GatePolicyStatus};

/// The name under which the gate owns the fields of a status.
const FIELD_MANAGER: &str = "freshgate";

/// How long one write may take.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// When what could not be written is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// A message beyond this is cut; the definition allows 32,768 characters.
const LONGEST_MESSAGE_BYTES: usize = 16_384;

/// A policy as it was seen, as far as its status goes.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    name: String,
    uid: String,
    generation: i64,
    status: GatePolicyStatus,
}

impl Observed {
    pub(super) fn of(object: &DynamicObject) -> Self {
        let status = object.data.get("status").cloned().unwrap_or_default();
        Self {
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            generation: object.meta().generation.unwrap_or_default(),
            // A status that cannot be read is as good as none: it will be written anew.
            status: serde_json::from_value(status).unwrap_or_default(),
        }
    }

    fn accepted(&self) -> Option<&Condition> {
        let mut conditions = self.status.conditions.iter();
        conditions.find(|condition| condition.type_ == "Accepted")
    }
}

/// What the gate found of a policy.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// The policy, as it was seen.
    pub(super) observed: Observed,
    /// What is wrong with it.
    pub(super) problems: Vec<String>,
    /// The generation that is in force.
    pub(super) generation_in_force: Option<i64>,
}

/// What a condition says, without the time, which no two replicas agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Words {
    generation: i64,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn words(&self) -> Words {
        let (status, reason, message) = if self.problems.is_empty() {
            ("True", "Valid", "The policy is in force.".to_owned())
        } else {
            let in_force = match self.generation_in_force {
                Some(generation) => format!("generation {generation} stays in force"),
                None => "no version of it is in force".to_owned(),
            };
            let problems = self.problems.join("; ");
            ("False", "Invalid", format!("{}; {in_force}.", cut(&problems)))
        };
        Words { generation: self.observed.generation, status, reason, message }
    }
}

fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(LONGEST_MESSAGE_BYTES);
    &text[..end]
}

impl Words {
    fn stand_in(&self, observed: &Observed) -> bool {
        observed.status.observed_generation == Some(self.generation)
            && observed.accepted().is_some_and(|condition| {
                condition.status == self.status
                    && condition.reason == self.reason
                    && condition.message == self.message
                    && condition.observed_generation == Some(self.generation)
            })
    }
}

/// Writes statuses beside the watch, so that a slow API server does not hold up policies.
#[derive(Debug)]
pub(super) struct StatusWriter {
    verdicts: mpsc::UnboundedSender<Verdict>,
    _task: Task,
}

impl StatusWriter {
    pub(super) fn start(api: Api<DynamicObject>, leadership: Leadership) -> Self {
        let (verdicts, received) = mpsc::unbounded_channel();
        Self { verdicts, _task: Task::spawn(write_all(api, leadership, received)) }
    }

    /// Writes what was found, if it differs from what stands there.
    pub(super) fn write(&self, verdict: Verdict) {
        // It fails only when the task is gone, and then so is this.
        let _ = self.verdicts.send(verdict);
    }
}

async fn write_all(api: Api<DynamicObject>, leadership: Leadership, mut verdicts: mpsc::UnboundedReceiver<Verdict>) {
    let mut waiting: BTreeMap<String, Verdict> = BTreeMap::new();
    let mut written: HashMap<String, (String, Words)> = HashMap::new();
    let (mut failing, mut led) = (false, false);
    loop {
        let (leads, led_before) = (leadership.leads(), led);
        led = leads;
        if leads && !led_before {
            // What was found while another led is written now, unless that one has.
            let all = std::mem::take(&mut waiting);
            write_batch(&api, &leadership, all.into_values(), &mut waiting, &mut written, &mut failing).await;
            continue;
        }
        let batch: Vec<Verdict> = tokio::select! {
            received = verdicts.recv() => match received {
                Some(verdict) => vec![verdict],
                None => return,
            },
            () = sleep(RETRY_AFTER), if leads && !waiting.is_empty() => {
                waiting.pop_first().map(|(_, verdict)| verdict).into_iter().collect()
            }
            () = leadership.gained(), if !leads => continue,
        };
        write_batch(&api, &leadership, batch, &mut waiting, &mut written, &mut failing).await;
    }
}

/// Writes what differs from what stands there; what cannot be written now is left waiting.
async fn write_batch(
    api: &Api<DynamicObject>,
    leadership: &Leadership,
    batch: impl IntoIterator<Item = Verdict>,
    waiting: &mut BTreeMap<String, Verdict>,
    written: &mut HashMap<String, (String, Words)>,
    failing: &mut bool,
) {
    for verdict in batch {
        waiting.remove(&verdict.observed.name);
        let words = verdict.words();
        let name = verdict.observed.name.clone();
        let this = (verdict.observed.uid.clone(), words);
        if this.1.stand_in(&verdict.observed) || written.get(&name) == Some(&this) {
            continue;
        }
        if !leadership.leads() {
            waiting.insert(name, verdict);
            continue;
        }
        match write(api, &verdict.observed, &this.1).await {
            Ok(()) => {
                written.insert(name, this);
                *failing = false;
            }
            // It is gone, or another by now, whose own event will come.
            Err(ReadError::NotFound { .. } | ReadError::Refused { code: 409, .. }) => {}
            Err(error) => {
                if !std::mem::replace(failing, true) {
                    tracing::warn!(policy = name, %error, "the status of policies cannot be written");
                }
                waiting.insert(name, verdict);
            }
        }
    }
}

async fn write(api: &Api<DynamicObject>, observed: &Observed, words: &Words) -> Result<(), ReadError> {
    let unchanged = observed.accepted().filter(|condition| condition.status == words.status);
    let last_transition_time = match unchanged {
        Some(condition) => condition.last_transition_time.clone(),
        None => clock::now().to_rfc3339_opts(SecondsFormat::Secs, true),
    };
    let status = GatePolicyStatus {
        observed_generation: Some(words.generation),
        conditions: vec![Condition {
            type_: "Accepted".to_owned(),
            status: words.status.to_owned(),
            reason: words.reason.to_owned(),
            message: words.message.clone(),
            last_transition_time,
            observed_generation: Some(words.generation),
        }],
        // The scanner's, under a name of its own.
        workloads: None,
    };
    let patch = json!({
        "apiVersion": GatePolicy::api_version(&()),
        "kind": GatePolicy::kind(&()),
        "metadata": {"name": observed.name, "uid": observed.uid},
        "status": status,
    });
    let what = format!("the status of GatePolicy {:?}", observed.name);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    within(Instant::now() + WRITE_WITHIN, &what, api.patch_status(&observed.name, &parameters, &Patch::Apply(&patch)))
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(problems: &[&str], generation_in_force: Option<i64>, status: &serde_json::Value) -> Verdict {
        let object = serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "1", "generation": 3},
            "status": status
        }));
        Verdict {
            observed: Observed::of(&object.unwrap()),
            problems: problems.iter().map(|&problem| problem.to_owned()).collect(),
            generation_in_force,
        }
    }

    #[test]
    fn the_words_say_what_is_wrong_and_what_stays() {
        let message = |problems: &[&str], stays| verdict(problems, stays, &json!(null)).words().message;
        assert_eq!(message(&[], Some(3)), "The policy is in force.");
        assert_eq!(message(&["a", "b"], Some(2)), "a; b; generation 2 stays in force.");
        assert_eq!(message(&["a"], None), "a; no version of it is in force.");
        let long = "é".repeat(20_000);
        assert!(message(&[&long], None).len() <= LONGEST_MESSAGE_BYTES + 40);
    }

    #[test]
    fn only_a_status_that_says_something_else_is_written() {
        let standing = |generation: i64, message: &str, time: &str| {
            let status = json!({"observedGeneration": generation, "conditions": [{
                "type": "Accepted", "status": "True", "reason": "Valid", "message": message,
                "lastTransitionTime": time, "observedGeneration": generation
            }]});
            let verdict = verdict(&[], Some(3), &status);
            verdict.words().stand_in(&verdict.observed)
        };
        assert!(standing(3, "The policy is in force.", "2026-01-01T00:00:00Z"));
        assert!(standing(3, "The policy is in force.", "2026-02-02T00:00:00Z"));
        assert!(!standing(2, "The policy is in force.", "2026-01-01T00:00:00Z"));
        assert!(!standing(3, "It is in force.", "2026-01-01T00:00:00Z"));
        let absent = verdict(&[], Some(3), &json!({"conditions": "unreadable"}));
        assert!(!absent.words().stand_in(&absent.observed));
    }
}
