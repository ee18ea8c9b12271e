//! Writing into a policy's status what it says to what runs. The leader's scanner does, under a name of its own, so that it and
//! whoever says that the policy is in force leave each other's fields alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, Resource};
use serde_json::json;
use tokio::time::Instant;

use super::error::{ReadError, within};
use super::leadership::Leadership;
use crate::policy::api::{GatePolicy, WorkloadCounts};

/// The name under which the scanner owns its field.
const FIELD_MANAGER: &str = "freshgate-scanner";
/// How long one write may take.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// The counts of all policies.
#[derive(Debug)]
pub struct PolicyCounts {
    api: Api<DynamicObject>,
    leadership: Leadership,
    /// What was written last.
    written: Mutex<HashMap<String, WorkloadCounts>>,
}

impl PolicyCounts {
    /// Of a cluster's policies.
    pub fn new(client: Client, leadership: Leadership) -> Self {
        let api = Api::all_with(client, &ApiResource::erase::<GatePolicy>(&()));
        Self { api, leadership, written: Mutex::default() }
    }

    /// Writes what has changed.
    pub async fn write(&self, counts: &BTreeMap<String, WorkloadCounts>) {
        for (name, count) in counts {
            if self.last(name) == Some(*count) {
                continue;
            }
            if !self.leadership.leads() {
                return;
            }
            match self.write_one(name, *count).await {
                Ok(()) => {
                    self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), *count);
                }
                // It is of a file, or gone by now.
                Err(ReadError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(policy = name, %error, "how many workloads a policy is for is not written; the next scan tries again");
                    return;
                }
            }
        }
    }

    /// Nothing is known any more of what stands there: another may have led meanwhile.
    pub fn forget(&self) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn last(&self, name: &str) -> Option<WorkloadCounts> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    async fn write_one(&self, name: &str, count: WorkloadCounts) -> Result<(), ReadError> {
        let patch = json!({
            "apiVersion": GatePolicy::api_version(&()),
            "kind": GatePolicy::kind(&()),
            "metadata": {"name": name},
            "status": {"workloads": count},
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let what = format!("the status of GatePolicy {name:?}");
        let patch = Patch::Apply(&patch);
        let write = self.api.patch_status(name, &parameters, &patch);
        within(Instant::now() + WRITE_WITHIN, &what, write).await.map(|_| ())
    }
}
