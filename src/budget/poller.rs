//! Polls all sources in the background: one task each, never two polls of one source at once, with patience for one that
//! is unwell. What was answered last stays, with its age, while a poll fails.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::compile::CompiledSource;
use super::measure::Unmeasured;
use super::poll::{Kept, Polled, not_asked_yet, poll};
use super::prometheus::error::SourceError;
use super::snapshot::{Snapshot, Snapshots};
use super::state::Thresholds;
use crate::clock;
use crate::cluster::budget_materials::ClusterMaterials;
use crate::metrics::{BudgetStateLabels, Metrics, PollLabels, SourceLabels};

/// A poll comes up to a tenth of the interval earlier or later, so that replicas and sources do not ask all at once.
const JITTER: f64 = 0.1;

/// The longest pause that failures make.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// Sources as they are in force.
pub type SourceList = Arc<Vec<CompiledSource>>;

/// What a poll leaves to be told, in the status of the object for one.
#[derive(Clone, Debug)]
pub struct PollReport {
    /// Name of the source.
    pub source: String,
    /// The snapshot after it.
    pub snapshot: Arc<Snapshot>,
    /// Whether nothing came of it, so that the snapshot is of before.
    pub failed: bool,
}

/// The poller. It ends when this is dropped, and all of its tasks with it.
#[derive(Debug)]
pub struct Poller {
    polls: watch::Receiver<u64>,
    supervisor: JoinHandle<()>,
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// Where polls end.
#[derive(Clone)]
struct Published {
    snapshots: Arc<ArcSwap<Snapshots>>,
    polls: watch::Sender<u64>,
    reports: Option<mpsc::UnboundedSender<PollReport>>,
    metrics: Arc<Metrics>,
}

impl Poller {
    /// Begins to poll the sources, and follows changes of their list.
    pub fn start(
        sources: watch::Receiver<SourceList>,
        cluster: Option<Arc<ClusterMaterials>>,
        snapshots: Arc<ArcSwap<Snapshots>>,
        metrics: Arc<Metrics>,
        reports: Option<mpsc::UnboundedSender<PollReport>>,
    ) -> Self {
        let (counter, polls) = watch::channel(0);
        let published = Published { snapshots, polls: counter, reports, metrics };
        let supervisor = tokio::spawn(supervise(sources, cluster, published));
        Self { polls, supervisor }
    }

    /// How many polls have ended: whoever waits for a change sees each new snapshot.
    pub fn polls(&self) -> watch::Receiver<u64> {
        self.polls.clone()
    }
}

/// Ends a task with what it works for.
struct Running {
    revision: String,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn supervise(
    mut sources: watch::Receiver<SourceList>,
    cluster: Option<Arc<ClusterMaterials>>,
    published: Published,
) {
    let mut running: HashMap<String, Running> = HashMap::new();
    loop {
        let list = Arc::clone(&sources.borrow_and_update());
        running.retain(|name, running| {
            let stays = list.iter().any(|source| source.name == *name && source.revision == running.revision);
            if !stays {
                published.forget(name);
            }
            stays
        });
        for source in list.iter() {
            if !running.contains_key(&source.name) {
                published.begin(source);
                let task = tokio::spawn(follow(source.clone(), cluster.clone(), published.clone()));
                running.insert(source.name.clone(), Running { revision: source.revision.clone(), task });
            }
        }
        if sources.changed().await.is_err() {
            // Nobody will change the list any more; what runs goes on.
            return std::future::pending().await;
        }
    }
}

/// Polls one source for ever.
async fn follow(source: CompiledSource, cluster: Option<Arc<ClusterMaterials>>, published: Published) {
    let interval = Duration::from_secs(u64::try_from(source.interval_seconds()).unwrap_or(1));
    let mut kept = Kept::default();
    let mut failures: u32 = 0;
    loop {
        let begun = Instant::now();
        let result = poll(&source, &mut kept, cluster.as_ref(), clock::now()).await;
        let pause = match &result {
            Ok(_) => {
                if failures > 0 {
                    tracing::info!(source = source.name, "the budget source answers again");
                }
                failures = 0;
                interval
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(source = source.name, %error, "a budget source could not be polled; what it said last stays, and ages");
                }
                failures = failures.saturating_add(1);
                pause_after(interval, failures, error.retry_after())
            }
        };
        published.publish(&source, result, begun.elapsed());
        sleep(with_jitter(pause)).await;
    }
}

/// The pause after some failures in a row: it doubles, and is never shorter than the source asks for.
fn pause_after(interval: Duration, failures: u32, retry_after: Option<Duration>) -> Duration {
    let doubled = interval.saturating_mul(1 << failures.saturating_sub(1).min(8));
    let longest = LONGEST_BACKOFF.max(interval);
    doubled.min(longest).max(retry_after.unwrap_or_default())
}

fn with_jitter(pause: Duration) -> Duration {
    // A hash of nothing under a random key: random enough to spread polls.
    let random = RandomState::new().hash_one(0_u8);
    #[allow(clippy::cast_precision_loss)]
    let fraction = random as f64 / u64::MAX as f64;
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * fraction)
}

impl Published {
    fn begin(&self, source: &CompiledSource) {
        let unasked = Snapshot::unasked(&source.name, source.rules(), source.spec.format.as_str(), not_asked_yet());
        self.put(Arc::new(unasked));
    }

    fn forget(&self, name: &str) {
        self.snapshots.rcu(|before| {
            let mut all = Snapshots::clone(before);
            all.0.remove(name);
            all
        });
        let labels = SourceLabels { source: name.to_owned() };
        self.metrics.budget_source_age.remove(&labels);
        self.metrics.budget_series.remove(&labels);
        self.metrics.budget_poll_duration.remove(&labels);
    }

    fn put(&self, snapshot: Arc<Snapshot>) {
        self.snapshots.rcu(|before| {
            let mut all = Snapshots::clone(before);
            all.0.insert(snapshot.source.clone(), Arc::clone(&snapshot));
            all
        });
    }

    fn publish(&self, source: &CompiledSource, result: Result<Polled, SourceError>, took: Duration) {
        let failed = result.is_err();
        let outcome = result.as_ref().map_or_else(SourceError::outcome, |_| "ok");
        let labels = SourceLabels { source: source.name.clone() };
        self.metrics.budget_polls.get_or_create(&PollLabels { source: source.name.clone(), outcome }).inc();
        self.metrics.budget_poll_duration.get_or_create(&labels).set(took.as_secs_f64());
        if let Ok(polled) = &result {
            self.metrics.budget_series.get_or_create(&labels).set(i64::try_from(polled.series).unwrap_or(i64::MAX));
        }
        let before = self.snapshots.load();
        let Some(last) = before.0.get(&source.name) else {
            return; // the source went while it was asked
        };
        let snapshot = Arc::new(after(source, result, Some(last)));
        self.put(Arc::clone(&snapshot));
        self.polls.send_modify(|polls| *polls += 1);
        if let Some(reports) = &self.reports {
            // Whoever was told is gone only when the gate ends.
            let _ = reports.send(PollReport { source: source.name.clone(), snapshot, failed });
        }
    }
}

/// The snapshot after a poll: what was polled, or what was there before with what went wrong.
fn after(source: &CompiledSource, result: Result<Polled, SourceError>, before: Option<&Snapshot>) -> Snapshot {
    let blank =
        |trouble: Unmeasured| Snapshot::unasked(&source.name, source.rules(), source.spec.format.as_str(), trouble);
    match result {
        Ok(polled) => Snapshot {
            budgets: polled.budgets,
            trouble: polled.trouble,
            answered_at: Some(clock::now()),
            ..blank(not_asked_yet())
        },
        Err(error) => {
            let trouble = error.as_unmeasured();
            match before {
                Some(before) => Snapshot { trouble: Some(trouble), rules: source.rules(), ..before.clone() },
                None => blank(trouble),
            }
        }
    }
}

/// Polls every source once, side by side: for the command line.
pub async fn poll_once(sources: &[CompiledSource], cluster: Option<&Arc<ClusterMaterials>>) -> Snapshots {
    let one = |source: &CompiledSource| {
        let source = source.clone();
        async move {
            let mut kept = Kept::default();
            let result = poll(&source, &mut kept, cluster, clock::now()).await;
            (source.name.clone(), Arc::new(after(&source, result, None)))
        }
    };
    Snapshots(join_all(sources.iter().map(one)).await.into_iter().collect())
}

/// Brings into the metrics what changes with time alone: the age of each source, and the states of its budgets.
pub fn show(snapshots: &Snapshots, metrics: &Metrics) {
    let now = clock::now();
    metrics.budgets.clear();
    for snapshot in snapshots.iter() {
        if let Some(answered_at) = snapshot.answered_at {
            let labels = SourceLabels { source: snapshot.source.clone() };
            #[allow(clippy::cast_precision_loss)]
            let age_seconds = now.signed_duration_since(answered_at).num_milliseconds() as f64 / 1_000.0;
            metrics.budget_source_age.get_or_create(&labels).set(age_seconds);
        }
        for sampled in snapshot.budgets.values().flatten() {
            let state = sampled.budget.state(&Thresholds::default(), now).state.as_str();
            metrics.budgets.get_or_create(&BudgetStateLabels { source: snapshot.source.clone(), state }).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_a_source_that_asks_for_patience_gets_it() {
        let interval = Duration::from_secs(30);
        let pause = |failures, retry_after| pause_after(interval, failures, retry_after).as_secs();
        assert_eq!([pause(1, None), pause(2, None), pause(3, None), pause(60, None)], [30, 60, 120, 300]);
        assert_eq!(pause(1, Some(Duration::from_secs(90))), 90);
        assert_eq!(pause_after(Duration::from_secs(900), 5, None).as_secs(), 900);
        for _ in 0..100 {
            let jittered = with_jitter(interval).as_secs_f64();
            assert!((27.0..=33.0).contains(&jittered), "{jittered}");
        }
    }
}
