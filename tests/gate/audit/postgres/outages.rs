//! The way to the server is cut, slow, or swallows what is sent: answers wait for nothing of that, the journal keeps what
//! was decided, and the store gets it in order when it is back; nothing twice, and without a gap.

use super::*;
use crate::audit::place::until;
use freshgate::audit::verify;
use std::time::Instant;

use crate::cluster::between::{Between, Way};

/// A store that is reached through a proxy, and asked directly.
struct Far {
    place: Place,
    between: Between,
}

impl Far {
    async fn new() -> Self {
        let place = Place::new();
        let between = Between::start(place.database.as_ref().unwrap().port).await;
        Self { place, between }
    }

    /// The store as the gate reaches it.
    fn location(&self) -> StoreLocation {
        let url = self.place.database.as_ref().unwrap().url_through(self.between.port);
        url.parse::<StoreLocation>().unwrap().with_journal(Some(self.place.journal()))
    }

    async fn open(&self) -> (Store, Audit) {
        let store = Store::open(&self.location()).await.unwrap();
        let audit = Audit::open(AuditSettings::default(), &store, at(0)).await.unwrap();
        (store, audit)
    }

    /// Everything is in the store once, in order, and nothing is left in the journal.
    async fn expect_all(&self, count: u64) {
        let seqs: Vec<u64> = self.place.all().await.iter().map(|record| record.seq).collect();
        assert_eq!(seqs, (1..=count).rev().collect::<Vec<_>>());
        assert_eq!(self.place.segments(), [] as [std::path::PathBuf; 0]);
        let report = verify(&self.place.location()).await.unwrap();
        assert_eq!((report.records, report.writers, report.first_bad), (count, 1, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_grows_and_tells_while_the_way_is_cut_and_drains_in_order() {
    let far = Far::new().await;
    let (store, audit) = far.open().await;
    for number in 1..=5 {
        audit.record(body(number), None).await.unwrap();
    }
    stored(&audit).await;
    far.between.set(Way::Cut);
    for number in 6..=500 {
        audit.record(body(number), None).await.unwrap();
    }
    until(async || audit.counts().store_failing).await;
    assert_eq!(audit.counts().unstored_records, 495);
    until(async || audit.counts().oldest_unstored_age >= Duration::from_secs(1)).await;
    assert_eq!(far.place.all().await.len(), 500, "found in the journal meanwhile");
    far.between.set(Way::Open);
    stored(&audit).await;
    let counts = audit.counts();
    assert_eq!((counts.store_failing, counts.oldest_unstored_age), (false, Duration::ZERO));
    close(store, audit).await;
    far.expect_all(500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_made_and_not_heard_of_adds_nothing_twice() {
    let far = Far::new().await;
    let (store, audit) = far.open().await;
    let (first, admitted) = admitting(1, "checkout");
    far.between.set(Way::CutAtCommit);
    audit.record(first, Some(admitted)).await.unwrap();
    for number in 2..=40 {
        audit.record(body(number), None).await.unwrap();
    }
    until(async || far.between.cut_commits() >= 2).await;
    assert!(audit.counts().unstored_records > 0, "nobody told it that they were stored");
    far.between.set(Way::Open);
    stored(&audit).await;
    let history = store.ledger().history(&workload("checkout")).await.unwrap();
    assert_eq!(history.digests.len(), 2);
    close(store, audit).await;
    far.expect_all(40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_from_which_nothing_arrives_holds_up_no_record_and_no_question_for_long() {
    let far = Far::new().await;
    let (store, audit) = far.open().await;
    let (first, admitted) = admitting(1, "checkout");
    audit.record(first, Some(admitted)).await.unwrap();
    stored(&audit).await;
    let known = store.ledger().history(&workload("checkout")).await.unwrap();
    far.between.set(Way::Hole);
    for number in 2..=100 {
        audit.record(body(number), None).await.unwrap();
    }
    // What was known is remembered; what was not is unknown; and not everybody waits for the server to say so.
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(store.ledger().history(&workload("checkout")).await.unwrap(), known);
        store.ledger().history(&workload("unasked")).await.unwrap_err();
        assert_eq!(store.ledger().first_seen("sha256:new", at(9)).await, at(9));
    }
    assert!(begun.elapsed() < PATIENCE, "150 questions waited {:?}", begun.elapsed());
    until(async || audit.counts().store_failing).await;
    far.between.set(Way::Open);
    stored(&audit).await;
    until(async || store.ledger().history(&workload("unasked")).await.is_ok()).await;
    close(store, audit).await;
    far.expect_all(100).await;
}

/// Somebody at work on the tables holds up no decision either: one waits in vain, and the others are told at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_the_ledger_is_waited_for_by_one_and_not_by_all() {
    let far = Far::new().await;
    let (store, audit) = far.open().await;
    let mut lock = far.place.connect().await;
    lock.run("BEGIN; LOCK TABLE admissions IN ACCESS EXCLUSIVE MODE").await;
    let refused = async || format!("{:?}", store.ledger().history(&workload("checkout")).await.unwrap_err());
    assert!(refused().await.contains("timeout"), "the server says that it waited");
    until(async || refused().await.contains("did not answer a moment ago")).await;
    audit.record(body(1), None).await.unwrap();
    lock.release().await;
    until(async || store.ledger().history(&workload("checkout")).await.is_ok()).await;
    stored(&audit).await;
    close(store, audit).await;
    far.expect_all(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_way_delays_the_store_and_no_record() {
    let far = Far::new().await;
    let (store, audit) = far.open().await;
    far.between.set(Way::Late(Duration::from_millis(300)));
    for number in 1..=200 {
        audit.record(body(number), None).await.unwrap();
    }
    assert!(audit.counts().unstored_records > 0, "two hundred records were faster than one way there and back");
    stored(&audit).await;
    close(store, audit).await;
    far.expect_all(200).await;
}
