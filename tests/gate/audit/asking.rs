//! Any mix of what a decision is about finds it, in the journal and in the store; counts, pages and whoever follows miss
//! none and see none twice.

use super::place::Other;
use super::*;
use freshgate::audit::{Count, Cursor, Facet, Follower, count, verify};

/// What a decision is about, where it differs from [`body`]'s.
struct About {
    namespace: &'static str,
    kind: &'static str,
    user: &'static str,
    decision: &'static str,
    policy: &'static str,
    service: &'static str,
    exception: Option<&'static str>,
    image: &'static str,
}

const SHOP: About = About {
    namespace: "shop",
    kind: "Deployment",
    user: "jane",
    decision: "deny",
    policy: "production",
    service: "checkout",
    exception: None,
    image: "registry.example/shop/checkout:1",
};

fn body_about(number: u64, about: &About) -> Vec<u8> {
    let mut record: serde_json::Value =
        serde_json::from_slice(&body_of(number, about.decision, about.namespace, "app")).unwrap();
    record["request"]["kind"]["kind"] = json!(about.kind);
    record["request"]["userInfo"]["username"] = json!(about.user);
    record["policies"] = json!({ about.policy: "7" });
    record["budgets"] = json!([{"source": "slo", "service": about.service, "state": "Healthy"}]);
    record["exceptions"] = about.exception.map(|name| json!([{"name": name}])).unwrap_or(json!([]));
    record["images"][0]["ref"] = json!(about.image);
    record.to_string().into_bytes()
}

/// Four decisions: two of one shop, a batch job of the bank's, and one that an exception let in.
pub(super) async fn four(audit: &Audit) {
    let cart = About { user: "joe", decision: "allow", image: "nginx:1.27", ..SHOP };
    let bank = About { namespace: "bank", kind: "CronJob", policy: "strict", service: "ledger", ..SHOP };
    let fix = About { decision: "warn", exception: Some("retry-storm"), ..SHOP };
    for (number, about) in [(1, &SHOP), (2, &cart), (3, &bank), (4, &fix)] {
        audit.record(body_about(number, about), None).await.unwrap();
    }
}

pub(super) async fn seqs(place: &Place, filter: &QueryFilter) -> Vec<u64> {
    query(&place.location(), filter).await.unwrap().iter().map(|record| record.seq).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mix_narrows_alike_in_journal_and_store() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    four(&audit).await;
    let text = |text: &str| Some(text.to_owned());
    let all = QueryFilter::default;
    let digest = |number: u64| Some(format!("sha256:{number:064x}"));
    let cases = [
        (QueryFilter { kind: text("CronJob"), ..all() }, vec![3]),
        (QueryFilter { kind: text("Cron"), ..all() }, vec![]),
        (QueryFilter { user: text("jane"), ..all() }, vec![4, 3, 1]),
        (QueryFilter { policy: text("production"), ..all() }, vec![4, 2, 1]),
        (QueryFilter { service: text("ledger"), ..all() }, vec![3]),
        (QueryFilter { digest: digest(2), ..all() }, vec![2]),
        (QueryFilter { digest: text("sha256:"), ..all() }, vec![]),
        (QueryFilter { repository: text("nginx"), ..all() }, vec![2]),
        (QueryFilter { repository: text("docker.io/library/nginx"), ..all() }, vec![2]),
        (QueryFilter { repository: text("registry.example/shop/checkout"), ..all() }, vec![4, 3, 1]),
        (QueryFilter { repository: text("registry.example/shop"), ..all() }, vec![]),
        (QueryFilter { exception: text("retry-storm"), ..all() }, vec![4]),
        (QueryFilter { decision_id: Some(id(3)), ..all() }, vec![3]),
        (QueryFilter { decision_id: Some(id(3)), user: text("joe"), ..all() }, vec![]),
        (QueryFilter { policy: text("production"), user: text("jane"), ..all() }, vec![4, 1]),
        (QueryFilter { policy: text("production"), user: text("jane"), decision: text("deny"), ..all() }, vec![1]),
        (QueryFilter { namespace: text("shop"), name: text("app"), user: text("joe"), ..all() }, vec![2]),
        (QueryFilter { policy: text("production"), since: Some(at(2)), until: Some(at(4)), ..all() }, vec![2]),
        (QueryFilter { user: text("jane"), image: text("checkout"), limit: Some(2), ..all() }, vec![4, 3]),
        (QueryFilter { user: text("x' OR 1=1 --"), ..all() }, vec![]),
    ];
    let check = async |from: &str| {
        for (filter, expected) in &cases {
            assert_eq!(&seqs(&place, filter).await, expected, "{filter:?}, from the {from}");
        }
    };
    check("journal").await;
    close(store, audit).await;
    check("store").await;
    assert_eq!(verify(&place.location()).await.unwrap().first_bad, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_the_same_wherever_the_records_are() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    four(&audit).await;
    let counted = async |filter: QueryFilter, by: Facet| {
        let counts = count(&place.location(), &filter, by).await.unwrap();
        counts.into_iter().map(|Count { value, records }| (value, records)).collect::<Vec<_>>()
    };
    let owned =
        |counts: &[(&str, u64)]| counts.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect::<Vec<_>>();
    let check = async |from: &str| {
        let all = QueryFilter::default;
        for (filter, by, expected) in [
            (all(), Facet::Namespace, owned(&[("shop", 3), ("bank", 1)])),
            (all(), Facet::Decision, owned(&[("deny", 2), ("allow", 1), ("warn", 1)])),
            (all(), Facet::Repository, owned(&[("registry.example/shop/checkout", 3), ("docker.io/library/nginx", 1)])),
            (
                QueryFilter { user: Some("jane".to_owned()), ..all() },
                Facet::Policy,
                owned(&[("production", 2), ("strict", 1)]),
            ),
            (QueryFilter { since: Some(at(3)), ..all() }, Facet::Service, owned(&[("checkout", 1), ("ledger", 1)])),
            (QueryFilter { image: Some("nginx".to_owned()), ..all() }, Facet::User, owned(&[("joe", 1)])),
            (QueryFilter { namespace: Some("none".to_owned()), ..all() }, Facet::User, vec![]),
        ] {
            assert_eq!(counted(filter.clone(), by).await, expected, "{filter:?} by {by:?}, from the {from}");
        }
    };
    check("journal").await;
    stored(&audit).await;
    check("store, its segment still there").await;
    close(store, audit).await;
    check("store").await;
}

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
async fn pages_hold_each_record_once_though_many_are_of_one_moment() {
    let place = Place::new();
    // Two writers, and all records of the same three seconds.
    for _ in 0..2 {
        let (store, audit) = place.open().await;
        for number in 0..30 {
            audit.record(body(number % 3), None).await.unwrap();
        }
        close(store, audit).await;
    }
    let (store, audit) = place.open().await;
    for number in 0..30 {
        audit.record(body(number % 3), None).await.unwrap();
    }
    let text = |text: &str| Some(text.to_owned());
    for filter in [
        QueryFilter::default(),
        QueryFilter { namespace: text("shop"), ..QueryFilter::default() },
        QueryFilter { namespace: text("shop"), name: text("checkout"), ..QueryFilter::default() },
        QueryFilter { user: text("jane"), decision: text("deny"), ..QueryFilter::default() },
    ] {
        let whole = query(&place.location(), &filter).await.unwrap();
        assert_eq!(whole.len(), 90);
        let (mut paged, mut after) = (Vec::new(), None::<Cursor>);
        loop {
            let page = QueryFilter { after: after.clone(), limit: Some(7), ..filter.clone() };
            let page = query(&place.location(), &page).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.cursor().to_string().parse().unwrap());
            paged.extend(page);
        }
        assert_eq!(paged, whole, "{filter:?}");
    }
    close(store, audit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_each_record_once_from_journal_store_and_later_writers() {
    let place = Place::new();
    let (store, audit) = place.open_with(AuditSettings { segment_bytes: 4_000, ..AuditSettings::default() }).await;
    for number in 1..=5 {
        audit.record(body(number), None).await.unwrap();
    }
    let location = place.location();
    let newest = QueryFilter { limit: Some(2), ..QueryFilter::default() };
    let (mut follower, first) = Follower::begin(&location, newest).await.unwrap();
    let ids = |records: &[StoredRecord]| records.iter().map(decision_id).collect::<Vec<_>>();
    assert_eq!(ids(&first), [id(4), id(5)], "the newest last");
    assert_eq!(follower.next().await.unwrap(), []);
    audit.record(body(6), None).await.unwrap();
    assert_eq!(ids(&follower.next().await.unwrap()), [id(6)], "at once, from the journal");
    // Through several segments that the filler takes away meanwhile.
    let expected: Vec<String> = (7..=60).map(id).collect();
    let mut seen = Vec::new();
    for number in 7..=60 {
        audit.record(body(number), None).await.unwrap();
        if number % 10 == 0 {
            stored(&audit).await;
            seen.extend(ids(&follower.next().await.unwrap()));
        }
    }
    seen.extend(ids(&follower.next().await.unwrap()));
    assert_eq!(seen, expected);
    close(store, audit).await;
    // A writer that began and ended between two looks left nothing in the journal.
    let (store, audit) = place.open().await;
    audit.record(body(61), None).await.unwrap();
    close(store, audit).await;
    assert_eq!(ids(&follower.next().await.unwrap()), [id(61)]);
    assert_eq!(follower.next().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_or_moved_leaves_nothing_behind_in_the_index() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    four(&audit).await;
    close(store, audit).await;
    let mut connection = place.connect().await;
    let count = async |connection: &mut Other, of: &str| -> i64 {
        connection.number(format!("SELECT count(*) FROM decision_facets WHERE {of}")).await
    };
    assert!(count(&mut connection, "seq = 3").await >= 10);
    connection.run("UPDATE decisions SET seq = 33 WHERE seq = 3").await;
    assert_eq!(count(&mut connection, "seq = 3").await, 0);
    assert!(count(&mut connection, "seq = 33").await >= 10);
    connection.run("DELETE FROM decisions").await;
    assert_eq!(count(&mut connection, "true").await, 0);
    connection.close().await;
}
