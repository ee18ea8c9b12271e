//! A `SQLite` store of before facets is filled from the lines of its records; one of before their signatures is asked
//! without them.

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
         PRAGMA user_version = 3")
        .await;
    connection.close().await;
    Store::open(&place.location()).await.unwrap().flush_and_close().await.unwrap();
    assert_eq!(place.all().await, before);
    let by_exception = QueryFilter { exception: Some("retry-storm".to_owned()), ..QueryFilter::default() };
    assert_eq!(seqs(&place, &by_exception).await, [4]);
    assert_eq!(verify(&place.location()).await.unwrap().first_bad, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_before_signatures_finds_the_same() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    four(&audit).await;
    close(store, audit).await;
    let asked = async || {
        let text = |text: &str| Some(text.to_owned());
        let all = QueryFilter::default;
        let filters = [
            QueryFilter { policy: text("production"), user: text("jane"), ..all() },
            QueryFilter { policy: text("production"), decision: text("deny"), ..all() },
            QueryFilter { decision: text("deny"), user: text("nobody"), ..all() },
        ];
        let mut found = Vec::new();
        for filter in &filters {
            found.push(seqs(&place, filter).await);
        }
        found
    };
    let before = asked().await;
    let mut connection = place.connect().await;
    // The triggers of then, as far as they are missed.
    connection
        .run(
            "DROP TRIGGER decision_facets_added; DROP TRIGGER decision_facets_changed;
             ALTER TABLE decisions DROP COLUMN signature; ALTER TABLE decision_facets DROP COLUMN signature;
             CREATE TRIGGER decision_facets_added AFTER INSERT ON decisions BEGIN SELECT 1; END;
             CREATE TRIGGER decision_facets_changed AFTER UPDATE ON decisions BEGIN SELECT 1; END;
             PRAGMA user_version = 4",
        )
        .await;
    connection.close().await;
    let (store, audit) = place.open().await;
    assert_eq!(asked().await, before);
    four(&audit).await;
    close(store, audit).await;
    let twice = |seqs: &Vec<u64>| seqs.iter().flat_map(|seq| [*seq, *seq]).collect::<Vec<_>>();
    assert_eq!(asked().await, before.iter().map(twice).collect::<Vec<_>>());
    assert_eq!(verify(&place.location()).await.unwrap().first_bad, None);
}
