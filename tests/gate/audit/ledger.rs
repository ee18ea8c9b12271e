//! The ledger knows every admission from the instant its record is durable, and keeps first sights and facts.

use super::*;
use freshgate::store::ledger::Admission;

fn expected(numbers: &[u64], name: &str) -> Vec<Admission> {
    let admission = |digest: String, reference: String, time| Admission {
        digest,
        reference,
        first_admitted_at: time,
        last_admitted_at: time,
    };
    let mut digests: Vec<_> = numbers
        .iter()
        .map(|number| {
            let reference = format!("registry.example/shop/{name}:{number}");
            admission(format!("sha256:{number:064x}"), reference, at(i64::try_from(*number).unwrap()))
        })
        .collect();
    digests.push(admission("sha256:old".to_owned(), "old:1".to_owned(), at(-1000)));
    digests
}

async fn history(store: &Store, name: &str) -> (Vec<Admission>, Vec<(String, DateTime<Utc>)>) {
    let ledger = store.ledger().history(&workload(name)).await.unwrap();
    let (mut digests, mut templates) = (ledger.digests.clone(), ledger.templates.clone());
    digests.sort_by(|a, b| a.digest.cmp(&b.digest));
    templates.sort();
    (digests, templates)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_counts_at_once_later_and_after_a_restart() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    // Asked before: that nothing was admitted must not be remembered for longer than it is true.
    assert_eq!(history(&store, "asked").await, (vec![], vec![]));
    let templates = vec![("t1".to_owned(), at(1)), ("t2".to_owned(), at(2))];
    for name in ["asked", "unasked"] {
        for number in [1, 2] {
            let (body, admitted) = admitting(number, name);
            audit.record(body, Some(admitted)).await.unwrap();
        }
        assert_eq!(history(&store, name).await, (expected(&[1, 2], name), templates.clone()), "{name}, at once");
    }
    stored(&audit).await;
    for name in ["asked", "unasked"] {
        assert_eq!(history(&store, name).await, (expected(&[1, 2], name), templates.clone()), "{name}, stored");
    }
    close(store, audit).await;
    let (store, audit) = place.open().await;
    for name in ["asked", "unasked"] {
        assert_eq!(history(&store, name).await, (expected(&[1, 2], name), templates.clone()), "{name}, restarted");
    }
    let old = store.ledger().admitted_in_namespace("shop", "sha256:old").await.unwrap();
    assert_eq!(old.map(|(first, _)| first), Some(at(-1000)));
    assert_eq!(store.ledger().admitted_in_namespace("bank", "sha256:old").await.unwrap(), None);
    close(store, audit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admissions_left_in_the_journal_count_while_the_store_is_locked() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    let mut lock = place.connect().await;
    lock.hold().await;
    let (body, admitted) = admitting(1, "checkout");
    audit.record(body, Some(admitted)).await.unwrap();
    assert_eq!(audit.flush_and_close(BRIEFLY).await.unstored_records, 1);
    lock.release().await;
    store.flush_and_close().await.unwrap();
    let store = Store::open(&place.location()).await.unwrap();
    lock.hold().await;
    let audit = Audit::open(AuditSettings::default(), &store, at(5)).await.unwrap();
    assert_eq!(audit.counts().unstored_records, 1);
    assert_eq!(history(&store, "checkout").await.0, expected(&[1], "checkout"));
    let digest = format!("sha256:{:064x}", 1);
    let admitted = store.ledger().admitted_in_namespace("shop", &digest).await.unwrap();
    assert_eq!(admitted.map(|(first, _)| first), Some(at(1)));
    lock.release().await;
    lock.close().await;
    stored(&audit).await;
    assert_eq!(history(&store, "checkout").await.0, expected(&[1], "checkout"));
    close(store, audit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_sight_of_a_digest_and_its_facts_outlast_the_process() {
    let place = Place::new();
    let store = Store::open(&place.location()).await.unwrap();
    assert_eq!(store.ledger().first_seen_before("sha256:a").await, None);
    assert_eq!(store.ledger().first_seen("sha256:a", at(10)).await, at(10));
    assert_eq!(store.ledger().first_seen("sha256:a", at(20)).await, at(10));
    assert_eq!(store.image_fact("sha256:a").await, None);
    store.put_image_fact("sha256:a", r#"{"created":"x"}"#, at(10));
    let kept = Some((r#"{"created":"x"}"#.to_owned(), at(10)));
    assert_eq!(store.image_fact("sha256:a").await, kept);
    store.flush_and_close().await.unwrap();
    let store = Store::open(&place.location()).await.unwrap();
    assert_eq!(store.ledger().first_seen_before("sha256:a").await, Some(at(10)));
    assert_eq!(store.ledger().first_seen("sha256:a", at(30)).await, at(10));
    assert_eq!(store.ledger().first_seen("sha256:b", at(30)).await, at(30));
    assert_eq!(store.image_fact("sha256:a").await, kept);
    store.flush_and_close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_wait_in_memory_while_the_store_is_locked() {
    let place = Place::new();
    let store = Store::open(&place.location()).await.unwrap();
    let mut lock = place.connect().await;
    lock.hold().await;
    store.put_image_fact("sha256:a", "{}", at(1));
    assert_eq!(store.ledger().first_seen("sha256:a", at(1)).await, at(1));
    assert_eq!(store.image_fact("sha256:a").await, Some(("{}".to_owned(), at(1))));
    lock.release().await;
    store.flush_and_close().await.unwrap();
    assert_eq!(lock.number("SELECT count(*) FROM first_seen JOIN image_facts USING (digest)").await, 1);
}
