//! Figures that are kept by their owners, brought into the metrics when somebody reads them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;

use crate::audit::Audit;
use crate::budget::poller;
use crate::budget::snapshot::Snapshots;
use crate::cluster::leadership::Leadership;
use crate::cluster::watch::WatchHealth;
use crate::image::resolver::Resolver;
use crate::metrics::Metrics;

/// Brings figures into the metrics that are kept by their owners.
pub(super) fn refresh(
    metrics: &Arc<Metrics>,
    audit: &Arc<Audit>,
    resolver: Resolver,
    policies: Option<Arc<WatchHealth>>,
    budgets: Arc<ArcSwap<Snapshots>>,
    leadership: Leadership,
) -> Arc<dyn Fn() + Send + Sync> {
    let (metrics, audit) = (Arc::clone(metrics), Arc::downgrade(audit));
    Arc::new(move || {
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        if let Some(audit) = audit.upgrade() {
            let counts = audit.counts();
            metrics.audit_records.set(whole(counts.records));
            metrics.audit_writes.set(whole(counts.writes));
            metrics.audit_waiting.set(whole(counts.unstored_records));
            metrics.audit_waiting_age.set(whole(counts.oldest_unstored_age.as_secs()));
            metrics.audit_store_failing.set(i64::from(counts.store_failing));
        }
        if let Some(policies) = &policies {
            metrics.policies_staleness.set(policies.staleness_seconds());
        }
        metrics.leader.set(i64::from(leadership.leads()));
        poller::show(&budgets.load(), &metrics);
        let counters = resolver.counters();
        metrics.facts_in_memory.set(counters.in_memory.load(Ordering::Relaxed));
        metrics.facts_in_store.set(counters.in_store.load(Ordering::Relaxed));
        metrics.registry_look_ups.set(counters.looked_up.load(Ordering::Relaxed));
        metrics.stale_tags.set(counters.stale.load(Ordering::Relaxed));
    })
}
