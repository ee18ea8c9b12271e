//! What was recorded is found: in the journal at once, in the store later, by every filter.

use super::*;
use freshgate::audit::{AuditError, Durability, show, verify};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_found_as_soon_as_it_is_acknowledged_and_after_the_store_has_it() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    for number in 1..=5 {
        assert_eq!(seq(audit.record(body(number), None).await.unwrap()), number);
        let all = place.all().await;
        assert_eq!(all.len() as u64, number, "record {number} is found at once");
        assert_eq!((all[0].seq, decision_id(&all[0])), (number, id(number)), "newest first");
    }
    let before = place.all().await;
    stored(&audit).await;
    assert_eq!(place.all().await, before, "the same from the store, byte for byte");
    close(store, audit).await;
    assert_eq!(place.all().await, before);
    assert_eq!(place.segments(), [] as [std::path::PathBuf; 0], "the store has everything");
    let location = place.location();
    let proven = tokio::spawn(async move { verify(&location).await });
    let report = proven.await.unwrap().unwrap();
    assert_eq!((report.records, report.writers, report.first_bad), (5, 1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_narrows_alike_in_journal_and_store() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    for (number, decision, namespace, name) in [
        (1, "allow", "shop", "checkout"),
        (2, "deny", "shop", "cart"),
        (3, "warn", "bank", "cart"),
        (4, "deny", "bank", "pay"),
    ] {
        audit.record(body_of(number, decision, namespace, name), None).await.unwrap();
    }
    let text = |text: &str| Some(text.to_owned());
    let all = QueryFilter::default;
    let cases = [
        (all(), vec![4, 3, 2, 1]),
        (QueryFilter { since: Some(at(3)), ..all() }, vec![4, 3]),
        (QueryFilter { until: Some(at(3)), ..all() }, vec![2, 1]),
        (QueryFilter { since: Some(at(2)), until: Some(at(4)), ..all() }, vec![3, 2]),
        (QueryFilter { namespace: text("bank"), ..all() }, vec![4, 3]),
        (QueryFilter { namespace: text("bank"), name: text("cart"), ..all() }, vec![3]),
        (QueryFilter { name: text("cart"), ..all() }, vec![3, 2]),
        (QueryFilter { name: text("car"), ..all() }, vec![]),
        (QueryFilter { decision: text("deny"), ..all() }, vec![4, 2]),
        (QueryFilter { rule: text("imageAge"), ..all() }, vec![4, 3, 2]),
        (QueryFilter { rule: text("image"), ..all() }, vec![]),
        (QueryFilter { image: text("checkout:3"), ..all() }, vec![3]),
        (QueryFilter { image: Some(format!("sha256:{:064x}", 2)), ..all() }, vec![2]),
        (QueryFilter { limit: Some(2), ..all() }, vec![4, 3]),
        (QueryFilter { decision: text("deny"), limit: Some(1), ..all() }, vec![4]),
        (QueryFilter { namespace: text("' OR 1=1 --"), ..all() }, vec![]),
    ];
    let check = async |from: &str| {
        for (filter, expected) in &cases {
            let found = query(&place.location(), filter).await.unwrap();
            let found: Vec<u64> = found.iter().map(|record| record.seq).collect();
            assert_eq!(&found, expected, "{filter:?}, from the {from}");
        }
        for number in 1..=4 {
            let shown = show(&place.location(), &id(number)).await.unwrap().unwrap();
            assert_eq!((shown.seq, decision_id(&shown)), (number, id(number)), "from the {from}");
        }
        assert_eq!(show(&place.location(), &id(9)).await.unwrap(), None, "from the {from}");
    };
    check("journal").await;
    close(store, audit).await;
    check("store").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn async_records_are_kept_in_order_and_flushed_at_the_end() {
    let place = Place::new();
    let (store, audit) =
        place.open_with(AuditSettings { durability: Durability::Async, ..AuditSettings::default() }).await;
    for number in 1..=500 {
        assert_eq!(audit.record(body(number), None).await.unwrap(), Recorded::Queued);
    }
    close(store, audit).await;
    let found: Vec<u64> = place.all().await.iter().map(|record| record.seq).collect();
    assert_eq!(found, (1..=500).rev().collect::<Vec<_>>());
    assert_eq!(verify(&place.location()).await.unwrap().first_bad, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_record_is_refused_and_its_neighbours_are_kept() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    audit.record(body(1), None).await.unwrap();
    let refused = audit.record(b"{}".to_vec(), None).await.unwrap_err();
    assert_eq!(refused.to_string(), "the record cannot be kept: it is not the text of a JSON object with members");
    assert!(matches!(refused, AuditError::NotARecord(_)));
    assert_eq!(seq(audit.record(body(2), None).await.unwrap()), 2);
    // An object, but not of a record's shape: kept as it is, with its place in the chain.
    assert_eq!(seq(audit.record(br#"{"note":"x"}"#.to_vec(), None).await.unwrap()), 3);
    close(store, audit).await;
    let report = verify(&place.location()).await.unwrap();
    assert_eq!((report.records, report.first_bad), (3, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_audit_says_so() {
    let place = Place::new();
    let (_store, audit) = place.open().await;
    audit.record(body(1), None).await.unwrap();
    assert_eq!(audit.flush_and_close(PATIENCE).await.unstored_records, 0);
    assert_eq!(audit.record(body(2), None).await.unwrap_err().to_string(), "the audit journal is closed");
    assert_eq!(audit.flush_and_close(PATIENCE).await.unstored_records, 0, "closing twice is harmless");
}
