//! What looks after the records once they are in the store: checkpoints that leave it, and retention. The leader's work
//! alone, where one is elected.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::args::KeepingArgs;
use crate::audit::Audit;
use crate::audit::checkpointer::{Checkpointer, LastHeads, Sinks};
use crate::audit::retention::{Limits, Retention};
use crate::clock;
use crate::cluster::checkpoints::ClusterCheckpoints;
use crate::cluster::leadership::Leadership;
use crate::metrics::Metrics;
use crate::signing::Keys;
use crate::store::Store;

/// Starts both in the background; the checkpointer of the leader makes one more at the end.
pub(super) fn start(
    args: &KeepingArgs,
    (audit, store): (&Arc<Audit>, &Store),
    keys: &Keys,
    cluster: Option<(kube::Client, String)>,
    (made_by, leadership): (&str, &Leadership),
    metrics: &Arc<Metrics>,
    background: &Handle,
) -> Arc<Checkpointer> {
    let config_map = args.checkpoint_config_map.clone();
    let sinks = Sinks {
        file: args.checkpoint_file.clone(),
        cluster: cluster
            .zip(config_map)
            .map(|((client, namespace), name)| ClusterCheckpoints::new(client, namespace, name)),
    };
    let checkpointer = Arc::new(Checkpointer {
        audit: Arc::clone(audit),
        store: store.clone(),
        keys: keys.clone(),
        made_by: made_by.to_owned(),
        sinks,
        metrics: Arc::clone(metrics),
        last: LastHeads::default(),
    });
    let (of_checkpoints, of_retention) = (leadership.clone(), leadership.clone());
    let (making, every) = (Arc::clone(&checkpointer), args.checkpoint_every);
    background.spawn(async move {
        of_checkpoints.whenever_leading(|| Arc::clone(&making).run(every, clock::now)).await;
    });
    let limits = Limits { age: args.retain_for.0, bytes: args.retain_bytes };
    if limits != Limits::default() {
        let retention = Retention { store: store.clone(), keys: keys.clone(), limits, metrics: Arc::clone(metrics) };
        background.spawn(async move { of_retention.whenever_leading(|| retention.run(clock::now)).await });
    }
    checkpointer
}
