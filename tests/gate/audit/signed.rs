//! Signatures pass over records that lack a facet, and never over one that has it: also where some have none yet.

use super::asking::{four, seqs};
use super::*;
use freshgate::audit::{Count, Facet, count, verify};

/// So many that the index of what is counted by is read, and not the records.
#[tokio::test(flavor = "multi_thread")]
async fn many_records_of_one_decision_are_counted_as_few_are() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    four(&audit).await;
    close(store, audit).await;
    let mut connection = place.connect().await;
    connection
        .run(
            "INSERT INTO decisions (writer_id, seq, decision_id, timestamp, decision, namespace, kind, name, operation,
                username, rules, images, repeat_of, prev_hash, hash, line, facets, signature)
            WITH RECURSIVE copies (copy) AS (SELECT 1 UNION ALL SELECT copy + 1 FROM copies WHERE copy < 10000)
            SELECT writer_id, seq + copy * 10, decision_id, timestamp, decision, namespace, kind, name, operation,
                username, rules, images, repeat_of, prev_hash, hash, line, facets, signature
            FROM decisions, copies WHERE seq <> 4",
        )
        .await;
    let denied = QueryFilter { decision: Some("deny".to_owned()), ..QueryFilter::default() };
    let counted = async |filter: &QueryFilter, by: Facet| {
        let counts = count(&place.location(), filter, by).await.unwrap();
        counts.into_iter().map(|Count { value, records }| (value, records)).collect::<Vec<_>>()
    };
    let both = [("bank".to_owned(), 10_001), ("shop".to_owned(), 10_001)];
    assert_eq!(counted(&denied, Facet::Namespace).await, both);
    let of_users = [("jane".to_owned(), 20_003), ("joe".to_owned(), 10_001)];
    assert_eq!(counted(&QueryFilter::default(), Facet::User).await, of_users);
    // As rows are that were stored before there were signatures.
    connection.run("UPDATE decisions SET signature = 0 WHERE seq % 20 < 10").await;
    connection.close().await;
    assert_eq!(counted(&denied, Facet::Namespace).await, both);
    let text = |text: &str| Some(text.to_owned());
    for (policy, user, found) in [("production", "jane", 10_001), ("strict", "jane", 10_001), ("strict", "joe", 0)] {
        let filter = QueryFilter { policy: text(policy), user: text(user), ..denied.clone() };
        assert_eq!(seqs(&place, &filter).await.len(), found, "{policy}, {user}");
    }
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
            "DROP TABLE image_findings; DROP TABLE index_answers; DROP TRIGGER decision_facets_added; DROP TRIGGER decision_facets_changed;
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
