//! Every kind of message, as its reader sees it.

use chrono::{DateTime, TimeDelta, Utc};
use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::image::build_date::read_date;
use crate::subject::{ImageUse, Place};
use crate::verdict::Rule;

const DAY: i64 = 86_400;
const ID: &str = "01JD0000-0000-7000-8000-000000000001";

fn now() -> DateTime<Utc> {
    read_date("2026-11-23T12:00:00Z").unwrap()
}

fn finding(effect: Effect, found: Found) -> Finding {
    Finding {
        policy: "production".into(),
        rule: Rule::ImageAge,
        effect,
        softened: None,
        image: ImageUse {
            place: Place::Container,
            name: "app".into(),
            image: format!("registry.example/shop/checkout@sha256:{}", "4f1c".repeat(16)),
        },
        digest: Some(format!("sha256:{}", "4f1c".repeat(16))),
        found,
    }
}

fn too_old(source: Source) -> Found {
    Found::TooOld {
        built: now() - TimeDelta::days(112),
        source,
        age_seconds: 112 * DAY,
        limit_seconds: 90 * DAY,
        platform: None,
    }
}

fn unknown(reason: UnknownReason, detail: &str) -> Found {
    Found::Unknown { reason, detail: detail.into() }
}

fn verdict(findings: Vec<Finding>) -> Verdict {
    let decision = if findings.iter().any(|one| one.effect == Effect::Deny) { Decision::Deny } else { Decision::Warn };
    Verdict { decision, change: Change::Create, passed: None, policies: [].into(), findings }
}

const CONTEXT: Context<'_> = Context { decision_id: ID, dry_run: false, public_url: None, contact: None };

fn denied(found: Found) -> String {
    denial(&verdict(vec![finding(Effect::Deny, found)]), &CONTEXT).unwrap()
}

#[test]
fn an_image_that_is_too_old() {
    assert_snapshot!(denied(too_old(Source::Config)), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") was built 112 days ago, on 2026-08-03 (image config); the limit here is 90 days (policy "production").
    Rebuild it and deploy the new digest; a rollback to a version that ran before is allowed.
    decision 01JD0000-0000-7000-8000-000000000001 · ask whoever owns policy "production"
    "#);
    assert_snapshot!(denied(too_old(Source::FirstSeen)), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") was already here 112 days ago, on 2026-08-03 (first seen by this gate); the limit here is 90 days (policy "production").
    It has no date of its own, and a reproducible rebuild keeps its digest: update what it is built from, deploy the new digest, and let the build write its date (SOURCE_DATE_EPOCH).
    decision 01JD0000-0000-7000-8000-000000000001 · ask whoever owns policy "production"
    "#);
}

#[test]
fn each_source_has_its_words() {
    for (source, words) in [
        (Source::Provenance, "(build provenance)"),
        (Source::ManifestAnnotation, "(manifest annotation)"),
        (Source::IndexAnnotation, "(index annotation)"),
        (Source::Label, "(image label)"),
        (Source::History, "(image history)"),
    ] {
        assert!(denied(too_old(source)).contains(words), "{source:?}");
    }
}

#[test]
fn somebody_elses_image_has_a_newer_tag() {
    let mut of_docker = finding(Effect::Deny, too_old(Source::Config));
    of_docker.image.image = "node:18".into();
    let said = denial(&verdict(vec![of_docker]), &CONTEXT).unwrap();
    assert_snapshot!(said, @r#"
    binary-age: image node:18@sha256:4f1c4f1c4f1c… (container "app") was built 112 days ago, on 2026-08-03 (image config); the limit here is 90 days (policy "production").
    Deploy a newer tag of it; a rollback to a version that ran before is allowed.
    decision 01JD0000-0000-7000-8000-000000000001 · ask whoever owns policy "production"
    "#);
}

#[test]
fn each_unknown_has_its_way_out() {
    for (reason, way_out) in [
        (UnknownReason::NoDate, "Give it its build date: SOURCE_DATE_EPOCH="),
        (UnknownReason::Unreachable, "Try again when the registry answers; "),
        (UnknownReason::Unauthorized, "Give the gate credentials for this registry "),
        (UnknownReason::NotFound, "Push the image first, or correct its name."),
        (UnknownReason::NotAllowed, "Use an image of a registry that is allowed here, "),
        (UnknownReason::RateLimited, "Try again in a few minutes: "),
        (UnknownReason::InvalidReference, "Correct the image's name: "),
    ] {
        let said = denied(unknown(reason, "what happened"));
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines[0],
            format!(
                "binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container \"app\") has no known build date ({}): what happened (policy \"production\").",
                reason.as_str()
            )
        );
        assert!(lines[1].starts_with(way_out), "{}", lines[1]);
    }
}

#[test]
fn other_findings_have_theirs() {
    assert_snapshot!(denied(Found::MovedTag), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") is another image than the one this tag named when it was last admitted here (policy "production").
    Restart with the digest that ran here before, or give the new image a tag or digest of its own: it is then judged as a new image.
    decision 01JD0000-0000-7000-8000-000000000001 · ask whoever owns policy "production"
    "#);
    let mut by_tag = finding(Effect::Deny, Found::NotByDigest);
    by_tag.image.image = "registry.example/shop/checkout:1.0".into();
    let said = denial(&verdict(vec![by_tag]), &CONTEXT).unwrap();
    assert!(said.contains("\nName it by digest: registry.example/shop/checkout@sha256:4f1c4f1c"), "{said}");
}

#[test]
fn several_images_are_all_named_and_a_way_out_once() {
    let mut second = finding(Effect::Deny, too_old(Source::Config));
    second.image.place = Place::InitContainer;
    second.image.name = "migrate".into();
    second.policy = "strict".into();
    let warned = finding(Effect::Warn, Found::MovedTag);
    let said =
        denial(&verdict(vec![finding(Effect::Deny, too_old(Source::Config)), second, warned]), &CONTEXT).unwrap();
    assert_eq!(said.lines().count(), 4);
    assert!(said.contains("(init container \"migrate\")"));
    assert!(said.ends_with("ask whoever owns policies \"production\", \"strict\""), "{said}");
    let many = verdict((0..25).map(|_| finding(Effect::Deny, too_old(Source::Config))).collect());
    assert!(denial(&many, &CONTEXT).unwrap().contains("\nAnd 5 more, all in the record.\n"));
}

#[test]
fn the_last_line_says_where_it_is_found_and_whom_to_ask() {
    let verdict = verdict(vec![finding(Effect::Deny, too_old(Source::Config))]);
    let last = |context: Context<'_>| denial(&verdict, &context).unwrap().lines().last().unwrap().to_owned();
    let linked =
        Context { public_url: Some("https://freshgate.example"), contact: Some("#platform on chat"), ..CONTEXT };
    assert_eq!(
        last(linked),
        format!("decision {ID} · https://freshgate.example/decisions/{ID} · ask #platform on chat")
    );
    assert_eq!(last(Context { dry_run: true, ..linked }), "dry run, not recorded · ask #platform on chat");
}

#[test]
fn warnings_are_short_lines() {
    let warn = |found, softened| {
        let mut finding = Finding { softened, ..finding(Effect::Warn, found) };
        finding.image.image = "registry.example/shop/checkout:1.2".into();
        warnings(&verdict(vec![finding]), &CONTEXT).remove(0)
    };
    let ageing = Found::Ageing {
        built: now(),
        source: Source::Config,
        age_seconds: 80 * DAY,
        limit_seconds: 90 * DAY,
        refused: true,
        platform: None,
    };
    let day = NaiveDate::from_ymd_opt(2027, 1, 15).unwrap();
    assert_snapshot!(warn(ageing, None), @r#"freshgate: checkout:1.2 was built 80 days ago and will be refused in 10 days (policy "production")"#);
    assert_snapshot!(warn(too_old(Source::Config), None), @r#"freshgate: checkout:1.2 was built 112 days ago, limit 90 days (policy "production")"#);
    assert_snapshot!(warn(too_old(Source::Config), Some(Softened::NotYet(day))), @r#"freshgate: checkout:1.2 was built 112 days ago, limit 90 days; refused from 2027-01-15 (policy "production")"#);
    assert_snapshot!(warn(too_old(Source::Config), Some(Softened::Unchanged)), @r#"freshgate: checkout:1.2 was built 112 days ago, limit 90 days; it ran before, so it passes (policy "production")"#);
    assert_snapshot!(warn(too_old(Source::Config), Some(Softened::Rollback)), @r#"freshgate: checkout:1.2 was built 112 days ago, limit 90 days; a rollback passes (policy "production")"#);
    assert_snapshot!(warn(unknown(UnknownReason::NoDate, "x"), None), @r#"freshgate: checkout:1.2 has no known build date (NoDate) (policy "production")"#);
    assert_snapshot!(warn(Found::MovedTag, None), @r#"freshgate: checkout:1.2 is another image than this tag named before this create (policy "production")"#);
}

proptest! {
    #[test]
    fn warnings_are_at_most_three_of_120_characters(names in proptest::collection::vec("\\PC{0,300}", 0..8), policy in "[a-z.-]{1,253}") {
        let findings = names.iter().map(|name| {
            let mut finding = finding(Effect::Warn, too_old(Source::Config));
            finding.image.image = name.clone();
            finding.policy = policy.clone();
            finding
        });
        let warnings = warnings(&verdict(findings.collect()), &CONTEXT);
        prop_assert!(warnings.len() <= 3);
        prop_assert!(warnings.iter().all(|one| one.chars().count() <= 120 && !one.contains('\n')), "{:?}", warnings);
    }
}
