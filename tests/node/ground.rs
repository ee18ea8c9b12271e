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

    let run =
        |script: &str| node.kubectl(&["-n", "ground", "exec", "deployment/asking", "--", "sh", "-c", script]).stdout;
    let service = node.json(&["-n", "ground", "get", "service", "serving"]);
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    let found = |name: &str| run(&format!("busybox nslookup {name}")).contains(&format!("Address: {address}\n"));
    wait_for("the name", || found("serving.ground.svc.cluster.local"));
    assert!(found("serving"), "the search list of the Pod finds it by its first name");
    assert!(!found("nobody"));
    // busybox's wget cannot look up names where it is static.
    let answer = || {
        run(&format!("printf 'GET /busybox HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 3 {address} 80 | busybox head -c 15"))
    };
    wait_for("the Service", || answer() == "HTTP/1.1 200 OK");
    bed.remove_namespace("ground");
}
