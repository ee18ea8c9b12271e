//! The chart, installed as its users do, and what it says of itself.

use std::path::Path;

use serde_json::{Value, json};

use crate::bed::{Bed, pod, wait_until_refused};
use crate::cluster::control_plane::{Said, wait_for};
use crate::cluster::node::NAME as NODE;

pub const NAMESPACE: &str = "freshgate-system";
pub const NAME: &str = "freshgate";
pub const WEBHOOK: &str = "freshgate";
pub const PODS: &str = "app.kubernetes.io/name=freshgate,app.kubernetes.io/instance=freshgate";

/// With one replica, `Fail` must be acknowledged.
pub const FAIL: &[&str] = &["webhook.failurePolicy=Fail", "acknowledge.failWithOneReplica=true"];

/// Denies from 90 days on, and warns 14 days before, in namespaces labelled `environment: production`.
const POLICY: &str = "
apiVersion: freshgate.dev/v1alpha1
kind: GatePolicy
metadata: {name: production}
spec:
  match: {namespaceSelector: {matchLabels: {environment: production}}}
  validationActions: [Deny]
  imageAge: {maxAge: 90d, warnBefore: 14d}
";

/// An installed chart. What is left of it is removed with this value, so that the next scenario finds nothing.
pub struct Release<'a> {
    bed: &'a Bed,
    /// The Helm that installs and removes it: `helm` or `helm4`.
    helm: &'static str,
}

pub fn chart() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/freshgate").display().to_string()
}

impl<'a> Release<'a> {
    /// Installs it with these values beside what every scenario needs, and the policy; it guards when this returns.
    pub fn install(bed: &'a Bed, values: &[&str]) -> Self {
        Self::install_by("helm", bed, values)
    }

    /// The same by another Helm: `helm4`.
    pub fn install_by(helm: &'static str, bed: &'a Bed, values: &[&str]) -> Self {
        let release = Self { bed, helm };
        let said = release.helm("install", NAMESPACE, &chart(), values);
        assert!(said.success, "helm install: {}{}", said.stdout, said.stderr);
        bed.node.apply(POLICY);
        release.wait_until_it_guards();
        release
    }

    /// Upgrades it with these values beside the same.
    pub fn upgrade(&self, values: &[&str]) {
        let said = self.helm("upgrade", NAMESPACE, &chart(), values);
        assert!(said.success, "helm upgrade: {}{}", said.stdout, said.stderr);
    }

    /// The same, and what it says, whether it succeeds or not.
    pub fn try_to_upgrade(&self, values: &[&str], seconds: u32) -> Said {
        let timeout = format!("--timeout={seconds}s");
        let mut args = self.arguments("upgrade", NAMESPACE, &chart(), values);
        args.push(timeout);
        self.bed.node.run_helm(self.helm, &args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Installs or upgrades a chart under the release's name.
    pub fn helm(&self, verb: &str, namespace: &str, chart: &str, values: &[&str]) -> Said {
        let mut args = self.arguments(verb, namespace, chart, values);
        args.push("--timeout=300s".to_owned());
        self.bed.node.run_helm(self.helm, &args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn arguments(&self, verb: &str, namespace: &str, chart: &str, values: &[&str]) -> Vec<String> {
        let (repository, tag) = self.bed.gate.rsplit_once(':').unwrap();
        let mut args: Vec<String> =
            [verb, NAME, chart, "--namespace", namespace, "--create-namespace", "--wait"].map(str::to_owned).into();
        if verb == "upgrade" {
            args.retain(|arg| arg != "--create-namespace");
        }
        let set = [
            format!("image.repository={repository}"),
            format!("image.tag={tag}"),
            format!("registries.insecure={{{}}}", self.bed.node.registry.host()),
            "store.sqlite.persistent=false".to_owned(),
            "drainDelaySeconds=2".to_owned(),
        ];
        for value in set.iter().map(String::as_str).chain(values.iter().copied()) {
            // A tag of digits alone is no number.
            let flag = match value.split_once('=') {
                Some(("image.tag", _)) => "--set-string",
                // A certificate is many lines, and in a file.
                Some(("webhook.caBundle", _)) => "--set-file",
                _ => "--set",
            };
            args.extend([flag.to_owned(), value.to_owned()]);
        }
        args
    }

    /// Whoever is not done with its release when a scenario ends can adopt what was installed otherwise.
    pub fn adopt(bed: &'a Bed) -> Self {
        Self { bed, helm: "helm" }
    }

    /// Waits until what is too old is refused.
    pub fn wait_until_it_guards(&self) {
        let node = &self.bed.node;
        if !node.kubectl(&["get", "namespace", "probe"]).success {
            node.namespace("probe", &["environment=production"]);
        }
        wait_until_refused("the first denial", "denied the request", || {
            self.bed.try_to_create("probe", &pod("probe", &self.bed.old))
        });
    }

    /// Waits until what is fresh gets in, and so does everything that is not judged.
    pub fn assert_deploys_work(&self, namespace: &str) {
        wait_for("a deploy that works", || self.bed.try_to_create(namespace, &pod("probe", &self.bed.fresh)).success);
    }

    pub fn uninstall(&self) -> Said {
        self.bed.node.run_helm(self.helm, &["uninstall", NAME, "--namespace", NAMESPACE, "--wait", "--timeout=300s"])
    }

    /// The webhook configuration, where there is one.
    pub fn webhook(&self) -> Option<Value> {
        let said = self.bed.node.kubectl(&["get", "validatingwebhookconfiguration", WEBHOOK, "-o", "json"]);
        said.success.then(|| serde_json::from_str(&said.stdout).unwrap())
    }

    /// Sets how many gates there are, past Helm, and waits until it is so.
    pub fn scale(&self, replicas: u32) {
        let count = format!("--replicas={replicas}");
        self.bed.node.get(&["-n", NAMESPACE, "scale", "deployment", NAME, &count]);
        if replicas == 0 {
            wait_for("the gates to be gone", || {
                self.bed.node.get(&["-n", NAMESPACE, "get", "pods", "-l", PODS, "-o", "name"]).is_empty()
            });
        } else {
            self.bed.wait_until_available(NAMESPACE, &format!("deployment/{NAME}"));
        }
    }

    /// Names of the gates that are ready.
    pub fn pods(&self) -> Vec<String> {
        self.bed.running(NAMESPACE, PODS)
    }

    /// What a gate answers on its admin port, asked through the API server.
    pub fn ask(&self, pod: &str, path: &str) -> Said {
        let address = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy{path}");
        self.bed.node.kubectl(&["get", "--raw", &address])
    }

    /// Figures of this name in a gate's metrics, whatever their labels.
    pub fn figures(&self, pod: &str, name: &str) -> Vec<f64> {
        let page = self.ask(pod, "/metrics").stdout;
        let figure = |line: &str| {
            let rest = line.strip_prefix(name)?;
            (rest.starts_with(['{', ' '])).then(|| rest.rsplit(' ').next().unwrap().parse().ok())?
        };
        page.lines().filter_map(figure).collect()
    }

    /// Their sum over all gates.
    pub fn sum(&self, name: &str) -> f64 {
        self.pods().iter().flat_map(|pod| self.figures(pod, name)).sum()
    }

    /// What is there of ours in the cluster, as `kind/name`, the namespace's own furniture left out.
    pub fn what_is_left(&self) -> Vec<String> {
        let node = &self.bed.node;
        let mut left: Vec<String> = Vec::new();
        let cluster_wide = "clusterroles,clusterrolebindings,validatingwebhookconfigurations,customresourcedefinitions,priorityclasses";
        for args in [
            &["get", cluster_wide, "-o", "name"][..],
            &["get", "gatepolicies", "-o", "name"],
            &[
                "-n",
                NAMESPACE,
                "get",
                "all,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,persistentvolumeclaims,networkpolicies,poddisruptionbudgets",
                "-o",
                "name",
            ],
        ] {
            // Policies are of no known kind any more where the definitions are gone.
            left.extend(node.kubectl(args).stdout.lines().map(str::to_owned));
        }
        let own = |name: &String| name.contains("freshgate") || name.starts_with("persistentvolumeclaim");
        let furniture = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
        left.retain(|name| own(name) && !furniture.contains(&name.as_str()));
        left.sort();
        left
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        let node = &self.bed.node;
        if std::thread::panicking() {
            self.bed.keep_what_is("a failure before the release was removed");
        }
        node.kubectl(&["uncordon", NODE]);
        self.uninstall();
        node.kubectl(&["delete", "validatingwebhookconfiguration", WEBHOOK, "--ignore-not-found"]);
        node.kubectl(&[
            "delete",
            "crd",
            "--ignore-not-found",
            "gatepolicies.freshgate.dev",
            "gateexceptions.freshgate.dev",
            "budgetsources.freshgate.dev",
        ]);
        node.kubectl(&["delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/part-of=freshgate"]);
        node.kubectl(&["delete", "namespace", "--ignore-not-found", "--timeout=300s", NAMESPACE, "probe"]);
    }
}

/// A volume for the audit: a folder of the node's that the gate's user may write.
pub fn volume(bed: &Bed, name: &str) {
    let folder = bed.node.folder().join("volumes").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(65_532), Some(65_532)).unwrap();
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "8Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": folder},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    });
    bed.node.apply(&volume.to_string());
}
