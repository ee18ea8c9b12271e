//! Checkpoints of the audit in a `ConfigMap` of the gate's own namespace: the newest, as many as there is room for.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use thiserror::Error;
use tokio::time::Instant;

use super::error::within;

/// The entry that holds them, one a line.
const ENTRY: &str = "checkpoints.jsonl";

/// How long reading or writing may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Bytes of them: an object may have a megabyte.
const MOST_BYTES: usize = 512 * 1024;

/// The cluster did not take a checkpoint.
#[derive(Debug, Error)]
#[error(
    "the checkpoint cannot be put into ConfigMap {name:?} of namespace {namespace:?}: {why}; let the gate get, create and update ConfigMaps there"
)]
pub struct NotKept {
    name: String,
    namespace: String,
    why: String,
}

/// Where checkpoints are kept in a cluster.
pub struct ClusterCheckpoints {
    client: Client,
    namespace: String,
    name: String,
}

impl ClusterCheckpoints {
    /// In this `ConfigMap`; it is made where it is missing.
    pub fn new(client: Client, namespace: String, name: String) -> Self {
        Self { client, namespace, name }
    }

    /// Adds one; the oldest go where there is no room.
    pub async fn keep(&self, line: &str) -> Result<(), NotKept> {
        let failed = |why: String| NotKept { name: self.name.clone(), namespace: self.namespace.clone(), why };
        let what = format!("ConfigMap {:?} in namespace {:?}", self.name, self.namespace);
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let until = Instant::now() + WITHIN;
        let found = within(until, &what, api.get_opt(&self.name)).await.map_err(|error| failed(error.to_string()))?;
        let is_there = found.is_some();
        let mut object = found.unwrap_or_else(|| ConfigMap {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            ..ConfigMap::default()
        });
        let data = object.data.get_or_insert_with(BTreeMap::new);
        let kept = with(data.get(ENTRY).map(String::as_str).unwrap_or_default(), line);
        data.insert(ENTRY.to_owned(), kept);
        let params = PostParams::default();
        // It was read with its version: what somebody else wrote since is not written over.
        let written = if is_there {
            within(until, &what, api.replace(&self.name, &params, &object)).await
        } else {
            within(until, &what, api.create(&params, &object)).await
        };
        written.map(drop).map_err(|error| failed(error.to_string()))
    }
}

/// The lines with one more, the newest of them that there is room for.
fn with(kept: &str, line: &str) -> String {
    let mut room = MOST_BYTES.saturating_sub(line.len() + 1);
    let mut newest: Vec<&str> = vec![line];
    for older in kept.lines().rev().filter(|older| !older.is_empty()) {
        let Some(left) = room.checked_sub(older.len() + 1) else {
            break;
        };
        room = left;
        newest.push(older);
    }
    newest.reverse();
    newest.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_as_far_as_there_is_room() {
        assert_eq!(with("", "one"), "one\n");
        assert_eq!(with("one\n", "two"), "one\ntwo\n");
        let long = "x".repeat(MOST_BYTES / 2);
        let kept = with(&with(&with("", &long), "two"), &long);
        assert_eq!(kept, format!("two\n{long}\n"), "the oldest went");
    }
}
