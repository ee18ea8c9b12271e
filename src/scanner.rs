//! The scanner: what runs, how old it is, when it would be refused and what its next small step is. The leader's work, in the
//! background, apart from admission: by a client, a resolver and limits of its own.
//!
//! A round lists the fleet, looks up the images that are due, each once, with pauses between them, and then says what the
//! policies in force say to all that runs: in reports, in the status of each policy, in metrics. After that it looks into
//! images, where package indexes are named, and says that too. What was looked up when is
//! kept, so a restart and a new leader go on where the last one ended.

mod figures;
pub mod fleet;
pub mod known;
mod look_into;
mod look_up;
pub mod nudges;
mod pace;
pub mod report;
mod round;
pub mod shelf;
pub mod tally;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::TimeDelta;
use tokio::time::{Instant, sleep};

use self::figures::Shown;
use self::fleet::Fleet;
pub use self::look_into::Asking;
use self::shelf::{KnownImages, Shelf};
use crate::clock::Clock;
use crate::cluster::error::ReadError;
use crate::cluster::leadership::Leadership;
use crate::cluster::policy_counts::PolicyCounts;
use crate::cluster::reports::ClusterReports;
use crate::evidence::gather::Gatherer;
use crate::metrics::Metrics;
use crate::policy::compile::PolicySet;
use crate::subject::kinds::WorkloadKinds;

/// How often it is looked whether the policies have changed: their counts are then made anew.
const POLICIES_EVERY: Duration = Duration::from_secs(2);

/// Scans a cluster.
pub struct Scanner {
    /// How long each image may go without being looked up again.
    pub interval: TimeDelta,
    /// Lists what runs; nobody else's, so that no review's connection is driven by what gives way.
    pub client: kube::Client,
    /// Kinds that are judged.
    pub kinds: WorkloadKinds,
    /// Namespaces of which nothing is sent to the gate.
    pub left_out: BTreeSet<String>,
    /// Where evidence comes from, with a resolver of its own and without a ledger.
    pub gatherer: Gatherer,
    /// Package indexes, where some are named.
    pub asking: Option<Asking>,
    /// Policies in force.
    pub policies: Arc<ArcSwap<PolicySet>>,
    /// Where what is known outlives a round.
    pub shelf: Shelf,
    /// Who scans.
    pub leadership: Leadership,
    /// Where reports go.
    pub reports: ClusterReports,
    /// Where the counts of each policy go.
    pub counts: PolicyCounts,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Tells the time.
    pub clock: Clock,
}

impl Scanner {
    /// Scans whenever this process leads, for ever.
    pub async fn run(self) {
        let leadership = self.leadership.clone();
        leadership.whenever_leading(|| self.lead()).await;
    }

    async fn lead(&self) {
        // Whoever leads no more has nothing to show.
        let _shown = Shown(&self.metrics);
        self.counts.forget();
        let mut known = self.shelf.load().await.unwrap_or_default();
        if self.asking.is_none() {
            // Nobody keeps it true any more.
            for one in known.values_mut() {
                Arc::make_mut(one).contents = None;
            }
        }
        let every = pace::round_every(self.interval);
        let mut failing = false;
        loop {
            let begun = Instant::now();
            match self.round(&mut known, begun + every).await {
                Ok(fleet) => {
                    failing = false;
                    self.metrics.scan.duration.set(begun.elapsed().as_secs_f64());
                    self.metrics.scan.last_success.set((self.clock)().timestamp());
                    self.wait(&fleet, &known, begun + every).await;
                }
                Err(error) => {
                    self.metrics.scan.failures.inc();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "what runs could not be listed; it is tried again, and what was said stays");
                    }
                    sleep(every.min(pace::AFTER_FAILURE)).await;
                }
            }
        }
    }

    /// One round: what runs, what is due of it, and what there is to say.
    async fn round(&self, known: &mut KnownImages, until: Instant) -> Result<Fleet, ReadError> {
        let fleet = Fleet::list(&self.client, &self.kinds, &self.left_out).await?;
        let wanted = self.wanted(&fleet).await;
        self.look_up_due(&wanted, known).await;
        self.say(&fleet, known).await;
        if let Some(asking) = &self.asking {
            // Also where all of the round's time is spent, some are looked into.
            let until = until.max(Instant::now() + pace::round_every(self.interval) / 4);
            if self.look_into_due(asking, (&fleet, &wanted), known, until).await {
                self.say(&fleet, known).await;
            }
            asking.indexes.forget_unused((self.clock)()).await;
        }
        Ok(fleet)
    }

    /// Waits for the next round. Policies that change meanwhile are asked at once, of what is known.
    async fn wait(&self, fleet: &Fleet, known: &KnownImages, until: Instant) {
        let mut asked = self.policies.load_full();
        // A round that took longer than it should leaves a while for others all the same.
        let until = until.max(Instant::now() + pace::SHORTEST_PAUSE);
        while Instant::now() < until {
            sleep(POLICIES_EVERY.min(until.saturating_duration_since(Instant::now()))).await;
            self.ask_anew(&mut asked, fleet, known).await;
        }
    }

    /// Says what there is to say, where policies have changed since they were `asked`.
    async fn ask_anew(&self, asked: &mut Arc<PolicySet>, fleet: &Fleet, known: &KnownImages) {
        let now = self.policies.load_full();
        if !Arc::ptr_eq(asked, &now) && !same(asked, &now) {
            self.say(fleet, known).await;
        }
        *asked = now;
    }
}

/// Whether two sets are of the same policies.
fn same(one: &PolicySet, other: &PolicySet) -> bool {
    let names = |set: &PolicySet| -> Vec<(String, String)> {
        set.iter().map(|policy| (policy.name.clone(), policy.revision.clone())).collect()
    };
    names(one) == names(other)
}
