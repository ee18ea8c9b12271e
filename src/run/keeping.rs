//! What looks after the records once they are in the store: checkpoints that leave it, and retention.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::args::KeepingArgs;
use crate::audit::Audit;
use crate::audit::checkpointer::{Checkpointer, LastHeads, Sinks};
use crate::audit::retention::{Limits, Retention};
use crate::clock;
use crate::cluster::checkpoints::ClusterCheckpoints;
use crate::metrics::Metrics;
use crate::signing::Keys;
use crate::store::Store;

/// Starts both in the background; the checkpointer makes one more at the end.
pub(super) fn start(
    args: &KeepingArgs,
    (audit, store): (&Arc<Audit>, &Store),
    keys: &Keys,
    cluster: Option<(kube::Client, String)>,
    made_by: &str,
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
    background.spawn(Arc::clone(&checkpointer).run(args.checkpoint_every, clock::now));
    let limits = Limits { age: args.retain_for.0, bytes: args.retain_bytes };
    if limits != Limits::default() {
        let retention = Retention { store: store.clone(), keys: keys.clone(), limits, metrics: Arc::clone(metrics) };
        background.spawn(retention.run(clock::now));
    }
    checkpointer
}
