//! The decision as tables: the age rule's column of the change table, every action, every unknown; and its laws as
//! properties.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::evidence::{Admission, Cache, Fact, History, Owner, PlatformImage, ResolvedImage, UnknownReason};
use crate::image::build_date::{BuildDate, Class, Source, read_date};
use crate::policy::compile::CompiledPolicy;
use crate::subject::{Difference, Fingerprints, OwnerReference, Place, PullHints};
use crate::verdict::Found;

fn now() -> DateTime<Utc> {
    read_date("2026-11-24T12:00:00Z").unwrap()
}

const DAY: i64 = 86_400;

fn policy(name: &str, spec: &Value) -> CompiledPolicy {
    CompiledPolicy::compile(name, serde_json::from_value(spec.clone()).unwrap()).unwrap()
}

fn policies(specs: &[Value]) -> PolicySet {
    PolicySet::new(specs.iter().enumerate().map(|(index, spec)| policy(&format!("p{index}"), spec)).collect())
}

/// Denies from 90 days on, with more fields of the rule.
fn denying(rule: &Value) -> PolicySet {
    let mut image_age = json!({"maxAge": "90d"});
    image_age.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
    policies(&[json!({"validationActions": ["Deny"], "imageAge": image_age})])
}

fn platform(name: &str, age_seconds: i64) -> PlatformImage {
    let built =
        BuildDate { time: now() - TimeDelta::seconds(age_seconds), source: Source::Config, class: Class::Claim };
    PlatformImage {
        platform: Some(name.into()),
        digest: "sha256:p".into(),
        built: Fact::Known(built),
        first_seen: None,
        candidates: vec![],
    }
}

fn image(digest: &str, platforms: Vec<PlatformImage>) -> Fact<ResolvedImage> {
    Fact::Known(ResolvedImage { digest: digest.into(), platforms, cache: Cache::Cached, fetched_at: now() })
}

fn aged(digest: &str, age_seconds: i64) -> Fact<ResolvedImage> {
    image(digest, vec![platform("linux/amd64", age_seconds)])
}

/// `old:1` is 112 days old, `older:1` 200, `ageing:1` 80, `fresh:1` and `fresh:2` 3.
fn evidence() -> Evidence {
    let images = [("old:1", 112), ("older:1", 200), ("ageing:1", 80), ("fresh:1", 3), ("fresh:2", 3)];
    Evidence {
        images: images.iter().map(|(name, days)| ((*name).to_owned(), aged(name, days * DAY))).collect(),
        ..Evidence::default()
    }
}

fn with(mut evidence: Evidence, reference: &str, image: Fact<ResolvedImage>) -> Evidence {
    evidence.images.insert(reference.to_owned(), image);
    evidence
}

fn uses(images: &[&str]) -> Vec<ImageUse> {
    let names = ["app", "side", "third"];
    let used = images.iter().zip(names);
    used.map(|(image, name)| ImageUse { place: Place::Container, name: name.into(), image: (*image).into() }).collect()
}

fn create(images: &[&str]) -> Subject {
    Subject {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "checkout".into(),
        operation: Operation::Create,
        sub_resource: None,
        images: uses(images),
        old_images: None,
        difference: Difference::Other,
        fingerprints: None,
        owner: None,
        mirror: false,
        hook: false,
        uid: String::new(),
        old_created_at: None,
        pull: PullHints::default(),
        labels: crate::subject::ServiceLabels::default(),
        old_labels: None,
    }
}

fn update(old: &[&str], new: &[&str], difference: Difference) -> Subject {
    Subject {
        operation: Operation::Update,
        old_images: Some(uses(old)),
        difference,
        fingerprints: Some(Fingerprints { old: "o".into(), new: "n".into() }),
        ..create(new)
    }
}

fn decide(subject: &Subject, evidence: &Evidence, policies: &PolicySet) -> Decision {
    evaluate(subject, evidence, policies, now()).decision
}

#[test]
fn the_age_rules_column_of_the_change_table() {
    use Decision::{Allow, Deny, Warn};
    let set = denying(&json!({}));
    let earlier = History {
        admissions: ["old:1", "fresh:1"]
            .iter()
            .zip([1, 10])
            .map(|(digest, days)| Admission {
                digest: (*digest).into(),
                reference: (*digest).into(),
                first_admitted_at: now() - TimeDelta::days(20 - days),
                last_admitted_at: now() - TimeDelta::days(20 - days),
            })
            .collect(),
        ..History::default()
    };
    let rollback = Evidence { history: earlier, ..evidence() };
    for (what, subject, evidence, decision) in [
        ("create fresh", create(&["fresh:1"]), evidence(), Allow),
        ("create ageing", create(&["ageing:1"]), evidence(), Warn),
        ("create old", create(&["old:1"]), evidence(), Deny),
        ("create with an old one beside", create(&["fresh:1", "old:1"]), evidence(), Deny),
        ("new image fresh", update(&["fresh:1"], &["fresh:2"], Difference::Equal), evidence(), Allow),
        ("new image old", update(&["fresh:1"], &["old:1"], Difference::Equal), evidence(), Deny),
        (
            "new image beside an old one that stays",
            update(&["old:1", "fresh:1"], &["old:1", "fresh:2"], Difference::Equal),
            evidence(),
            Warn,
        ),
        ("rollback to old", update(&["fresh:1"], &["old:1"], Difference::Equal), rollback.clone(), Warn),
        ("recreate old", create(&["old:1"]), rollback, Warn),
        ("config with old", update(&["old:1"], &["old:1"], Difference::Other), evidence(), Warn),
        ("mitigation with old", update(&["old:1"], &["old:1"], Difference::Mitigation), evidence(), Warn),
        ("restart of old", update(&["old:1"], &["old:1"], Difference::Restart), evidence(), Allow),
        ("scale of old", update(&["old:1"], &["old:1"], Difference::Equal), evidence(), Allow),
        ("delete of old", Subject { operation: Operation::Delete, ..create(&["old:1"]) }, evidence(), Allow),
        ("mirror Pod", Subject { mirror: true, ..create(&["old:1"]) }, evidence(), Allow),
    ] {
        assert_eq!(decide(&subject, &evidence, &set), decision, "{what}");
    }
}

#[test]
fn what_is_unchanged_is_refused_only_beside_a_new_image() {
    use Decision::{Allow, Deny, Warn};
    let beside_new = update(&["old:1", "fresh:1"], &["old:1", "fresh:2"], Difference::Other);
    let config = update(&["old:1"], &["old:1"], Difference::Other);
    let mitigation = update(&["old:1"], &["old:1"], Difference::Mitigation);
    for (rule, expected) in [
        (json!({}), [Warn, Warn, Warn]),
        (json!({"unchangedImages": "Deny"}), [Deny, Warn, Warn]),
        (json!({"unchangedImages": "Warn"}), [Warn, Warn, Warn]),
        (json!({"unchangedImages": "Allow"}), [Allow, Allow, Allow]),
    ] {
        let set = denying(&rule);
        let said = [&beside_new, &config, &mitigation].map(|subject| decide(subject, &evidence(), &set));
        assert_eq!(said, expected, "{rule}");
    }
}

#[test]
fn a_moved_tag_follows_its_setting() {
    let restart = update(&["fresh:1"], &["fresh:1"], Difference::Restart);
    let admission = Admission {
        digest: "another".into(),
        reference: "fresh:1".into(),
        first_admitted_at: now(),
        last_admitted_at: now(),
    };
    let moved = Evidence { history: History { admissions: vec![admission], ..History::default() }, ..evidence() };
    for (rule, decision) in [
        (json!({}), Decision::Warn),
        (json!({"movedTags": "Deny"}), Decision::Deny),
        (json!({"movedTags": "Allow"}), Decision::Allow),
    ] {
        assert_eq!(decide(&restart, &moved, &denying(&rule)), decision);
        assert_eq!(decide(&restart, &evidence(), &denying(&rule)), Decision::Allow);
    }
}

#[test]
fn actions_say_what_a_breach_does() {
    use Decision::{Allow, Deny, Warn};
    let subject = create(&["old:1"]);
    for (policy_actions, rule_actions, from, decision) in [
        (json!(["Deny"]), json!(null), json!(null), Deny),
        (json!(["Warn"]), json!(null), json!(null), Warn),
        (json!(["Audit"]), json!(null), json!(null), Allow),
        (json!(["Deny", "Audit"]), json!(null), json!(null), Deny),
        (json!(null), json!(null), json!(null), Warn),
        (json!(["Warn"]), json!(["Deny"]), json!(null), Deny),
        (json!(["Deny"]), json!(["Audit"]), json!(null), Allow),
        (json!(["Deny"]), json!(null), json!("2026-11-24"), Deny),
        (json!(["Deny"]), json!(null), json!("2026-11-25"), Warn),
        (json!(["Audit"]), json!(null), json!("2026-11-25"), Allow),
    ] {
        let mut spec = json!({"imageAge": {"maxAge": "90d"}});
        for (field, value) in [("validationActions", &policy_actions), ("enforceFrom", &from)] {
            if !value.is_null() {
                spec[field] = value.clone();
            }
        }
        if !rule_actions.is_null() {
            spec["imageAge"]["validationActions"] = rule_actions.clone();
        }
        let verdict = evaluate(&subject, &evidence(), &policies(std::slice::from_ref(&spec)), now());
        assert_eq!(verdict.decision, decision, "{spec}");
        assert_eq!(verdict.findings.len(), 1, "{spec}: what is only recorded is recorded");
    }
}

#[test]
fn unknowns_follow_their_setting_and_wrong_bytes_none() {
    use UnknownReason::{
        IntegrityFailure, InvalidReference, NoDate, NotAllowed, NotFound, RateLimited, Unauthorized, Unreachable,
    };
    let subject = create(&["x:1"]);
    for reason in [NoDate, Unreachable, Unauthorized, NotFound, NotAllowed, RateLimited, InvalidReference] {
        let evidence = with(evidence(), "x:1", Fact::unknown(reason, "why"));
        for (setting, decision) in [("Deny", Decision::Deny), ("Warn", Decision::Warn), ("Allow", Decision::Allow)] {
            assert_eq!(decide(&subject, &evidence, &denying(&json!({"onUnknown": setting}))), decision, "{reason:?}");
            let each = denying(&json!({"onUnknown": {reason.as_str(): setting}}));
            assert_eq!(decide(&subject, &evidence, &each), decision, "{reason:?} by itself");
        }
        assert_eq!(decide(&subject, &evidence, &denying(&json!({}))), Decision::Warn, "{reason:?} by default");
    }
    let wrong = with(evidence(), "x:1", Fact::unknown(IntegrityFailure, "wrong"));
    for setting in ["Deny", "Warn", "Allow"] {
        assert_eq!(decide(&subject, &wrong, &denying(&json!({"onUnknown": setting}))), Decision::Deny);
    }
    assert_eq!(
        decide(&subject, &Evidence::default(), &denying(&json!({"onUnknown": "Deny"}))),
        Decision::Deny,
        "what was not looked up is unknown"
    );
}

#[test]
fn the_oldest_judged_platform_counts() {
    let unknown = PlatformImage { built: Fact::unknown(UnknownReason::NoDate, "none"), ..platform("linux/s390x", 0) };
    let mixed = || vec![platform("linux/amd64", 3 * DAY), platform("linux/arm64/v8", 112 * DAY)];
    let on = |platforms: Vec<PlatformImage>, nodes: &[&str]| Evidence {
        node_platforms: nodes.iter().map(|&node| node.to_owned()).collect(),
        ..with(evidence(), "x:1", image("d", platforms))
    };
    let subject = create(&["x:1"]);
    for (rule, evidence, decision) in [
        (json!({}), on(mixed(), &[]), Decision::Deny),
        (json!({}), on(mixed(), &["linux/amd64"]), Decision::Allow),
        (json!({}), on(mixed(), &["linux/arm64"]), Decision::Deny),
        (json!({"platforms": "All"}), on(mixed(), &["linux/amd64"]), Decision::Deny),
        (json!({"platforms": ["linux/amd64"]}), on(mixed(), &[]), Decision::Allow),
        (json!({"platforms": ["linux/arm64/v7"]}), on(mixed(), &[]), Decision::Deny),
        (json!({"platforms": ["windows/amd64"]}), on(mixed(), &[]), Decision::Deny),
        (json!({"onUnknown": "Deny"}), on(vec![platform("linux/amd64", DAY), unknown.clone()], &[]), Decision::Deny),
        (json!({"onUnknown": "Allow"}), on(vec![platform("linux/amd64", DAY), unknown.clone()], &[]), Decision::Allow),
        (json!({"onUnknown": "Allow"}), on(vec![platform("linux/amd64", 112 * DAY), unknown], &[]), Decision::Deny),
    ] {
        assert_eq!(decide(&subject, &evidence, &denying(&rule)), decision, "{rule}");
    }
}

#[test]
fn a_bound_proves_too_old_and_never_fresh() {
    let seen = |days| PlatformImage {
        built: Fact::unknown(UnknownReason::NoDate, "none"),
        first_seen: Some(now() - TimeDelta::days(days)),
        ..platform("linux/amd64", 0)
    };
    let set = denying(&json!({"onUnknown": "Allow"}));
    let verdict = evaluate(&create(&["x:1"]), &with(evidence(), "x:1", image("d", vec![seen(100)])), &set, now());
    assert!(matches!(verdict.findings[0].image().unwrap().found, Found::TooOld { source: Source::FirstSeen, .. }));
    let set = denying(&json!({"onUnknown": "Deny"}));
    let verdict = evaluate(&create(&["x:1"]), &with(evidence(), "x:1", image("d", vec![seen(1)])), &set, now());
    assert!(matches!(verdict.findings[0].image().unwrap().found, Found::Unknown { reason: UnknownReason::NoDate, .. }));
}

#[test]
fn limits_are_exact() {
    let set = denying(&json!({"warnBefore": "10d"}));
    for (age, decision) in [
        (90 * DAY + 1, Decision::Deny),
        (90 * DAY, Decision::Warn),
        (80 * DAY + 1, Decision::Warn),
        (80 * DAY, Decision::Allow),
        (-100, Decision::Allow),
    ] {
        assert_eq!(decide(&create(&["x:1"]), &with(evidence(), "x:1", aged("d", age)), &set), decision, "{age}");
    }
}

#[test]
fn the_first_override_that_fits_counts_within_its_policy_alone() {
    let overrides = json!({"overrides": [
        {"images": ["old"], "maxAge": "180d"},
        {"images": ["*old*"], "maxAge": "1d"},
        {"images": ["*"], "maxAge": "off"},
    ]});
    let set = denying(&overrides);
    assert_eq!(decide(&create(&["old:1"]), &evidence(), &set), Decision::Allow);
    assert_eq!(decide(&create(&["older:1"]), &evidence(), &set), Decision::Deny);
    assert_eq!(decide(&create(&["ageing:1"]), &evidence(), &set), Decision::Allow);
    let unknown = with(evidence(), "x:1", Fact::unknown(UnknownReason::NoDate, "none"));
    assert_eq!(decide(&create(&["x:1"]), &unknown, &set), Decision::Allow, "off asks for no date either");
    let mut loose = json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "90d"}});
    loose["imageAge"]["overrides"] = overrides["overrides"].clone();
    let strict = json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "90d"}});
    let verdict = evaluate(&create(&["old:1"]), &evidence(), &policies(&[loose, strict]), now());
    assert_eq!((verdict.decision, verdict.findings[0].policy.as_str()), (Decision::Deny, "p1"));
}

#[test]
fn a_digest_may_be_required_of_new_images() {
    let set = denying(&json!({"requireDigest": true}));
    assert_eq!(decide(&create(&["fresh:1"]), &evidence(), &set), Decision::Deny);
    let pinned = format!("fresh@sha256:{}", "a".repeat(64));
    assert_eq!(decide(&create(&[&pinned]), &with(evidence(), &pinned, aged("d", DAY)), &set), Decision::Allow);
    assert_eq!(decide(&update(&["fresh:1"], &["fresh:1"], Difference::Other), &evidence(), &set), Decision::Allow);
}

fn owned(subject: Subject, found: OwnerFound) -> (Subject, Evidence) {
    let owner =
        OwnerReference { api_version: "apps/v1".into(), kind: "ReplicaSet".into(), name: "x".into(), uid: "u".into() };
    let evidence = Evidence { owner: Some(Owner { kind: "ReplicaSet".into(), name: "x".into(), found }), ..evidence() };
    (Subject { owner: Some(owner), kind: "Pod".into(), ..subject }, evidence)
}

#[test]
fn an_owner_answers_for_its_own_images_alone() {
    let set = denying(&json!({}));
    let runs = |images: &[&str]| OwnerFound::Templates(vec![images.iter().map(|&image| image.to_owned()).collect()]);
    let forged = || OwnerFound::Forged { detail: "there is none".into() };
    let away = || OwnerFound::NotLookedUp { detail: "the API server did not answer in time".into() };
    for (what, (subject, evidence), decision) in [
        ("its own", owned(create(&["old:1"]), runs(&["old:1"])), Decision::Allow),
        ("a sidecar", owned(create(&["fresh:1", "old:1"]), runs(&["fresh:1"])), Decision::Warn),
        ("forged", owned(create(&["old:1"]), forged()), Decision::Deny),
        ("unknown kind", owned(create(&["old:1"]), OwnerFound::UnknownKind), Decision::Warn),
        ("not looked up", owned(create(&["old:1"]), away()), Decision::Warn),
        (
            "changed in place",
            owned(update(&["fresh:1"], &["old:1"], Difference::Equal), runs(&["fresh:1"])),
            Decision::Deny,
        ),
        (
            "an ephemeral one added",
            owned(update(&["fresh:1"], &["fresh:1", "old:1"], Difference::Other), runs(&["fresh:1"])),
            Decision::Deny,
        ),
        (
            "one that ran already",
            owned(
                update(&["fresh:1", "old:1"], &["fresh:2", "old:1"], Difference::Other),
                runs(&["fresh:1", "fresh:2"]),
            ),
            Decision::Allow,
        ),
    ] {
        assert_eq!(decide(&subject, &evidence, &set), decision, "{what}");
    }
    let strict = denying(&json!({"unknownOwners": "Deny"}));
    let (subject, evidence) = owned(create(&["old:1"]), OwnerFound::UnknownKind);
    assert_eq!(decide(&subject, &evidence, &strict), Decision::Deny);
    // By digest, where the reference was rewritten.
    let (subject, evidence) = owned(create(&["pinned:1"]), runs(&["old:1"]));
    assert_eq!(decide(&subject, &with(evidence, "pinned:1", aged("old:1", 112 * DAY)), &set), Decision::Allow);
}

/// What strict audits may not refuse, by law 1.
#[test]
fn what_keeps_running_what_runs_is_told_from_what_is_new() {
    let set = denying(&json!({}));
    let runs = |images: &[&str]| OwnerFound::Templates(vec![images.iter().map(|&image| image.to_owned()).collect()]);
    let away = || OwnerFound::NotLookedUp { detail: "the API server did not answer in time".into() };
    let made = |kind: &str, owned: (Subject, Evidence)| (Subject { kind: kind.into(), ..owned.0 }, owned.1);
    let admission = |digest: &str, days: i64| Admission {
        digest: digest.into(),
        reference: digest.into(),
        first_admitted_at: now() - TimeDelta::days(days),
        last_admitted_at: now() - TimeDelta::days(days),
    };
    let admissions = vec![admission("fresh:1", 9), admission("fresh:2", 3)];
    let history = Evidence { history: History { admissions, ..History::default() }, ..evidence() };
    let debugged = (
        Subject { sub_resource: Some("ephemeralcontainers".into()), ..owned(create(&["fresh:1"]), away()).0 },
        owned(create(&["fresh:1"]), away()).1,
    );
    for (what, (subject, evidence), keeps) in [
        ("create", (create(&["fresh:1"]), evidence()), false),
        ("new image", (update(&["fresh:1"], &["fresh:2"], Difference::Equal), evidence()), false),
        ("configuration", (update(&["fresh:1"], &["fresh:1"], Difference::Other), evidence()), false),
        ("scale", (update(&["fresh:1"], &["fresh:1"], Difference::Equal), evidence()), true),
        ("delete", (Subject { operation: Operation::Delete, ..create(&[]) }, evidence()), true),
        ("rollback", (update(&["fresh:2"], &["fresh:1"], Difference::Equal), history.clone()), true),
        ("forward again", (update(&["fresh:1"], &["fresh:2"], Difference::Equal), history), false),
        ("its controller's", owned(create(&["old:1"]), runs(&["old:1"])), true),
        ("with a sidecar", owned(create(&["fresh:1", "fresh:2"]), runs(&["fresh:1"])), true),
        ("beyond its controller", owned(create(&["fresh:2"]), runs(&["fresh:1"])), false),
        ("changed in place", owned(update(&["fresh:1"], &["fresh:2"], Difference::Equal), runs(&["fresh:1"])), false),
        ("an operator's Pod", owned(create(&["fresh:1"]), OwnerFound::UnknownKind), true),
        ("its controller out of sight", owned(create(&["fresh:1"]), away()), true),
        ("and changed", owned(update(&["fresh:1"], &["fresh:2"], Difference::Equal), away()), false),
        ("an operator's Deployment", made("Deployment", owned(create(&["fresh:1"]), OwnerFound::UnknownKind)), false),
        ("of nobody", owned(create(&["fresh:1"]), OwnerFound::Forged { detail: "none".into() }), false),
        ("debugged", debugged, false),
    ] {
        let verdict = evaluate(&subject, &evidence, &set, now());
        assert_eq!(keeps_what_runs(&subject, &evidence, &verdict), keeps, "{what}");
    }
}

#[test]
fn only_a_whole_pod_has_images_injected() {
    let set = denying(&json!({}));
    let templates = || OwnerFound::Templates(vec![vec!["fresh:1".into()], vec!["fresh:2".into(), "ageing:1".into()]]);
    for (kind, images, decision) in [
        ("Pod", &["fresh:1", "old:1"][..], Decision::Warn),
        ("Pod", &["fresh:2", "ageing:1", "old:1"], Decision::Warn),
        // An old image in the place of what the controller runs is no sidecar.
        ("Pod", &["old:1"], Decision::Deny),
        ("Pod", &["fresh:2", "old:1"], Decision::Deny),
        ("ReplicaSet", &["fresh:1", "old:1"], Decision::Deny),
        ("Job", &["fresh:1", "old:1"], Decision::Deny),
        ("Deployment", &["fresh:1", "old:1"], Decision::Deny),
    ] {
        let (subject, evidence) = owned(create(images), templates());
        assert_eq!(decide(&Subject { kind: kind.into(), ..subject }, &evidence, &set), decision, "{kind} {images:?}");
    }
}

#[test]
fn an_object_of_an_unknown_controller_is_judged_as_far_as_its_setting_goes() {
    use Decision::{Allow, Deny, Warn};
    let made = || create(&["old:1"]);
    let updated = || update(&["fresh:1"], &["old:1"], Difference::Equal);
    let beside_new = || update(&["old:1", "fresh:1"], &["old:1", "fresh:2"], Difference::Other);
    for (rule, expected) in [
        (json!({}), [Warn, Warn, Warn]),
        (json!({"unknownOwners": "Deny"}), [Deny, Deny, Warn]),
        (json!({"unknownOwners": "Allow"}), [Allow, Allow, Allow]),
        (json!({"unchangedImages": "Deny"}), [Warn, Warn, Warn]),
        (json!({"unknownOwners": "Deny", "unchangedImages": "Deny"}), [Deny, Deny, Deny]),
    ] {
        let set = denying(&rule);
        for found in [OwnerFound::UnknownKind, OwnerFound::NotLookedUp { detail: "away".into() }] {
            let said = [made(), updated(), beside_new()].map(|subject| {
                let (subject, evidence) = owned(subject, found.clone());
                decide(&subject, &evidence, &set)
            });
            assert_eq!(said, expected, "{rule} {found:?}");
        }
    }
    // Named by tag they are told of that too, no further than their setting goes.
    let (subject, evidence) = owned(create(&["fresh:1"]), OwnerFound::UnknownKind);
    assert_eq!(decide(&subject, &evidence, &denying(&json!({"requireDigest": true}))), Warn);
}

/// Threat T6: `kubectl debug`, whoever the Pod belongs to.
#[test]
fn an_ephemeral_container_is_somebodys_doing() {
    let set = denying(&json!({}));
    for found in [
        OwnerFound::Templates(vec![vec!["fresh:1".into()]]),
        OwnerFound::Forged { detail: "there is none".into() },
        OwnerFound::UnknownKind,
        OwnerFound::NotLookedUp { detail: "away".into() },
    ] {
        let debug = update(&["fresh:1"], &["fresh:1", "old:1"], Difference::Other);
        let debug = Subject { sub_resource: Some("ephemeralcontainers".into()), ..debug };
        let (subject, evidence) = owned(debug, found.clone());
        assert_eq!(decide(&subject, &evidence, &set), Decision::Deny, "{found:?}");
    }
}

/// Threat T5: one old image in each place.
#[test]
fn an_old_image_is_found_in_every_place() {
    let set = denying(&json!({}));
    for place in [Place::Container, Place::InitContainer, Place::EphemeralContainer, Place::ImageVolume] {
        let mut subject = create(&["fresh:1", "old:1"]);
        subject.images[1].place = place;
        let verdict = evaluate(&subject, &evidence(), &set, now());
        assert_eq!((verdict.decision, verdict.findings[0].image().unwrap().image.place), (Decision::Deny, place));
    }
}

#[test]
fn what_is_softened_for_good_names_no_day() {
    let spec = json!({"validationActions": ["Deny"], "enforceFrom": "2027-01-15", "imageAge": {"maxAge": "90d"}});
    let set = policies(&[spec]);
    let softened =
        |subject: &Subject, evidence: &Evidence| evaluate(subject, evidence, &set, now()).findings[0].softened;
    let day = chrono::NaiveDate::from_ymd_opt(2027, 1, 15).unwrap();
    assert_eq!(softened(&create(&["old:1"]), &evidence()), Some(Softened::NotYet(day)));
    let config = update(&["old:1"], &["old:1"], Difference::Other);
    assert_eq!(softened(&config, &evidence()), Some(Softened::Unchanged));
    let admitted = Admission {
        digest: "old:1".into(),
        reference: "old:1".into(),
        first_admitted_at: now(),
        last_admitted_at: now(),
    };
    let restored = Evidence { history: History { admissions: vec![admitted], ..History::default() }, ..evidence() };
    assert_eq!(softened(&create(&["old:1"]), &restored), Some(Softened::Rollback));
}

/// Threat T2: refused whatever is said of unknowns or of ages; but what ran before goes back, as law 1 has it.
#[test]
fn wrong_bytes_are_refused() {
    let wrong = || Fact::unknown(UnknownReason::IntegrityFailure, "wrong bytes");
    let off = json!({"overrides": [{"images": ["*"], "maxAge": "off"}], "onUnknown": "Allow"});
    let allowed = json!({"overrides": [{"images": ["*"], "onUnknown": "Allow"}]});
    for rule in [json!({}), off, allowed] {
        let subject = create(&["x:1"]);
        assert_eq!(decide(&subject, &with(evidence(), "x:1", wrong()), &denying(&rule)), Decision::Deny, "{rule}");
        // On one of its platforms, behind another that is unknown.
        let on = |built| PlatformImage { built, ..platform("linux/amd64", 0) };
        let undated = Fact::unknown(UnknownReason::NoDate, "none");
        let wrong = Fact::unknown(UnknownReason::IntegrityFailure, "wrong bytes");
        let mixed = with(evidence(), "x:1", image("d", vec![platform("linux/s390x", DAY), on(undated), on(wrong)]));
        let verdict = evaluate(&subject, &mixed, &denying(&rule), now());
        assert_eq!(verdict.decision, Decision::Deny, "{rule}");
        let reason = UnknownReason::IntegrityFailure;
        assert_eq!(verdict.findings[0].image().unwrap().found, Found::Unknown { reason, detail: "wrong bytes".into() });
    }
    let warns = policies(&[json!({"imageAge": {"maxAge": "90d"}})]);
    assert_eq!(decide(&create(&["x:1"]), &with(evidence(), "x:1", wrong()), &warns), Decision::Warn);
    let config = update(&["x:1"], &["x:1"], Difference::Other);
    assert_eq!(decide(&config, &with(evidence(), "x:1", wrong()), &denying(&json!({}))), Decision::Warn);
}

#[test]
fn an_image_for_no_platform_is_unknown() {
    let nothing = with(evidence(), "x:1", image("d", vec![]));
    for (setting, decision) in [("Deny", Decision::Deny), ("Warn", Decision::Warn), ("Allow", Decision::Allow)] {
        assert_eq!(decide(&create(&["x:1"]), &nothing, &denying(&json!({"onUnknown": setting}))), decision);
    }
}

#[test]
fn the_earliest_of_date_and_bound_counts() {
    let seen = |days| PlatformImage { first_seen: Some(now() - TimeDelta::days(days)), ..platform("a/b", 50 * DAY) };
    for (days, decision, source) in [
        (100, Decision::Deny, Some(Source::FirstSeen)),
        (80, Decision::Warn, Some(Source::FirstSeen)),
        (10, Decision::Allow, None),
    ] {
        let evidence = with(evidence(), "x:1", image("d", vec![seen(days)]));
        let verdict = evaluate(&create(&["x:1"]), &evidence, &denying(&json!({})), now());
        let found = verdict.findings.first().map(|finding| match &finding.image().unwrap().found {
            Found::TooOld { source, .. } | Found::Ageing { source, .. } => *source,
            other => panic!("{other:?}"),
        });
        assert_eq!((verdict.decision, found), (decision, source), "{days}");
    }
}

#[test]
fn an_ageing_platform_is_told_beside_an_unknown_one_that_is_allowed() {
    let undated = PlatformImage { built: Fact::unknown(UnknownReason::NoDate, "none"), ..platform("linux/arm64", 0) };
    let evidence = with(evidence(), "x:1", image("d", vec![undated, platform("linux/amd64", 80 * DAY)]));
    let verdict = evaluate(&create(&["x:1"]), &evidence, &denying(&json!({"onUnknown": "Allow"})), now());
    assert!(
        matches!(&verdict.findings[0].image().unwrap().found, Found::Ageing { platform: Some(platform), .. } if platform == "linux/amd64"),
        "{verdict:?}"
    );
}

#[test]
fn what_is_ageing_says_whether_it_will_be_refused() {
    let created = create(&["ageing:1"]); // 80 days old, so at its limit on 2026-12-04
    let unchanged = update(&["ageing:1"], &["ageing:1"], Difference::Other);
    for (fields, subject, expected) in [
        (json!({"validationActions": ["Deny"]}), &created, true),
        (json!({"validationActions": ["Warn"]}), &created, false),
        (json!({"validationActions": ["Deny"], "enforceFrom": "2026-12-04"}), &created, true),
        (json!({"validationActions": ["Deny"], "enforceFrom": "2026-12-05"}), &created, false),
        (json!({"validationActions": ["Deny"]}), &unchanged, false),
    ] {
        let mut spec = json!({"imageAge": {"maxAge": "90d"}});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let verdict = evaluate(subject, &evidence(), &policies(&[spec]), now());
        let Found::Ageing { refused, .. } = verdict.findings[0].image().unwrap().found else { panic!("{verdict:?}") };
        assert_eq!((verdict.decision, refused), (Decision::Warn, expected), "{fields} {:?}", verdict.change);
    }
}

#[test]
fn an_override_takes_the_warning_of_its_rule_as_far_as_its_limit_bears_it() {
    let set = denying(&json!({"warnBefore": "30d", "overrides": [
        {"images": ["long"], "maxAge": "180d"},
        {"images": ["short"], "maxAge": "20d"},
        {"images": ["own"], "maxAge": "180d", "warnBefore": "2d"},
        {"images": ["same"], "onUnknown": "Deny"},
    ]}));
    for (reference, silent_days) in [("long:1", 150), ("short:1", 10), ("own:1", 178), ("same:1", 60), ("none:1", 60)] {
        let at = |age| decide(&create(&[reference]), &with(evidence(), reference, aged("d", age)), &set);
        let said = (at(silent_days * DAY), at(silent_days * DAY + 1));
        assert_eq!(said, (Decision::Allow, Decision::Warn), "{reference}");
    }
}

#[test]
fn the_strictest_of_several_policies_wins_and_is_named() {
    let with_limit =
        |days: u32, action: &str| json!({"validationActions": [action], "imageAge": {"maxAge": format!("{days}d")}});
    let set =
        policies(&[with_limit(300, "Deny"), with_limit(60, "Warn"), with_limit(100, "Deny"), with_limit(90, "Audit")]);
    let verdict = evaluate(&create(&["old:1"]), &evidence(), &set, now());
    let named: Vec<_> = verdict.findings.iter().map(|finding| (finding.policy.as_str(), finding.effect)).collect();
    assert_eq!(verdict.decision, Decision::Deny);
    assert_eq!(named, [("p2", Effect::Deny), ("p1", Effect::Warn), ("p3", Effect::Audit)]);
    assert_eq!(verdict.policies.keys().collect::<Vec<_>>(), ["p0", "p1", "p2", "p3"]);
}

#[test]
fn a_denial_without_history_says_so() {
    let unknown = |reason: &str| Evidence {
        history: History { unknown: Some(reason.into()), ..History::default() },
        ..evidence()
    };
    let verdict = evaluate(&create(&["old:1"]), &unknown("away"), &denying(&json!({})), now());
    assert_eq!((verdict.decision, verdict.history_unknown.as_deref()), (Decision::Deny, Some("away")));
    let verdict = evaluate(&create(&["fresh:1"]), &unknown("away"), &denying(&json!({})), now());
    assert_eq!((verdict.decision, verdict.history_unknown), (Decision::Allow, None));
}

#[test]
fn no_policy_no_judgement() {
    let elsewhere = policies(&[
        json!({"match": {"namespaces": ["other"]}, "validationActions": ["Deny"], "imageAge": {"maxAge": "90d"}}),
    ]);
    let verdict = evaluate(&create(&["old:1"]), &evidence(), &elsewhere, now());
    assert_eq!((verdict.decision, verdict.passed), (Decision::Allow, Some(Passed::NoPolicy)));
}

fn any_image() -> impl Strategy<Value = Fact<ResolvedImage>> {
    prop_oneof![
        (-10 * DAY..400 * DAY, "d[1-3]").prop_map(|(age, digest)| aged(&digest, age)),
        Just(Fact::unknown(UnknownReason::Unreachable, "away")),
        Just(Fact::unknown(UnknownReason::NoDate, "none")),
    ]
}

fn any_subject() -> impl Strategy<Value = Subject> {
    let names = || proptest::collection::vec(prop_oneof![Just("a:1"), Just("a:2"), Just("b:1")], 1..3);
    let difference = prop_oneof![
        Just(Difference::Equal),
        Just(Difference::Restart),
        Just(Difference::Mitigation),
        Just(Difference::Other)
    ];
    (proptest::option::of(names()), names(), difference).prop_map(|(old, new, difference)| match old {
        Some(old) => update(&old, &new, difference),
        None => create(&new),
    })
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    let admissions = proptest::collection::vec(("d[1-3]", "[ab]:[12]", 0_i64..60), 0..4);
    (any_image(), any_image(), any_image(), admissions).prop_map(|(one, two, three, admissions)| Evidence {
        images: BTreeMap::from([("a:1".into(), one), ("a:2".into(), two), ("b:1".into(), three)]),
        history: History {
            admissions: admissions
                .into_iter()
                .map(|(digest, reference, days)| Admission {
                    digest,
                    reference,
                    first_admitted_at: now() - TimeDelta::days(days),
                    last_admitted_at: now() - TimeDelta::days(days),
                })
                .collect(),
            ..History::default()
        },
        ..Evidence::default()
    })
}

proptest! {
    /// Law 4: the recorded inputs give the same verdict byte for byte.
    #[test]
    fn recorded_inputs_give_the_same_verdict(subject in any_subject(), evidence in any_evidence()) {
        let set = denying(&json!({"onUnknown": "Deny", "movedTags": "Deny"}));
        let verdict = serde_json::to_vec(&evaluate(&subject, &evidence, &set, now())).unwrap();
        let recorded = serde_json::to_string(&(&subject, &evidence)).unwrap();
        let (subject, evidence): (Subject, Evidence) = serde_json::from_str(&recorded).unwrap();
        prop_assert_eq!(serde_json::to_vec(&evaluate(&subject, &evidence, &set, now())).unwrap(), verdict);
    }

    #[test]
    fn one_more_policy_makes_nothing_milder(subject in any_subject(), evidence in any_evidence(), days in 1_u32..200) {
        let one = json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "90d"}});
        let other = json!({"validationActions": ["Deny"], "imageAge": {"maxAge": format!("{days}d"), "onUnknown": "Allow"}});
        let alone = decide(&subject, &evidence, &policies(std::slice::from_ref(&one)));
        prop_assert!(decide(&subject, &evidence, &policies(&[one, other])) >= alone);
    }

    #[test]
    fn an_older_image_is_judged_no_milder(age in 0_i64..400 * DAY, more in 0_i64..400 * DAY) {
        let set = denying(&json!({}));
        let at = |age| decide(&create(&["x:1"]), &with(evidence(), "x:1", aged("d", age)), &set);
        prop_assert!(at(age + more) >= at(age));
    }

    /// Law 1: a restart, a scale, a rollback are never refused for age, whatever is known or not, however strict.
    #[test]
    fn what_runs_is_never_refused(subject in any_subject(), evidence in any_evidence()) {
        let set = denying(&json!({"onUnknown": "Deny", "unchangedImages": "Deny", "requireDigest": true}));
        let verdict = evaluate(&subject, &evidence, &set, now());
        if !matches!(verdict.change, Change::Create | Change::NewImage) {
            prop_assert!(verdict.decision < Decision::Deny, "{:?}", verdict);
        }
    }

    /// Law 1: what a controller makes of its own template passes, whatever is known of its images.
    #[test]
    fn what_its_owner_runs_passes(subject in any_subject(), evidence in any_evidence()) {
        let set = denying(&json!({"onUnknown": "Deny", "unchangedImages": "Deny", "movedTags": "Deny"}));
        let images = subject.images.iter().map(|used| used.image.clone()).collect();
        let owner = Owner { kind: "ReplicaSet".into(), name: "x".into(), found: OwnerFound::Templates(vec![images]) };
        let verdict = evaluate(&subject, &Evidence { owner: Some(owner), ..evidence }, &set, now());
        prop_assert_eq!((verdict.decision, verdict.findings.len()), (Decision::Allow, 0));
    }

    /// Law 6: a controller that is claimed and not found, and words about itself, make nothing milder.
    #[test]
    fn no_workload_vouches_for_itself(subject in any_subject(), evidence in any_evidence()) {
        let set = denying(&json!({"onUnknown": "Deny", "movedTags": "Deny"}));
        let forged = Owner { kind: "ReplicaSet".into(), name: "x".into(), found: OwnerFound::Forged { detail: "none".into() } };
        let claimed = Evidence { owner: Some(forged), ..evidence.clone() };
        let hooked = Subject { hook: true, ..subject.clone() };
        prop_assert_eq!(evaluate(&hooked, &claimed, &set, now()), evaluate(&subject, &evidence, &set, now()));
    }
}
