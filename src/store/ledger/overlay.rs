//! What is recorded but not yet in the store, laid over what the store says, with a bounded cache of whole answers.
//! So an admission counts from the instant its record is durable, however far behind the store is.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Weighter};

use super::{Admission, LedgerUpdate, WorkloadKey, WorkloadLedger};

/// Admissions and templates in the cache, over all workloads; about 250 bytes each.
const CACHED_ENTRIES: u64 = 100_000;

/// Workloads that are usual for so many.
const CACHED_WORKLOADS: usize = 20_000;

/// Groups of workloads that share a count of admissions: enough that two seldom meet.
const GROUPS: usize = 1024;

#[derive(Debug)]
pub(crate) struct Overlay {
    /// Without a store nothing ever takes the unstored off, and the cache is all there is.
    has_store: bool,
    /// Where others write to the store as well, what is remembered may lack what they admitted since.
    is_shared: bool,
    cache: Cache<WorkloadKey, Arc<ArcSwap<WorkloadLedger>>, Entries>,
    hasher: DefaultHashBuilder,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Goes when the store has every record up to `last_seq`. Records of earlier writers count as number 0.
    unstored: HashMap<WorkloadKey, Unstored, DefaultHashBuilder>,
    /// How often something was admitted, per group of workloads: tells a look-up that its answer has aged.
    admissions: Box<[u64; GROUPS]>,
}

#[derive(Debug, Default)]
struct Unstored {
    last_seq: u64,
    ledger: WorkloadLedger,
}

/// The first half of a look-up.
pub(super) enum LookUp {
    /// The whole answer.
    Known(Arc<WorkloadLedger>),
    /// The store has to be asked, then [`Overlay::complete`].
    Unknown(Unfinished),
}

/// What held when the store was about to be asked.
pub(super) struct Unfinished {
    unstored: Option<WorkloadLedger>,
    admissions: u64,
}

impl Overlay {
    pub(crate) fn over_a_store() -> Self {
        Self::new(true, false)
    }

    pub(crate) fn over_a_shared_store() -> Self {
        Self::new(true, true)
    }

    pub(crate) fn alone() -> Self {
        Self::new(false, false)
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn new(has_store: bool, is_shared: bool) -> Self {
        let cache = Cache::with_weighter(CACHED_WORKLOADS, CACHED_ENTRIES, Entries);
        let state = State { unstored: HashMap::default(), admissions: Box::new([0; GROUPS]) };
        Self { has_store, is_shared, cache, hasher: DefaultHashBuilder::default(), state: Mutex::new(state) }
    }

    /// Record `seq` is durable and admitted this. Number 0 stands for the records of earlier writers.
    pub(crate) fn admit(&self, update: LedgerUpdate, seq: u64) {
        let LedgerUpdate { workload, admitted } = update;
        let mut state = self.state();
        state.admissions[self.group(&workload)] += 1;
        let cached = self.cache.get(&workload);
        if cached.is_some() || !self.has_store {
            let before = cached.as_ref().map(|cached| cached.load_full()).unwrap_or_default();
            let mut ledger = (*before).clone();
            ledger.merge(&admitted);
            match cached {
                // It weighs what it did, and so can stay where it is.
                Some(cached) if entries(&ledger) == entries(&before) => cached.store(Arc::new(ledger)),
                _ => self.remember(workload.clone(), Arc::new(ledger)),
            }
        }
        if self.has_store {
            let unstored = state.unstored.entry(workload).or_default();
            unstored.last_seq = unstored.last_seq.max(seq);
            unstored.ledger.merge(&admitted);
        }
    }

    /// The store has every record up to this number.
    pub(crate) fn stored_up_to(&self, seq: u64) {
        self.state().unstored.retain(|_, unstored| unstored.last_seq > seq);
    }

    pub(super) fn remembered(&self, workload: &WorkloadKey) -> Option<Arc<WorkloadLedger>> {
        self.cache.get(workload).map(|ledger| ledger.load_full())
    }

    pub(super) fn look_up(&self, workload: &WorkloadKey) -> LookUp {
        let state = self.state();
        match self.cache.get(workload).filter(|_| !self.is_shared) {
            Some(ledger) => LookUp::Known(ledger.load_full()),
            None => LookUp::Unknown(Unfinished {
                unstored: state.unstored.get(workload).map(|unstored| unstored.ledger.clone()),
                admissions: state.admissions[self.group(workload)],
            }),
        }
    }

    /// Lays what was unstored before the store was asked, and what is now, over the store's answer. A record is in one
    /// of the three, whenever the filler moved it.
    pub(super) fn complete(
        &self,
        workload: &WorkloadKey,
        begun: &Unfinished,
        mut stored: WorkloadLedger,
    ) -> Arc<WorkloadLedger> {
        let state = self.state();
        if let Some(before) = &begun.unstored {
            stored.merge(before);
        }
        if let Some(now) = state.unstored.get(workload) {
            stored.merge(&now.ledger);
        }
        let ledger = Arc::new(stored);
        // An admission meanwhile may have gone to the store after it was asked, and left no trace here.
        if state.admissions[self.group(workload)] == begun.admissions {
            self.remember(workload.clone(), Arc::clone(&ledger));
        }
        ledger
    }

    pub(super) fn admitted_in_namespace(
        &self,
        namespace: &str,
        digest: &str,
    ) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let mut found: Option<(DateTime<Utc>, DateTime<Utc>)> = None;
        self.each_with(namespace, digest, |_, admission| {
            let (first, last) = (admission.first_admitted_at, admission.last_admitted_at);
            found = Some(found.map_or((first, last), |known| (known.0.min(first), known.1.max(last))));
        });
        found
    }

    pub(super) fn workloads_with(&self, namespace: &str, digest: &str) -> Vec<WorkloadKey> {
        let mut found = Vec::new();
        self.each_with(namespace, digest, |workload, _| found.push(workload.clone()));
        found
    }

    /// Every workload of the namespace in which the digest was admitted, as far as the store does not know yet; without
    /// a store, as far as is remembered.
    fn each_with(&self, namespace: &str, digest: &str, mut seen: impl FnMut(&WorkloadKey, &Admission)) {
        let mut look = |workload: &WorkloadKey, ledger: &WorkloadLedger| {
            if workload.namespace == namespace
                && let Some(admission) = ledger.digests.iter().find(|admission| admission.digest == digest)
            {
                seen(workload, admission);
            }
        };
        if self.has_store {
            let state = self.state();
            state.unstored.iter().for_each(|(workload, unstored)| look(workload, &unstored.ledger));
        } else {
            self.cache.iter().for_each(|(workload, ledger)| look(&workload, &ledger.load()));
        }
    }

    fn remember(&self, workload: WorkloadKey, ledger: Arc<WorkloadLedger>) {
        self.cache.insert(workload, Arc::new(ArcSwap::new(ledger)));
    }

    fn group(&self, workload: &WorkloadKey) -> usize {
        usize::try_from(self.hasher.hash_one(workload) % GROUPS as u64).unwrap_or(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Weighs a ledger by what counts for the cache's bound.
#[derive(Clone, Copy, Debug)]
struct Entries;

impl Weighter<WorkloadKey, Arc<ArcSwap<WorkloadLedger>>> for Entries {
    fn weight(&self, _: &WorkloadKey, ledger: &Arc<ArcSwap<WorkloadLedger>>) -> u64 {
        1 + entries(&ledger.load()) as u64
    }
}

fn entries(ledger: &WorkloadLedger) -> usize {
    ledger.digests.len() + ledger.templates.len() + ledger.services.len() + ledger.ran.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(name: &str) -> WorkloadKey {
        WorkloadKey { namespace: "shop".to_owned(), kind: "Deployment".to_owned(), name: name.to_owned() }
    }

    fn admitted(digest: &str, second: i64) -> WorkloadLedger {
        let mut ledger = WorkloadLedger::default();
        ledger.admit(digest, "shop:1", DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap());
        ledger
    }

    fn update(digest: &str, second: i64) -> LedgerUpdate {
        LedgerUpdate { workload: workload("a"), admitted: admitted(digest, second) }
    }

    fn begin(overlay: &Overlay) -> Unfinished {
        match overlay.look_up(&workload("a")) {
            LookUp::Known(ledger) => panic!("nobody asked before, yet it is known: {ledger:?}"),
            LookUp::Unknown(begun) => begun,
        }
    }

    #[test]
    fn what_moves_to_the_store_while_it_is_asked_is_still_seen() {
        let overlay = Overlay::over_a_store();
        overlay.admit(update("sha256:a", 1), 1);
        let begun = begin(&overlay);
        // The store answered before the filler committed, and the filler finished before the answer was used.
        overlay.stored_up_to(1);
        let ledger = overlay.complete(&workload("a"), &begun, WorkloadLedger::default());
        assert_eq!(*ledger, admitted("sha256:a", 1));
    }

    #[test]
    fn an_answer_that_aged_while_the_store_was_asked_is_not_kept() {
        let overlay = Overlay::over_a_store();
        let begun = begin(&overlay);
        overlay.admit(update("sha256:a", 1), 1);
        overlay.stored_up_to(1);
        let aged = overlay.complete(&workload("a"), &begun, WorkloadLedger::default());
        assert_eq!(*aged, WorkloadLedger::default(), "it was asked before the admission");
        let begun = begin(&overlay);
        let ledger = overlay.complete(&workload("a"), &begun, admitted("sha256:a", 1));
        assert_eq!(*ledger, admitted("sha256:a", 1));
    }

    #[test]
    fn a_kept_answer_follows_later_admissions_also_when_nothing_was_admitted_before() {
        let overlay = Overlay::over_a_store();
        overlay.complete(&workload("a"), &begin(&overlay), WorkloadLedger::default());
        overlay.admit(update("sha256:a", 1), 1);
        overlay.stored_up_to(1);
        match overlay.look_up(&workload("a")) {
            LookUp::Known(ledger) => assert_eq!(*ledger, admitted("sha256:a", 1)),
            LookUp::Unknown(_) => panic!("the kept answer is gone"),
        }
    }

    #[test]
    fn the_namespace_counts_what_is_not_stored_yet() {
        let overlay = Overlay::over_a_store();
        overlay.admit(update("sha256:a", 7), 2);
        let first = DateTime::from_timestamp(1_800_000_007, 0).map(|at| (at, at));
        assert_eq!(overlay.admitted_in_namespace("shop", "sha256:a"), first);
        assert_eq!(overlay.admitted_in_namespace("bank", "sha256:a"), None);
        assert_eq!(overlay.admitted_in_namespace("shop", "sha256:b"), None);
        overlay.stored_up_to(1);
        assert_eq!(overlay.admitted_in_namespace("shop", "sha256:a"), first);
        overlay.stored_up_to(2);
        assert_eq!(overlay.admitted_in_namespace("shop", "sha256:a"), None);
    }

    #[test]
    fn what_others_may_have_added_to_is_asked_for_anew_and_remembered_for_when_nobody_answers() {
        let overlay = Overlay::over_a_shared_store();
        overlay.complete(&workload("a"), &begin(&overlay), admitted("sha256:a", 1));
        assert!(matches!(overlay.look_up(&workload("a")), LookUp::Unknown(_)));
        assert_eq!(overlay.remembered(&workload("a")).as_deref(), Some(&admitted("sha256:a", 1)));
    }

    #[test]
    fn without_a_store_the_memory_is_all() {
        let overlay = Overlay::alone();
        overlay.admit(update("sha256:a", 1), 1);
        assert_eq!(overlay.remembered(&workload("a")).as_deref(), Some(&admitted("sha256:a", 1)));
        assert!(overlay.admitted_in_namespace("shop", "sha256:a").is_some());
    }
}
