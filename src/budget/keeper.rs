//! Advances the freezes whenever a source has been asked or the policies have changed, and keeps them in the store.
//! Where replicas share one, what one of them began or lifted holds for the others within about a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::freeze::Freeze;
use super::freezes::{Changed, FreezeKey, Freezes};
use super::snapshot::Snapshots;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::policy::compile::PolicySet;
use crate::store::Store;

/// How often policies and other replicas' freezes are looked at for changes, and what could not be kept is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What keeps the freezes.
pub struct Keeper {
    /// What sources said last.
    pub snapshots: Arc<ArcSwap<Snapshots>>,
    /// The freezes that hold; swapped as a whole.
    pub freezes: Arc<ArcSwap<Freezes>>,
    /// The policies in force.
    pub policies: Arc<ArcSwap<PolicySet>>,
    /// Where freezes and policies are kept; without a store they last as long as the process.
    pub store: Option<Store>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Tells the time.
    pub clock: Clock,
}

impl Keeper {
    /// Takes up what was kept. Where that cannot be read, freezes begin anew with the first measurement.
    pub async fn take_up(&self) {
        if let Some(store) = &self.store {
            match store.freezes().await {
                Ok(kept) => self.freezes.store(Arc::new(Freezes::new(kept))),
                Err(error) => tracing::error!(%error, "the freezes that held could not be read"),
            }
        }
    }

    /// Works for ever: after each poll, and when policies change.
    pub async fn run(self, mut polled: watch::Receiver<u64>) {
        let mut unsaved: HashMap<FreezeKey, Option<Freeze>> = HashMap::new();
        let mut judged_with: Option<Arc<PolicySet>> = None;
        let mut policies_unsaved = false;
        let mut failing = false;
        let mut due = true;
        loop {
            let policies = self.policies.load_full();
            self.take_over(&unsaved).await;
            if !judged_with.as_ref().is_some_and(|before| Arc::ptr_eq(before, &policies)) {
                policies_unsaved = true;
            }
            // Only news decides: what was measured a while ago must not undo what another replica has measured since.
            if due || policies_unsaved {
                for (key, freeze) in self.advance(&policies) {
                    unsaved.insert(key, freeze);
                }
            }
            judged_with = Some(Arc::clone(&policies));
            if let Some(store) = &self.store {
                let saved = async {
                    if policies_unsaved {
                        let all: Vec<_> = policies.iter().cloned().collect();
                        store.save_policies(&all, (self.clock)()).await?;
                    }
                    let changed: Vec<Changed> =
                        unsaved.iter().map(|(key, freeze)| (key.clone(), freeze.clone())).collect();
                    if changed.is_empty() { Ok(()) } else { store.save_freezes(&changed).await }
                };
                match saved.await {
                    Ok(()) => {
                        unsaved.clear();
                        policies_unsaved = false;
                        failing = false;
                    }
                    Err(error) if !std::mem::replace(&mut failing, true) => {
                        tracing::warn!(%error, "freezes do not reach the store; they are kept in memory and tried again");
                    }
                    Err(_) => {}
                }
            }
            due = self.wait(&mut polled, &policies, failing).await;
        }
    }

    /// Until a source has been asked, the policies are others, or something is to be looked at or tried again. Whether a
    /// source has been asked.
    async fn wait(&self, polled: &mut watch::Receiver<u64>, policies: &Arc<PolicySet>, try_again: bool) -> bool {
        let is_shared = self.store.as_ref().is_some_and(Store::is_shared);
        loop {
            match tokio::time::timeout(LOOK_EVERY, polled.changed()).await {
                Ok(Ok(())) => return true,
                // Nobody polls any more; policies may still change.
                Ok(Err(_)) => tokio::time::sleep(LOOK_EVERY).await,
                Err(_) => {}
            }
            if try_again || is_shared || !Arc::ptr_eq(policies, &self.policies.load_full()) {
                return false;
            }
        }
    }

    /// Takes over what other replicas keep, but not in the place of what this one could not keep yet.
    async fn take_over(&self, unsaved: &HashMap<FreezeKey, Option<Freeze>>) {
        let Some(store) = self.store.as_ref().filter(|store| store.is_shared()) else {
            return;
        };
        match store.freezes().await {
            Ok(kept) => {
                let mut kept: HashMap<FreezeKey, Freeze> = kept.into_iter().collect();
                for (key, freeze) in unsaved {
                    match freeze {
                        Some(freeze) => drop(kept.insert(key.clone(), freeze.clone())),
                        None => drop(kept.remove(key)),
                    }
                }
                self.metrics.freezes.set(i64::try_from(kept.len()).unwrap_or(i64::MAX));
                self.freezes.store(Arc::new(Freezes::new(kept)));
            }
            Err(error) => tracing::debug!(%error, "other replicas' freezes could not be read; those in memory hold"),
        }
    }

    fn advance(&self, policies: &PolicySet) -> Vec<Changed> {
        let before = self.freezes.load();
        let (after, changed) = before.advance(&self.snapshots.load(), policies, (self.clock)());
        for (key, freeze) in &changed {
            let FreezeKey { policy, source, service, slo } = key;
            match (before.holds(key), freeze) {
                (false, Some(freeze)) => {
                    tracing::info!(
                        policy,
                        source,
                        service,
                        slo,
                        remaining = freeze.last.remaining(),
                        "a freeze begins"
                    );
                }
                (true, None) => tracing::info!(policy, source, service, slo, "a freeze lifts"),
                _ => {}
            }
        }
        self.metrics.freezes.set(i64::try_from(after.len()).unwrap_or(i64::MAX));
        self.freezes.store(Arc::new(after));
        changed
    }
}
