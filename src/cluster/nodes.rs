//! The platforms that the cluster's nodes can run.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, ResourceExt};

use super::watch::{Change, Task, WatchHealth, follow};

/// Platforms of all nodes.
#[derive(Debug)]
pub struct NodePlatforms {
    platforms: Arc<ArcSwap<Vec<String>>>,
    health: Arc<WatchHealth>,
    _watch: Task,
}

impl NodePlatforms {
    pub(super) fn start(client: Client) -> Self {
        let platforms: Arc<ArcSwap<Vec<String>>> = Arc::default();
        let health = Arc::new(WatchHealth::default());
        let published = Arc::clone(&platforms);
        let mut by_node: HashMap<String, Option<String>> = HashMap::new();
        let watch = Task::spawn(follow(
            Api::<Node>::all(client),
            "nodes",
            Arc::clone(&health),
            |node| (node.name_any(), platform(&node)),
            move |change| {
                match change {
                    Change::All(nodes) => by_node = nodes.into_iter().collect(),
                    Change::Set((name, platform)) => {
                        by_node.insert(name, platform);
                    }
                    Change::Gone(name) => {
                        by_node.remove(&name);
                    }
                }
                let mut distinct: Vec<String> = by_node.values().flatten().cloned().collect();
                distinct.sort_unstable();
                distinct.dedup();
                if **published.load() != distinct {
                    published.store(Arc::new(distinct));
                }
            },
        ));
        Self { platforms, health, _watch: watch }
    }

    /// The platforms, as `linux/amd64`, sorted, each once; empty until the nodes were listed.
    pub fn platforms(&self) -> Arc<Vec<String>> {
        self.platforms.load_full()
    }

    /// How old the picture is.
    pub fn health(&self) -> &WatchHealth {
        &self.health
    }
}

fn platform(node: &Node) -> Option<String> {
    let info = node.status.as_ref()?.node_info.as_ref()?;
    (!info.operating_system.is_empty() && !info.architecture.is_empty())
        .then(|| format!("{}/{}", info.operating_system, info.architecture))
}
