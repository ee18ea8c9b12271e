//! The bed of all scenarios: the node, images of several ages that run, and the gate's own image.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::cluster::control_plane::{Said, wait_for};
use crate::cluster::install_tls;
use crate::cluster::node::Node;
use crate::cluster::node::content::built_days_ago;
use crate::cluster::postgres::Postgres;

pub struct Bed {
    pub node: Node,
    postgres: OnceLock<Postgres>,
    /// The gate's image, by tag.
    pub gate: String,
    /// Another image of the same gate, by tag.
    pub gate_too: String,
    /// Built 3 days ago.
    pub fresh: String,
    /// Built 80 days ago: it warns.
    pub ageing: String,
    /// Built 112 days ago: it is denied.
    pub old: String,
    /// Built 120 days ago.
    pub older: String,
}

impl Bed {
    pub fn start(gate_archive: &Path) -> Self {
        install_tls();
        let begun = std::time::Instant::now();
        let node = Node::start();
        println!("the node is ready after {:.1} s", begun.elapsed().as_secs_f64());
        let gate = node.push_archive(gate_archive, "freshgate", "1");
        let push = |tag: &str, days: i64| node.push("shop/app", tag, &built_days_ago(tag, days));
        let (fresh, ageing, old, older) = (push("4", 3), push("3", 80), push("2", 112), push("1", 120));
        let gate_too = node.relabel(&gate, "org.opencontainers.image.version=another", "2");
        Self { postgres: OnceLock::new(), gate, gate_too, fresh, ageing, old, older, node }
    }

    /// A PostgreSQL server that Pods reach.
    pub fn postgres(&self) -> &Postgres {
        self.postgres.get_or_init(|| Postgres::start(&["127.0.0.1", &self.node.address]))
    }

    /// Creates an object in a namespace.
    pub fn create(&self, namespace: &str, object: &Value) -> Said {
        self.node.kubectl_with(&["-n", namespace, "create", "-f", "-"], &object.to_string())
    }

    /// The same by dry run: it is judged, and nothing is made.
    pub fn try_to_create(&self, namespace: &str, object: &Value) -> Said {
        self.node.kubectl_with(&["-n", namespace, "create", "--dry-run=server", "-f", "-"], &object.to_string())
    }

    /// Waits until a workload has all the replicas that it wants.
    pub fn wait_until_available(&self, namespace: &str, workload: &str) {
        let said = self.node.kubectl(&["-n", namespace, "rollout", "status", workload, "--timeout=300s"]);
        assert!(said.success, "{workload} did not become available: {}{}", said.stdout, said.stderr);
    }

    /// Names of the Pods that fit and run.
    pub fn running(&self, namespace: &str, selector: &str) -> Vec<String> {
        let pods = self.node.json(&["-n", namespace, "get", "pods", "-l", selector]);
        let runs = |pod: &&Value| {
            let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
            pod["metadata"]["deletionTimestamp"].is_null()
                && pod["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(ready))
        };
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
        pods["items"].as_array().unwrap().iter().filter(runs).map(name).collect()
    }

    /// Deletes a namespace, and waits until it is gone.
    pub fn remove_namespace(&self, name: &str) {
        self.node.get(&["delete", "namespace", name, "--ignore-not-found", "--timeout=300s"]);
    }

    /// Writes down what there is after a failure, beside the logs of the node's programs.
    pub fn keep_what_is(&self, when: &str) {
        let mut kept = String::new();
        for args in [
            &["get", "pods,deployments,statefulsets,daemonsets,jobs,services", "-A", "-o", "wide"][..],
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
            &["get", "validatingwebhookconfigurations", "-o", "yaml"],
            &[
                "logs",
                "-n",
                crate::release::NAMESPACE,
                "-l",
                "app.kubernetes.io/instance=freshgate",
                "--tail=-1",
                "--prefix",
            ],
        ] {
            let said = self.node.kubectl(args);
            writeln!(kept, "$ kubectl {}\n{}{}", args.join(" "), said.stdout, said.stderr).unwrap();
        }
        let name = format!("after {when}.txt").replace(' ', "-");
        std::fs::write(self.node.folder().join("log").join(name), kept).unwrap();
    }

    /// Removes what a failed scenario left, so that it does not make others fail.
    pub fn clear(&self) {
        let all = self.node.get(&["get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}"]);
        for name in all.split(' ').filter(|name| !name.starts_with("kube-") && *name != "default") {
            self.remove_namespace(name);
        }
    }
}

/// What `curl` prints, asked from the node.
pub fn curl(args: &[&str]) -> String {
    let output = Command::new("curl").args(["-s", "--max-time", "60"]).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A Pod's template; it ends at once when it is told to.
pub fn template(app: &str, image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "app", "image": image}]},
    })
}

pub fn pod(name: &str, image: &str) -> Value {
    let template = template(name, image);
    json!({
        "apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
        "metadata": {"name": name, "labels": template["metadata"]["labels"]},
    })
}

pub fn deployment(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name, image)},
    })
}

/// Waits until a call is refused with these words.
pub fn wait_until_refused(what: &str, words: &str, mut call: impl FnMut() -> Said) -> String {
    let mut stderr = String::new();
    wait_for(what, || {
        let said = call();
        stderr = said.stderr;
        !said.success && stderr.contains(words)
    });
    stderr
}
