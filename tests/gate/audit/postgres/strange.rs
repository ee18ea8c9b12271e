//! What only a crafted review holds: zero characters, which no text of PostgreSQL takes, and names longer than its indexes
//! take. Each is kept, found and proven as any other record, and holds up none that follow.

use super::*;
use freshgate::audit::{Count, Facet, count, verify};

/// Text that does not shrink.
fn noise(length: usize) -> String {
    let mut text = String::new();
    for number in 0..length as u64 {
        text.push_str(&hex::encode(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()));
    }
    text.truncate(length);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_characters_and_endless_names_are_kept_found_and_proven() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    let (user, name) = ("jane\0doe", noise(200_000));
    let (record, mut admitted) = admitting(1, "checkout");
    let mut record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    record["request"]["userInfo"]["username"] = json!(user);
    record["request"]["name"] = json!(name);
    record["request"]["namespace"] = json!(format!("{name}-1"));
    record["request"]["kind"]["kind"] = json!(format!("{name}\0kind"));
    record["policies"] = json!({ name.as_str(): "7" });
    record["ledger"]["services"] = json!([{"source": name, "service": format!("a\0{name}")}]);
    record["images"][0]["digest"] = json!(format!("sha256:{name}"));
    admitted.workload.name = name.clone();
    admitted.workload.namespace = format!("{name}-1");
    admitted.workload.kind = format!("{name}\0kind");
    let workload = admitted.workload.clone();
    audit.record(record.to_string().into_bytes(), Some(admitted)).await.unwrap();
    audit.record(body(2), None).await.unwrap();
    stored(&audit).await;
    let history = store.ledger().history(&workload).await.unwrap();
    assert_eq!((history.digests.len(), history.templates.len(), history.services.len()), (2, 1, 1));
    // Another name that begins alike is another workload.
    let other = WorkloadKey { name: format!("{name}x"), ..workload };
    assert_eq!(store.ledger().history(&other).await.unwrap().digests, []);
    close(store, audit).await;
    let found = async |filter: QueryFilter| query(&place.location(), &filter).await.unwrap().len();
    let all = QueryFilter::default;
    assert_eq!(found(QueryFilter { user: Some(user.to_owned()), ..all() }).await, 1);
    assert_eq!(found(QueryFilter { name: Some(name.clone()), ..all() }).await, 1);
    assert_eq!(found(QueryFilter { name: Some(format!("{name}x")), ..all() }).await, 0);
    assert_eq!(found(QueryFilter { policy: Some(name), decision: Some("allow".to_owned()), ..all() }).await, 1);
    let counts = count(&place.location(), &all(), Facet::User).await.unwrap();
    let count = |value: &str| Count { value: value.to_owned(), records: 1 };
    assert_eq!(counts, [count("jane"), count("jane\u{fffd}doe")]);
    let report = verify(&place.location()).await.unwrap();
    assert_eq!((report.records, report.first_bad), (2, None));
    // What stands for the zero character is not taken for it.
    let mut connection = place.connect().await;
    connection.run("UPDATE decisions SET username = 'janedoe' WHERE seq = 1").await;
    let bad = verify(&place.location()).await.unwrap().first_bad.unwrap();
    assert_eq!(
        (bad.seq, bad.fault.to_string().as_str()),
        (1, "column differs: \"username\" is not what the line says")
    );
}
