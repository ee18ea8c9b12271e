//! A real Kubernetes node: a control plane with scheduler, kubelet, containerd and kube-proxy, names by `CoreDNS`, and a
//! registry. Pods run, Services answer, and `helm install --wait` waits for something.
//!
//! It lives in the namespaces that `node/enter.sh` makes, and nowhere else: two runs do not meet, and what a test leaves
//! running ends with them.

pub mod configuration;
pub mod content;
pub mod load;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::control_plane::{Authority, Said, say, wait_for, write_kubeconfig};
use super::image::Image;
use super::process::Process;
use super::registry::Registry;
use super::{build, programs};
use rcgen::KeyPair;

/// Names the folder with the programs to what runs inside.
pub const PROGRAMS: &str = "FRESHGATE_NODE_PROGRAMS";

/// The one node.
pub const NAME: &str = "node1";

/// Where the API server finds itself, and `CoreDNS` is found.
const API_SERVICE: &str = "10.96.0.1";
const NAME_SERVICE: &str = "10.96.0.10";

/// A running node.
pub struct Node {
    pub api_server: Process,
    kubelet: Process,
    others: Vec<Process>,
    pub registry: Registry,
    /// Its address, also for Pods.
    pub address: String,
    folder: PathBuf,
}

/// Runs this program again, inside, with the same arguments; what it ended with.
pub fn run_inside(arguments: &[String], environment: &[(&str, &Path)]) -> ExitStatus {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/node/enter.sh");
    Command::new(script)
        .arg(std::env::current_exe().unwrap())
        .args(arguments)
        .env(PROGRAMS, build("node"))
        .envs(environment.iter().copied())
        .status()
        .unwrap()
}

/// Whether this program runs inside.
pub fn is_inside() -> bool {
    std::env::var_os("FRESHGATE_NODE_FOLDER").is_some()
}

fn from_environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: a node lives in what node/enter.sh makes"))
}

impl Node {
    /// Starts it; ready when the node is, and names are answered.
    pub fn start() -> Self {
        let folder = PathBuf::from(from_environment("FRESHGATE_NODE_FOLDER"));
        let address = from_environment("FRESHGATE_NODE_ADDRESS");
        write_certificates(&folder, &address);
        let start = |name: &str, program: &Path, args: &[String]| {
            Process::start(name, &folder.join("log"), Command::new(program).current_dir(&folder).args(args))
        };
        let from_source = |name: &str, args: &[String]| start(name, &programs().join(name), args);

        let mut etcd = from_source("etcd", &configuration::etcd());
        etcd.wait_until(|| TcpStream::connect("127.0.0.1:2379").is_ok());
        configuration::write_admission(&folder);
        let mut api_server = from_source("kube-apiserver", &configuration::api_server(&address));
        let registry = Registry::known_as(&address);
        let admin = |args: &[&str]| say("kubectl", &folder, "admin", args, "");
        api_server.wait_until(|| admin(&["get", "--raw", "/readyz"]).success);
        let controllers = from_source("kube-controller-manager", &configuration::controllers());
        let scheduler = from_source("kube-scheduler", &configuration::scheduler());

        let pause = registry.push("pause", "1", &content::pause());
        configuration::write(&folder, &address, &registry.host(), &pause);
        let containerd = start("containerd", Path::new("containerd"), &configuration::containerd());
        wait_for("containerd's socket", || folder.join("containerd.sock").exists());
        let kubelet = from_source("kubelet", &configuration::kubelet(&address));
        let proxy = from_source("kube-proxy", &configuration::proxy());
        let mut names = from_source("coredns", &["-conf".into(), "Corefile".into()]);
        names.wait_until(|| TcpStream::connect((&*address, 53)).is_ok());

        let others = vec![names, proxy, containerd, scheduler, controllers, etcd];
        let mut node = Self { api_server, kubelet, others, registry, address, folder };
        node.apply(&configuration::name_service(&node.address));
        let (folder, said) = (node.folder.clone(), |said: Said| said.success && said.stdout == "True");
        let ready = ["get", "node", NAME, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"];
        node.kubelet.wait_until(|| said(say("kubectl", &folder, "admin", &ready, "")));
        wait_for("the service account", || node.kubectl(&["get", "serviceaccount", "default"]).success);
        node
    }

    /// Where it keeps its state and, in `log`, what its programs say.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Path of the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// Runs kubectl as the administrator.
    pub fn kubectl(&self, args: &[&str]) -> Said {
        self.kubectl_with(args, "")
    }

    /// Runs kubectl as the administrator, with this on its input.
    pub fn kubectl_with(&self, args: &[&str], input: &str) -> Said {
        say("kubectl", &self.folder, "admin", args, input)
    }

    /// Runs helm as the administrator.
    pub fn helm(&self, args: &[&str]) -> Said {
        self.run_helm("helm", args)
    }

    /// Runs a helm, `helm` or `helm4`, as the administrator.
    pub fn run_helm(&self, program: &str, args: &[&str]) -> Said {
        say(program, &self.folder, "admin", args, "")
    }

    /// Starts one more program beside the node's own; it ends with the value.
    pub fn run_beside(&self, name: &str, args: &[&str]) -> Process {
        let mut command = Command::new(programs().join(name));
        command.current_dir(&self.folder).args(args);
        Process::start(name, &self.folder.join("log"), &mut command)
    }

    /// Applies manifests, which must succeed.
    pub fn apply(&self, manifest: &str) {
        let said = self.kubectl_with(&["apply", "-f", "-"], manifest);
        assert!(said.success, "it was not applied: {}\n{manifest}", said.stderr);
    }

    /// What kubectl prints with these arguments, which must succeed.
    pub fn get(&self, args: &[&str]) -> String {
        let said = self.kubectl(args);
        assert!(said.success, "kubectl {args:?}: {}", said.stderr);
        said.stdout
    }

    /// The same, read as JSON.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        serde_json::from_str(&self.get(&args)).unwrap()
    }

    /// Makes a namespace with labels, as `key=value`.
    pub fn namespace(&self, name: &str, labels: &[&str]) {
        self.get(&["create", "namespace", name]);
        for label in labels {
            self.get(&["label", "namespace", name, label]);
        }
        wait_for("the service account", || self.kubectl(&["-n", name, "get", "serviceaccount", "default"]).success);
    }

    /// Brings an image into the registry; its reference.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        self.registry.push(repository, tag, image)
    }

    /// Brings an image from an archive, as `docker save` writes it, into the registry; its reference.
    pub fn push_archive(&self, archive: &Path, repository: &str, tag: &str) -> String {
        let reference = format!("{}/{repository}:{tag}", self.registry.host());
        self.crane(&["push", "--insecure", &archive.display().to_string(), &reference]);
        reference
    }

    /// Makes of an image another one, with a label of its own, under another tag; its reference.
    pub fn relabel(&self, image: &str, label: &str, tag: &str) -> String {
        let (repository, _) = image.rsplit_once(':').unwrap();
        let reference = format!("{repository}:{tag}");
        self.crane(&["mutate", "--insecure", "--label", label, "-t", &reference, image]);
        reference
    }

    /// What `crane` prints.
    pub fn crane(&self, args: &[&str]) -> String {
        let said = say("crane", &self.folder, "admin", args, "");
        assert!(said.success, "crane {args:?}: {}", said.stderr);
        said.stdout
    }

    /// What one of the node's programs has said.
    pub fn log_of(&self, program: &str) -> String {
        std::fs::read_to_string(self.folder.join("log").join(format!("{program}.log"))).unwrap_or_default()
    }

    /// Takes all Pods off the node, or those that the further arguments leave, and lets none come.
    pub fn drain(&self, more: &[&str]) {
        let args = ["drain", NAME, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=300s"];
        let said = self.kubectl(&[&args, more].concat());
        assert!(said.success, "the node could not be drained: {}", said.stderr);
    }

    /// Lets Pods come again.
    pub fn uncordon(&self) {
        self.get(&["uncordon", NAME]);
    }

    /// Makes the API server stand still for a while.
    pub fn stop_api_server(&self, duration: Duration, meanwhile: impl FnOnce()) {
        let until = std::time::Instant::now() + duration;
        self.api_server.stop();
        meanwhile();
        std::thread::sleep(until.saturating_duration_since(std::time::Instant::now()));
        self.api_server.signal("CONT");
        wait_for("the API server", || self.kubectl(&["get", "--raw", "/readyz"]).success);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Containers end with the namespaces; what starts them goes first.
        self.kubelet.kill();
        self.others.clear();
    }
}

fn write_certificates(folder: &Path, address: &str) {
    let authority = Authority::new();
    std::fs::write(folder.join("ca.crt"), &authority.pem).unwrap();
    let names = ["localhost", "kubernetes.default.svc", "127.0.0.1", API_SERVICE, address];
    authority.issue(folder, "server", "kube-apiserver", &[], &names);
    authority.issue(folder, "admin", "admin", &["system:masters"], &[]);
    authority.issue(folder, "controllers", "system:kube-controller-manager", &[], &[]);
    authority.issue(folder, "scheduler", "system:kube-scheduler", &[], &[]);
    authority.issue(folder, "proxy", "system:kube-proxy", &[], &[]);
    // For what Pods would run elsewhere: CoreDNS reads Services and Endpoints.
    authority.issue(folder, "names", "system:coredns", &["system:masters"], &[]);
    authority.issue(folder, "node", &format!("system:node:{NAME}"), &["system:nodes"], &[NAME, address]);
    // What the API server shows to webhooks.
    authority.issue(folder, "caller", "api-server-caller", &[], &[]);
    for user in ["admin", "controllers", "scheduler", "proxy", "names", "node"] {
        write_kubeconfig(folder, user, &format!("https://{address}:6443"));
    }
    let service_accounts = KeyPair::generate().unwrap();
    std::fs::write(folder.join("sa.key"), service_accounts.serialize_pem()).unwrap();
    std::fs::write(folder.join("sa.pub"), service_accounts.public_key_pem()).unwrap();
}
