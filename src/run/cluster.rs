//! The cluster that the process is in or looks at.

use std::time::Duration;

use super::StartError;
use crate::args::ServeArgs;
use crate::cluster::{self, Cluster, budget_materials};

/// How long the first lists of a cluster may take.
const SYNC_WITHIN: Duration = Duration::from_secs(30);

/// A client of the cluster that the kubeconfig or the Pod's service account names; it answers.
pub async fn client() -> Result<kube::Client, StartError> {
    let client = cluster::connect(None).await.map_err(|error| StartError::Cluster(error.to_string()))?;
    client.apiserver_version().await.map_err(|error| StartError::Cluster(error.to_string()))?;
    Ok(client)
}

/// Waits until namespaces and nodes are known: before that a policy could be taken for one that does not match.
pub async fn synced(cluster: &Cluster) -> Result<(), StartError> {
    let both = async { tokio::join!(cluster.namespaces.health().synced(), cluster.nodes.health().synced()) };
    match tokio::time::timeout(SYNC_WITHIN, both).await {
        Ok(_) => Ok(()),
        Err(_) => Err(StartError::Cluster("namespaces and nodes could not be listed within 30 seconds".to_owned())),
    }
}

/// The gate's namespace: what a flag says, what the Pod says, or the usual name.
pub(super) fn own_namespace(args: &ServeArgs) -> String {
    let namespace = args.own_namespace.clone().or_else(budget_materials::own_namespace);
    namespace.unwrap_or_else(|| "freshgate".to_owned())
}

/// The name of this replica where none is given: a Pod's host name is its own.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "freshgate".to_owned() } else { name.trim().to_owned() }
}
