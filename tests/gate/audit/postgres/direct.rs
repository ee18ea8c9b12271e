//! Answers that wait for the store: no disk, one commit for all that wait, and nothing twice or missing whatever happens
//! to the way there.

use super::*;
use crate::audit::place::until;
use freshgate::audit::{Durability, verify};
use std::sync::Arc;

use crate::cluster::between::{Between, Way};

struct Direct {
    place: Place,
    between: Between,
    store: Store,
    audit: Arc<Audit>,
}

impl Direct {
    async fn begin() -> Self {
        Self::begin_with(AuditSettings::default()).await
    }

    async fn begin_with(settings: AuditSettings) -> Self {
        let place = Place::new();
        let database = place.database.clone().unwrap();
        let between = Between::start(database.port).await;
        let location: StoreLocation = database.url_through(between.port).parse().unwrap();
        let store = Store::open(&location).await.unwrap();
        let settings = AuditSettings { durability: Durability::Store, ..settings };
        let audit = Arc::new(Audit::open(settings, &store, at(0)).await.unwrap());
        Self { place, between, store, audit }
    }

    async fn end(self) -> Place {
        assert_eq!(self.audit.flush_and_close(PATIENCE).await.unstored_records, 0);
        self.store.flush_and_close().await.unwrap();
        assert!(!self.place.journal().exists(), "no disk is needed");
        self.place
    }
}

/// All records up to this number, each once.
async fn expect_all(place: &Place, count: u64) {
    let seqs: Vec<u64> = place.all().await.iter().map(|record| record.seq).collect();
    let mut sorted = seqs.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=count).collect::<Vec<_>>());
    let report = verify(&place.location()).await.unwrap();
    assert_eq!((report.records, report.writers, report.first_bad), (count, 1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_in_the_store_and_in_the_ledger() {
    let direct = Direct::begin().await;
    for number in 1..=3 {
        let (record, admitted) = admitting(number, "checkout");
        assert_eq!(seq(direct.audit.record(record, Some(admitted)).await.unwrap()), number);
        assert_eq!(direct.place.all().await.len() as u64, number, "at once");
        let history = direct.store.ledger().history(&workload("checkout")).await.unwrap();
        assert_eq!(history.digests.len() as u64, number + 1);
    }
    let counts = direct.audit.counts();
    assert_eq!((counts.records, counts.writes, counts.unstored_records), (3, 3, 0));
    let refused = direct.audit.record(b"{}".to_vec(), None).await.unwrap_err();
    assert_eq!(refused.to_string(), "the record cannot be kept: it is not the text of a JSON object with members");
    let place = direct.end().await;
    expect_all(&place, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_wait_share_a_commit() {
    let direct = Direct::begin().await;
    let answers: Vec<_> = (1..=300)
        .map(|number| {
            let audit = Arc::clone(&direct.audit);
            tokio::spawn(async move { audit.record(body(number), None).await.unwrap() })
        })
        .collect();
    for answer in answers {
        answer.await.unwrap();
    }
    let counts = direct.audit.counts();
    assert_eq!(counts.records, 300);
    assert!(counts.writes < 100, "{} commits for 300 records", counts.writes);
    let place = direct.end().await;
    expect_all(&place, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_made_and_not_heard_of_is_recorded_once() {
    let direct = Direct::begin().await;
    direct.audit.record(body(1), None).await.unwrap();
    direct.between.set(Way::CutAtCommit);
    let error = direct.audit.record(body(2), None).await.unwrap_err();
    assert_eq!(error.to_string(), "writing the record to the store failed", "nobody knows");
    assert_eq!(direct.place.all().await.len(), 2, "it was");
    direct.between.set(Way::Open);
    until(async || !direct.audit.counts().store_failing).await;
    assert_eq!(seq(direct.audit.record(body(3), None).await.unwrap()), 3);
    let place = direct.end().await;
    expect_all(&place, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_answers_are_told_at_once_and_recorded_later() {
    let direct = Direct::begin().await;
    direct.audit.record(body(1), None).await.unwrap();
    let mut numbers = 2..=41;
    for way in [Way::Cut, Way::Hole] {
        direct.between.set(way);
        for number in numbers.by_ref().take(20) {
            let (record, admitted) = admitting(number, "checkout");
            let error = direct.audit.record(record, Some(admitted)).await.unwrap_err();
            assert_eq!(error.to_string(), "writing the record to the store failed");
        }
        let counts = direct.audit.counts();
        assert_eq!((counts.unstored_records, counts.store_failing), (20, true), "{way:?}");
        direct.between.set(Way::Open);
        until(async || direct.audit.counts().unstored_records == 0).await;
        until(async || !direct.audit.counts().store_failing).await;
    }
    assert_eq!(seq(direct.audit.record(body(42), None).await.unwrap()), 42, "the chain has no gap");
    let place = direct.end().await;
    expect_all(&place, 42).await;
}

/// What is refused because it could not be recorded must not be recorded later as what was let in. Only what may be in the
/// store already goes again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_an_outage_is_not_recorded_after_it() {
    let direct = Direct::begin_with(AuditSettings { strict: true, ..AuditSettings::default() }).await;
    direct.audit.record(body(1), None).await.unwrap();
    direct.between.set(Way::CutAtCommit);
    direct.audit.record(body(2), None).await.unwrap_err();
    direct.between.set(Way::Cut);
    for number in 10..20 {
        let (record, admitted) = admitting(number, "checkout");
        let error = direct.audit.record(record, Some(admitted)).await.unwrap_err();
        assert_eq!(error.to_string(), "writing the record to the store failed");
    }
    assert_eq!(direct.audit.counts().unstored_records, 1);
    direct.between.set(Way::Open);
    until(async || !direct.audit.counts().store_failing).await;
    assert_eq!(seq(direct.audit.record(body(3), None).await.unwrap()), 3);
    assert_eq!(direct.store.ledger().history(&workload("checkout")).await.unwrap().digests, []);
    let place = direct.end().await;
    expect_all(&place, 3).await;
}
