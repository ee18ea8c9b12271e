//! Budget sources of a cluster: watched, each replaced only by a version that is good, and each told in its status whether
//! it is accepted and whether it answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::api::{Api, ApiResource, DynamicObject};
use kube::{Client, ResourceExt};
use tokio::sync::{mpsc, watch};

use super::budget_status::{Accepted, StatusWriter};
use super::error::ReadError;
use super::leadership::Leadership;
use super::watch::{Change, Task, WatchHealth, follow, list_all};
use crate::budget::api::{BudgetSource, BudgetSourceSpec};
use crate::budget::compile::{CompiledSource, Origin};
use crate::budget::poller::{PollReport, SourceList};

/// The budget sources of a cluster, as they are in force.
#[derive(Debug)]
pub struct ClusterBudgetSources {
    health: Arc<WatchHealth>,
    _watch: Task,
}

impl ClusterBudgetSources {
    /// Begins to watch, and sends the list in force. The leader writes what its polls bring into the status of the objects.
    pub fn start(
        client: &Client,
        in_force: Arc<watch::Sender<SourceList>>,
        reports: mpsc::UnboundedReceiver<PollReport>,
        leadership: Leadership,
    ) -> Self {
        let resource = ApiResource::erase::<BudgetSource>(&());
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let health = Arc::new(WatchHealth::default());
        let statuses = StatusWriter::start(api.clone(), leadership, reports);
        let mut known = Known::default();
        let watch = Task::spawn(follow(
            api,
            "BudgetSources",
            Arc::clone(&health),
            |object| object,
            move |change| {
                for accepted in known.apply(change) {
                    if !accepted.problems.is_empty() {
                        tracing::error!(problems = accepted.problems.join("; "), "a budget source cannot be used");
                    }
                    statuses.accepted(accepted);
                }
                // A status that was written is a change of the object, and none of the list.
                in_force.send_if_modified(|before| {
                    let list = known.in_force();
                    let of = |list: &[CompiledSource]| -> Vec<(String, String)> {
                        list.iter().map(|one| (one.name.clone(), one.revision.clone())).collect()
                    };
                    let differs = of(before) != of(&list);
                    *before = Arc::new(list);
                    differs
                });
            },
        ));
        Self { health, _watch: watch }
    }

    /// How old the picture is, and whether there is one.
    pub fn health(&self) -> &Arc<WatchHealth> {
        &self.health
    }
}

/// The sources as they stand in the cluster now, and what is wrong with those that cannot be used.
pub async fn list(client: &Client) -> Result<(Vec<CompiledSource>, Vec<String>), ReadError> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<BudgetSource>(&()));
    let read = |object: DynamicObject| {
        read(&object).map_err(|problems| format!("BudgetSource {:?}: {}", object.name_any(), problems.join("; ")))
    };
    let (objects, _) = list_all(&api, "BudgetSources", &read).await?;
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for object in objects {
        match object {
            Ok(source) => good.push(source),
            Err(problems) => wrong.push(problems),
        }
    }
    Ok((good, wrong))
}

/// What is known of each source, by name.
#[derive(Default)]
struct Known(BTreeMap<String, Source>);

struct Source {
    uid: String,
    /// The last version that was good, and its generation.
    good: Option<(CompiledSource, i64)>,
}

impl Known {
    /// Takes a change in; says what is to be written into the status of the sources concerned.
    fn apply(&mut self, change: Change<DynamicObject>) -> Vec<Accepted> {
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

    fn take(&mut self, object: &DynamicObject) -> Accepted {
        let uid = object.uid().unwrap_or_default();
        let source = self.0.entry(object.name_any()).or_insert_with(|| Source { uid: uid.clone(), good: None });
        if source.uid != uid {
            // Another source under an old name inherits nothing.
            *source = Source { uid, good: None };
        }
        let problems = match read(object) {
            Ok(read) => {
                source.good = Some((read, object.metadata.generation.unwrap_or_default()));
                Vec::new()
            }
            Err(problems) => problems,
        };
        let generation_in_force = source.good.as_ref().map(|(_, generation)| *generation);
        Accepted::of(object, problems, generation_in_force)
    }

    fn in_force(&self) -> Vec<CompiledSource> {
        self.0.values().filter_map(|source| Some(source.good.as_ref()?.0.clone())).collect()
    }
}

/// Reads and checks one object; what is wrong with it is told in sentences.
fn read(object: &DynamicObject) -> Result<CompiledSource, Vec<String>> {
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    let spec: BudgetSourceSpec = serde_path_to_error::deserialize(spec)
        .map_err(|error| vec![format!("spec.{}: {}", error.path(), error.inner())])?;
    CompiledSource::compile(&object.name_any(), spec, Origin::Cluster).map_err(|problems| {
        problems.iter().map(|one| format!("{}: {}; {}", one.field, one.message, one.remedy)).collect()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, uid: &str, generation: i64, url: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "freshgate.dev/v1alpha1",
            "kind": "BudgetSource",
            "metadata": {"name": name, "uid": uid, "generation": generation},
            "spec": {"format": "Sloth", "prometheus": {"url": url}}
        }))
        .unwrap()
    }

    fn in_force(known: &Known) -> Vec<String> {
        known.in_force().iter().map(|one| one.spec.prometheus.as_ref().unwrap().url.clone()).collect()
    }

    #[test]
    fn only_a_good_version_replaces_a_good_one() {
        let mut known = Known::default();
        let told = known.apply(Change::All(vec![object("a", "1", 1, "http://a"), object("b", "2", 1, "bad")]));
        assert!(told[0].problems.is_empty());
        assert!(told[1].problems[0].starts_with("spec.prometheus.url: it is no address"), "{:?}", told[1].problems);
        assert_eq!(in_force(&known), ["http://a"]);
        known.apply(Change::Set(object("a", "1", 2, "bad")));
        assert_eq!(in_force(&known), ["http://a"]);
        known.apply(Change::Set(object("a", "9", 1, "bad")));
        assert!(in_force(&known).is_empty(), "another object under an old name inherits nothing");
        known.apply(Change::Set(object("b", "2", 2, "http://b")));
        known.apply(Change::Gone("a".to_owned()));
        assert_eq!(in_force(&known), ["http://b"]);
    }
}
