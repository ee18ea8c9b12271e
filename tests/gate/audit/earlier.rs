//! A `SQLite` store of before facets is filled from the lines of its records.

use super::asking::{four, seqs};
use super::*;
use freshgate::audit::verify;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_before_is_filled_from_its_lines() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    four(&audit).await;
    audit.record(br#"{"note":"no decision"}"#.to_vec(), None).await.unwrap();
    close(store, audit).await;
    let before = place.all().await;
    let mut connection = place.connect().await;
    connection
        .run(
        "DROP TRIGGER decision_facets_added; DROP TRIGGER decision_facets_removed; DROP TRIGGER decision_facets_changed;
         DROP TABLE decision_facets; ALTER TABLE decisions DROP COLUMN facets; ALTER TABLE decisions DROP COLUMN signature;
         DROP TABLE image_findings; DROP TABLE index_answers; PRAGMA user_version = 3")
        .await;
    connection.close().await;
    Store::open(&place.location()).await.unwrap().flush_and_close().await.unwrap();
    assert_eq!(place.all().await, before);
    let by_exception = QueryFilter { exception: Some("retry-storm".to_owned()), ..QueryFilter::default() };
    assert_eq!(seqs(&place, &by_exception).await, [4]);
    assert_eq!(verify(&place.location()).await.unwrap().first_bad, None);
}
