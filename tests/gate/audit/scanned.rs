//! What the scanner found is kept, dropped when it runs no more, and brought to where deploys are answered.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{SubsecRound as _, TimeDelta, Utc};
use freshgate::dependency::contents::Contents;
use freshgate::dependency::finding::{Finding, Findings, Kind, Step};
use freshgate::dependency::package::libyear::Libyears;
use freshgate::evidence::{Cache, Fact, ResolvedImage};
use freshgate::policy::compile::{CompiledPolicy, PolicySet};
use freshgate::scanner::known::{ImageKey, Known, KnownContents};
use freshgate::scanner::nudges::Nudges;
use freshgate::scanner::shelf::Shelf;
use serde_json::json;

use super::*;

fn known(image: &str, running: &str) -> (ImageKey, Arc<Known>) {
    let now = Utc::now().trunc_subsecs(6);
    let finding = Finding {
        id: "newer-tag-1".to_owned(),
        kind: Kind::NewerTag,
        step: Step::Patch,
        image: image.to_owned(),
        from: "1.0".to_owned(),
        to: "1.1".to_owned(),
        age_days: Some(3),
        why: "it's \"newer\" · ünïcode".to_owned(),
        how: String::new(),
        refused_on: None,
        target_refused_on: None,
        target: None,
    };
    let found =
        ResolvedImage { digest: "sha256:a".to_owned(), platforms: Vec::new(), cache: Cache::Fetched, fetched_at: now };
    let key = ImageKey { scope: String::new(), image: image.to_owned(), running: running.to_owned() };
    let findings = Findings { found: vec![finding], ..Findings::default() };
    (key, Arc::new(Known { scanned_at: now, found: Fact::Known(found), findings, contents: None }))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_scanner_found_outlives_it_and_reaches_who_answers() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    let shelf = Shelf::new(Some(store.clone()));
    // One reference of which two digests run, one of which none is known, and one whose name no index would hold.
    let long = format!("registry.example/{}", "a".repeat(3_000));
    let all = [known("app:1", "sha256:b"), known("app:1", "sha256:c"), known("app:2", ""), known(&long, "")];
    shelf.save(&all, &[]).await;
    shelf.save(&all[..1], std::slice::from_ref(&all[1].0)).await;
    close(store, audit).await;

    let (store, audit) = place.open().await;
    let shelf = Shelf::new(Some(store.clone()));
    let kept = shelf.load().await.unwrap();
    assert_eq!(kept.len(), 3);
    // What is in it is learnt later, and is news for whoever looks whether there are any.
    let mark = store.image_findings_mark().await.unwrap();
    let libyears = Libyears { total: 3.5, mean: 1.75, worst: 3.0, worst_package: Some("a 1".into()), packages: 2 };
    let contents = Contents { libyears: Some(libyears), ..Contents::default() };
    let (key, before) = &all[0];
    let looked_at = before.scanned_at + TimeDelta::minutes(2);
    let contents = KnownContents::new(looked_at, "sha256:b", "settings", false, contents);
    let learnt = Arc::new(Known { contents: Some(contents), ..(**before).clone() });
    shelf.save(&[(key.clone(), Arc::clone(&learnt))], &[]).await;
    assert_eq!(shelf.load().await.unwrap()[key], learnt);
    assert_ne!(store.image_findings_mark().await.unwrap(), mark);
    shelf.save(&all[..1], &[]).await;
    assert_eq!((&kept[&all[0].0], &kept[&all[2].0]), (&all[0].1, &all[2].1));

    // Nobody is told before a policy asks for it.
    let (nudges, policies) = (Arc::new(ArcSwap::<Nudges>::default()), Arc::new(ArcSwap::<PolicySet>::default()));
    let following = tokio::spawn(shelf.clone().follow(Arc::clone(&nudges), Arc::clone(&policies)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(nudges.load().is_empty());
    following.abort();
    let spec = serde_json::from_value(json!({"dependencies": {"nudges": 1}})).unwrap();
    policies.store(Arc::new(PolicySet::new(vec![CompiledPolicy::compile("p", spec).unwrap()])));
    let following = tokio::spawn(shelf.follow(Arc::clone(&nudges), policies));
    for _ in 0..100 {
        if !nudges.load().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!nudges.load().is_empty());
    following.abort();
    close(store, audit).await;
}
