//! Measures, for the eye: how long each indexed question takes at a million records, and what indexing them costs.

use super::*;
use freshgate::audit::{Durability, Facet, count};
use std::time::Instant;

const RECORDS: u64 = 1_000_000;

/// Asked so often; the middle one counts.
const TIMES: usize = 5;

/// A decision of a cluster with 200 namespaces and 10,000 workloads, one every three seconds.
fn body_in_cluster(number: u64) -> Vec<u8> {
    let workload = number.wrapping_mul(7_919) % 10_000;
    let decision = ["deny", "warn", "warn", "allow", "allow", "allow", "allow", "allow", "allow", "allow"]
        [usize::try_from(number % 10).unwrap()];
    let (namespace, name) = (format!("team-{}", workload % 200), format!("app-{}", workload % 1_000));
    let mut record: serde_json::Value = serde_json::from_slice(&body_of(number, decision, &namespace, &name)).unwrap();
    record["timestamp"] = json!(at(i64::try_from(number * 3).unwrap()));
    record["request"]["kind"]["kind"] =
        json!(["Deployment", "Deployment", "StatefulSet", "CronJob", "Job"][usize::try_from(workload % 5).unwrap()]);
    record["request"]["userInfo"]["username"] = json!(format!("system:serviceaccount:ci:deployer-{}", workload % 50));
    record["policies"] = json!({"production": "7", format!("team-{}", workload % 20): "3"});
    record["budgets"] = json!([{"source": "slo", "service": format!("service-{}", workload % 2_000)}]);
    let repository = format!("registry.example/team-{}/app-{}", workload % 200, workload % 1_000);
    record["images"][0]["ref"] = json!(format!("{repository}:{number}"));
    record["images"][0]["digest"] = json!(format!("sha256:{:064x}", workload * 10 + number % 10));
    if number.is_multiple_of(1_000) {
        record["exceptions"] = json!([{"name": format!("fix-{}", number / 1_000)}]);
    }
    record.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes and gigabytes: run it alone, with --nocapture"]
async fn milliseconds_of_each_question_at_a_million_records() {
    let place = Place::new();
    let (store, audit) =
        place.open_with(AuditSettings { durability: Durability::Async, ..AuditSettings::default() }).await;
    let begun = Instant::now();
    for number in 0..RECORDS {
        let body = body_in_cluster(number);
        while audit.record(body.clone(), None).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(audit.flush_and_close(Duration::from_hours(1)).await.unstored_records, 0);
    store.flush_and_close().await.unwrap();
    let bytes = std::fs::metadata(place.location().file()).unwrap().len();
    println!("{RECORDS} records in {} s; {} bytes each in the store", begun.elapsed().as_secs(), bytes / RECORDS);

    let text = |text: &str| Some(text.to_owned());
    let all = || QueryFilter { limit: Some(101), ..QueryFilter::default() };
    let last = i64::try_from(RECORDS).unwrap() * 3;
    let shop = || QueryFilter { namespace: text("team-7"), name: text("app-207"), ..all() };
    let questions = [
        ("the newest", all()),
        ("time: a day long ago", QueryFilter { since: Some(at(86_400)), until: Some(at(172_800)), ..all() }),
        ("workload", shop()),
        ("workload and time", QueryFilter { since: Some(at(last / 2)), ..shop() }),
        ("namespace", QueryFilter { namespace: text("team-7"), ..all() }),
        ("kind", QueryFilter { kind: text("CronJob"), ..all() }),
        ("name", QueryFilter { name: text("app-207"), ..all() }),
        ("user", QueryFilter { user: text("system:serviceaccount:ci:deployer-7"), ..all() }),
        ("decision", QueryFilter { decision: text("deny"), ..all() }),
        ("rule", QueryFilter { rule: text("imageAge"), ..all() }),
        ("policy", QueryFilter { policy: text("team-7"), ..all() }),
        ("service", QueryFilter { service: text("service-207"), ..all() }),
        ("digest", QueryFilter { digest: Some(format!("sha256:{:064x}", 20_777)), ..all() }),
        ("repository", QueryFilter { repository: text("registry.example/team-7/app-207"), ..all() }),
        ("exception", QueryFilter { exception: text("fix-207"), ..all() }),
        ("decision id", QueryFilter { decision_id: Some(id(123_456)), ..all() }),
        ("nothing fits", QueryFilter { user: text("nobody"), decision: text("deny"), ..all() }),
        (
            "user, decision and time",
            QueryFilter {
                user: text("system:serviceaccount:ci:deployer-7"),
                decision: text("deny"),
                since: Some(at(last / 2)),
                ..all()
            },
        ),
        (
            "two common ones that never meet",
            QueryFilter { policy: text("team-7"), kind: text("Deployment"), decision: text("deny"), ..all() },
        ),
    ];
    for (name, filter) in questions {
        let mut took = Vec::new();
        let mut found = 0;
        for _ in 0..TIMES {
            let begun = Instant::now();
            found = query(&place.location(), &filter).await.unwrap().len();
            took.push(begun.elapsed());
        }
        let first = took[0];
        took.sort();
        println!("{name:<32} first {first:>7.1?}, then {:>7.1?}, {found} records", took[TIMES / 2]);
    }
    let week = || Some(at(last - 604_800));
    for (name, filter, by) in [
        ("counts by namespace", QueryFilter::default(), Facet::Namespace),
        ("counts by user, of denials", QueryFilter { decision: text("deny"), ..QueryFilter::default() }, Facet::User),
        (
            "counts by rule, of a namespace",
            QueryFilter { namespace: text("team-7"), ..QueryFilter::default() },
            Facet::Rule,
        ),
        ("counts by namespace, of a week", QueryFilter { since: week(), ..QueryFilter::default() }, Facet::Namespace),
    ] {
        let begun = Instant::now();
        let counts = count(&place.location(), &filter, by).await.unwrap().len();
        println!("{name:<32} {:>7.1?}, {counts} values", begun.elapsed());
    }
}
