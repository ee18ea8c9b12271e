//! Answers of indexes that the gate's store keeps: whoever comes next asks nothing, or only whether they are the same.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use freshgate::dependency::index::cache::InStore;
use freshgate::dependency::package::Ecosystem;
use freshgate::store::{Store, StoreLocation};
use tokio::time::Instant;

use super::{Fault, StaticIndex, now, open_with, package};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_asks_nothing_again() {
    let index = StaticIndex::start().await;
    let folder = tempfile::tempdir().unwrap();
    let location: StoreLocation = format!("sqlite:{}", folder.path().join("gate.db").display()).parse().unwrap();
    let left_pad = package(Ecosystem::Npm, "left-pad", "1.1.0");
    let unknown = package(Ecosystem::Npm, "no-such-thing", "1.0.0");
    let run = async |hours: i64| {
        let store = Store::open(&location).await.unwrap();
        let indexes = open_with(&index.settings(), Arc::new(InStore::new(store.clone()))).await;
        let (at, soon) = (now() + TimeDelta::hours(hours), Instant::now() + Duration::from_secs(10));
        let found = indexes.compare(&left_pad, at, soon).await.map(|found| found.found.newest.version);
        let none = indexes.compare(&unknown, at, soon).await.unwrap_err().to_string();
        let product = indexes.product("nodejs", at, soon).await.map(|found| found.found.label);
        indexes.settle(at).await;
        indexes.forget_unused(at).await;
        drop(indexes);
        store.flush_and_close().await.unwrap();
        ((found, none, product), index.take_paths())
    };
    let (first, asked) = run(0).await;
    assert_eq!(first.0.as_deref(), Ok("1.3.0"));
    assert_eq!(asked, ["/eol/products/nodejs", "/npm/left-pad", "/npm/no-such-thing"]);
    let (again, asked) = run(0).await;
    assert_eq!((again, asked.len()), (first.clone(), 0));
    // That there is none is believed for an hour, a list for six.
    let (again, asked) = run(2).await;
    assert_eq!((again, asked), (first.clone(), vec!["/npm/no-such-thing".to_owned()]));

    // While the index is away, what it said stands in; nobody's error.
    index.set(Fault::Status(500, None, 100));
    let (away, _) = run(12).await;
    assert_eq!((&away.0, &away.2), (&first.0, &first.2));
    index.set(Fault::None);
    // Forty days later nothing is taken as it was.
    index.take_paths();
    let (later, asked) = run(24 * 40).await;
    assert_eq!((later, asked.len()), (first, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_without_etags_is_asked_by_the_time_of_its_answer() {
    let index = StaticIndex::start().await;
    index.set(Fault::Dated);
    let folder = tempfile::tempdir().unwrap();
    let location: StoreLocation = format!("sqlite:{}", folder.path().join("gate.db").display()).parse().unwrap();
    let store = Store::open(&location).await.unwrap();
    let run = async |hours: i64| {
        let indexes = open_with(&index.settings(), Arc::new(InStore::new(store.clone()))).await;
        let (at, soon) = (now() + TimeDelta::hours(hours), Instant::now() + Duration::from_secs(10));
        let left_pad = package(Ecosystem::Npm, "left-pad", "1.1.0");
        let found = indexes.compare(&left_pad, at, soon).await.unwrap();
        indexes.settle(at).await;
        (found, index.take_seen())
    };
    let (first, asked) = run(0).await;
    assert!(!asked[0].1.contains_key("if-modified-since"));
    let (again, asked) = run(7).await;
    assert_eq!((&again, asked.len()), (&first, 1));
    assert_eq!(asked[0].1.get("if-modified-since").unwrap(), "Sun, 01 Nov 2026 08:15:00 GMT");
    assert_eq!(run(8).await.1.len(), 0, "that it is the same is as good as an answer");
    store.flush_and_close().await.unwrap();
}
