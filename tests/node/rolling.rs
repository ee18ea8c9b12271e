//! Two replicas on PostgreSQL, upgraded under load: not one call fails, and not one passes without being judged.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, deployment};
use crate::cluster::node::load::Applies;
use crate::release::{NAME, NAMESPACE, Release};

pub const SCENARIOS: &[Scenario] = &[("a_rolling_upgrade_under_load_fails_no_call", rolling)];

/// Dry runs in each second.
pub const PER_SECOND: u32 = 20;

fn rolling(bed: &Bed) {
    let database = bed.postgres().database();
    let url = database.url_from(&bed.node.address);
    bed.node.namespace(NAMESPACE, &[]);
    bed.node.get(&["-n", NAMESPACE, "create", "secret", "generic", "store", &format!("--from-literal=url={url}")]);
    let values = [
        "replicas=2",
        "store.type=postgresql",
        "store.postgresql.existingSecret=store",
        "webhook.failurePolicy=Fail",
        // As it comes: Services take a while to hear of a Pod that goes.
        "drainDelaySeconds=10",
    ];
    let release = Release::install(bed, &values);
    assert_eq!(release.pods().len(), 2);
    assert_eq!(release.sum("freshgate_leader") as u32, 1, "one of them leads");
    let load = start_load(bed);
    std::thread::sleep(Duration::from_secs(5));
    let begun = std::time::Instant::now();
    let (_, tag) = bed.gate_too.rsplit_once(':').unwrap();
    release.upgrade(&[&values[..], &[&format!("image.tag={tag}")]].concat());
    let took = begun.elapsed();
    // Those that go are still draining when Helm is done.
    std::thread::sleep(Duration::from_secs(30));
    let outcomes = load.stop();
    println!(
        "{} calls, the slowest {:.1} s, in an upgrade of {:.0} s",
        outcomes.succeeded,
        outcomes.slowest.as_secs_f64(),
        took.as_secs_f64()
    );
    outcomes.assert_all_judged(200);
    let images = bed.node.json(&["-n", NAMESPACE, "get", "deployment", NAME]);
    assert_eq!(images["spec"]["template"]["spec"]["containers"][0]["image"], json!(bed.gate_too));
    assert_eq!(release.pods().len(), 2);
    bed.remove_namespace("load");
}

/// Applies what warns, so that a call which nobody looked at is told from one that was judged.
pub fn start_load(bed: &Bed) -> Applies {
    bed.node.namespace("load", &["environment=production"]);
    let mut ageing: Value = deployment("ageing", &bed.ageing);
    ageing["metadata"]["namespace"] = json!("load");
    let server = format!("https://{}:6443", bed.node.address);
    // The namespace's label takes a moment to be known.
    crate::cluster::control_plane::wait_for("a warning", || {
        bed.try_to_create("load", &ageing).stderr.contains("was built 80 days ago")
    });
    Applies::start(bed.node.folder(), &server, &ageing, PER_SECOND)
}
