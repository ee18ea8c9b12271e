//! Policies of a cluster: watched, each replaced only by a version that is good.
//!
//! A bad version, a broken watch or an API server that is gone leave the last good policies in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::{Client, Resource, ResourceExt};

use super::error::ReadError;
use super::leadership::Leadership;
use super::policy_status::{Observed, StatusWriter, Verdict};
use super::watch::{Change, Task, WatchHealth, follow, list_all};
use crate::metrics::Metrics;
use crate::policy::api::{GatePolicy, GatePolicySpec};
use crate::policy::compile::{CompiledPolicy, PolicySet};

/// The policies of a cluster, as they are in force.
#[derive(Debug)]
pub struct ClusterPolicies {
    health: Arc<WatchHealth>,
    _watch: Task,
}

impl ClusterPolicies {
    /// Begins to watch, and swaps the set in force. The leader writes into the status of each policy whether it is.
    pub fn start(
        client: &Client,
        in_force: Arc<ArcSwap<PolicySet>>,
        leadership: Leadership,
        metrics: Arc<Metrics>,
    ) -> Self {
        let resource = ApiResource::erase::<GatePolicy>(&());
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let health = Arc::new(WatchHealth::default());
        let mut known = Known::default();
        let statuses = StatusWriter::start(api.clone(), leadership);
        let watch = Task::spawn(follow(
            api,
            "GatePolicies",
            Arc::clone(&health),
            |object| object,
            move |change| {
                let verdicts = known.apply(change);
                let set = known.in_force();
                metrics.policies.set(i64::try_from(set.len()).unwrap_or(i64::MAX));
                in_force.store(Arc::new(set));
                for verdict in verdicts {
                    if !verdict.problems.is_empty() {
                        metrics.policy_failures.inc();
                        tracing::error!(problems = verdict.problems.join("; "), "a policy cannot be used");
                    }
                    statuses.write(verdict);
                }
            },
        ));
        Self { health, _watch: watch }
    }

    /// How old the picture is, and whether there is one.
    pub fn health(&self) -> &Arc<WatchHealth> {
        &self.health
    }
}

/// The policies as they stand in the cluster now, and what is wrong with those that cannot be used.
pub async fn list(client: &Client) -> Result<(PolicySet, Vec<String>), ReadError> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<GatePolicy>(&()));
    let read = |object: DynamicObject| {
        read(&object).map_err(|problems| format!("GatePolicy {:?}: {}", object.name_any(), problems.join("; ")))
    };
    let (objects, _) = list_all(&api, "GatePolicies", &read).await?;
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for object in objects {
        match object {
            Ok(policy) => good.push(policy),
            Err(problems) => wrong.push(problems),
        }
    }
    Ok((PolicySet::new(good), wrong))
}

/// What is known of each policy, by name.
#[derive(Default)]
struct Known(BTreeMap<String, Policy>);

struct Policy {
    uid: String,
    /// The last version that was good, and its generation.
    good: Option<(CompiledPolicy, i64)>,
}

impl Known {
    /// Takes a change in; says what is to be written into the status of the policies concerned.
    fn apply(&mut self, change: Change<DynamicObject>) -> Vec<Verdict> {
        match change {
            Change::All(objects) => {
                let names: Vec<String> = objects.iter().map(ResourceExt::name_any).collect();
                self.0.retain(|name, _| names.contains(name));
                objects.iter().map(|object| self.take(object)).collect()
            }
            Change::Set(object) => vec![self.take(&object)],
            Change::Gone(name) => {
                self.0.remove(&name);
                Vec::new()
            }
        }
    }

    fn take(&mut self, object: &DynamicObject) -> Verdict {
        let uid = object.uid().unwrap_or_default();
        let policy = self.0.entry(object.name_any()).or_insert_with(|| Policy { uid: uid.clone(), good: None });
        if policy.uid != uid {
            // Another policy under an old name inherits nothing.
            *policy = Policy { uid, good: None };
        }
        let problems = match read(object) {
            Ok(read) => {
                policy.good = Some((read, object.meta().generation.unwrap_or_default()));
                Vec::new()
            }
            Err(problems) => problems,
        };
        let generation_in_force = policy.good.as_ref().map(|(_, generation)| *generation);
        Verdict { observed: Observed::of(object), problems, generation_in_force }
    }

    fn in_force(&self) -> PolicySet {
        let policies = self.0.values();
        PolicySet::new(policies.filter_map(|policy| Some(policy.good.as_ref()?.0.clone())).collect())
    }
}

/// Reads and checks one object; what is wrong with it is told in sentences.
fn read(object: &DynamicObject) -> Result<CompiledPolicy, Vec<String>> {
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    let spec: GatePolicySpec = serde_path_to_error::deserialize(spec)
        .map_err(|error| vec![format!("spec.{}: {}", error.path(), error.inner())])?;
    CompiledPolicy::compile(&object.name_any(), spec).map_err(|problems| {
        problems.iter().map(|one| format!("{}: {}; {}", one.field, one.message, one.remedy)).collect()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, uid: &str, generation: i64, max_age: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "freshgate.dev/v1alpha1",
            "kind": "GatePolicy",
            "metadata": {"name": name, "uid": uid, "generation": generation},
            "spec": {"imageAge": {"maxAge": max_age}}
        }))
        .unwrap()
    }

    fn in_force(known: &Known) -> Vec<(String, String)> {
        let set = known.in_force();
        let limits = set.iter().map(|policy| {
            let limit = policy.spec.image_age.as_ref().unwrap().max_age.to_string();
            (policy.name.clone(), limit)
        });
        limits.collect()
    }

    #[test]
    fn only_a_good_version_replaces_a_good_one() {
        let mut known = Known::default();
        let all = vec![object("a", "1", 1, "90d"), object("b", "2", 1, "bad")];
        let verdicts = known.apply(Change::All(all));
        assert!(verdicts[0].problems.is_empty());
        assert_eq!(verdicts[1].problems.len(), 1);
        assert_eq!(in_force(&known), [("a".to_owned(), "90d".to_owned())]);

        let verdicts = known.apply(Change::Set(object("a", "1", 2, "bad")));
        assert_eq!(verdicts[0].generation_in_force, Some(1));
        assert_eq!(in_force(&known), [("a".to_owned(), "90d".to_owned())]);

        // Made anew while nobody watched: the old one's rules are not the new one's.
        let verdicts = known.apply(Change::Set(object("a", "3", 1, "bad")));
        assert_eq!(verdicts[0].generation_in_force, None);
        assert_eq!(in_force(&known), []);

        known.apply(Change::Set(object("b", "2", 2, "60d")));
        assert_eq!(in_force(&known), [("b".to_owned(), "60d".to_owned())]);
        known.apply(Change::Gone("b".to_owned()));
        assert_eq!(in_force(&known), []);
    }

    #[test]
    fn what_a_new_list_lacks_is_gone() {
        let mut known = Known::default();
        known.apply(Change::All(vec![object("a", "1", 1, "90d"), object("b", "2", 1, "90d")]));
        known.apply(Change::All(vec![object("b", "2", 1, "90d")]));
        assert_eq!(in_force(&known), [("b".to_owned(), "90d".to_owned())]);
    }
}
