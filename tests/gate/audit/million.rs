//! Measures, for the eye: how long each indexed question takes at a million records.

use super::*;
use freshgate::audit::{Facet, count};
use std::time::Instant;

const RECORDS: u64 = 1_000_000;

/// Asked so often; the middle one counts.
const TIMES: usize = 5;

/// Names a store to use again, and to fill where it is not there yet.
const KEPT: &str = "FRESHGATE_MILLION_STORE";

/// A store with a million records.
async fn filled(location: &StoreLocation) {
    Store::open(location).await.unwrap().flush_and_close().await.unwrap();
    let mut connection = {
        use sqlx::ConnectOptions;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(location.file().unwrap());
        options.pragma("synchronous", "0").pragma("cache_size", "-1000000").connect().await.unwrap()
    };
    let begun = Instant::now();
    sqlx::raw_sql(include_str!("million.sql")).execute(&mut connection).await.unwrap();
    println!("{RECORDS} records in {} s", begun.elapsed().as_secs());
    sqlx::Connection::close(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes and gigabytes: run it alone, with --nocapture"]
async fn milliseconds_of_each_question_at_a_million_records() {
    let place = Place::new();
    let location = std::env::var_os(KEPT).map_or_else(|| place.location(), StoreLocation::sqlite);
    if !location.file().unwrap().exists() {
        filled(&location).await;
    }
    println!("{} bytes each in the store", std::fs::metadata(location.file().unwrap()).unwrap().len() / RECORDS);

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
        ("digest", QueryFilter { digest: Some(format!("sha256:{:064x}", 0)), ..all() }),
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
            "three common ones, never together",
            QueryFilter { policy: text("team-7"), kind: text("Deployment"), decision: text("deny"), ..all() },
        ),
    ];
    for (name, filter) in questions {
        let mut took = Vec::new();
        let mut found = 0;
        for _ in 0..TIMES {
            let begun = Instant::now();
            found = query(&location, &filter).await.unwrap().len();
            took.push(begun.elapsed());
        }
        let first = took[0];
        took.sort();
        println!("{name:<34} first {first:>7.1?}, then {:>7.1?}, {found} records", took[TIMES / 2]);
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
        let counts = count(&location, &filter, by).await.unwrap().len();
        println!("{name:<34} {:>7.1?}, {counts} values", begun.elapsed());
    }
}
