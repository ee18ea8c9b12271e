//! The ledger: which digests and templates were admitted in which workload, and when first.
//!
//! It is a projection of the recorded decisions. The store lags behind the answers, so what is not in it yet is kept in
//! memory and laid over what is.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use moka::sync::Cache;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Store;
use crate::audit::record::LedgerEntry;
use crate::evidence::{Admission, Revision};
use crate::image::build_date::read_date;

/// Workloads whose ledger is in memory.
const WORKLOADS_IN_MEMORY: u64 = 20_000;
/// Admissions of one workload that count; more than anybody goes back to.
const MOST_ADMISSIONS: i64 = 200;

/// A workload's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkloadKey {
    /// Namespace.
    pub namespace: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// What was admitted under a workload's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadLedger {
    /// Digests.
    pub admissions: Vec<Admission>,
    /// Templates.
    pub templates: Vec<Revision>,
}

/// The ledger, over the store.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    known: Cache<WorkloadKey, Arc<WorkloadLedger>>,
    pending: Mutex<Pending>,
}

/// What was answered and is not in the store yet, in the order of its records.
#[derive(Debug, Default)]
struct Pending {
    in_order: VecDeque<(u64, WorkloadKey)>,
    by_workload: HashMap<WorkloadKey, Vec<(u64, WorkloadLedger)>>,
}

impl Ledger {
    /// A ledger over the store.
    pub fn new(store: Store) -> Self {
        let known = Cache::new(WORKLOADS_IN_MEMORY);
        Self(Arc::new(Inner { store, known, pending: Mutex::default() }))
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was admitted in a workload, by the store and by what is on its way there.
    pub async fn of_workload(&self, key: &WorkloadKey) -> Result<Arc<WorkloadLedger>, sqlx::Error> {
        if let Some(known) = self.0.known.get(key) {
            return Ok(known);
        }
        let admissions = sqlx::query(
            "SELECT digest, reference, first_admitted_at, last_admitted_at FROM admissions \
             WHERE namespace = ? AND kind = ? AND name = ? ORDER BY last_admitted_at DESC LIMIT ?",
        )
        .bind(&key.namespace)
        .bind(&key.kind)
        .bind(&key.name)
        .bind(MOST_ADMISSIONS)
        .fetch_all(&self.0.store.readers)
        .await?;
        let templates = sqlx::query(
            "SELECT fingerprint, first_admitted_at FROM templates \
             WHERE namespace = ? AND kind = ? AND name = ? ORDER BY first_admitted_at DESC LIMIT ?",
        )
        .bind(&key.namespace)
        .bind(&key.kind)
        .bind(&key.name)
        .bind(MOST_ADMISSIONS)
        .fetch_all(&self.0.store.readers)
        .await?;
        let mut ledger = WorkloadLedger {
            admissions: admissions.iter().filter_map(admission).collect(),
            templates: templates.iter().filter_map(template).collect(),
        };
        // Under the lock, so that nothing recorded between the reading and the keeping is lost.
        let pending = self.pending();
        for (_, update) in pending.by_workload.get(key).into_iter().flatten() {
            ledger.learn(update);
        }
        let ledger = Arc::new(ledger);
        self.0.known.insert(key.clone(), Arc::clone(&ledger));
        drop(pending);
        Ok(ledger)
    }

    /// Admissions of these digests in any workload of a namespace.
    pub async fn in_namespace(&self, namespace: &str, digests: &[&str]) -> Result<Vec<Admission>, sqlx::Error> {
        let mut found = Vec::new();
        for digest in digests {
            let rows = sqlx::query(
                "SELECT digest, reference, first_admitted_at, last_admitted_at FROM admissions \
                 WHERE namespace = ? AND digest = ? LIMIT ?",
            )
            .bind(namespace)
            .bind(digest)
            .bind(MOST_ADMISSIONS)
            .fetch_all(&self.0.store.readers)
            .await?;
            found.extend(rows.iter().filter_map(admission));
        }
        let pending = self.pending();
        let on_its_way = pending.by_workload.iter().filter(|(key, _)| key.namespace == namespace);
        let admissions = on_its_way.flat_map(|(_, updates)| updates).flat_map(|(_, update)| &update.admissions);
        found.extend(admissions.filter(|one| digests.contains(&one.digest.as_str())).cloned());
        Ok(found)
    }

    /// Takes in what a decision admitted, as record number `seq` of this process.
    pub fn learn(&self, key: WorkloadKey, entry: &LedgerEntry, seq: u64, now: DateTime<Utc>) {
        let update = WorkloadLedger::from_entry(entry, now);
        let mut pending = self.pending();
        if let Some(known) = self.0.known.get(&key) {
            let mut known = (*known).clone();
            known.learn(&update);
            self.0.known.insert(key.clone(), Arc::new(known));
        }
        pending.in_order.push_back((seq, key.clone()));
        pending.by_workload.entry(key).or_default().push((seq, update));
    }

    /// The store has all records up to `seq` now.
    pub fn stored_until(&self, seq: u64) {
        let mut pending = self.pending();
        while pending.in_order.front().is_some_and(|(at, _)| *at <= seq) {
            let Some((at, key)) = pending.in_order.pop_front() else {
                return;
            };
            if let Some(updates) = pending.by_workload.get_mut(&key) {
                updates.retain(|(number, _)| *number != at);
                if updates.is_empty() {
                    pending.by_workload.remove(&key);
                }
            }
        }
    }
}

impl WorkloadLedger {
    fn from_entry(entry: &LedgerEntry, now: DateTime<Utc>) -> Self {
        let admissions = entry.digests.iter().chain(&entry.earlier_digests).map(|digest| {
            let at = digest.first_admitted_at.unwrap_or(now);
            Admission {
                digest: digest.digest.clone(),
                reference: digest.reference.clone(),
                first_admitted_at: at,
                last_admitted_at: at,
            }
        });
        let templates = entry.templates.iter().map(|template| Revision {
            fingerprint: template.fingerprint.clone(),
            images: Vec::new(),
            created_at: template.at,
        });
        Self { admissions: admissions.collect(), templates: templates.collect() }
    }

    fn learn(&mut self, update: &Self) {
        for new in &update.admissions {
            let same = |old: &&mut Admission| old.digest == new.digest && old.reference == new.reference;
            match self.admissions.iter_mut().find(same) {
                Some(old) => {
                    old.first_admitted_at = old.first_admitted_at.min(new.first_admitted_at);
                    old.last_admitted_at = old.last_admitted_at.max(new.last_admitted_at);
                }
                None => self.admissions.push(new.clone()),
            }
        }
        for new in &update.templates {
            match self.templates.iter_mut().find(|old| old.fingerprint == new.fingerprint) {
                Some(old) => old.created_at = old.created_at.min(new.created_at),
                None => self.templates.push(new.clone()),
            }
        }
    }
}

fn admission(row: &SqliteRow) -> Option<Admission> {
    Some(Admission {
        digest: row.try_get("digest").ok()?,
        reference: row.try_get("reference").ok()?,
        first_admitted_at: read_date(row.try_get("first_admitted_at").ok()?).ok()?,
        last_admitted_at: read_date(row.try_get("last_admitted_at").ok()?).ok()?,
    })
}

fn template(row: &SqliteRow) -> Option<Revision> {
    Some(Revision {
        fingerprint: row.try_get("fingerprint").ok()?,
        images: Vec::new(),
        created_at: read_date(row.try_get("first_admitted_at").ok()?).ok()?,
    })
}
