//! Starts the scanner, and what brings its findings to every replica.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::TimeDelta;
use tokio::runtime::Handle;

use crate::clock;
use crate::cluster;
use crate::cluster::leadership::Leadership;
use crate::cluster::owner_reference::Owner;
use crate::cluster::policy_counts::PolicyCounts;
use crate::cluster::reports::ClusterReports;
use crate::cluster::watch::WatchHealth;
use crate::evidence::gather::Gatherer;
use crate::metrics::Metrics;
use crate::policy::compile::PolicySet;
use crate::scanner::nudges::Nudges;
use crate::scanner::shelf::Shelf;
use crate::scanner::{Asking, Scanner};
use crate::store::Store;
use crate::subject::kinds::WorkloadKinds;

/// The pause before another try to make a client.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What the scanner is made of.
pub(super) struct Scanning {
    pub(super) interval: TimeDelta,
    pub(super) left_out: BTreeSet<String>,
    pub(super) gatherer: Gatherer,
    pub(super) asking: Option<Asking>,
    pub(super) kinds: WorkloadKinds,
    pub(super) policies: Arc<ArcSwap<PolicySet>>,
    pub(super) nudges: Arc<ArcSwap<Nudges>>,
    pub(super) store: Option<Store>,
    pub(super) leadership: Leadership,
    pub(super) owner: Arc<Owner>,
    pub(super) policies_known: Option<Arc<WatchHealth>>,
    pub(super) metrics: Arc<Metrics>,
}

/// Starts both in the background.
pub(super) fn start(scanning: Scanning, background: &Handle) {
    let shelf = Shelf::new(scanning.store.clone());
    background.spawn(shelf.clone().follow(Arc::clone(&scanning.nudges), Arc::clone(&scanning.policies)));
    background.spawn(async move {
        // Before the policies are known, none would be said to match anything.
        if let Some(policies) = &scanning.policies_known {
            policies.synced().await;
        }
        let client = client().await;
        let scanner = Scanner {
            interval: scanning.interval,
            client: client.clone(),
            kinds: scanning.kinds,
            left_out: scanning.left_out,
            gatherer: scanning.gatherer,
            asking: scanning.asking,
            policies: scanning.policies,
            shelf,
            reports: ClusterReports::new(client.clone(), scanning.owner, scanning.leadership.clone()),
            counts: PolicyCounts::new(client, scanning.leadership.clone()),
            leadership: scanning.leadership,
            metrics: scanning.metrics,
            clock: clock::now,
        };
        scanner.run().await;
    });
}

/// A client whose connections nobody else uses: they are driven by a thread that gives way.
async fn client() -> kube::Client {
    loop {
        match cluster::connect(None).await {
            Ok(client) => return client,
            Err(error) => {
                tracing::warn!(%error, "the scanner cannot reach the cluster; it is tried again");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}
