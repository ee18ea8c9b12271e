//! The gate's own memory of the cluster: when it first met a digest, and what was admitted in which workload.
//! It answers for every decision that was recorded, also for those the store does not hold yet.

mod overlay;
pub(crate) mod projection;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use quick_cache::sync::{Cache, EntryAction, EntryResult};

use super::database::{Query, Row, Value};
use super::time::from_column;
use super::{Store, StoreError};
pub(crate) use overlay::Overlay;

/// Digests whose first sight is kept in memory; about 200 bytes each.
const FIRST_SEEN_IN_MEMORY: usize = 50_000;

/// How long a first sight is remembered where another replica may have an earlier one.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// A workload, as the ledger knows it. For `generateName` the name is the prefix and `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadKey {
    /// Its namespace.
    pub namespace: String,
    /// Its kind, without group.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// That a digest was admitted in a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// `sha256:…`.
    pub digest: String,
    /// The reference under which it was last admitted.
    pub reference: String,
    /// When it first was.
    pub first_admitted_at: DateTime<Utc>,
    /// When it last was.
    pub last_admitted_at: DateTime<Utc>,
}

/// What was admitted in one workload, in no particular order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkloadLedger {
    /// Its digests, each once.
    pub digests: Vec<Admission>,
    /// The fingerprints of its Pod templates, each once, and when each was first admitted.
    pub templates: Vec<(String, DateTime<Utc>)>,
    /// The services that it belonged to, each once, and when it last did.
    pub services: Vec<BelongedTo>,
    /// References that it ran until it was deleted: what they mean to its admissions is told when those are known.
    pub ran: Vec<(String, DateTime<Utc>)>,
}

/// That a workload belonged to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BelongedTo {
    /// Name of the `BudgetSource` by whose rules it did.
    pub source: String,
    /// The service.
    pub service: String,
    /// When it last did.
    pub last_at: DateTime<Utc>,
}

impl WorkloadLedger {
    /// Adds that `digest` was admitted, once, at `at`.
    pub fn admit(&mut self, digest: &str, reference: &str, at: DateTime<Utc>) {
        self.add(Admission {
            digest: digest.to_owned(),
            reference: reference.to_owned(),
            first_admitted_at: at,
            last_admitted_at: at,
        });
    }

    /// Adds that the Pod template with this fingerprint was admitted at `at`.
    pub fn admit_template(&mut self, fingerprint: &str, at: DateTime<Utc>) {
        match self.templates.iter_mut().find(|(known, _)| known == fingerprint) {
            Some((_, first)) => *first = at.min(*first),
            None => self.templates.push((fingerprint.to_owned(), at)),
        }
    }

    /// Adds that it belonged to a service at `at`.
    pub fn belongs_to(&mut self, source: &str, service: &str, at: DateTime<Utc>) {
        match self.services.iter_mut().find(|known| known.source == source && known.service == service) {
            Some(known) => known.last_at = known.last_at.max(at),
            None => {
                self.services.push(BelongedTo { source: source.to_owned(), service: service.to_owned(), last_at: at });
            }
        }
    }

    /// Adds that it ran a reference until `at`.
    pub fn ran_until(&mut self, reference: &str, at: DateTime<Utc>) {
        match self.ran.iter_mut().find(|(known, _)| known == reference) {
            Some((_, last)) => *last = at.max(*last),
            None => self.ran.push((reference.to_owned(), at)),
        }
    }

    /// Takes over what `other` knows: the earliest first time, the latest last time and its reference.
    pub fn merge(&mut self, other: &Self) {
        for admission in &other.digests {
            self.add(admission.clone());
        }
        for (fingerprint, at) in &other.templates {
            self.admit_template(fingerprint, *at);
        }
        for BelongedTo { source, service, last_at } in &other.services {
            self.belongs_to(source, service, *last_at);
        }
        for (reference, at) in &other.ran {
            self.ran_until(reference, *at);
        }
        self.settle();
    }

    /// What a reference meant when it was last admitted ran until the workload was deleted.
    fn settle(&mut self) {
        for (reference, until) in &self.ran {
            let of_reference = self.digests.iter_mut().filter(|known| known.reference == *reference);
            if let Some(latest) = of_reference.max_by_key(|known| known.last_admitted_at)
                && latest.first_admitted_at <= *until
            {
                latest.last_admitted_at = latest.last_admitted_at.max(*until);
            }
        }
    }

    fn add(&mut self, new: Admission) {
        match self.digests.iter_mut().find(|known| known.digest == new.digest) {
            Some(known) => {
                known.first_admitted_at = known.first_admitted_at.min(new.first_admitted_at);
                if new.last_admitted_at >= known.last_admitted_at {
                    known.last_admitted_at = new.last_admitted_at;
                    known.reference = new.reference;
                }
            }
            None => self.digests.push(new),
        }
    }
}

/// What one recorded decision adds to the ledger: the same that the record's `ledger` member says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerUpdate {
    /// The workload it was about.
    pub workload: WorkloadKey,
    /// What was admitted in it, and what was found admitted earlier.
    pub admitted: WorkloadLedger,
}

/// The ledger's part in memory, shared by all handles on it.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) overlay: Overlay,
    /// With the time at which that was learnt.
    first_seen: Cache<String, (DateTime<Utc>, Instant)>,
}

impl Memory {
    pub(crate) fn new(overlay: Overlay) -> Self {
        Self { overlay, first_seen: Cache::new(FIRST_SEEN_IN_MEMORY) }
    }

    /// What is remembered; of a store that others write to, for a while.
    fn first_seen(&self, digest: &str) -> Option<DateTime<Utc>> {
        let (at, learnt) = self.first_seen.get(digest)?;
        (!self.overlay.is_shared() || learnt.elapsed() < SHARED_FOR).then_some(at)
    }

    /// The earliest counts, whoever came first.
    fn remember_first_seen(&self, digest: &str, at: DateTime<Utc>) -> DateTime<Utc> {
        let (mut earliest, learnt) = (at, Instant::now());
        let entry = self.first_seen.entry(digest, None, |_, known| {
            earliest = at.min(known.0);
            *known = (earliest, learnt);
            EntryAction::Retain(())
        });
        if let EntryResult::Vacant(place) = entry {
            // Who else wants it there has just put it there.
            let _ = place.insert((at, learnt));
        }
        earliest
    }
}

/// A handle on the ledger; clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Ledger {
    memory: Arc<Memory>,
    store: Option<Store>,
}

impl Ledger {
    /// A ledger that lasts as long as the process, within bounds: for a gate without a store.
    pub fn in_memory() -> Self {
        Self { memory: Arc::new(Memory::new(Overlay::alone())), store: None }
    }

    pub(super) fn over(store: Store) -> Self {
        Self { memory: Arc::clone(store.memory()), store: Some(store) }
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The earliest time at which this gate met the digest: `now`, if it never did. On the disk shortly after.
    /// When the store cannot say, the answer is `now` too. That is later than the truth, and as an upper bound of an age
    /// weaker than it, until the store is back.
    pub async fn first_seen(&self, digest: &str, now: DateTime<Utc>) -> DateTime<Utc> {
        if let Some(at) = self.memory.first_seen(digest) {
            return at;
        }
        let Some(store) = &self.store else {
            return self.memory.remember_first_seen(digest, now);
        };
        let answer = match store.write_behind().unwritten_first_seen(digest) {
            Some(at) => Ok(Some(at)),
            None => read_first_seen(store, digest).await,
        };
        match answer {
            Ok(Some(at)) => self.memory.remember_first_seen(digest, at),
            Ok(None) => {
                let at = store.write_behind().put_first_seen(digest, now);
                self.memory.remember_first_seen(digest, at)
            }
            Err(error) => {
                tracing::warn!(digest, %error, cause = ?std::error::Error::source(&error), "first sight of a digest not read from the store");
                // Not remembered, so that the store is asked again; it keeps the earlier of the two.
                store.write_behind().put_first_seen(digest, now)
            }
        }
    }

    /// The earliest time at which this gate met the digest, where it did; asking notes nothing. `None` also when the
    /// store cannot say.
    pub async fn first_seen_before(&self, digest: &str) -> Option<DateTime<Utc>> {
        if let Some(at) = self.memory.first_seen(digest) {
            return Some(at);
        }
        let store = self.store.as_ref()?;
        match store.write_behind().unwritten_first_seen(digest) {
            Some(at) => Some(at),
            None => read_first_seen(store, digest).await.ok().flatten(),
        }
    }

    /// What was admitted in the workload, every recorded decision included.
    pub async fn history(&self, workload: &WorkloadKey) -> Result<Arc<WorkloadLedger>, StoreError> {
        let overlay = &self.memory.overlay;
        let Some(store) = &self.store else {
            return Ok(overlay.remembered(workload).unwrap_or_default());
        };
        let looked_up = match overlay.look_up(workload) {
            overlay::LookUp::Known(ledger) => return Ok(ledger),
            overlay::LookUp::Unknown(look_up) => look_up,
        };
        match read_history(store, workload).await {
            Ok(stored) => Ok(overlay.complete(workload, &looked_up, stored)),
            // What is remembered is true, though others may have admitted more since.
            Err(error) => overlay.remembered(workload).ok_or(error),
        }
    }

    /// When the digest was first and last admitted in any workload of the namespace: a hook's Job has a new name each
    /// time.
    pub async fn admitted_in_namespace(
        &self,
        namespace: &str,
        digest: &str,
    ) -> Result<Option<(DateTime<Utc>, DateTime<Utc>)>, StoreError> {
        // Memory first: what moves from there to the store meanwhile is then seen in the store.
        let unstored = self.memory.overlay.admitted_in_namespace(namespace, digest);
        let Some(store) = &self.store else {
            return Ok(unstored);
        };
        let asked = async {
            let query = Query::new(
                "SELECT min(first_admitted_at), max(last_admitted_at) FROM admissions WHERE namespace = $1 AND digest = $2",
            );
            let row = store.readers().row(query.bind(Value::key(namespace)).bind(Value::key(digest))).await?;
            row.map_or(Ok((None, None)), |row| Ok((row.text_or_null(0)?, row.text_or_null(1)?)))
        };
        let stored: (Option<String>, Option<String>) =
            asked.await.map_err(StoreError::failed("looking a digest up by namespace"))?;
        let stored = stored.0.as_deref().and_then(from_column).zip(stored.1.as_deref().and_then(from_column));
        let both = [unstored, stored].into_iter().flatten();
        Ok(both.reduce(|(first, last), (other_first, other_last)| (first.min(other_first), last.max(other_last))))
    }

    /// The workloads of the namespace in which the digest was admitted, each by kind and name; the latest first, some.
    pub async fn workloads_with(&self, namespace: &str, digest: &str) -> Result<Vec<WorkloadKey>, StoreError> {
        let mut found = self.memory.overlay.workloads_with(namespace, digest);
        if let Some(store) = &self.store {
            let asked = async {
                let query = Query::new(
                    "SELECT kind, name FROM admissions WHERE namespace = $1 AND digest = $2
                     ORDER BY last_admitted_at DESC LIMIT 64",
                );
                let rows = store.readers().rows(query.bind(Value::key(namespace)).bind(Value::key(digest))).await?;
                rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<_, _>>()
            };
            let stored: Vec<(String, String)> =
                asked.await.map_err(StoreError::failed("looking workloads up by digest"))?;
            let namespace = namespace.to_owned();
            found.extend(stored.into_iter().map(|(kind, name)| WorkloadKey {
                namespace: namespace.clone(),
                kind,
                name,
            }));
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

async fn read_first_seen(store: &Store, digest: &str) -> Result<Option<DateTime<Utc>>, StoreError> {
    let asked = async {
        let query = Query::new("SELECT at FROM first_seen WHERE digest = $1").bind(Value::key(digest));
        store.readers().row(query).await?.map(|row| row.text(0)).transpose()
    };
    let at = asked.await.map_err(StoreError::failed("looking up when a digest was first seen"))?;
    Ok(at.as_deref().and_then(from_column))
}

/// All of a workload in one question, because on a server each is a way there and back.
const HISTORY: &str = "SELECT 'digest', digest, reference, first_admitted_at, last_admitted_at FROM admissions
     WHERE namespace = $1 AND kind = $2 AND name = $3
     UNION ALL
     SELECT 'template', fingerprint, NULL, first_admitted_at, NULL FROM templates
     WHERE namespace = $1 AND kind = $2 AND name = $3
     UNION ALL
     SELECT 'service', source, service, last_at, NULL FROM services
     WHERE namespace = $1 AND kind = $2 AND name = $3";

async fn read_history(store: &Store, workload: &WorkloadKey) -> Result<WorkloadLedger, StoreError> {
    let asked = async {
        let query = Query::new(HISTORY)
            .bind(Value::key(&workload.namespace))
            .bind(Value::key(&workload.kind))
            .bind(Value::key(&workload.name));
        let mut ledger = WorkloadLedger::default();
        for row in store.readers().rows(query).await? {
            match row.text(0)?.as_str() {
                "digest" => ledger.digests.push(Admission {
                    digest: row.text(1)?,
                    reference: row.text(2)?,
                    first_admitted_at: time(&row, 3)?,
                    last_admitted_at: time(&row, 4)?,
                }),
                "template" => ledger.templates.push((row.text(1)?, time(&row, 3)?)),
                _ => ledger.services.push(BelongedTo {
                    source: row.text(1)?,
                    service: row.text(2)?,
                    last_at: time(&row, 3)?,
                }),
            }
        }
        Ok(ledger)
    };
    asked.await.map_err(StoreError::failed("looking up what was admitted in a workload"))
}

fn time(row: &Row, column: usize) -> Result<DateTime<Utc>, sqlx::Error> {
    let text = row.text(column)?;
    from_column(&text).ok_or_else(|| sqlx::Error::Decode(format!("\"{text}\" is not a time").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    #[test]
    fn merging_keeps_the_first_time_and_the_last_reference() {
        let mut ledger = WorkloadLedger::default();
        ledger.admit("sha256:a", "shop:2", at(20));
        ledger.admit_template("t", at(20));
        let mut earlier = WorkloadLedger::default();
        earlier.admit("sha256:a", "shop:1", at(10));
        earlier.admit("sha256:b", "shop:b", at(5));
        earlier.admit_template("t", at(10));
        ledger.merge(&earlier);
        let admission = |digest: &str, reference: &str, first, last| Admission {
            digest: digest.to_owned(),
            reference: reference.to_owned(),
            first_admitted_at: at(first),
            last_admitted_at: at(last),
        };
        let expected = WorkloadLedger {
            digests: vec![admission("sha256:a", "shop:2", 10, 20), admission("sha256:b", "shop:b", 5, 5)],
            templates: vec![("t".to_owned(), at(10))],
            ..WorkloadLedger::default()
        };
        assert_eq!(ledger, expected);
        ledger.merge(&expected);
        assert_eq!(ledger, expected, "merging the same again changes nothing");
    }

    #[test]
    fn what_ran_until_it_was_deleted_counts_as_admitted_until_then() {
        let mut deleted = WorkloadLedger::default();
        deleted.ran_until("shop:1", at(50));
        // The admissions may come to light before or after it.
        let mut ledger = WorkloadLedger::default();
        ledger.admit("sha256:old", "shop:1", at(5));
        ledger.admit("sha256:a", "shop:1", at(20));
        ledger.admit("sha256:b", "shop:2", at(30));
        let mut other_way = deleted.clone();
        other_way.merge(&ledger);
        ledger.merge(&deleted);
        for ledger in [&ledger, &other_way] {
            let last = |digest: &str| ledger.digests.iter().find(|one| one.digest == digest).unwrap().last_admitted_at;
            assert_eq!(["sha256:old", "sha256:a", "sha256:b"].map(last), [at(5), at(50), at(30)]);
        }
    }

    #[test]
    fn services_keep_the_last_time() {
        let mut ledger = WorkloadLedger::default();
        for (service, second) in [("checkout", 10), ("basket", 20), ("checkout", 30), ("checkout", 15)] {
            ledger.belongs_to("slo", service, at(second));
        }
        let found: Vec<_> = ledger.services.iter().map(|one| (one.service.as_str(), one.last_at)).collect();
        assert_eq!(found, [("checkout", at(30)), ("basket", at(20))]);
    }
}
