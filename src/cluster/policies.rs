//! Follows the cluster's policies and says of each in its status whether it is in force.
//!
//! The last good version of a policy stays in force while its new one is bad, and all stay while the watch is broken. A
//! bad object never breaks the watch: each is read by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::Resource as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::policy::api::{Condition, GatePolicy, GatePolicySpec, GatePolicyStatus};
use crate::policy::compile::{CompiledPolicy, PolicySet};
use crate::server::readiness::Readiness;

/// The name under which the gate writes statuses.
const FIELD_MANAGER: &str = "freshgate";

/// What follows the policies of a cluster.
pub struct PolicyWatch {
    client: Client,
    in_force: Arc<ArcSwap<PolicySet>>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    known: BTreeMap<String, CompiledPolicy>,
    /// Names seen since a new list began; what is not among them at its end is gone.
    listed: Option<Vec<String>>,
}

impl PolicyWatch {
    /// A watch that swaps the set in force.
    pub fn new(
        client: Client,
        in_force: Arc<ArcSwap<PolicySet>>,
        readiness: Arc<Readiness>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { client, in_force, readiness, metrics, known: BTreeMap::new(), listed: None }
    }

    /// Follows for ever.
    pub async fn run(mut self, now: Clock) {
        let resource = ApiResource::erase::<GatePolicy>(&());
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut broken = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    broken = false;
                    self.metrics.policies_synced.set(now().timestamp());
                    self.take(event, now()).await;
                }
                Err(error) if !broken => {
                    broken = true;
                    tracing::error!(%error, "policies cannot be followed; those in force stay");
                }
                Err(_) => {}
            }
        }
    }

    async fn take(&mut self, event: watcher::Event<DynamicObject>, now: DateTime<Utc>) {
        match event {
            watcher::Event::Init => self.listed = Some(Vec::new()),
            watcher::Event::InitApply(object) => {
                if let Some(listed) = &mut self.listed {
                    listed.push(object.name_any());
                }
                self.apply(&object, now).await;
            }
            watcher::Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                self.known.retain(|name, _| listed.contains(name));
                self.swap();
                self.readiness.policies_are_synced();
            }
            watcher::Event::Apply(object) => {
                self.apply(&object, now).await;
                self.swap();
            }
            watcher::Event::Delete(object) => {
                self.known.remove(&object.name_any());
                self.swap();
            }
        }
    }

    /// Puts one policy in force, or says in its status why not.
    async fn apply(&mut self, object: &DynamicObject, now: DateTime<Utc>) {
        let name = object.name_any();
        let outcome = read(&name, object);
        let (accepted, message) = match outcome {
            Ok(policy) => {
                self.known.insert(name.clone(), policy);
                (true, "the policy is in force".to_owned())
            }
            Err(problem) => {
                self.metrics.policy_failures.inc();
                let stays = if self.known.contains_key(&name) { "; its last good version stays in force" } else { "" };
                tracing::error!(policy = name, problem, "a policy cannot be used{stays}");
                (false, format!("{problem}{stays}"))
            }
        };
        if let Err(error) = self.write_status(object, accepted, &message, now).await {
            tracing::warn!(policy = name, %error, "the status of a policy could not be written");
        }
    }

    fn swap(&self) {
        let set = PolicySet::new(self.known.values().cloned().collect());
        self.metrics.policies.set(i64::try_from(set.len()).unwrap_or(i64::MAX));
        self.in_force.store(Arc::new(set));
    }

    /// Writes the status where it says something else; so several replicas do not write by turns.
    async fn write_status(
        &self,
        object: &DynamicObject,
        accepted: bool,
        message: &str,
        now: DateTime<Utc>,
    ) -> Result<(), kube::Error> {
        let status: GatePolicyStatus = object
            .data
            .get("status")
            .and_then(|status| serde_json::from_value(status.clone()).ok())
            .unwrap_or_default();
        let wanted = if accepted { "True" } else { "False" };
        let before = status.conditions.iter().find(|condition| condition.type_ == "Accepted");
        if status.observed_generation == object.metadata.generation
            && before.is_some_and(|before| before.status == wanted && before.message == message)
        {
            return Ok(());
        }
        let since = before.filter(|before| before.status == wanted).map(|before| before.last_transition_time.clone());
        let condition = Condition {
            type_: "Accepted".to_owned(),
            status: wanted.to_owned(),
            reason: if accepted { "InForce" } else { "Invalid" }.to_owned(),
            message: message.to_owned(),
            last_transition_time: since.unwrap_or_else(|| crate::image::build_date::rfc3339(now)),
            observed_generation: object.metadata.generation,
        };
        let patch = json!({
            "apiVersion": GatePolicy::api_version(&()),
            "kind": GatePolicy::kind(&()),
            "status": { "observedGeneration": object.metadata.generation, "conditions": [condition] },
        });
        let api = Api::<GatePolicy>::all(self.client.clone());
        let params = PatchParams::apply(FIELD_MANAGER).force();
        api.patch_status(&object.name_any(), &params, &Patch::Apply(patch)).await.map(|_| ())
    }
}

/// Reads and checks one object.
fn read(name: &str, object: &DynamicObject) -> Result<CompiledPolicy, String> {
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    let spec: GatePolicySpec =
        serde_path_to_error::deserialize(spec).map_err(|error| format!("spec.{}: {}", error.path(), error.inner()))?;
    CompiledPolicy::compile(name, spec).map_err(|problems| {
        let told: Vec<String> =
            problems.iter().map(|one| format!("{}: {}; {}", one.field, one.message, one.remedy)).collect();
        told.join(". ")
    })
}
