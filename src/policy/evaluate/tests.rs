//! The decision as tables: the age rule's column of the change table, every action, every unknown; and its laws as
//! properties.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::evidence::{Admission, Cache, History, Owner, PlatformImage, ResolvedImage, UnknownReason};
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
fn what_is_unchanged_follows_its_setting() {
    let subject = update(&["old:1"], &["old:1"], Difference::Other);
    for (setting, decision) in [("Deny", Decision::Deny), ("Warn", Decision::Warn), ("Allow", Decision::Allow)] {
        assert_eq!(decide(&subject, &evidence(), &denying(&json!({"unchangedImages": setting}))), decision);
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
    assert!(matches!(verdict.findings[0].found, Found::TooOld { source: Source::FirstSeen, .. }));
    let set = denying(&json!({"onUnknown": "Deny"}));
    let verdict = evaluate(&create(&["x:1"]), &with(evidence(), "x:1", image("d", vec![seen(1)])), &set, now());
    assert!(matches!(verdict.findings[0].found, Found::Unknown { reason: UnknownReason::NoDate, .. }));
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
    let runs = |images: &[&str]| OwnerFound::Images(images.iter().map(|&image| image.to_owned()).collect());
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

    /// Law 1: a restart, a scale, a rollback are never refused for age, whatever is known or not.
    #[test]
    fn what_runs_is_never_refused(subject in any_subject(), evidence in any_evidence()) {
        let set = denying(&json!({"onUnknown": "Deny"}));
        let verdict = evaluate(&subject, &evidence, &set, now());
        if matches!(verdict.change, Change::Rollback | Change::Restart | Change::Scale | Change::Mitigation | Change::Config) {
            prop_assert!(verdict.decision < Decision::Deny, "{:?}", verdict);
        }
    }
}
