//! What the gate reads from and writes to a Kubernetes API server. Every read ends by its caller's deadline, and what
//! could not be read is said in words that can stand in a record.

pub mod authentication;
pub mod authorization;
pub mod budget_materials;
pub mod budget_sources;
mod budget_status;
pub mod certificate_secret;
pub mod checkpoints;
pub mod error;
pub mod events;
pub mod exceptions;
pub mod leadership;
pub mod lease;
pub mod namespaces;
pub mod nodes;
pub mod owner_reference;
pub mod owners;
pub mod policies;
pub mod policy_counts;
pub mod policy_status;
pub mod pull_secrets;
pub mod reports;
pub mod resources;
pub mod revisions;
pub mod running;
pub mod served_kinds;
pub mod template_images;
mod times;
pub mod watch;
pub mod webhook_configuration;

use kube::Client;
use kube::config::KubeConfigOptions;
use thiserror::Error;

use self::namespaces::NamespaceLabels;
use self::nodes::NodePlatforms;
use self::owners::Owners;
use self::pull_secrets::PullSecrets;
use crate::subject::kinds::WorkloadKinds;

/// What admission needs to know of a cluster. Policies are watched apart: see [`policies`].
pub struct Cluster {
    /// Labels of namespaces.
    pub namespaces: NamespaceLabels,
    /// Platforms of the nodes.
    pub nodes: NodePlatforms,
    /// Controllers of objects, and the revisions that workloads own.
    pub owners: Owners,
    /// Pull secrets of workloads; `None` where the gate is not to read Secrets.
    pub pull_secrets: Option<PullSecrets>,
}

impl Cluster {
    /// Begins to watch namespaces and nodes; reads can be asked for at once.
    pub fn start(client: &Client, kinds: WorkloadKinds, read_pull_secrets: bool) -> Self {
        Self {
            namespaces: NamespaceLabels::start(client.clone()),
            nodes: NodePlatforms::start(client.clone()),
            owners: Owners::new(client.clone(), kinds),
            pull_secrets: read_pull_secrets.then(|| PullSecrets::new(client.clone())),
        }
    }
}

/// The gate does not know how to reach an API server.
#[derive(Debug, Error)]
#[error("cannot connect to Kubernetes: {0}")]
pub struct CannotConnect(String);

/// A client by the Pod's service account, or by the kubeconfig (and one of its contexts).
pub async fn connect(context: Option<&str>) -> Result<Client, CannotConnect> {
    let config = match context {
        None => kube::Config::infer().await.map_err(|error| CannotConnect(error.to_string()))?,
        Some(context) => kube::Config::from_kubeconfig(&KubeConfigOptions {
            context: Some(context.to_owned()),
            ..KubeConfigOptions::default()
        })
        .await
        .map_err(|error| CannotConnect(error.to_string()))?,
    };
    Client::try_from(config).map_err(|error| CannotConnect(error.to_string()))
}
