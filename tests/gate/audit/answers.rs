//! What package indexes answered is kept, found again, and dropped when nobody wants it any more.

use chrono::{DateTime, TimeDelta, Utc};
use freshgate::dependency::index::cache::{AnswerStore as _, InStore, Kept};

use super::*;

fn kept(url: &str, answer: Option<&str>, asked_at: DateTime<Utc>) -> Kept {
    Kept {
        url: url.to_owned(),
        asked_at,
        etag: Some("W/\"ünïcode\"".to_owned()),
        last_modified: Some(asked_at - TimeDelta::days(3)),
        answer: answer.map(str::to_owned),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_indexes_outlive_a_restart_for_as_long_as_somebody_wants_them() {
    let place = Place::new();
    let begun: DateTime<Utc> = "2026-11-25T12:00:00Z".parse().unwrap();
    let day = |number: i64| begun + TimeDelta::days(number);
    // Two whose names no index would hold, and which differ at their end alone.
    let long = |end: &str| format!("https://index.example/{}{end}", "a".repeat(3_000));
    let all = [
        kept("https://index.example/it/oa/itoa", Some(r#"[{"version":"1.0.0\u0000"}]"#), begun),
        kept("https://index.example/none", None, begun),
        Kept { etag: None, last_modified: None, ..kept(&long("1"), Some("[1]"), begun) },
        kept(&long("2"), Some("[2]"), begun),
    ];
    let (store, audit) = place.open().await;
    let answers = InStore::new(store.clone());
    for one in &all {
        answers.save(one).await;
        assert_eq!(answers.load(&one.url).await.as_ref(), Some(one), "what is not written yet is known");
    }
    answers.settle(begun).await;
    answers.save(&kept("https://index.example/too-large", Some(&"x".repeat(5 << 20)), begun)).await;
    answers.settle(begun).await;
    close(store, audit).await;

    let (store, audit) = place.open().await;
    let answers = InStore::new(store.clone());
    for one in &all {
        assert_eq!(answers.load(&one.url).await.as_ref(), Some(one));
    }
    assert_eq!(answers.load("https://index.example/too-large").await, None);
    assert_eq!(answers.load("https://index.example/never").await, None);
    // A newer answer takes the place of an older one.
    let newer = kept(&all[0].url, Some("[]"), day(1));
    answers.save(&newer).await;
    answers.settle(day(1)).await;
    assert_eq!(answers.load(&newer.url).await, Some(newer.clone()));

    // One is used after twenty days, the others are not; and so it alone is left after forty.
    let answers = InStore::new(store.clone());
    assert!(answers.load(&all[3].url).await.is_some());
    answers.settle(day(20)).await;
    answers.forget_unused(day(40) - TimeDelta::days(30)).await;
    let left = InStore::new(store.clone());
    let mut found = Vec::new();
    for one in &all {
        found.push(left.load(&one.url).await.is_some());
    }
    assert_eq!(found, [false, false, false, true]);
    // A store that is gone costs questions, and nothing else.
    close(store, audit).await;
    assert_eq!(left.load(&all[3].url).await, None);
    left.save(&newer).await;
    left.settle(day(41)).await;
}
