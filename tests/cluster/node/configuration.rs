//! How each program of the node is started. What cost time to find stands beside the setting.

use std::path::Path;

use serde_json::json;

use super::{NAME, NAME_SERVICE};

const PODS: &str = "10.244.0.0/16";
const PODS_OF_THE_NODE: &str = "10.244.0.0/24";
const SERVICES: &str = "10.96.0.0/16";

fn args(all: &[&str]) -> Vec<String> {
    all.iter().map(|&arg| arg.to_owned()).collect()
}

pub fn etcd() -> Vec<String> {
    args(&["--name", "n", "--data-dir", "etcd", "--unsafe-no-fsync"])
}

pub fn api_server(address: &str) -> Vec<String> {
    let mut all = args(&[
        "--bind-address=0.0.0.0",
        "--secure-port=6443",
        "--etcd-servers=http://127.0.0.1:2379",
        "--cert-dir=certificates",
        "--tls-cert-file=server.crt",
        "--tls-private-key-file=server.key",
        "--client-ca-file=ca.crt",
        "--kubelet-client-certificate=admin.crt",
        "--kubelet-client-key=admin.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=sa.pub",
        "--service-account-signing-key-file=sa.key",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--admission-control-config-file=admission.yaml",
    ]);
    all.push(format!("--advertise-address={address}"));
    all.push(format!("--service-cluster-ip-range={SERVICES}"));
    all
}

pub fn controllers() -> Vec<String> {
    let mut all = args(&[
        "--kubeconfig=controllers.kubeconfig",
        "--authentication-kubeconfig=controllers.kubeconfig",
        "--authorization-kubeconfig=controllers.kubeconfig",
        "--cert-dir=certificates",
        "--service-account-private-key-file=sa.key",
        "--root-ca-file=ca.crt",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--allocate-node-cidrs=true",
    ]);
    all.push(format!("--cluster-cidr={PODS}"));
    all
}

pub fn scheduler() -> Vec<String> {
    args(&[
        "--kubeconfig=scheduler.kubeconfig",
        "--authentication-kubeconfig=scheduler.kubeconfig",
        "--authorization-kubeconfig=scheduler.kubeconfig",
        "--cert-dir=certificates",
        "--leader-elect=false",
    ])
}

pub fn containerd() -> Vec<String> {
    args(&["-c", "containerd.toml"])
}

pub fn kubelet(address: &str) -> Vec<String> {
    let mut all = args(&["--config=kubelet.yaml", "--kubeconfig=node.kubeconfig", "--root-dir=/var/lib/kubelet"]);
    all.push(format!("--hostname-override={NAME}"));
    all.push(format!("--node-ip={address}"));
    all
}

pub fn proxy() -> Vec<String> {
    let mut all = args(&["--kubeconfig=proxy.kubeconfig", "--proxy-mode=iptables"]);
    all.push(format!("--cluster-cidr={PODS}"));
    all.push(format!("--hostname-override={NAME}"));
    // These settings of the kernel belong to no network namespace.
    for limit in ["max-per-core", "min", "tcp-timeout-established", "tcp-timeout-close-wait"] {
        all.push(format!("--conntrack-{limit}=0"));
    }
    all
}

/// Writes what the API server shows to webhooks that ask for a certificate.
pub fn write_admission(folder: &Path) {
    let caller = json!({
        "apiVersion": "v1", "kind": "Config",
        "users": [{"name": "*.svc", "user": {"client-certificate": folder.join("caller.crt"), "client-key": folder.join("caller.key")}}],
    });
    std::fs::write(folder.join("callers.kubeconfig"), caller.to_string()).unwrap();
    let admission = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": [{
            "name": "ValidatingAdmissionWebhook",
            "configuration": {
                "apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration",
                "kubeConfigFile": folder.join("callers.kubeconfig"),
            },
        }],
    });
    std::fs::write(folder.join("admission.yaml"), admission.to_string()).unwrap();
}

/// Writes what the programs read from files. `pause` is the image that holds a Pod's namespaces.
pub fn write(folder: &Path, address: &str, registry: &str, pause: &str) {
    let shown = folder.display();
    let network = json!({
        "cniVersion": "1.0.0", "name": "bridge", "plugins": [
            // Hairpin or promiscuous mode, not both: Pods reach themselves by their Services.
            {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam": {
                "type": "host-local", "ranges": [[{"subnet": PODS_OF_THE_NODE}]], "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": folder.join("addresses"),
            }},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    std::fs::create_dir(folder.join("network")).unwrap();
    std::fs::write(folder.join("network/10-bridge.conflist"), network.to_string()).unwrap();
    // A score that is left alone: lowering one takes a capability that containers in CI do not have.
    let containerd = format!(
        r#"version = 2
root = "{shown}/containerd"
state = "{shown}/containerd-state"
[grpc]
  address = "{shown}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "{pause}"
  cni = {{ bin_dir = "/usr/lib/cni", conf_dir = "{shown}/network" }}
  registry.mirrors."{registry}".endpoint = ["http://{registry}"]
"#
    );
    std::fs::write(folder.join("containerd.toml"), containerd).unwrap();
    // Nothing of the machine's names: only what CoreDNS has.
    std::fs::write(folder.join("resolv.conf"), format!("nameserver {NAME_SERVICE}\n")).unwrap();
    let kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": address,
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": folder.join("ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs", "cgroupRoot": super::from_environment("FRESHGATE_NODE_CGROUP"),
        "failCgroupV1": false, "failSwapOn": false, "enforceNodeAllocatable": [],
        // Secrets arrive in volumes when a Pod is looked at again, which is once a minute else.
        "syncFrequency": "5s",
        "clusterDNS": [NAME_SERVICE], "clusterDomain": "cluster.local", "resolvConf": folder.join("resolv.conf"),
        "containerRuntimeEndpoint": format!("unix://{shown}/containerd.sock"),
        "tlsCertFile": folder.join("node.crt"), "tlsPrivateKeyFile": folder.join("node.key"),
        // However full the machine is with other things, images and Pods stay.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"nodefs.available": "50Mi", "imagefs.available": "50Mi"},
    });
    std::fs::write(folder.join("kubelet.yaml"), kubelet.to_string()).unwrap();
    let names = format!(
        "cluster.local 10.in-addr.arpa {{\n    bind {address}\n    errors\n    ready {address}:8181\n    kubernetes cluster.local 10.in-addr.arpa {{\n        kubeconfig {shown}/names.kubeconfig bed\n    }}\n}}\n"
    );
    std::fs::write(folder.join("Corefile"), names).unwrap();
}

/// `CoreDNS` runs beside the kubelet, so its Service has no selector.
pub fn name_service(address: &str) -> String {
    let ports = |target: bool| {
        let port = |name: &str, protocol: &str| {
            let mut port = json!({"name": name, "protocol": protocol, "port": 53});
            if target {
                port["targetPort"] = json!(53);
            }
            port
        };
        json!([port("dns", "UDP"), port("dns-tcp", "TCP")])
    };
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
         "spec": {"clusterIP": NAME_SERVICE, "ports": ports(true)}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": ports(false),
         "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "kube-dns"}},
         "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]},
    ]})
    .to_string()
}
