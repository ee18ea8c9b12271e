use serde_json::json;

use super::*;
use crate::evidence::{Cache, Fact, PlatformImage, ResolvedImage};
use crate::image::build_date::{BuildDate, Class, Source, read_date};
use crate::policy::compile::CompiledPolicy;
use crate::subject::{Difference, ImageUse, Operation, Place, PullHints, ServiceLabels, Subject};

fn now() -> DateTime<Utc> {
    read_date("2026-11-25T12:00:00Z").unwrap()
}

fn built(days_ago: i64) -> Fact<ResolvedImage> {
    let built = BuildDate { time: now() - TimeDelta::days(days_ago), source: Source::Config, class: Class::Claim };
    let platform = PlatformImage {
        platform: None,
        digest: "sha256:a".to_owned(),
        built: Fact::Known(built),
        first_seen: None,
        candidates: Vec::new(),
    };
    Fact::Known(ResolvedImage {
        digest: "sha256:a".to_owned(),
        platforms: vec![platform],
        cache: Cache::Fetched,
        fetched_at: now(),
    })
}

fn workload(namespace: &str, name: &str) -> Workload {
    let subject = Subject {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: namespace.into(),
        name: name.into(),
        operation: Operation::Create,
        sub_resource: None,
        images: vec![ImageUse { place: Place::Container, name: "app".into(), image: "app:1".into() }],
        old_images: None,
        difference: Difference::Other,
        fingerprints: None,
        owner: None,
        mirror: false,
        hook: false,
        uid: "u".into(),
        old_created_at: None,
        pull: PullHints::default(),
        labels: ServiceLabels::default(),
        old_labels: None,
    };
    Workload { subject, api_version: "apps/v1".into() }
}

fn policies() -> PolicySet {
    let policy = |name: &str, spec| CompiledPolicy::compile(name, serde_json::from_value(spec).unwrap()).unwrap();
    PolicySet::new(vec![
        policy("all", json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "90d"}})),
        policy("elsewhere", json!({"match": {"namespaces": ["lab"]}, "imageAge": {"maxAge": "1d"}})),
        policy("none", json!({"match": {"namespaces": ["nowhere"]}, "imageAge": {"maxAge": "1d"}})),
    ])
}

#[test]
fn each_policy_counts_what_it_is_for_and_each_namespace_what_is_to_be_said() {
    let policies = policies();
    let mut tally = Tally::new(&policies);
    for (namespace, name, days) in [
        ("shop", "fresh", Some(3)),
        ("shop", "ageing", Some(86)),
        ("shop", "old", Some(112)),
        ("shop", "unknown", None),
        ("lab", "fresh", Some(3)),
    ] {
        let image = days.map_or(Fact::unknown(crate::evidence::UnknownReason::Unreachable, "x"), built);
        let evidence = Evidence { images: [("app:1".to_owned(), image)].into(), ..Evidence::default() };
        tally.add(&workload(namespace, name), &evidence, &policies, &BTreeMap::new(), now());
    }
    let counts = |matched, warned, refused| WorkloadCounts { matched, warned, refused };
    let expected = [("all", counts(5, 2, 1)), ("elsewhere", counts(1, 1, 0)), ("none", counts(0, 0, 0))];
    assert_eq!(tally.policies, expected.map(|(name, counts)| (name.to_owned(), counts)).into());

    let shop = &tally.namespaces["shop"];
    assert_eq!(shop.passing, 2, "an unknown date warns at admission, and is no outcome of a report");
    assert_eq!(shop.ages, [1, 1, 1, 1, 2, 3, 3, 3, 3]);
    assert_eq!(shop.unknown_ages, 1);
    assert_eq!(shop.workloads, ByRefusal { today: 1, within_a_week: 1, later: 1, never: 1 });
    assert_eq!(shop.days_until_refusal, Some(0));
    let said: Vec<(Grade, &str, &str)> =
        shop.outcomes.iter().map(|one| (one.grade, one.workload.name.as_str(), one.message.as_str())).collect();
    assert_eq!(said[0], (Grade::Soon, "ageing", "From 2026-11-29 on image app:1 is refused."));
    assert_eq!((said[1].0, said[1].1, said.len()), (Grade::Refused, "old", 2));
    assert!(said[1].2.contains("was built 112 days ago"), "{}", said[1].2);
    assert_eq!(tally.namespaces["lab"].days_until_refusal, Some(87));
}

#[test]
fn a_next_step_is_an_outcome_of_the_workload() {
    let policies = policies();
    let mut tally = Tally::new(&policies);
    let evidence = Evidence { images: [("app:1".to_owned(), built(3))].into(), ..Evidence::default() };
    let finding = Finding {
        id: "newer-tag-1".into(),
        kind: crate::dependency::finding::Kind::NewerTag,
        step: crate::dependency::finding::Step::Patch,
        image: "app:1".into(),
        from: "1".into(),
        to: "1.1".into(),
        age_days: Some(1),
        why: "1.1 is the newest patch of 1.".into(),
        how: "image: app:1.1".into(),
        refused_on: None,
        target_refused_on: None,
        target: None,
    };
    let findings = [("app:1".to_owned(), Findings { found: vec![finding], ..Findings::default() })].into();
    tally.add(&workload("shop", "fresh"), &evidence, &policies, &findings, now());
    let shop = &tally.namespaces["shop"];
    assert_eq!((shop.passing, shop.outcomes.len(), tally.findings["newer-tag"]), (0, 1, 1));
    assert_eq!(shop.outcomes[0].properties["how"], "image: app:1.1");
    assert_eq!((shop.outcomes[0].policy.as_str(), shop.outcomes[0].grade), ("dependencies", Grade::Step));
}

#[test]
fn libyears_count_each_image_of_a_namespace_once() {
    let mut tally = Tally::new(&PolicySet::default());
    let years = |total: f64| Libyears { total, mean: total, worst: total, worst_package: None, packages: 1 };
    for name in ["one", "other"] {
        let evidence = Evidence { images: [("app:1".to_owned(), built(3))].into(), ..Evidence::default() };
        let mut missing = Findings::default();
        missing.could_not("packages of app:1", "no bill is attached to it");
        let findings = [("app:1".to_owned(), missing)].into();
        tally.add(&workload("shop", name), &evidence, &PolicySet::default(), &findings, now());
        tally
            .add_libyears("shop", [("sha256:a".to_owned(), years(2.0)), (format!("sha256:{name}"), years(1.0))].into());
    }
    tally.add_libyears("nothing-runs-here", [("sha256:a".to_owned(), years(2.0))].into());
    let shop = &tally.namespaces["shop"];
    assert_eq!(Libyears::sum(shop.libyears.values()).map(|sum| (sum.total, sum.packages)), Some((4.0, 3)));
    assert_eq!(shop.not_looked_up.len(), 1, "each once");
    assert_eq!(tally.namespaces.len(), 1);
}
