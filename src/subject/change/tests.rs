//! The change table of DESIGN §2, row by row.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::evidence::{Admission, Cache, Fact, History, ResolvedImage, Revision, UnknownReason};
use crate::image::build_date::read_date;
use crate::subject::{Fingerprints, Place};

fn at(day: u32) -> DateTime<Utc> {
    read_date(&format!("2026-11-{day:02}T12:00:00Z")).unwrap()
}

fn now() -> DateTime<Utc> {
    at(24)
}

fn used(name: &str, image: &str) -> ImageUse {
    ImageUse { place: Place::Container, name: name.into(), image: image.into() }
}

/// An update of a Deployment from some images to others, each as `container=reference`.
fn update(old: &[&str], new: &[&str], difference: Difference) -> Subject {
    let uses = |images: &[&str]| {
        images.iter().map(|one| one.split_once('=').unwrap()).map(|(name, image)| used(name, image)).collect::<Vec<_>>()
    };
    Subject {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "checkout".into(),
        operation: Operation::Update,
        sub_resource: None,
        images: uses(new),
        old_images: Some(uses(old)),
        difference,
        fingerprints: Some(Fingerprints { old: "old".into(), new: "new".into() }),
        owner: None,
        mirror: false,
        hook: false,
        uid: "uid".into(),
        old_created_at: Some(at(1)),
        pull: crate::subject::PullHints::default(),
        labels: crate::subject::ServiceLabels::default(),
        old_labels: None,
    }
}

fn create(images: &[&str]) -> Subject {
    Subject {
        operation: Operation::Create,
        old_images: None,
        fingerprints: None,
        ..update(&[], images, Difference::Other)
    }
}

/// What references mean now, each as `reference=digest`.
fn meaning(images: &[&str]) -> Evidence {
    let images: BTreeMap<String, Fact<ResolvedImage>> = images
        .iter()
        .map(|one| one.split_once('=').unwrap())
        .map(|(reference, digest)| {
            let image =
                ResolvedImage { digest: digest.into(), platforms: vec![], cache: Cache::Cached, fetched_at: now() };
            (reference.to_owned(), Fact::Known(image))
        })
        .collect();
    Evidence { images, ..Evidence::default() }
}

/// Admissions, each as `reference=digest`, and its day.
fn admitted(evidence: Evidence, admissions: &[(&str, u32)]) -> Evidence {
    let admissions = admissions.iter().map(|(one, day)| {
        let (reference, digest) = one.split_once('=').unwrap();
        Admission {
            digest: digest.into(),
            reference: reference.into(),
            first_admitted_at: at(*day),
            last_admitted_at: at(*day),
        }
    });
    Evidence { history: History { admissions: admissions.collect(), ..evidence.history.clone() }, ..evidence }
}

fn with_revisions(evidence: Evidence, revisions: &[(&str, u32)]) -> Evidence {
    let revisions = revisions.iter().map(|(fingerprint, day)| Revision {
        fingerprint: (*fingerprint).into(),
        images: vec![],
        created_at: at(*day),
    });
    Evidence { history: History { revisions: revisions.collect(), ..evidence.history.clone() }, ..evidence }
}

#[track_caller]
fn is(subject: &Subject, evidence: &Evidence, change: Change) {
    assert_eq!(classify(subject, evidence, now()), change);
}

#[test]
fn create_is_what_was_not_there() {
    is(&create(&["app=a:1"]), &meaning(&["a:1=d1"]), Change::Create);
    is(&create(&["app=a:1"]), &Evidence::default(), Change::Create);
}

#[test]
fn a_digest_that_did_not_run_is_a_new_image() {
    for difference in [Difference::Equal, Difference::Restart, Difference::Mitigation, Difference::Other] {
        is(&update(&["app=a:1"], &["app=a:2"], difference), &meaning(&["a:1=d1", "a:2=d2"]), Change::NewImage);
    }
    // One more container with a new image; one of two changed; what cannot be learnt is new.
    let both = meaning(&["a:1=d1", "b:1=d2", "b:2=d3"]);
    is(&update(&["app=a:1"], &["app=a:1", "side=b:1"], Difference::Other), &both, Change::NewImage);
    is(&update(&["app=a:1", "side=b:1"], &["app=a:1", "side=b:2"], Difference::Equal), &both, Change::NewImage);
    is(&update(&["app=a:1"], &["app=a:2"], Difference::Equal), &meaning(&["a:1=d1"]), Change::NewImage);
}

#[test]
fn another_name_for_the_same_digest_is_nothing_new() {
    let same = meaning(&["a:1=d1", "a@d1=d1"]);
    let pinned = update(&["app=a:1"], &["app=a@d1"], Difference::Equal);
    assert!(new_images(&pinned, &same).is_empty());
    is(&pinned, &same, Change::Config);
    // The image moved to another container of the same Pod.
    let moved = update(&["app=a:1", "side=b:1"], &["app=b:1", "side=a:1"], Difference::Equal);
    is(&moved, &meaning(&["a:1=d1", "b:1=d2"]), Change::Config);
}

#[test]
fn what_differs_without_a_new_image_is_told_by_the_template() {
    let evidence = meaning(&["a:1=d1"]);
    for (difference, change) in [
        (Difference::Restart, Change::Restart),
        (Difference::Mitigation, Change::Mitigation),
        (Difference::Other, Change::Config),
        (Difference::Equal, Change::Scale),
    ] {
        is(&update(&["app=a:1"], &["app=a:1"], difference), &evidence, change);
    }
    // A container less runs nothing new.
    is(&update(&["app=a:1", "side=b:1"], &["app=a:1"], Difference::Other), &evidence, Change::Config);
}

#[test]
fn deleting_and_connecting_change_nothing_that_runs() {
    for (operation, change) in [(Operation::Delete, Change::Delete), (Operation::Connect, Change::Metadata)] {
        let subject = Subject { operation, ..create(&["app=a:1"]) };
        is(&subject, &Evidence::default(), change);
    }
}

#[test]
fn going_back_to_an_earlier_digest_is_a_rollback_and_forward_again_is_not() {
    let digests = meaning(&["a:1=d1", "a:2=d2"]);
    let evidence = admitted(digests, &[("a:1=d1", 1), ("a:2=d2", 10)]);
    is(&update(&["app=a:2"], &["app=a:1"], Difference::Equal), &evidence, Change::Rollback);
    is(&update(&["app=a:1"], &["app=a:2"], Difference::Equal), &evidence, Change::NewImage);
    // With a change of configuration beside it too.
    is(&update(&["app=a:2"], &["app=a:1"], Difference::Other), &evidence, Change::Rollback);
    // What runs now was never admitted here, so nobody knows what is earlier.
    let unknown = admitted(meaning(&["a:1=d1", "a:2=d2"]), &[("a:1=d1", 1)]);
    is(&update(&["app=a:2"], &["app=a:1"], Difference::Equal), &unknown, Change::NewImage);
}

#[test]
fn every_container_must_go_back() {
    let digests = meaning(&["a:1=a1", "a:2=a2", "b:1=b1", "b:2=b2", "c:1=c1"]);
    let evidence = admitted(digests, &[("a:1=a1", 1), ("b:1=b1", 1), ("a:2=a2", 10), ("b:2=b2", 10)]);
    let from = &["app=a:2", "side=b:2"];
    is(&update(from, &["app=a:1", "side=b:1"], Difference::Equal), &evidence, Change::Rollback);
    is(&update(from, &["app=a:1", "side=b:2"], Difference::Equal), &evidence, Change::Rollback);
    is(&update(&["app=a:2", "side=b:1"], &["app=a:1", "side=b:2"], Difference::Equal), &evidence, Change::NewImage);
    is(&update(from, &["app=a:1", "side=b:1", "third=c:1"], Difference::Other), &evidence, Change::NewImage);
}

#[test]
fn a_template_that_was_here_before_the_present_one_is_a_rollback() {
    let digests = || meaning(&["a:1=d1", "a:2=d2"]);
    let back = update(&["app=a:2"], &["app=a:1"], Difference::Equal);
    is(&back, &with_revisions(digests(), &[("new", 1), ("old", 10)]), Change::Rollback);
    is(&back, &with_revisions(digests(), &[("old", 1), ("new", 10)]), Change::NewImage);
    is(&back, &with_revisions(digests(), &[("new", 1)]), Change::NewImage);
    // A revision that was used again keeps its first day.
    is(&back, &with_revisions(digests(), &[("new", 1), ("old", 10), ("new", 20)]), Change::Rollback);
    // Configuration alone goes back too.
    let config = update(&["app=a:1"], &["app=a:1"], Difference::Other);
    is(&config, &with_revisions(digests(), &[("new", 1), ("old", 10)]), Change::Rollback);
}

#[test]
fn a_digest_of_an_earlier_revision_is_a_rollback_with_other_configuration_too() {
    let digests = || meaning(&["a:1=d1", "a:2=d2"]);
    let revision = |image: &str, day| Revision {
        fingerprint: format!("of {image}"),
        images: vec![image.to_owned()],
        created_at: at(day),
    };
    let owned = |evidence: Evidence| Evidence {
        history: History { revisions: vec![revision("a:1", 1), revision("a:2", 10)], ..evidence.history.clone() },
        ..evidence
    };
    let back = update(&["app=a:2"], &["app=a:1"], Difference::Other);
    is(&back, &owned(digests()), Change::Rollback);
    is(&update(&["app=a:1"], &["app=a:2"], Difference::Other), &owned(digests()), Change::NewImage);
    // A tag that is known to have meant something else is not what ran then.
    let moved = admitted(digests(), &[("a:1=d0", 2)]);
    is(&back, &owned(moved), Change::NewImage);
}

#[test]
fn what_runs_in_another_workload_of_the_service_is_promoted() {
    let elsewhere = |evidence: Evidence, digests: &[&str]| Evidence {
        running_elsewhere: vec![crate::evidence::RunningElsewhere {
            workload: "Deployment checkout-canary".into(),
            digests: digests.iter().map(|&digest| digest.to_owned()).collect(),
        }],
        ..evidence
    };
    let digests = || meaning(&["a:1=d1", "a:2=d2", "b:2=d3"]);
    let primary = update(&["app=a:1"], &["app=a:2"], Difference::Equal);
    is(&primary, &elsewhere(digests(), &["d2"]), Change::Promotion);
    is(&primary, &elsewhere(digests(), &["d1"]), Change::NewImage);
    is(&primary, &digests(), Change::NewImage);
    // Each new digest must run there; one of two is not enough.
    let both = update(&["app=a:1"], &["app=a:2", "side=b:2"], Difference::Other);
    is(&both, &elsewhere(digests(), &["d2"]), Change::NewImage);
    is(&both, &elsewhere(digests(), &["d2", "d3"]), Change::Promotion);
    // Green is made of what blue runs.
    is(&create(&["app=a:2"]), &elsewhere(digests(), &["d2"]), Change::Promotion);
    // What cannot be learnt runs nowhere.
    is(&primary, &elsewhere(meaning(&["a:1=d1"]), &["d2"]), Change::NewImage);
}

/// A reference that names its digest, and that digest.
fn pinned(digit: &str) -> (String, String) {
    let digest = format!("sha256:{}", digit.repeat(64));
    (format!("registry.example/a@{digest}"), digest)
}

#[test]
fn what_is_named_by_digest_is_known_while_its_registry_is_away() {
    let ((one, first), (two, second)) = (pinned("1"), pinned("2"));
    let away = |references: &[&str]| Evidence {
        images: references
            .iter()
            .map(|&reference| (reference.to_owned(), Fact::unknown(UnknownReason::Unreachable, "away")))
            .collect(),
        ..Evidence::default()
    };
    let (of_one, of_two) = (format!("{one}={first}"), format!("{two}={second}"));
    let history = [(of_one.as_str(), 1), (of_two.as_str(), 10)];
    let uses = |image: &str| format!("app={image}");
    let back = update(&[&uses(&two)], &[&uses(&one)], Difference::Equal);
    is(&back, &admitted(away(&[&one, &two]), &history), Change::Rollback);
    let forward = update(&[&uses(&one)], &[&uses(&two)], Difference::Equal);
    is(&forward, &admitted(away(&[&one, &two]), &history), Change::NewImage);
    is(&create(&[&uses(&one)]), &admitted(away(&[&one]), &history), Change::Rollback);
    // The same digest under another tag.
    let tagged = one.replace('@', ":1.2@");
    let renamed = update(&[&uses(&one)], &[&uses(&tagged)], Difference::Equal);
    is(&renamed, &away(&[&one, &tagged]), Change::Config);
}

#[test]
fn a_tag_runs_what_it_meant_when_it_was_last_admitted() {
    let evidence = admitted(
        meaning(&["a:latest=d3", "a:one=d1", "a:two=d2", "a:three=d3"]),
        &[("a:latest=d1", 1), ("a:latest=d2", 5), ("a:latest=d3", 10)],
    );
    for (to, change) in
        [("app=a:one", Change::Rollback), ("app=a:two", Change::Rollback), ("app=a:three", Change::Config)]
    {
        is(&update(&["app=a:latest"], &[to], Difference::Equal), &evidence, change);
    }
}

#[test]
fn a_moved_tag_is_a_new_image_unless_it_is_only_restarted_or_scaled() {
    let moved = admitted(meaning(&["a:1=d2"]), &[("a:1=d1", 1)]);
    for (difference, change) in [
        (Difference::Other, Change::NewImage),
        (Difference::Mitigation, Change::NewImage),
        (Difference::Restart, Change::Restart),
        (Difference::Equal, Change::Scale),
    ] {
        is(&update(&["app=a:1"], &["app=a:1"], difference), &moved, change);
    }
    // Back to the whole template of before is a rollback, whatever its tag means by now.
    let back = update(&["app=a:1"], &["app=a:1"], Difference::Other);
    is(&back, &with_revisions(moved, &[("new", 1), ("old", 10)]), Change::Rollback);
}

#[test]
fn a_container_that_is_added_takes_the_place_of_what_goes() {
    let digests = || meaning(&["a:1=a1", "a:2=a2", "b:1=b1"]);
    let all = |side| admitted(digests(), &[("a:1=a1", 1), ("a:2=a2", 10), ("b:1=b1", side)]);
    // Back to a version that had a sidecar.
    let back = update(&["app=a:2"], &["app=a:1", "side=b:1"], Difference::Other);
    is(&back, &all(1), Change::Rollback);
    is(&back, &all(10), Change::NewImage);
    // Beside what stays it takes no place, so it goes back to nothing.
    is(&update(&["app=a:1"], &["app=a:1", "side=b:1"], Difference::Other), &all(1), Change::NewImage);
    // A container renamed on the way back.
    is(&update(&["app=a:2"], &["main=a:1"], Difference::Other), &all(1), Change::Rollback);
}

#[test]
fn a_restore_within_thirty_days_is_a_rollback() {
    let subject = create(&["app=a:1", "side=b:1"]);
    let digests = || meaning(&["a:1=d1", "b:1=d2"]);
    let both = |day| admitted(digests(), &[("a:1=d1", day), ("b:1=d2", day)]);
    is(&subject, &both(1), Change::Rollback);
    assert_eq!(classify(&subject, &both(1), at(1) + TimeDelta::days(30)), Change::Rollback);
    assert_eq!(classify(&subject, &both(1), at(1) + TimeDelta::days(30) + TimeDelta::seconds(1)), Change::Create);
    is(&subject, &admitted(digests(), &[("a:1=d1", 20)]), Change::Create);
    // A prefix is no name; a hook's Job counts by what its namespace admitted.
    is(&Subject { name: "run-*".into(), ..subject.clone() }, &both(20), Change::Create);
    is(&Subject { name: "run-*".into(), hook: true, ..subject }, &both(20), Change::Rollback);
}

#[test]
fn putting_back_what_burnt_the_budget_is_no_restore() {
    let evidence = |last: u32| {
        let mut evidence = admitted(meaning(&["a:1=d1", "a:4=d4"]), &[("a:1=d1", 1), ("a:4=d4", 10)]);
        evidence.history.admissions[0].last_admitted_at = at(last);
        evidence
    };
    // Back from the fourth version to the first, deleted, and made anew.
    is(&create(&["app=a:1"]), &evidence(20), Change::Rollback);
    is(&create(&["app=a:4"]), &evidence(20), Change::Create);
    // While the fourth was what ran last, both are what was here.
    is(&create(&["app=a:4"]), &evidence(5), Change::Rollback);
    is(&create(&["app=a:1"]), &evidence(5), Change::Rollback);
}

#[test]
fn a_tag_has_moved_when_it_names_what_was_never_admitted_here() {
    let restart = update(&["app=a:1"], &["app=a:1"], Difference::Restart);
    let moved = |evidence: &Evidence| moved_tags(&restart, evidence).len();
    assert_eq!(moved(&admitted(meaning(&["a:1=d2"]), &[("a:1=d1", 1)])), 1);
    assert_eq!(moved(&admitted(meaning(&["a:1=d1"]), &[("a:1=d1", 1)])), 0);
    assert_eq!(moved(&admitted(meaning(&["a:1=d2"]), &[("a:1=d1", 1), ("a:2=d2", 2)])), 0);
    assert_eq!(moved(&meaning(&["a:1=d2"])), 0, "what was never admitted here cannot have moved");
    let unknown = Evidence {
        images: BTreeMap::from([("a:1".to_owned(), Fact::unknown(UnknownReason::Unreachable, "away"))]),
        ..Evidence::default()
    };
    assert_eq!(moved(&admitted(unknown, &[("a:1=d1", 1)])), 0);
}

proptest! {
    /// Going back and forth between two images, only the way back is a rollback, whatever their days.
    #[test]
    fn of_two_ways_at_most_one_is_a_rollback(one in 1_u32..24, other in 1_u32..24) {
        let digests = meaning(&["a:1=d1", "a:2=d2"]);
        let evidence = admitted(digests, &[("a:1=d1", one), ("a:2=d2", other)]);
        let there = classify(&update(&["app=a:1"], &["app=a:2"], Difference::Equal), &evidence, now());
        let back = classify(&update(&["app=a:2"], &["app=a:1"], Difference::Equal), &evidence, now());
        prop_assert!(!(there == Change::Rollback && back == Change::Rollback));
        prop_assert_eq!(back == Change::Rollback, one < other);
    }
}
