//! A Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager. No node: Pods are made and
//! never run, which is all that admission needs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use super::process::{Process, free_ports};
use super::programs;

/// Common name of the certificate that the API server shows to webhooks.
pub const CALLER: &str = "apiserver-webhooks";

/// A running control plane.
pub struct ControlPlane {
    pub api_server: Process,
    controllers: Process,
    etcd: Process,
    folder: TempDir,
    port: u16,
    authority: Authority,
}

/// What `kubectl` said.
#[derive(Debug)]
pub struct Said {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Signs certificates of tests.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "test-ca");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its private key, in PEM.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Writes `<name>.crt` and `<name>.key`.
    pub fn issue(&self, folder: &Path, name: &str, common_name: &str, organizations: &[&str], alternatives: &[&str]) {
        let alternatives: Vec<String> = alternatives.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(alternatives).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        for organization in organizations {
            params.distinguished_name.push(DnType::OrganizationName, *organization);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

impl ControlPlane {
    /// Starts it; ready when the default namespace has its service account.
    pub fn start() -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("freshgate-bed").tempdir().unwrap();
        let path = folder.path();
        let [port, etcd_client, etcd_peer, controllers_port] = free_ports();
        let authority = Authority::new();
        std::fs::write(path.join("ca.crt"), &authority.pem).unwrap();
        authority.issue(
            path,
            "server",
            "kube-apiserver",
            &[],
            &["localhost", "127.0.0.1", "10.0.0.1", "kubernetes.default.svc"],
        );
        authority.issue(path, "admin", "admin", &["system:masters"], &[]);
        authority.issue(path, "caller", CALLER, &[], &[]);
        authority.issue(path, "controllers", "system:kube-controller-manager", &[], &[]);
        let service_accounts = KeyPair::generate().unwrap();
        std::fs::write(path.join("sa.key"), service_accounts.serialize_pem()).unwrap();
        std::fs::write(path.join("sa.pub"), service_accounts.public_key_pem()).unwrap();
        for name in ["admin", "controllers"] {
            write_kubeconfig(path, name, &format!("https://127.0.0.1:{port}"));
        }

        write_admission_configuration(path);

        let client_url = format!("http://127.0.0.1:{etcd_client}");
        let peer_url = format!("http://127.0.0.1:{etcd_peer}");
        let etcd = Process::start(
            "etcd",
            path,
            Command::new(programs.join("etcd"))
                .args(["--name", "n", "--unsafe-no-fsync", "--data-dir"])
                .arg(path.join("etcd"))
                .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
                .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
                .args(["--initial-cluster", &format!("n={peer_url}")]),
        );
        let file = |name: &str| path.join(name).display().to_string();
        let mut api_server = Process::start(
            "kube-apiserver",
            path,
            Command::new(programs.join("kube-apiserver"))
                .arg(format!("--etcd-servers={client_url}"))
                .arg(format!("--secure-port={port}"))
                .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
                .args([
                    "--service-cluster-ip-range=10.0.0.0/24",
                    "--authorization-mode=Node,RBAC",
                    "--allow-privileged=true",
                ])
                .arg(format!("--admission-control-config-file={}", file("admission.json")))
                .arg(format!("--cert-dir={}", file("certificates")))
                .arg(format!("--tls-cert-file={}", file("server.crt")))
                .arg(format!("--tls-private-key-file={}", file("server.key")))
                .arg(format!("--client-ca-file={}", file("ca.crt")))
                .arg("--service-account-issuer=https://kubernetes.default.svc")
                .arg(format!("--service-account-key-file={}", file("sa.pub")))
                .arg(format!("--service-account-signing-key-file={}", file("sa.key"))),
        );
        let ready = || kubectl(path, "admin", &["get", "--raw", "/readyz"], "").success;
        api_server.wait_until(ready);
        let controllers = Process::start(
            "kube-controller-manager",
            path,
            Command::new(programs.join("kube-controller-manager"))
                .arg(format!("--kubeconfig={}", file("controllers.kubeconfig")))
                .arg(format!("--secure-port={controllers_port}"))
                .args(["--bind-address=127.0.0.1", "--leader-elect=false", "--use-service-account-credentials=true"])
                .arg(format!("--cert-dir={}", file("certificates")))
                .arg(format!("--root-ca-file={}", file("ca.crt")))
                .arg(format!("--service-account-private-key-file={}", file("sa.key"))),
        );
        let mut bed = Self { api_server, controllers, etcd, folder, port, authority };
        let kubeconfig = bed.folder.path().to_owned();
        bed.controllers.wait_until(|| kubectl(&kubeconfig, "admin", &["get", "serviceaccount", "default"], "").success);
        bed
    }

    /// Where the API server listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path of the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin.kubeconfig")
    }

    /// Path of the certificate of its authority, which its own client certificate is of.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Path of the kubeconfig of a user that was added.
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.folder.path().join(format!("{user}.kubeconfig"))
    }

    /// Pids of all its programs.
    pub fn pids(&self) -> [u32; 3] {
        [self.etcd.pid(), self.api_server.pid(), self.controllers.pid()]
    }

    /// Runs kubectl as the administrator.
    pub fn kubectl(&self, args: &[&str]) -> Said {
        kubectl(self.folder.path(), "admin", args, "")
    }

    /// Applies manifests as the administrator.
    pub fn apply(&self, manifest: &str) -> Said {
        kubectl(self.folder.path(), "admin", &["apply", "-f", "-"], manifest)
    }

    /// Creates manifests as the administrator.
    pub fn create(&self, manifest: &str) -> Said {
        kubectl(self.folder.path(), "admin", &["create", "-f", "-"], manifest)
    }

    /// Makes a user of these groups; its kubeconfig is then known by that name.
    pub fn add_user(&self, name: &str, groups: &[&str]) {
        self.authority.issue(self.folder.path(), name, name, groups, &[]);
        write_kubeconfig(self.folder.path(), name, &format!("https://127.0.0.1:{}", self.port));
    }

    /// Runs kubectl as a user that was added.
    pub fn kubectl_as(&self, user: &str, args: &[&str], input: &str) -> Said {
        kubectl(self.folder.path(), user, args, input)
    }

    /// Makes a namespace with labels (as `key=value`).
    pub fn namespace(&self, name: &str, labels: &[&str]) {
        assert!(self.kubectl(&["create", "namespace", name]).success);
        for label in labels {
            assert!(self.kubectl(&["label", "namespace", name, label]).success);
        }
        // Pods want the service account, which the controllers make.
        wait_for("the service account", || self.kubectl(&["-n", name, "get", "serviceaccount", "default"]).success);
    }
}

/// Waits for something that controllers do.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let give_up = std::time::Instant::now() + super::process::READY_WITHIN;
    while !done() {
        assert!(std::time::Instant::now() < give_up, "{what} did not come");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// A kubeconfig for the user whose certificate was issued under this name.
pub(super) fn write_kubeconfig(folder: &Path, name: &str, server: &str) {
    let file = |suffix: &str| folder.join(format!("{name}.{suffix}")).display().to_string();
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bed",
        "clusters": [{"name": "bed", "cluster": {"server": server, "certificate-authority": folder.join("ca.crt")}}],
        "users": [{"name": "user", "user": {"client-certificate": file("crt"), "client-key": file("key")}}],
        "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "user"}}],
    });
    std::fs::write(folder.join(format!("{name}.kubeconfig")), config.to_string()).unwrap();
}

/// Has the API server show a client certificate to webhooks that ask for one.
fn write_admission_configuration(folder: &Path) {
    let file = |name: &str| folder.join(name).display().to_string();
    let user = serde_json::json!({"client-certificate": file("caller.crt"), "client-key": file("caller.key")});
    let kubeconfig = serde_json::json!({"apiVersion": "v1", "kind": "Config", "users": [{"name": "*", "user": user}]});
    std::fs::write(folder.join("caller.kubeconfig"), kubeconfig.to_string()).unwrap();
    let webhooks = serde_json::json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": file("caller.kubeconfig"),
    });
    let configuration = serde_json::json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": "ValidatingAdmissionWebhook", "configuration": webhooks}],
    });
    std::fs::write(folder.join("admission.json"), configuration.to_string()).unwrap();
}

fn kubectl(folder: &Path, user: &str, args: &[&str], input: &str) -> Said {
    say("kubectl", folder, user, args, input)
}

/// Runs a program that speaks to the API server as a user, `kubectl` or `helm`.
pub(super) fn say(program: &str, folder: &Path, user: &str, args: &[&str], input: &str) -> Said {
    let mut child = Command::new(programs().join(program))
        .env("KUBECONFIG", folder.join(format!("{user}.kubeconfig")))
        .env("HOME", folder) // its caches
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Said {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
