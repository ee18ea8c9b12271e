//! What the scenarios stand on: Pods run, Services have names, and the world outside is not there.

use serde_json::json;

use crate::Scenario;
use crate::bed::{Bed, deployment};
use crate::cluster::control_plane::wait_for;

pub const SCENARIOS: &[Scenario] = &[("a_service_is_reached_by_its_name", service)];

fn service(bed: &Bed) {
    let node = &bed.node;
    node.namespace("ground", &[]);
    let mut serving = deployment("serving", &bed.fresh);
    let container = &mut serving["spec"]["template"]["spec"]["containers"][0];
    container["command"] = json!(["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/bin"]);
    container["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    assert!(bed.create("ground", &serving).success);
    assert!(bed.create("ground", &deployment("asking", &bed.fresh)).success);
    bed.wait_until_available("ground", "deployment/serving");
    bed.wait_until_available("ground", "deployment/asking");
    node.get(&["-n", "ground", "expose", "deployment", "serving", "--port=80", "--target-port=8080"]);

    let asked = |url: &str| {
        let said = node.kubectl(&[
            "-n",
            "ground",
            "exec",
            "deployment/asking",
            "--",
            "wget",
            "-q",
            "-T",
            "3",
            "-O",
            "/dev/null",
            url,
        ]);
        said.success
    };
    wait_for("the Service", || asked("http://serving.ground.svc.cluster.local/busybox"));
    assert!(asked("http://serving/busybox"), "the search list of the Pod finds it by its first name");
    assert!(!asked("http://nobody/busybox"));
    bed.remove_namespace("ground");
}
