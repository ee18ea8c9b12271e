//! `freshgate report --cluster`: it knows the exceptions that the gate has signed, and no others.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, allowed, deployment};
use crate::exceptions::{create_as, exception, get, wait_until_active};
use crate::scanner::{reported, workload};

pub const SCENARIOS: &[Scenario] =
    &[("a_report_of_the_cluster_counts_what_is_excepted_until_the_exception_ends", excepted)];

fn excepted(bed: &Bed) {
    let plane = &bed.plane;
    bed.production("report-excepted");
    allowed(&create_as(plane, "admin", &exception("report-hole", "security", &["report-excepted"], 24 * 5)));
    wait_until_active(plane, "report-hole");
    allowed(&bed.create("report-excepted", &deployment("app", &bed.old)));
    let key = format!("{}.signing-key", bed.gate.store().trim_start_matches("sqlite:"));
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.pem");
    std::fs::write(&other, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let host = bed.registry_host();
    let report = |more: &[&str]| {
        let (found, said) = reported(&plane.kubeconfig(), &[&["--insecure-registry", &host], more].concat());
        (workload(&found, "report-excepted", "app"), said)
    };
    let today = || Utc::now().date_naive().to_string();
    let stored = get(plane, "report-hole");
    let ends: DateTime<Utc> = stored["spec"]["expiresAt"].as_str().unwrap().parse().unwrap();

    // With the gate's key it is proven; without it the status is believed, and that is said.
    for (more, note) in [(&["--key", &key][..], false), (&[], true)] {
        let (found, said) = report(more);
        let image = &found["images"][0];
        assert_eq!(found["refusedOn"], ends.date_naive().to_string(), "{found}");
        assert_eq!(image["exceptions"][0]["name"], "report-hole", "{image}");
        assert_eq!(image["exceptions"][0]["policy"], "production");
        assert_eq!(image["exceptions"][0]["until"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap(), ends);
        assert_eq!(said.contains("exceptions are counted by what their status says"), note, "{said}");
    }
    // To whom the key is another's it proves nothing.
    let (found, said) = report(&["--key", &other.display().to_string()]);
    assert_eq!((&found["refusedOn"], &found["images"][0]["exceptions"]), (&json!(today()), &Value::Null));
    assert!(
        said.contains("GateException \"report-hole\" is not counted: the signature in its status is not good"),
        "{said}"
    );

    // A status that was copied is another object's.
    assert!(plane.kubectl(&["delete", "gexc", "report-hole"]).success);
    let (found, _) = report(&["--key", &key]);
    assert_eq!(found["refusedOn"], today(), "{found}");
}
