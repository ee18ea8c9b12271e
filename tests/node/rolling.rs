//! Two replicas on PostgreSQL, upgraded under load: not one call fails, and not one passes without being judged. And one of
//! them leads, whatever becomes of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, deployment};
use crate::cluster::control_plane::wait_for;
use crate::cluster::node::load::Applies;
use crate::release::{NAME, NAMESPACE, PODS, Release};

pub const SCENARIOS: &[Scenario] = &[
    ("a_rolling_upgrade_under_load_fails_no_call", rolling),
    ("a_leader_that_stands_still_is_replaced_and_does_not_come_back_as_one", leaders),
];

/// Dry runs in each second.
pub const PER_SECOND: u32 = 20;

/// Two replicas on a database of their own.
const TWO: &[&str] = &[
    "replicas=2",
    "store.type=postgresql",
    "store.postgresql.existingSecret=store",
    "webhook.failurePolicy=Fail",
    // As it comes: Services take a while to hear of a Pod that goes.
    "drainDelaySeconds=10",
];

pub fn install_two<'a>(bed: &'a Bed, values: &[&str]) -> Release<'a> {
    let database = bed.postgres().database();
    let url = database.url_from(&bed.node.address);
    bed.node.namespace(NAMESPACE, &[]);
    bed.node.get(&["-n", NAMESPACE, "create", "secret", "generic", "store", &format!("--from-literal=url={url}")]);
    Release::install(bed, &[TWO, values].concat())
}

fn rolling(bed: &Bed) {
    let release = install_two(bed, &[]);
    assert_eq!(release.pods().len(), 2);
    let leading = || release.pods().iter().filter(|pod| release.figures(pod, "freshgate_leader") == [1.0]).count();
    assert_eq!(leading(), 1, "one of them leads");
    let load = start_load(bed);
    std::thread::sleep(Duration::from_secs(5));
    let begun = std::time::Instant::now();
    let (_, tag) = bed.gate_too.rsplit_once(':').unwrap();
    release.upgrade(&[TWO, &[&format!("image.tag={tag}")]].concat());
    let took = begun.elapsed();
    // Those that go are still draining when Helm is done.
    wait_for("the others to be gone", || {
        let pods = bed.node.json(&["-n", NAMESPACE, "get", "pods", "-l", PODS]);
        pods["items"].as_array().unwrap().len() == 2
    });
    std::thread::sleep(Duration::from_secs(2));
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

fn leaders(bed: &Bed) {
    let release = install_two(bed, &[]);
    let leads = |pod: &str| release.figures(pod, "freshgate_leader") == [1.0];
    let leading = || release.pods().into_iter().filter(|pod| leads(pod)).collect::<Vec<_>>();
    wait_for("one leader", || leading().len() == 1);
    let first = leading().remove(0);
    let holder = || {
        let lease = bed.node.json(&["-n", NAMESPACE, "get", "lease", NAME]);
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(holder(), first);
    let frozen = process_of(&first);
    signal(frozen, "STOP");
    // It cannot be asked now, and a minute later the kubelet would end it.
    wait_for("another leader", || ![String::new(), first.clone()].contains(&holder()));
    let second = holder();
    signal(frozen, "CONT");
    // It wakes up in the belief that it leads, and has to look at the time before it does anything.
    wait_for("the first to follow", || release.figures(&first, "freshgate_leader") == [0.0]);
    assert_eq!(holder(), second);
    assert!(leads(&second), "nobody took it away from the second");
    // Nobody has to lead for what is asked to be answered.
    release.wait_until_it_guards();
}

/// The gate's process in a Pod; containers run in the namespace of this program's processes, further down.
fn process_of(pod: &str) -> u32 {
    let wanted = format!("POD_NAME={pod}");
    let fits = |id: &u32| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
        read("cmdline").starts_with("/freshgate") && read("environ").split('\0').any(|entry| entry == wanted)
    };
    let ids =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.collect::<Vec<u32>>().into_iter().find(fits).unwrap_or_else(|| panic!("no process of Pod {pod} was found"))
}

fn signal(process: u32, signal: &str) {
    let sent = std::process::Command::new("kill").args([format!("-{signal}"), process.to_string()]).status().unwrap();
    assert!(sent.success(), "process {process} could not be sent {signal}");
}

/// Applies what warns, so that a call which nobody looked at is told from one that was judged.
pub fn start_load(bed: &Bed) -> Applies {
    bed.node.namespace("load", &["environment=production"]);
    let mut ageing: Value = deployment("ageing", &bed.ageing);
    ageing["metadata"]["namespace"] = json!("load");
    let server = format!("https://{}:6443", bed.node.address);
    // The namespace's label takes a moment to be known.
    wait_for("a warning", || bed.try_to_create("load", &ageing).stderr.contains("was built 80 days ago"));
    Applies::start(bed.node.folder(), &server, &ageing, PER_SECOND)
}
