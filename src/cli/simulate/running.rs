//! `freshgate simulate --cluster`: what policies say to what runs now, beside those in force. Everything is looked up as
//! admission would, and nothing is written.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::args::SimulateArgs;
use crate::audit::simulate::{Simulated, Simulation};
use crate::budget::poller;
use crate::cli::output::{progress, say};
use crate::cli::{Failure, budgets};
use crate::clock;
use crate::cluster::budget_materials::ClusterMaterials;
use crate::cluster::error::ReadError;
use crate::cluster::{Cluster, budget_sources, policies, running};
use crate::evidence::gather::{Budgets, Gatherer, StatedLabels};
use crate::image::resolver::facts::NoStore;
use crate::policy::compile::PolicySet;
use crate::policy_folder;
use crate::run;
use crate::scanner::fleet;
use crate::subject::Subject;
use crate::subject::kinds::WorkloadKinds;
use crate::telemetry::Traces;

/// Workloads that are looked up at once.
const AT_ONCE: usize = 16;

/// Asks the policies of the folder about everything that runs.
pub async fn simulate(args: &SimulateArgs) -> Result<Simulated, Failure> {
    let written = policy_folder::read(&args.policies).map_err(Failure::of)?;
    let own_sources = policy_folder::sources(&written);
    let tried = policy_folder::set(written.policies);

    let client = run::client().await.map_err(Failure::of)?;
    let kinds = WorkloadKinds::with(args.running.workload_kind.clone());
    let cluster = Arc::new(Cluster::start(&client, kinds.clone(), args.running.read_pull_secrets));
    run::synced(&cluster).await.map_err(Failure::of)?;
    let in_force = usable(policies::list(&client).await)?.unwrap_or_default();
    // A source of the folder stands in for the cluster's of its name.
    let mut sources = usable(budget_sources::list(&client).await)?.unwrap_or_default();
    sources.retain(|source| own_sources.iter().all(|own| own.name != source.name));
    sources.extend(own_sources.iter().cloned());
    budgets::warn_of_missing_sources(&tried, &sources);
    let materials = Arc::new(ClusterMaterials::new(client.clone(), args.running.own_namespace.clone()));
    let snapshots = poller::poll_once(&sources, Some(&materials)).await;

    let gatherer = Gatherer {
        resolver: run::resolver(&args.registries, Arc::new(NoStore)).map_err(Failure::of)?,
        ledger: None,
        cluster: Some(cluster),
        stated: StatedLabels::default(),
        budgets: Budgets { snapshots: Arc::new(ArcSwap::from_pointee(snapshots)), ..Budgets::default() },
        exceptions: Arc::default(),
        traces: Traces::default(),
    };
    let found = running::list(&client, &kinds, |one| fleet::subject(one, &kinds), |_| {}).await.map_err(Failure::of)?;
    let mut subjects = Vec::with_capacity(found.len());
    for one in found {
        match one {
            Ok(subject) => subjects.extend(subject),
            Err(problem) => say("warning", &format!("passed over: {problem}")),
        }
    }
    Ok(try_all(subjects, &gatherer, &tried, &in_force, args.running.timeout_seconds).await)
}

/// Looks up what both sets of policies need, and asks them.
async fn try_all(
    mut subjects: Vec<Subject>,
    gatherer: &Gatherer,
    tried: &PolicySet,
    in_force: &PolicySet,
    timeout_seconds: u64,
) -> Simulated {
    // In an order that is the same each time, whatever answers first.
    subjects.sort_by_cached_key(|subject| (subject.namespace.clone(), subject.kind.clone(), subject.name.clone()));
    let both = PolicySet::new(tried.iter().chain(in_force.iter()).cloned().collect());
    let now = clock::now();
    let bar = progress(Some(subjects.len() as u64), "workloads tried:");
    let look_ups = stream::iter(subjects).map(|subject| {
        let both = &both;
        async move {
            let deadline = Instant::now() + Duration::from_secs(timeout_seconds);
            let evidence = gatherer.gather(&subject, both, now, deadline).await;
            (subject, evidence)
        }
    });
    let mut look_ups = look_ups.buffered(AT_ONCE);
    let mut simulation = Simulation::new(tried);
    while let Some((subject, evidence)) = look_ups.next().await {
        simulation.add_running(&subject, &evidence, in_force, now);
        bar.inc(1);
    }
    bar.finish_and_clear();
    simulation.finish()
}

/// What a cluster has of a kind, with a word for those that cannot be used; nothing where the kind is not defined.
fn usable<T>(listed: Result<(T, Vec<String>), ReadError>) -> Result<Option<T>, Failure> {
    match listed {
        Ok((good, wrong)) => {
            for problem in wrong {
                say("warning", &format!("passed over, because it cannot be used: {problem}"));
            }
            Ok(Some(good))
        }
        Err(ReadError::NotFound { what }) => {
            say("warning", &format!("the cluster has no {what}: nothing is in force there"));
            Ok(None)
        }
        Err(error) => Err(Failure::of(error)),
    }
}
