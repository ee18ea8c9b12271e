//! The bed of all scenarios: control plane, registry with images of several ages, the gate registered, one policy.

use std::path::Path;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::cluster::control_plane::{ControlPlane, Said, wait_for};
use crate::cluster::gate::{Gate, REGISTERED};
use crate::cluster::image::{Config, Image};
use crate::cluster::install_tls;
use crate::cluster::registry::Registry;

pub struct Bed {
    pub plane: ControlPlane,
    registry: Registry,
    pub gate: Gate,
    /// Built 3 days ago.
    pub fresh: String,
    /// Built 5 days ago.
    pub fresh_too: String,
    /// Built 6 days ago, to look into Pods with.
    pub debugger: String,
    /// Built 80 days ago.
    pub ageing: String,
    /// Built 112 days ago.
    pub old: String,
    /// Digest of `old`.
    pub old_digest: String,
    /// Day on which `old` was built.
    pub old_day: String,
}

/// Denies from 90 days on in namespaces labelled `environment: production`.
pub const POLICY: &str = "
apiVersion: freshgate.dev/v1alpha1
kind: GatePolicy
metadata: {name: production}
spec:
  match: {namespaceSelector: {matchLabels: {environment: production}}}
  validationActions: [Deny]
  imageAge: {maxAge: 90d}
";

pub fn built_days_ago(seed: &str, days: i64) -> Image {
    Config::created(seed, &(Utc::now() - TimeDelta::days(days)).to_rfc3339()).image()
}

impl Bed {
    pub fn start() -> Self {
        install_tls();
        let plane = ControlPlane::start();
        let registry = Registry::distribution();
        let program = Path::new(env!("CARGO_BIN_EXE_freshgate"));
        let crds = std::process::Command::new(program).arg("crds").output().unwrap();
        let said = plane.apply(&String::from_utf8(crds.stdout).unwrap());
        assert!(said.success, "the CRD was refused: {}", said.stderr);
        assert!(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).success);
        let said = plane.apply(POLICY);
        assert!(said.success, "the policy was refused: {}", said.stderr);

        let kubeconfig = plane.kubeconfig();
        let gate = Gate::start(
            program,
            &[
                &[
                    "--kubernetes",
                    "--decisions-api",
                    "--read-pull-secrets",
                    "--insecure-registry",
                    &registry.host(),
                    "--checkpoint-every",
                    "1s",
                    "--checkpoint-config-map",
                    "freshgate-checkpoints",
                ][..],
                &REGISTERED,
            ]
            .concat(),
            &[("KUBECONFIG", &kubeconfig)],
        );

        let old = built_days_ago("old", 112);
        let bed = Self {
            fresh: registry.push("shop/app", "3", &built_days_ago("fresh", 3)),
            fresh_too: registry.push("shop/app", "4", &built_days_ago("fresh too", 5)),
            debugger: registry.push("shop/debugger", "1", &built_days_ago("debugger", 6)),
            ageing: registry.push("shop/app", "2", &built_days_ago("ageing", 80)),
            old: registry.push("shop/app", "1", &old),
            old_digest: old.digest,
            old_day: (Utc::now() - TimeDelta::days(112)).format("%Y-%m-%d").to_string(),
            plane,
            registry,
            gate,
        };
        // The API server takes a moment to call a new webhook.
        bed.plane.namespace("probe", &["environment=production"]);
        let probe = pod("probe", &bed.old).to_string();
        wait_for("the webhook", || {
            !bed.plane.kubectl_as("admin", &["-n", "probe", "create", "--dry-run=server", "-f", "-"], &probe).success
        });
        bed
    }

    /// Brings an image into the registry; the reference to it.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        self.registry.push(repository, tag, image)
    }

    /// Where the registry listens.
    pub fn registry_host(&self) -> String {
        self.registry.host()
    }

    /// A namespace in which the policy denies.
    pub fn production(&self, name: &str) {
        self.plane.namespace(name, &["environment=production"]);
    }

    /// A figure of the gate's metrics, by its name with labels; 0 where it is not there yet.
    pub fn metric(&self, name: &str) -> f64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.gate.admin_port);
        let output = std::process::Command::new("curl").args(["-s", &url]).output().unwrap();
        let page = String::from_utf8(output.stdout).unwrap();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }

    pub fn create(&self, namespace: &str, object: &Value) -> Said {
        self.plane.kubectl_as("admin", &["-n", namespace, "create", "-f", "-"], &object.to_string())
    }

    pub fn patch(&self, namespace: &str, object: &str, patch: &Value) -> Said {
        self.plane.kubectl(&["-n", namespace, "patch", object, "--type=merge", "-p", &patch.to_string()])
    }

    pub fn get(&self, namespace: &str, object: &str) -> Value {
        let said = self.plane.kubectl(&["-n", namespace, "get", object, "-o", "json"]);
        assert!(said.success, "{}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap()
    }

    /// Brings something in while nobody looks: in a namespace that is labelled afterwards, as what ran before the gate.
    pub fn with_history(&self, namespace: &str, objects: &[Value]) {
        self.plane.namespace(namespace, &[]);
        for object in objects {
            allowed(&self.create(namespace, object));
        }
        assert!(self.plane.kubectl(&["label", "namespace", namespace, "environment=production"]).success);
        let probe = pod("probe", &self.old).to_string();
        wait_for("the label", || {
            !self.plane.kubectl_as("admin", &["-n", namespace, "create", "--dry-run=server", "-f", "-"], &probe).success
        });
    }

    /// Asserts the whole denial of the old image; the decision's id is what stands in it.
    pub fn denied(&self, said: &Said, place: &str, container: &str) -> String {
        assert!(!said.success, "it was let in: {}", said.stdout);
        let (_, message) = said.stderr.split_once("denied the request: ").unwrap_or_else(|| panic!("{}", said.stderr));
        let message = message.trim();
        let id = message.rsplit_once("\ndecision ").map_or("", |(_, rest)| rest.split(' ').next().unwrap());
        let expected = format!(
            "binary-age: image {}@{}… ({place} \"{container}\") was built 112 days ago, on {} (image config); the limit here is 90 days (policy \"production\").\n\
             Rebuild it and deploy the new digest; a rollback to a version that ran before is allowed.\n\
             decision {id} · ask whoever owns policy \"production\"",
            self.old,
            &self.old_digest[..19],
            self.old_day,
        );
        assert_eq!(message, expected);
        id.to_owned()
    }
}

/// Asserts that it was let in, and gives the warnings.
pub fn allowed(said: &Said) -> Vec<String> {
    assert!(said.success, "it was refused: {}", said.stderr);
    said.stderr.lines().filter_map(|line| line.strip_prefix("Warning: ")).map(str::to_owned).collect()
}

pub fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "app"}}, "spec": {"containers": [{"name": "app", "image": image}]}})
}

pub fn pod(name: &str, image: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": template(image)["spec"]})
}

pub fn workload(api_version: &str, kind: &str, name: &str, image: &str) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": "app"}}, "template": template(image)},
    })
}

pub fn deployment(name: &str, image: &str) -> Value {
    workload("apps/v1", "Deployment", name, image)
}

pub fn job(name: &str, image: &str) -> Value {
    let mut template = template(image);
    template["spec"]["restartPolicy"] = json!("Never");
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template, "backoffLimit": 3}})
}
