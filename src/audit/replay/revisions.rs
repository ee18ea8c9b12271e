//! Policies by revision, as the store keeps them: each is believed only if its text has the hash that it is kept under.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Missing;
use crate::policy::compile::{CompiledPolicy, PolicySet};

/// Most sets kept ready: far more than were in force in any stretch of time that is replayed at once.
const SETS_IN_MEMORY: usize = 1_024;

/// Policies by revision.
#[derive(Clone, Debug, Default)]
pub struct Revisions {
    /// The spec of each revision, as JSON.
    specs: HashMap<String, String>,
    /// Sets that were asked for before, by names and revisions: most decisions are made with the same few.
    sets: HashMap<BTreeMap<String, String>, Arc<PolicySet>>,
}

impl Revisions {
    /// From the JSON text of each spec, by revision.
    pub fn new(specs: HashMap<String, String>) -> Self {
        Self { specs, sets: HashMap::new() }
    }

    /// The set of the policies with these names and revisions.
    pub fn set(&mut self, wanted: &BTreeMap<String, String>) -> Result<Arc<PolicySet>, Missing> {
        if let Some(known) = self.sets.get(wanted) {
            return Ok(Arc::clone(known));
        }
        let policies = wanted.iter().map(|(name, revision)| self.policy(name, revision));
        let set = Arc::new(PolicySet::new(policies.collect::<Result<_, _>>()?));
        if self.sets.len() == SETS_IN_MEMORY {
            self.sets.clear();
        }
        self.sets.insert(wanted.clone(), Arc::clone(&set));
        Ok(set)
    }

    /// The policy is not compiled anew: what was in force then may break a check that came later.
    fn policy(&self, name: &str, revision: &str) -> Result<CompiledPolicy, Missing> {
        let (policy, revision) = (name.to_owned(), revision.to_owned());
        let Some(spec) = self.specs.get(&revision) else {
            return Err(Missing::Revision { policy, revision });
        };
        if hex::encode(Sha256::digest(spec)) != revision {
            return Err(Missing::AnotherPolicy { policy, revision });
        }
        match serde_json::from_str(spec) {
            Ok(spec) => Ok(CompiledPolicy { name: policy, revision, spec }),
            Err(source) => Err(Missing::UnknownPolicy { policy, revision, source }),
        }
    }
}
