use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::json;

use super::super::known::KnownContents;
use super::*;
use crate::dependency::contents::Contents;
use crate::dependency::finding::{Findings, Step, stable_id};
use crate::evidence::{Admission, Cache, PlatformImage};
use crate::image::build_date::{BuildDate, Class, Source, read_date};
use crate::policy::compile::CompiledPolicy;
use crate::subject::{ImageUse, OwnerReference, Place, PullHints, ServiceLabels};

fn now() -> DateTime<Utc> {
    read_date("2026-11-25T12:00:00Z").unwrap()
}

fn image(digest: &str, days_ago: i64) -> Fact<ResolvedImage> {
    let built = BuildDate { time: now() - TimeDelta::days(days_ago), source: Source::Config, class: Class::Claim };
    let platform = PlatformImage {
        platform: None,
        digest: digest.to_owned(),
        built: Fact::Known(built),
        first_seen: None,
        candidates: Vec::new(),
    };
    Fact::Known(ResolvedImage {
        digest: digest.to_owned(),
        platforms: vec![platform],
        cache: Cache::Fetched,
        fetched_at: now(),
    })
}

fn subject(image: &str) -> Subject {
    Subject {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "checkout".into(),
        operation: Operation::Create,
        sub_resource: None,
        images: vec![ImageUse { place: Place::Container, name: "app".into(), image: image.into() }],
        old_images: None,
        difference: Difference::Other,
        fingerprints: None,
        owner: None,
        mirror: false,
        hook: false,
        uid: String::new(),
        old_created_at: None,
        pull: PullHints::default(),
        labels: ServiceLabels::default(),
        old_labels: None,
    }
}

fn finding(kind: Kind, image: &str, to: &str) -> Finding {
    Finding {
        id: stable_id(kind, &[image, to]),
        kind,
        step: if kind == Kind::NewerTag { Step::Patch } else { Step::Rebuild },
        image: image.to_owned(),
        from: "18.20".to_owned(),
        to: to.to_owned(),
        age_days: Some(41),
        why: String::new(),
        how: String::new(),
        refused_on: None,
        target_refused_on: None,
        target: None,
    }
}

fn nudges(entries: &[(&str, &str, &str, Vec<Finding>)]) -> Nudges {
    let entry = |(scope, reference, digest, found): &(&str, &str, &str, Vec<Finding>)| {
        let key = ImageKey { scope: (*scope).into(), image: (*reference).into(), running: String::new() };
        let findings = Findings { found: found.clone(), ..Findings::default() };
        (key, Arc::new(Known { scanned_at: now(), found: image(digest, 78), findings, contents: None }))
    };
    Nudges::of(&entries.iter().map(entry).collect())
}

fn policies(nudges: i32) -> PolicySet {
    let spec =
        json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "90d"}, "dependencies": {"nudges": nudges}});
    PolicySet::new(vec![CompiledPolicy::compile("production", serde_json::from_value(spec).unwrap()).unwrap()])
}

fn evidence(reference: &str, digest: &str) -> Evidence {
    Evidence { images: [(reference.to_owned(), image(digest, 78))].into(), ..Evidence::default() }
}

const NODE: &str = "registry.example/library/node:18.20";

fn of_node() -> Nudges {
    nudges(&[("", NODE, "sha256:a", vec![finding(Kind::NewerTag, NODE, "18.20.8")])])
}

#[test]
fn a_deploy_is_told_its_next_step_and_the_day_of_refusal() {
    let said = of_node().warnings(&subject(NODE), &evidence(NODE, "sha256:a"), &policies(1), 3, now());
    assert_eq!(said, ["freshgate: node 18.20 → 18.20.8 is a patch, 41 days old; this build is refused in 12 days"]);
    // A deploy that changes only its configuration keeps its image, whatever its age; the build grows old all the same.
    let ran = Admission {
        digest: "sha256:a".into(),
        reference: NODE.into(),
        first_admitted_at: now() - TimeDelta::days(30),
        last_admitted_at: now(),
    };
    let mut changed = subject(NODE);
    changed.operation = Operation::Update;
    changed.old_images = Some(changed.images.clone());
    let mut known = evidence(NODE, "sha256:a");
    known.history.admissions = vec![ran];
    assert_eq!(of_node().warnings(&changed, &known, &policies(1), 3, now()), said);
}

#[test]
fn nothing_is_said_that_nobody_asked_for_or_that_is_about_something_else() {
    let said = |nudges: &Nudges, subject: &Subject, evidence: &Evidence, policies: &PolicySet, room: usize| {
        nudges.warnings(subject, evidence, policies, room, now()).len()
    };
    let (all, made, known) = (of_node(), subject(NODE), evidence(NODE, "sha256:a"));
    assert_eq!(said(&all, &made, &known, &policies(3), 3), 1);
    assert_eq!(said(&all, &made, &known, &policies(0), 3), 0);
    assert_eq!(said(&all, &made, &known, &PolicySet::default(), 3), 0);
    assert_eq!(said(&all, &made, &known, &policies(3), 0), 0, "the rules' own come first");
    assert_eq!(said(&all, &made, &evidence(NODE, "sha256:b"), &policies(3), 3), 0, "the tag has moved since");
    assert_eq!(said(&Nudges::default(), &made, &known, &policies(3), 3), 0);
    let owner = OwnerReference {
        api_version: "db.example/v1".into(),
        kind: "Cluster".into(),
        name: "db".into(),
        uid: "1".into(),
    };
    assert_eq!(said(&all, &Subject { owner: Some(owner), ..made }, &known, &policies(3), 3), 0);
}

#[test]
fn what_is_true_of_a_digest_is_said_under_its_other_names_too() {
    let found = vec![finding(Kind::BaseDrift, NODE, "debian:12"), finding(Kind::NewerTag, NODE, "18.20.8")];
    let all = nudges(&[("", NODE, "sha256:a", found)]);
    let mirrored = "mirror.example/node:blue";
    let said = all.warnings(&subject(mirrored), &evidence(mirrored, "sha256:a"), &policies(3), 3, now());
    assert_eq!(
        said,
        ["freshgate: node: its base debian:12 was rebuilt, 41 days old; this build is refused in 12 days"]
    );
}

#[test]
fn what_is_in_an_image_is_said_beside_its_other_steps() {
    let mut found = Contents::default();
    found.findings.add(Finding { step: Step::Minor, ..finding(Kind::Package, NODE, "1.3.0") });
    let contents = KnownContents::new(now(), "sha256:a", "settings", false, found);
    let with = |running: &str, contents: &KnownContents| {
        let key = ImageKey { scope: String::new(), image: NODE.to_owned(), running: running.to_owned() };
        let known = Known {
            scanned_at: now(),
            found: image("sha256:a", 78),
            findings: Findings::default(),
            contents: Some(contents.clone()),
        };
        let all = Nudges::of(&[(key, Arc::new(known))].into());
        all.warnings(&subject(NODE), &evidence(NODE, "sha256:a"), &policies(3), 3, now())
    };
    let said = ["freshgate: node: 18.20 → 1.3.0 is a minor, 41 days old; this build is refused in 12 days"];
    assert_eq!(with("", &contents), said);
    assert_eq!(with("sha256:b", &contents), [""; 0], "another digest runs by now");
}

#[test]
fn what_a_tenants_credentials_opened_is_told_to_nobody_else() {
    let found = vec![finding(Kind::NewerTag, NODE, "18.20.8"), finding(Kind::BaseDrift, NODE, "debian:12")];
    for (scope, expected) in [("shop", 2), ("pay", 0)] {
        let all = nudges(&[(scope, NODE, "sha256:a", found.clone())]);
        let said = all.warnings(&subject(NODE), &evidence(NODE, "sha256:a"), &policies(3), 3, now());
        assert_eq!(said.len(), expected, "{scope}: {said:?}");
    }
}

#[test]
fn there_are_never_more_than_asked_for_and_none_is_longer_than_a_line() {
    let long = |number: usize| finding(Kind::NewerTag, NODE, &format!("18.20.{number}{}", "0".repeat(150)));
    let all = nudges(&[("", NODE, "sha256:a", (0..9).map(long).collect())]);
    for (wanted, room, expected) in [(3, 3, 3), (3, 2, 2), (1, 3, 1)] {
        let said = all.warnings(&subject(NODE), &evidence(NODE, "sha256:a"), &policies(wanted), room, now());
        assert_eq!(said.len(), expected);
        assert!(said.iter().all(|line| line.chars().count() <= 120 && line.ends_with('…')), "{said:?}");
    }
}
