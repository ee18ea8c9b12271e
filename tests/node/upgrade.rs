//! From an earlier chart to this one: the definitions are brought up to date, and what was asked for stays.

use std::path::Path;

use crate::Scenario;
use crate::bed::Bed;
use crate::release::{NAMESPACE, Release, chart};

pub const SCENARIOS: &[Scenario] = &[("an_upgrade_from_an_earlier_chart_brings_the_definitions_up_to_date", upgrade)];

/// What only the later definition knows is dropped by the earlier one.
const POLICY: &str = "
apiVersion: freshgate.dev/v1alpha1
kind: GatePolicy
metadata: {name: production}
spec:
  match: {namespaceSelector: {matchLabels: {environment: production}}}
  validationActions: [Deny]
  imageAge: {maxAge: 90d, warnBefore: 14d}
";

fn upgrade(bed: &Bed) {
    let node = &bed.node;
    let release = Release::adopt(bed);
    let earlier = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/earlier-chart");
    let (repository, tag) = bed.gate.rsplit_once(':').unwrap();
    let said = node.helm(&[
        "install",
        "freshgate",
        &earlier.display().to_string(),
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--wait",
        "--timeout=300s",
        "--set",
        &format!("image.repository={repository}"),
        "--set-string",
        &format!("image.tag={tag}"),
    ]);
    assert!(said.success, "the earlier chart: {}{}", said.stdout, said.stderr);
    let apply = || {
        // Fields that are not known are dropped with a warning, as old clients do.
        let said = node.kubectl_with(&["apply", "--validate=warn", "-f", "-"], POLICY);
        assert!(said.success, "{}", said.stderr);
        node.json(&["get", "gatepolicy", "production"])["spec"]["imageAge"].clone()
    };
    assert_eq!(apply(), serde_json::json!({"maxAge": "90d"}));

    let said = release.helm("upgrade", NAMESPACE, &chart(), &[]);
    assert!(said.success, "helm upgrade: {}{}", said.stdout, said.stderr);
    release.wait_until_it_guards();
    node.get(&["annotate", "gatepolicy", "production", "kubectl.kubernetes.io/last-applied-configuration-"]);
    assert_eq!(apply(), serde_json::json!({"maxAge": "90d", "warnBefore": "14d"}));
    for kind in ["gateexceptions", "budgetsources"] {
        node.get(&["get", kind]);
    }
}
