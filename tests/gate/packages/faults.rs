//! Indexes that are away, in a hurry, or not what they seem: a named reason each time, in time, and no finding.

use std::time::Duration;

use freshgate::dependency::package::Ecosystem;
use tokio::time::Instant;

use super::{Fault, StaticIndex, now, open, package};

/// Why a package of npm could not be compared.
async fn why(index: &StaticIndex, name: &str, within: Duration) -> String {
    let indexes = open(&index.settings()).await;
    let begun = std::time::Instant::now();
    let found = indexes.compare(&package(Ecosystem::Npm, name, "1.1.0"), now(), Instant::now() + within).await;
    assert!(begun.elapsed() < within + Duration::from_secs(3), "it took {:?}", begun.elapsed());
    found.map_or_else(|why| why.to_string().replace(&index.url(), "URL"), |found| format!("{found:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_has_its_reason() {
    let index = StaticIndex::start().await;
    let other = StaticIndex::start().await;
    for (fault, expected) in [
        (Fault::BlackHole, "URL did not answer in time".to_owned()),
        (Fault::Status(500, None, 9), "URL answered with status 500".to_owned()),
        (Fault::Status(403, None, 9), "URL refused with status 403; check `basic` or `bearer` of the index".to_owned()),
        (Fault::Status(404, None, 9), "URL does not have it: it was withdrawn, or is of another origin".to_owned()),
        (Fault::Status(429, Some("86400"), 9), "URL asks for patience: it answers again in 60 seconds".to_owned()),
        (
            Fault::Html,
            "URL: it answered HTML where an index's answer was expected; check the index's url and kind".to_owned(),
        ),
        (
            Fault::Redirect(format!("{}/npm/left-pad", other.url())),
            format!(
                "URL sends on to {}, where nothing is asked; if that is meant, write it as the index's url",
                other.url()
            ),
        ),
        (Fault::Endless, "URL answers more than 48 MiB".to_owned()),
    ] {
        index.set(fault.clone());
        assert_eq!(why(&index, "left-pad", Duration::from_secs(8)).await, expected, "{fault:?}");
    }
    index.set(Fault::Truncated);
    let broken = why(&index, "left-pad", Duration::from_secs(8)).await;
    // Whether the beginning still arrives is chance.
    assert!(broken.starts_with("URL cannot be reached: "), "{broken}");
    assert_eq!(other.take_paths(), Vec::<String>::new(), "nobody is asked who was not named");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_down_costs_no_more_than_a_few_requests() {
    let index = StaticIndex::start().await;
    let (text, url) = (index.settings(), index.url());
    index.stop().await;
    let indexes = open(&text).await;
    let begun = std::time::Instant::now();
    let names: Vec<_> = (0..50).map(|number| package(Ecosystem::Npm, &format!("p{number}"), "1.0.0")).collect();
    let until = Instant::now() + Duration::from_secs(20);
    let mut reasons = Vec::new();
    for name in &names {
        reasons.push(indexes.compare(name, now(), until).await.unwrap_err().to_string());
    }
    assert!(reasons[0].starts_with(&format!("{url} cannot be reached: ")), "{}", reasons[0]);
    assert_eq!(reasons[49], format!("{url} failed several times in a row and is left alone for a moment"));
    assert!(begun.elapsed() < Duration::from_secs(18), "it took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_that_there_is_time_for_is_had() {
    let index = StaticIndex::start().await;
    index.set(Fault::Status(429, Some("1"), 1));
    let indexes = open(&index.settings()).await;
    let left_pad = package(Ecosystem::Npm, "left-pad", "1.1.0");
    let begun = std::time::Instant::now();
    let found = indexes.compare(&left_pad, now(), Instant::now() + Duration::from_secs(10)).await;
    assert_eq!(found.unwrap().found.newest.version, "1.3.0");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(index.take_paths().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_wait_for_each_other_and_all_are_read() {
    let index = StaticIndex::start().await;
    let text = index.settings().replace("timeout: 6s", "timeout: 60s");
    let indexes = open(&text).await;
    let large: Vec<_> = (0..6).map(|number| package(Ecosystem::Npm, &format!("large-{number}"), "1.1.0")).collect();
    let until = Instant::now() + Duration::from_secs(100);
    let all = futures::future::join_all(large.iter().map(|one| indexes.compare(one, now(), until))).await;
    for found in all {
        assert_eq!(found.unwrap().found.newest.version, "1.3.0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovered_index_is_asked_again() {
    let index = StaticIndex::start().await;
    let indexes = open(&index.settings()).await;
    let left_pad = package(Ecosystem::Npm, "left-pad", "1.1.0");
    let soon = || Instant::now() + Duration::from_secs(5);
    index.set(Fault::Html);
    assert!(indexes.compare(&left_pad, now(), soon()).await.is_err());
    index.set(Fault::None);
    assert!(indexes.compare(&left_pad, now(), soon()).await.is_ok());
}
