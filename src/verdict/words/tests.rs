//! Every kind of message, as its reader sees it.

use chrono::{DateTime, TimeDelta, Utc};
use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::evidence::UnknownReason;
use crate::image::build_date::{Source, read_date};
use crate::subject::{ImageUse, Place};
use crate::verdict::{Found, ImageFinding, Passed, Rule};

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
        exception: None,
        about: About::Image(ImageFinding {
            image: ImageUse {
                place: Place::Container,
                name: "app".into(),
                image: format!("registry.example/shop/checkout@sha256:{}", "4f1c".repeat(16)),
            },
            digest: Some(format!("sha256:{}", "4f1c".repeat(16))),
            found,
        }),
    }
}

fn image(finding: &mut Finding) -> &mut ImageFinding {
    match &mut finding.about {
        About::Image(about) => about,
        About::Budget(_) => panic!("it is about an image"),
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

/// Ten days before its limit.
fn ageing(refused: bool) -> Found {
    Found::Ageing {
        built: now() - TimeDelta::days(80),
        source: Source::Config,
        age_seconds: 80 * DAY,
        limit_seconds: 90 * DAY,
        refused,
        platform: None,
    }
}

fn unknown(reason: UnknownReason, detail: &str) -> Found {
    Found::Unknown { reason, detail: detail.into() }
}

fn verdict(findings: Vec<Finding>) -> Verdict {
    let decision = if findings.iter().any(|one| one.effect == Effect::Deny) { Decision::Deny } else { Decision::Warn };
    Verdict { decision, passed: None, findings, ..Verdict::passed(Change::Create, Passed::NoPolicy) }
}

const CONTEXT: Context<'_> =
    Context { decision_id: ID, dry_run: false, public_url: None, contact: None, subject: None };

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
    It has no date of its own to go by, and a reproducible rebuild keeps its digest: update what it is built from, deploy the new digest, and let the build write its date (SOURCE_DATE_EPOCH).
    decision 01JD0000-0000-7000-8000-000000000001 · ask whoever owns policy "production"
    "#);
}

/// The first example of DESIGN §7, word for word, but for the digest's length and the line of the id.
#[test]
fn the_designs_example() {
    let said = denied(too_old(Source::Config));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[0].replace("4f1c4f1c4f1c…", "4f1c…"),
        "binary-age: image registry.example/shop/checkout@sha256:4f1c… (container \"app\") was built 112 days ago, on 2026-08-03 (image config); the limit here is 90 days (policy \"production\")."
    );
    assert_eq!(lines[1], "Rebuild it and deploy the new digest; a rollback to a version that ran before is allowed.");
}

#[test]
fn what_is_barely_too_old_does_not_read_as_if_it_were_not() {
    let barely = Found::TooOld {
        built: now() - TimeDelta::seconds(90 * DAY + 3_600),
        source: Source::Config,
        age_seconds: 90 * DAY + 3_600,
        limit_seconds: 90 * DAY,
        platform: Some("linux/arm64".into()),
    };
    assert_snapshot!(denied(barely), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") was built just over 90 days ago, on 2026-08-25 (image config, linux/arm64); the limit here is 90 days (policy "production").
    Rebuild it and deploy the new digest; a rollback to a version that ran before is allowed.
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
    image(&mut of_docker).image.image = "node:18".into();
    let said = denial(&verdict(vec![of_docker]), &CONTEXT).unwrap();
    assert_snapshot!(said, @r#"
    binary-age: image node:18@sha256:4f1c4f1c4f1c… (container "app") was built 112 days ago, on 2026-08-03 (image config); the limit here is 90 days (policy "production").
    Deploy a newer tag of it; a rollback to a version that ran before is allowed.
    decision 01JD0000-0000-7000-8000-000000000001 · ask whoever owns policy "production"
    "#);
}

#[test]
fn each_unknown_has_its_way_out() {
    let said = |reason, detail| {
        let said = denied(unknown(reason, detail));
        said.lines().take(2).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(said(UnknownReason::NoDate, "the image config says 1970-01-01T00:00:00Z: a sentinel, not a date"), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") has no known build date (NoDate): the image config says 1970-01-01T00:00:00Z: a sentinel, not a date (policy "production").
    Give it its build date: SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) with ko or BuildKit, jib.container.creationTime=USE_CURRENT_TIMESTAMP, pack build --creation-time now, or the annotation org.opencontainers.image.created; then deploy the new digest.
    "#);
    assert_snapshot!(said(UnknownReason::Unreachable, "registry.example answered 503 to GET /v2/"), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") has no known build date (Unreachable): registry.example answered 503 to GET /v2/ (policy "production").
    Try again when the registry answers; a version that ran here before is allowed meanwhile.
    "#);
    assert_snapshot!(said(UnknownReason::Unauthorized, "registry.example wants credentials"), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") has no known build date (Unauthorized): registry.example wants credentials (policy "production").
    Give the gate credentials for this registry (imagePullSecrets of the workload, or the gate's own docker config).
    "#);
    assert_snapshot!(said(UnknownReason::NotFound, "registry.example has no shop/checkout:1.2"), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") has no known build date (NotFound): registry.example has no shop/checkout:1.2 (policy "production").
    Push the image first, or correct its name.
    "#);
    assert_snapshot!(said(UnknownReason::NotAllowed, "registry.example is not on the list"), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") has no known build date (NotAllowed): registry.example is not on the list (policy "production").
    Use an image of a registry that is allowed here, or ask for this one to be added.
    "#);
    assert_snapshot!(said(UnknownReason::RateLimited, "registry.example asks to wait until 12:05 UTC"), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") has no known build date (RateLimited): registry.example asks to wait until 12:05 UTC (policy "production").
    Try again in a few minutes: the registry limits how often it may be asked.
    "#);
    assert_snapshot!(said(UnknownReason::InvalidReference, "repository names are lower case"), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") has no known build date (InvalidReference): repository names are lower case (policy "production").
    Correct the image's name: [registry/]repository[:tag][@sha256:…].
    "#);
    assert_snapshot!(said(UnknownReason::IntegrityFailure, "sha256:aaaa… was asked for, sha256:bbbb… came"), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") is not what its digest says: sha256:aaaa… was asked for, sha256:bbbb… came (policy "production").
    Have the registry looked at before anything is pulled from it: rebuilding does not help.
    "#);
}

#[test]
fn an_image_named_by_tag_shows_what_was_judged() {
    let mut by_tag = finding(Effect::Deny, Found::NotByDigest);
    image(&mut by_tag).image.image = "registry.example/shop/checkout:1.0".into();
    assert_snapshot!(denial(&verdict(vec![by_tag.clone()]), &CONTEXT).unwrap(), @r#"
    binary-age: image registry.example/shop/checkout:1.0@sha256:4f1c4f1c4f1c… (container "app") is named by tag; here images are named by digest (policy "production").
    Name it by digest: registry.example/shop/checkout@sha256:4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c.
    decision 01JD0000-0000-7000-8000-000000000001 · ask whoever owns policy "production"
    "#);
    image(&mut by_tag).digest = None;
    assert_snapshot!(denial(&verdict(vec![by_tag]), &CONTEXT).unwrap(), @r#"
    binary-age: image registry.example/shop/checkout:1.0 (container "app") is named by tag; here images are named by digest (policy "production").
    Name it by digest: registry.example/shop/checkout@sha256:….
    decision 01JD0000-0000-7000-8000-000000000001 · ask whoever owns policy "production"
    "#);
}

#[test]
fn where_several_ways_lead_out_each_says_for_which_container() {
    let place = |place, name: &str, found| {
        let mut one = finding(Effect::Deny, found);
        image(&mut one).image =
            ImageUse { place, name: name.into(), image: format!("registry.example/shop/{name}:1.2") };
        one
    };
    let denials = vec![
        place(Place::Container, "app", too_old(Source::Config)),
        place(
            Place::InitContainer,
            "migrate",
            unknown(UnknownReason::NotFound, "registry.example has no shop/migrate:1.2"),
        ),
        place(Place::ImageVolume, "models", too_old(Source::Label)),
        place(Place::EphemeralContainer, "debug", too_old(Source::FirstSeen)),
    ];
    assert_snapshot!(denial(&verdict(denials), &CONTEXT).unwrap(), @r#"
    binary-age: image registry.example/shop/app:1.2@sha256:4f1c4f1c4f1c… (container "app") was built 112 days ago, on 2026-08-03 (image config); the limit here is 90 days (policy "production").
    binary-age: image registry.example/shop/migrate:1.2@sha256:4f1c4f1c4f1c… (init container "migrate") has no known build date (NotFound): registry.example has no shop/migrate:1.2 (policy "production").
    binary-age: image registry.example/shop/models:1.2@sha256:4f1c4f1c4f1c… (image volume "models") was built 112 days ago, on 2026-08-03 (image label); the limit here is 90 days (policy "production").
    binary-age: image registry.example/shop/debug:1.2@sha256:4f1c4f1c4f1c… (ephemeral container "debug") was already here 112 days ago, on 2026-08-03 (first seen by this gate); the limit here is 90 days (policy "production").
    app, models: Rebuild it and deploy the new digest; a rollback to a version that ran before is allowed.
    migrate: Push the image first, or correct its name.
    debug: It has no date of its own to go by, and a reproducible rebuild keeps its digest: update what it is built from, deploy the new digest, and let the build write its date (SOURCE_DATE_EPOCH).
    decision 01JD0000-0000-7000-8000-000000000001 · ask whoever owns policy "production"
    "#);
}

#[test]
fn a_rollback_that_cannot_be_told_as_one_is_asked_to_try_again() {
    let mut refused = verdict(vec![finding(Effect::Deny, too_old(Source::Config))]);
    refused.history_unknown = Some("the ledger did not answer in time".into());
    assert_eq!(
        denial(&refused, &CONTEXT).unwrap().lines().nth(2),
        Some(
            "If it goes back to what ran before, try again: what ran is not known now (the ledger did not answer in time)."
        )
    );
}

#[test]
fn what_comes_from_outside_stays_on_its_line() {
    let mut hostile = finding(Effect::Deny, unknown(UnknownReason::InvalidReference, "no\nsuch\u{1b}[31m \"thing\""));
    image(&mut hostile).image.image = "evil\n\u{202e}:1".into();
    image(&mut hostile).digest = None;
    let said = denial(&verdict(vec![hostile.clone()]), &CONTEXT).unwrap();
    assert_snapshot!(said, @r#"
    binary-age: image evil\n\u{202e}:1 (container "app") has no known build date (InvalidReference): no\nsuch\u{1b}[31m "thing" (policy "production").
    Correct the image's name: [registry/]repository[:tag][@sha256:…].
    decision 01JD0000-0000-7000-8000-000000000001 · ask whoever owns policy "production"
    "#);
    let warned = verdict(vec![Finding { effect: Effect::Warn, ..hostile }]);
    assert_snapshot!(warnings(&warned, &CONTEXT).remove(0), @r#"freshgate: evil\n\u{202e}:1 has no known build date (InvalidReference) (policy "production")"#);
}

#[test]
fn what_is_only_recorded_says_why_it_passed() {
    let said = |softened, found| sentence(&Finding { softened: Some(softened), ..finding(Effect::Warn, found) });
    let day = NaiveDate::from_ymd_opt(2027, 1, 15).unwrap();
    for (softened, why) in [
        (Softened::Unchanged, ", allowed because it ran here before"),
        (Softened::Rollback, ", allowed because this goes back to what ran before"),
        (Softened::Injected, ", allowed because it was added to an object of its controller"),
        (Softened::UnknownOwner, ", allowed because the object's controller could not be checked"),
        (Softened::NotYet(day), ", allowed until 2027-01-15"),
    ] {
        let said = said(softened, too_old(Source::Config));
        assert_eq!(said.split_once(" (policy \"production\")").map(|(_, rest)| rest), Some(why));
    }
    assert_snapshot!(sentence(&finding(Effect::Warn, ageing(true))), @r#"binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") was built 80 days ago, on 2026-09-04 (image config); it will be refused in 10 days, at 90 days (policy "production")"#);
    assert_snapshot!(sentence(&finding(Effect::Warn, ageing(false))), @r#"binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") was built 80 days ago, on 2026-09-04 (image config); it will be too old in 10 days, at 90 days (policy "production")"#);
}

#[test]
fn a_warning_says_what_will_happen_and_nothing_else() {
    let warn = |found, softened| {
        let mut finding = Finding { softened, ..finding(Effect::Warn, found) };
        image(&mut finding).image.image = "registry.example/shop/checkout:1.2".into();
        warnings(&verdict(vec![finding]), &CONTEXT).remove(0)
    };
    let day = Some(Softened::NotYet(NaiveDate::from_ymd_opt(2027, 1, 15).unwrap()));
    assert_snapshot!(warn(ageing(false), None), @r#"freshgate: checkout:1.2 was built 80 days ago and will be too old in 10 days (policy "production")"#);
    assert_snapshot!(warn(unknown(UnknownReason::NoDate, "x"), day), @r#"freshgate: checkout:1.2 has no known build date (NoDate); refused from 2027-01-15 (policy "production")"#);
    assert_snapshot!(warn(unknown(UnknownReason::IntegrityFailure, "x"), Some(Softened::Rollback)), @r#"freshgate: checkout:1.2 is not what its digest says; a rollback passes (policy "production")"#);
    assert_snapshot!(warn(Found::NotByDigest, day), @r#"freshgate: checkout:1.2 is named by tag, here images are named by digest; refused from 2027-01-15 (policy "production")"#);
    assert_snapshot!(warn(too_old(Source::FirstSeen), Some(Softened::UnknownOwner)), @r#"freshgate: checkout:1.2 was already here 112 days ago, limit 90 days (policy "production")"#);
}

#[test]
fn past_three_warnings_the_record_has_the_rest() {
    let warned = |count: usize| {
        verdict(
            (0..count)
                .map(|index| {
                    let mut one = finding(Effect::Warn, too_old(Source::Config));
                    image(&mut one).image.image = format!("registry.example/shop/part-{index}:1.2");
                    one
                })
                .collect(),
        )
    };
    assert_eq!(warnings(&warned(3), &CONTEXT).len(), 3);
    let five = warnings(&warned(5), &CONTEXT);
    assert_eq!(
        (five.len(), five[2].as_str()),
        (3, "freshgate: 3 more warnings, see decision 01JD0000-0000-7000-8000-000000000001")
    );
    let dry = warnings(&warned(5), &Context { dry_run: true, ..CONTEXT });
    assert_eq!(dry[2], "freshgate: 3 more warnings");
    // One image in two containers is one warning.
    let twice = vec![finding(Effect::Warn, too_old(Source::Config)), finding(Effect::Warn, too_old(Source::Config))];
    assert_eq!(warnings(&verdict(twice), &CONTEXT).len(), 1);
}

#[test]
fn other_findings_have_theirs() {
    assert_snapshot!(denied(Found::MovedTag), @r#"
    binary-age: image registry.example/shop/checkout@sha256:4f1c4f1c4f1c… (container "app") is another image than the one this tag named when it was last admitted here (policy "production").
    Restart with the digest that ran here before, or give the new image a tag or digest of its own: it is then judged as a new image.
    decision 01JD0000-0000-7000-8000-000000000001 · ask whoever owns policy "production"
    "#);
    let mut by_tag = finding(Effect::Deny, Found::NotByDigest);
    image(&mut by_tag).image.image = "registry.example/shop/checkout:1.0".into();
    let said = denial(&verdict(vec![by_tag]), &CONTEXT).unwrap();
    assert!(said.contains("\nName it by digest: registry.example/shop/checkout@sha256:4f1c4f1c"), "{said}");
}

#[test]
fn several_images_are_all_named_and_a_way_out_once() {
    let mut second = finding(Effect::Deny, too_old(Source::Config));
    image(&mut second).image.place = Place::InitContainer;
    image(&mut second).image.name = "migrate".into();
    second.policy = "strict".into();
    let warned = finding(Effect::Warn, Found::MovedTag);
    let said =
        denial(&verdict(vec![finding(Effect::Deny, too_old(Source::Config)), second, warned]), &CONTEXT).unwrap();
    assert_eq!(said.lines().count(), 4);
    assert!(said.contains("(init container \"migrate\")"));
    assert!(said.ends_with("ask whoever owns policies \"production\", \"strict\""), "{said}");
    let many = verdict((0..200).map(|_| finding(Effect::Deny, too_old(Source::Config))).collect());
    assert_eq!(denial(&many, &CONTEXT).unwrap().lines().count(), 202, "each, the way out, and the last line");
    let more = verdict((0..205).map(|_| finding(Effect::Deny, too_old(Source::Config))).collect());
    assert!(denial(&more, &CONTEXT).unwrap().contains("\nAnd 5 more, all in the record.\n"));
    let dry_run = Context { dry_run: true, ..CONTEXT };
    assert!(denial(&more, &dry_run).unwrap().contains("\nAnd 5 more.\n"), "there is no record of it");
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
        image(&mut finding).image.image = "registry.example/shop/checkout:1.2".into();
        warnings(&verdict(vec![finding]), &CONTEXT).remove(0)
    };
    let day = NaiveDate::from_ymd_opt(2027, 1, 15).unwrap();
    assert_snapshot!(warn(ageing(true), None), @r#"freshgate: checkout:1.2 was built 80 days ago and will be refused in 10 days (policy "production")"#);
    assert_snapshot!(warn(too_old(Source::Config), None), @r#"freshgate: checkout:1.2 was built 112 days ago, limit 90 days (policy "production")"#);
    assert_snapshot!(warn(too_old(Source::Config), Some(Softened::NotYet(day))), @r#"freshgate: checkout:1.2 was built 112 days ago, limit 90 days; refused from 2027-01-15 (policy "production")"#);
    assert_snapshot!(warn(too_old(Source::Config), Some(Softened::Unchanged)), @r#"freshgate: checkout:1.2 was built 112 days ago, limit 90 days; it ran before, so it passes (policy "production")"#);
    assert_snapshot!(warn(too_old(Source::Config), Some(Softened::Rollback)), @r#"freshgate: checkout:1.2 was built 112 days ago, limit 90 days; a rollback passes (policy "production")"#);
    assert_snapshot!(warn(unknown(UnknownReason::NoDate, "x"), None), @r#"freshgate: checkout:1.2 has no known build date (NoDate) (policy "production")"#);
    assert_snapshot!(warn(Found::MovedTag, None), @r#"freshgate: checkout:1.2 is another image than this tag named before this create (policy "production")"#);
}

fn any_found() -> impl Strategy<Value = Found> {
    let reasons = [
        UnknownReason::NoDate,
        UnknownReason::Unreachable,
        UnknownReason::Unauthorized,
        UnknownReason::NotFound,
        UnknownReason::NotAllowed,
        UnknownReason::RateLimited,
        UnknownReason::InvalidReference,
        UnknownReason::IntegrityFailure,
    ];
    let figures = (0_i64..40_000 * DAY, 1_i64..365_000 * DAY, any::<bool>());
    prop_oneof![
        figures.prop_map(|(age_seconds, limit_seconds, old)| {
            let (built, source, platform) = (now() - TimeDelta::seconds(age_seconds), Source::FirstSeen, None);
            if old {
                Found::TooOld { built, source, age_seconds, limit_seconds, platform }
            } else {
                Found::Ageing { built, source, age_seconds, limit_seconds, refused: true, platform }
            }
        }),
        (proptest::sample::select(reasons.to_vec()), "\\PC{0,300}")
            .prop_map(|(reason, detail)| Found::Unknown { reason, detail }),
        Just(Found::MovedTag),
        Just(Found::NotByDigest),
    ]
}

fn any_softened() -> impl Strategy<Value = Option<Softened>> {
    let day = NaiveDate::from_ymd_opt(2027, 1, 15).unwrap();
    proptest::sample::select(vec![
        None,
        Some(Softened::Unchanged),
        Some(Softened::Rollback),
        Some(Softened::Injected),
        Some(Softened::UnknownOwner),
        Some(Softened::NotYet(day)),
    ])
}

proptest! {
    /// Whatever is found, of whatever name, by whatever policy: one line each, and none is cut to nothing.
    #[test]
    fn any_finding_is_said_on_short_lines(
        named in proptest::collection::vec((any_found(), any_softened(), "\\PC{0,300}|[\\x00-\\x1f]{0,200}"), 0..8),
        policy in "[a-z.-]{1,253}",
    ) {
        let findings: Vec<_> = named.into_iter().map(|(found, softened, name)| {
            let mut finding = Finding { softened, ..finding(Effect::Warn, found) };
            image(&mut finding).image.image = name;
            finding.policy = policy.clone();
            finding
        }).collect();
        for said in findings.iter().map(sentence) {
            prop_assert!(!said.contains(char::is_control), "{said:?}");
        }
        let warnings = warnings(&verdict(findings), &CONTEXT);
        prop_assert!(warnings.len() <= 3);
        for warning in &warnings {
            prop_assert!(warning.chars().count() <= 120 && !warning.contains(char::is_control), "{:?}", warning);
            prop_assert!(warning.starts_with("freshgate: "), "{:?}", warning);
        }
    }

    #[test]
    fn warnings_are_at_most_three_of_120_characters(names in proptest::collection::vec("\\PC{0,300}", 0..8), policy in "[a-z.-]{1,253}") {
        let findings = names.iter().map(|name| {
            let mut finding = finding(Effect::Warn, too_old(Source::Config));
            image(&mut finding).image.image = name.clone();
            finding.policy = policy.clone();
            finding
        });
        let warnings = warnings(&verdict(findings.collect()), &CONTEXT);
        prop_assert!(warnings.len() <= 3);
        prop_assert!(warnings.iter().all(|one| one.chars().count() <= 120 && !one.contains('\n')), "{:?}", warnings);
    }
}
