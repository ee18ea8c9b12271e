//! Inputs are complete: whatever was asked and known, the line of its record gives the same verdict again.

use std::collections::HashMap;

use chrono::{NaiveDate, TimeDelta};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::admission::decode::{Request, decode};
use crate::audit::record::{Decided, Labels, body, ledger_entry, repeat_body};
use crate::budget::freeze::Freeze;
use crate::budget::measure::{Budget, Events, Figures, Measured, Recent, Unmeasured, Weighting};
use crate::budget::service::IdentityFrom;
use crate::budget::state::BudgetState;
use crate::budget::window::Window;
use crate::evidence::{
    Admission, BudgetEvidence, Cache, Fact, History, Lift, Owner, OwnerFound, PlatformImage, ResolvedImage, Revision,
    RunningElsewhere, ServiceIdentity, SourceState, UnknownReason,
};
use crate::exception::{Grant, Reason};
use crate::image::build_date::{BuildDate, Candidate, Class, Source};
use crate::policy::compile::{CompiledPolicy, PolicySet};
use crate::subject::kinds::WorkloadKinds;
use crate::subject::{
    Difference as TemplateDifference, Fingerprints, ImageUse, Operation, OwnerReference, Place, PullHints,
    ServiceLabels,
};
use crate::verdict::{Rule, Verdict, words};

/// Milliseconds, as the gate's `now`.
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_795_000_000_123).unwrap()
}

const REFERENCES: [&str; 5] = [
    "registry.example/shop/checkout:1",
    "registry.example/shop/checkout:2",
    "registry.example/shop/side@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "not a \"reference\" \u{202e}",
    "docker.io/library/busybox",
];

fn reference() -> impl Strategy<Value = String> {
    prop::sample::select(REFERENCES.to_vec()).prop_map(str::to_owned)
}

fn digest() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(|digit| format!("sha256:{}", digit.repeat(64)))
}

/// Within a year or so, to the nanosecond: evidence is finer than `now`.
fn time() -> impl Strategy<Value = DateTime<Utc>> {
    (-400 * 86_400_i64..86_400, 0..1_000_000_000_i64)
        .prop_map(|(seconds, nanos)| now() + TimeDelta::seconds(seconds) + TimeDelta::nanoseconds(nanos))
}

fn text() -> impl Strategy<Value = String> {
    "[ -~\u{e9}\u{202e}\n\"\\\\]{0,12}"
}

fn image_uses(least: usize) -> impl Strategy<Value = Vec<ImageUse>> {
    let place = prop::sample::select(vec![
        Place::Container,
        Place::InitContainer,
        Place::EphemeralContainer,
        Place::ImageVolume,
    ]);
    let used = (place, "[a-z]{1,4}", reference()).prop_map(|(place, name, image)| ImageUse { place, name, image });
    prop::collection::vec(used, least..4)
}

fn owner_reference() -> impl Strategy<Value = OwnerReference> {
    text().prop_map(|name| OwnerReference {
        api_version: "apps/v1".into(),
        kind: "ReplicaSet".into(),
        name,
        uid: "u".into(),
    })
}

prop_compose! {
    fn subject()(
        kind in prop::sample::select(vec!["Deployment", "Pod"]),
        namespace in prop::sample::select(vec!["shop", "lab"]),
        name in prop::sample::select(vec!["checkout", "gen-*"]),
        operation in prop::sample::select(vec![
            Operation::Create, Operation::Update, Operation::Update, Operation::Delete, Operation::Connect,
        ]),
        sub_resource in prop::option::weighted(0.1, Just("ephemeralcontainers".to_owned())),
        images in image_uses(0),
        old_images in prop::option::of(image_uses(0)),
        difference in prop::sample::select(vec![
            TemplateDifference::Equal, TemplateDifference::Restart, TemplateDifference::Mitigation, TemplateDifference::Other,
        ]),
        fingerprints in prop::option::of(("[ab]", "[ab]").prop_map(|(old, new)| Fingerprints { old, new })),
        owner in prop::option::weighted(0.3, owner_reference()),
        (mirror, hook) in (prop::bool::weighted(0.05), any::<bool>()),
        old_created_at in prop::option::of(time()),
        label in text(),
    ) -> Subject {
        Subject {
            group: if kind == "Pod" { String::new() } else { "apps".into() },
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            operation,
            sub_resource,
            images,
            old_images,
            difference,
            fingerprints,
            owner,
            mirror,
            hook,
            uid: "uid".into(),
            old_created_at,
            // Not inputs of the decision, so the verdict may not depend on them.
            pull: PullHints { secrets: vec![label.clone()], service_account: label.clone() },
            labels: ServiceLabels { own: [("app".to_owned(), label)].into(), ..ServiceLabels::default() },
            old_labels: Some(ServiceLabels::default()),
        }
    }
}

fn unknown_reason() -> impl Strategy<Value = UnknownReason> {
    use UnknownReason::{
        IntegrityFailure, InvalidReference, NoDate, NotAllowed, NotFound, RateLimited, Unauthorized, Unreachable,
    };
    prop::sample::select(vec![
        NoDate,
        Unreachable,
        Unauthorized,
        NotFound,
        NotAllowed,
        RateLimited,
        InvalidReference,
        IntegrityFailure,
    ])
}

fn fact<T: Clone + std::fmt::Debug>(known: impl Strategy<Value = T>) -> impl Strategy<Value = Fact<T>> {
    prop_oneof![
        3 => known.prop_map(Fact::Known),
        1 => (unknown_reason(), text()).prop_map(|(reason, detail)| Fact::unknown(reason, detail)),
    ]
}

fn build_date() -> impl Strategy<Value = BuildDate> {
    let source = prop::sample::select(vec![Source::Config, Source::Label, Source::History, Source::FirstSeen]);
    let class = prop::sample::select(vec![Class::Claim, Class::UpperBound]);
    (time(), source, class).prop_map(|(time, source, class)| BuildDate { time, source, class })
}

fn platform() -> impl Strategy<Value = PlatformImage> {
    let name = prop::option::of(prop::sample::select(vec!["linux/amd64", "linux/arm64/v8"]).prop_map(str::to_owned));
    (name, digest(), fact(build_date()), prop::option::weighted(0.3, time()), text()).prop_map(
        |(platform, digest, built, first_seen, why)| PlatformImage {
            platform,
            digest,
            built,
            first_seen,
            // Recorded beside the inputs: the verdict may not depend on them.
            candidates: vec![Candidate {
                source: Source::Config,
                class: Class::Claim,
                value: why.clone(),
                used: true,
                why,
            }],
        },
    )
}

fn image() -> impl Strategy<Value = ResolvedImage> {
    let cache = prop::sample::select(vec![Cache::Fetched, Cache::Cached, Cache::Stale]);
    (digest(), prop::collection::vec(platform(), 0..3), cache, time())
        .prop_map(|(digest, platforms, cache, fetched_at)| ResolvedImage { digest, platforms, cache, fetched_at })
}

fn owner() -> impl Strategy<Value = Owner> {
    let found = prop_oneof![
        3 => prop::collection::vec(prop::collection::vec(reference(), 0..3), 0..3).prop_map(OwnerFound::Templates),
        1 => text().prop_map(|detail| OwnerFound::Forged { detail }),
        1 => Just(OwnerFound::UnknownKind),
        1 => text().prop_map(|detail| OwnerFound::NotLookedUp { detail }),
    ];
    (found, text()).prop_map(|(found, name)| Owner { kind: "ReplicaSet".into(), name, found })
}

fn history() -> impl Strategy<Value = History> {
    let admission = (digest(), reference(), time(), time()).prop_map(|(digest, reference, first, last)| Admission {
        digest,
        reference,
        first_admitted_at: first,
        last_admitted_at: last,
    });
    let revision = ("[ab]", prop::collection::vec(reference(), 0..2), time())
        .prop_map(|(fingerprint, images, created_at)| Revision { fingerprint, images, created_at });
    let (admissions, revisions) = (prop::collection::vec(admission, 0..4), prop::collection::vec(revision, 0..3));
    (admissions, revisions, prop::option::weighted(0.2, text())).prop_map(|(admissions, revisions, unknown)| History {
        admissions,
        revisions,
        unknown,
    })
}

/// Any finite figure, the smallest and the negative zero included.
fn figure() -> impl Strategy<Value = f64> {
    prop_oneof![
        5 => -2.0..2.0_f64,
        1 => prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO | prop::num::f64::NEGATIVE,
    ]
    .prop_filter("JSON has finite figures alone", |figure| figure.is_finite())
}

fn budget_state() -> impl Strategy<Value = BudgetState> {
    prop::sample::select(BudgetState::ALL.to_vec())
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        (1..=100 * 86_400_i64).prop_map(|seconds| Window::Rolling { seconds }),
        (time(), time()).prop_map(|(starts_at, ends_at)| Window::Calendar { written: "1M".into(), starts_at, ends_at }),
    ]
}

prop_compose! {
    fn figures()(
        error_ratio in prop_oneof![0.0..0.01_f64, figure()],
        events in prop::option::of((0.0..1e9_f64, 0.0..1e6_f64).prop_map(|(total, bad)| Events { total, bad })),
        recent in prop::collection::vec((1..100_000_i64, 0.0..1.0_f64), 0..3),
        burn_rate in prop::option::of(0.0..50.0_f64),
        weighting in prop::sample::select(vec![Weighting::Events, Weighting::MeanOfRatios, Weighting::TimeSlices]),
        note in prop::option::weighted(0.2, text()),
    ) -> Figures {
        let recent = recent.into_iter().map(|(seconds, error_ratio)| Recent { seconds, error_ratio }).collect();
        Figures { error_ratio, events, recent, burn_rate, weighting, note }
    }
}

prop_compose! {
    fn budget()(
        (source, service) in (prop::sample::select(vec!["slo", "other"]), prop::sample::select(vec!["checkout", "pay"])),
        slo in prop::sample::select(vec!["availability", "latency"]),
        objective in prop::option::weighted(0.9, prop_oneof![0.9..1.0_f64, Just(1.0)]),
        window in window(),
        measured in prop_oneof![
            4 => figures().prop_map(Measured::Known),
            1 => (budget_state(), text()).prop_map(|(state, detail)| Measured::Unknown(Unmeasured { state, detail })),
        ],
        age in (0..4_000_i64, 0..1_000_000_000_i64),
        max_age_seconds in 1..1_000_i64,
    ) -> Budget {
        let sampled_at = now() - TimeDelta::seconds(age.0) - TimeDelta::nanoseconds(age.1);
        Budget { source: source.into(), service: service.into(), slo: slo.into(), objective, window, measured, sampled_at, max_age_seconds }
    }
}

fn budget_evidence() -> impl Strategy<Value = BudgetEvidence> {
    let freeze = (time(), budget()).prop_map(|(since, last)| Freeze { since, last });
    let freezes =
        prop::collection::btree_map(prop::sample::select(vec!["p0".to_owned(), "p1".to_owned()]), freeze, 0..2);
    let lift = (prop_oneof![Just(0.05), figure()], prop::option::of(time()))
        .prop_map(|(unfreeze_above, at)| Lift { unfreeze_above, at });
    (budget(), freezes, prop::collection::vec(lift, 0..2)).prop_map(|(budget, freezes, lifts)| BudgetEvidence {
        budget,
        freezes,
        lifts,
    })
}

fn grant() -> impl Strategy<Value = Grant> {
    let rules = prop::sample::select(vec![vec![Rule::ImageAge], vec![Rule::ErrorBudget, Rule::ImageAge]]);
    let reason = prop::sample::select(vec![Reason::Security, Reason::Incident, Reason::DependencyOutage]);
    (rules, reason, prop::option::weighted(0.3, digest()), -2_000..0_i64, 1..20_000_i64).prop_map(
        |(rules, reason, digest, from, seconds)| Grant {
            name: "fix".into(),
            rules,
            reason,
            digest,
            dependency: (reason == Reason::DependencyOutage).then(|| "pay".to_owned()),
            ticket: Some("INC-1".into()),
            granted_by: "jane".into(),
            granted_at: now() + TimeDelta::seconds(from),
            expires_at: now() + TimeDelta::seconds(from + seconds),
        },
    )
}

fn services() -> impl Strategy<Value = Vec<ServiceIdentity>> {
    let from = prop::option::of(prop::sample::select(vec![IdentityFrom::Mapping, IdentityFrom::WorkloadLabel]));
    let service = (prop::sample::select(vec!["checkout", "pay"]), from, prop::option::weighted(0.2, time()));
    let identity = service.prop_map(|(service, from, until)| ServiceIdentity {
        source: "slo".into(),
        service: service.into(),
        from,
        until,
    });
    prop::collection::vec(identity, 0..3)
}

prop_compose! {
    fn evidence()(
        images in prop::collection::btree_map(reference(), fact(image()), 0..6),
        labels in prop::option::of(prop::sample::select(vec!["gold", "iron"])),
        namespace_unknown in prop::option::weighted(0.2, text()),
        node_platforms in prop::sample::select(vec![vec![], vec!["linux/amd64".to_owned()]]),
        owner in prop::option::weighted(0.3, owner()),
        history in history(),
        services in services(),
        budgets in prop::collection::vec(budget_evidence(), 0..4),
        trouble in prop::option::of((budget_state(), text())),
        elsewhere in prop::collection::vec(prop::collection::vec(digest(), 0..2), 0..2),
        exceptions in prop::collection::vec(grant(), 0..2),
    ) -> Evidence {
        let trouble = trouble.map(|(state, detail)| Unmeasured { state, detail });
        Evidence {
            images,
            namespace_labels: labels.map(|tier| [("tier".to_owned(), tier.to_owned())].into()),
            node_platforms,
            owner,
            history,
            namespace_unknown,
            services,
            budgets,
            sources: [("slo".to_owned(), SourceState { format: "Sloth".into(), trouble })].into(),
            running_elsewhere: elsewhere
                .into_iter()
                .map(|digests| RunningElsewhere { workload: "Deployment canary".into(), digests })
                .collect(),
            exceptions,
        }
    }
}

fn specs() -> impl Strategy<Value = Vec<Value>> {
    let actions = prop::sample::select(vec![json!(["Deny"]), json!(["Warn"]), json!(["Audit"]), json!(null)]);
    let action = || prop::sample::select(vec!["Deny", "Warn", "Allow"]);
    let spec = (
        actions,
        prop::sample::select(vec![
            json!(null),
            json!({"namespaces": ["shop"]}),
            json!({"namespaceSelector": {"matchLabels": {"tier": "gold"}}, "kinds": ["Deployment"]}),
        ]),
        (1..300_i64, action(), action(), any::<bool>()),
        prop::option::of((-20..50_i64, action(), 1..48_i64)),
        prop::option::weighted(0.2, -3..3_i64),
    );
    let spec = spec.prop_map(|(actions, matches, (days, unknown, other, pinned), budget, from)| {
        let mut spec = json!({"imageAge": {
            "maxAge": format!("{days}d"), "onUnknown": {"NoDate": unknown, "Unreachable": other},
            "unchangedImages": other, "movedTags": unknown, "requireDigest": pinned,
            "platforms": if pinned { json!("All") } else { json!("Nodes") },
            "overrides": [{"images": ["docker.io/*"], "maxAge": "off"}],
        }});
        let day: Option<NaiveDate> = from.map(|days| (now() + TimeDelta::days(days)).date_naive());
        for (field, value) in [("validationActions", actions), ("match", matches), ("enforceFrom", json!(day))] {
            if !value.is_null() {
                spec[field] = value;
            }
        }
        if let Some((below, stale, hours)) = budget {
            spec["errorBudget"] = json!({
                "sources": ["slo"], "freezeBelow": format!("{below}.5%"), "warnWhenExhaustedWithin": format!("{hours}h"),
                "on": {"Stale": stale, "FastBurn": stale},
            });
        }
        spec
    });
    prop::collection::vec(spec, 0..4)
}

fn compiled(specs: &[Value]) -> Vec<CompiledPolicy> {
    let compile = |(index, spec): (usize, &Value)| {
        CompiledPolicy::compile(&format!("p{index}"), serde_json::from_value(spec.clone()).unwrap()).unwrap()
    };
    specs.iter().enumerate().map(compile).collect()
}

/// What the store keeps of them.
fn kept(policies: &[CompiledPolicy]) -> Revisions {
    let spec = |policy: &CompiledPolicy| (policy.revision.clone(), serde_json::to_string(&policy.spec).unwrap());
    Revisions::new(policies.iter().map(spec).collect())
}

const REVIEW: &str = include_str!("../../../tests/fixtures/review-create-deployment.json");

/// The line that the gate writes of this decision, and of a repeat of it.
fn lines(subject: &Subject, evidence: &Evidence, verdict: &Verdict) -> [String; 2] {
    let review = decode(REVIEW.as_bytes(), &WorkloadKinds::default()).unwrap();
    let request: &Request<'_> = &review.request;
    let context =
        words::Context { decision_id: "id", dry_run: false, public_url: None, contact: None, subject: Some(subject) };
    let (message, warnings) = (words::denial(verdict, &context), words::warnings(verdict, &context));
    let ledger = ledger_entry(subject, evidence, now());
    let decided = Decided {
        decision_id: "id",
        timestamp: now(),
        request,
        subject,
        evidence,
        verdict,
        message: message.as_deref(),
        warnings: &warnings,
        deadline_ms: 10_000,
        elapsed_ms: 1,
        labels: &Labels::default(),
        ledger: Some(&ledger),
    };
    [body(&decided).unwrap(), repeat_body(&decided, "first").unwrap()].map(|line| String::from_utf8(line).unwrap())
}

fn whole(line: &str) -> Box<Inputs> {
    match read(line).unwrap() {
        Recorded::Whole(inputs) => inputs,
        other => panic!("no inputs: {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_inputs_give_the_same_verdict_from_the_line_of_their_record(
        subject in subject(), evidence in evidence(), specs in specs(),
    ) {
        let policies = compiled(&specs);
        let mut revisions = kept(&policies);
        let verdict = evaluate(&subject, &evidence, &PolicySet::new(policies), now());
        let [line, repeat] = lines(&subject, &evidence, &verdict);
        let inputs = whole(&line);
        prop_assert_eq!(inputs.timestamp, now());
        prop_assert_eq!(replay(&line, &inputs, &mut revisions).unwrap(), vec![]);
        // Not only what is compared: all of the verdict, softening and prose included.
        let set = revisions.set(&inputs.policies).unwrap();
        prop_assert_eq!(evaluate(&inputs.subject, &inputs.evidence, &set, inputs.timestamp), verdict);
        let pointed = Recorded::Repeat { decision_id: "id".into(), timestamp: now(), repeat_of: "first".into() };
        prop_assert_eq!(read(&repeat).unwrap(), pointed);
    }
}

/// An image of 112 days, refused by a policy of 90.
fn refused() -> (String, Vec<CompiledPolicy>) {
    let policies = compiled(&[json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "90d"}})]);
    let review = decode(REVIEW.as_bytes(), &WorkloadKinds::default()).unwrap();
    let subject = review.subject.unwrap();
    let built = BuildDate { time: now() - TimeDelta::days(112), source: Source::Config, class: Class::Claim };
    let image = ResolvedImage {
        digest: "sha256:d".into(),
        platforms: vec![PlatformImage {
            platform: None,
            digest: "sha256:p".into(),
            built: Fact::Known(built),
            first_seen: None,
            candidates: vec![],
        }],
        cache: Cache::Fetched,
        fetched_at: now(),
    };
    let images = subject.images.iter().map(|used| (used.image.clone(), Fact::Known(image.clone())));
    let evidence = Evidence { images: images.collect(), ..Evidence::default() };
    let verdict = evaluate(&subject, &evidence, &PolicySet::new(policies.clone()), now());
    let [line, _] = lines(&subject, &evidence, &verdict);
    (line, policies)
}

#[test]
fn a_verdict_that_differs_from_the_record_is_shown_by_its_figures() {
    let (line, policies) = refused();
    let changed = line.replacen("\"ageSeconds\":9676800", "\"ageSeconds\":9676801", 1);
    assert_ne!(changed, line);
    let differences = replay(&changed, &whole(&changed), &mut kept(&policies)).unwrap();
    let expected = Difference {
        field: "rules[0].properties.ageSeconds".into(),
        recorded: Some("9676801".into()),
        today: Some("9676800".into()),
    };
    assert_eq!(differences, [expected]);
}

#[test]
fn a_revision_that_was_not_kept_or_is_another_is_missing() {
    let (line, policies) = refused();
    let inputs = whole(&line);
    let revision = &policies[0].revision;
    let said = |revisions: &mut Revisions| replay(&line, &inputs, revisions).unwrap_err().to_string();
    assert_eq!(
        said(&mut Revisions::default()),
        format!(
            "revision {revision} of policy \"p0\" is not kept in this store: name the store of the gate that decided, or restore it from a copy"
        )
    );
    let looser = serde_json::to_string(&policies[0].spec).unwrap().replace("90d", "900d");
    let mut tampered = Revisions::new(HashMap::from([(revision.clone(), looser)]));
    assert!(said(&mut tampered).contains("is another policy, because a revision is the SHA-256 of its text"));
    let text = "{\"imageAge\":{\"maxAge\":\"for ever\"}}";
    let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text));
    let renamed = line.replace(revision.as_str(), &hash);
    let unreadable = replay(&renamed, &whole(&renamed), &mut Revisions::new(HashMap::from([(hash, text.to_owned())])));
    assert!(unreadable.unwrap_err().to_string().contains("cannot be read by this version"));
}

#[test]
fn what_has_no_inputs_is_told_apart() {
    let head = "\"decision\":\"deny\",\"decision_id\":\"d\",\"timestamp\":\"2026-11-25T12:00:00.000Z\"";
    let exception = read(&format!("{{{head},\"exception\":{{\"name\":\"fix\"}}}}")).unwrap();
    assert_eq!(exception, Recorded::OfAnException { decision_id: "d".into() });
    assert!(matches!(read(&format!("{{{head}}}")), Err(Missing::Inputs)));
    assert!(matches!(read("{"), Err(Missing::Unreadable(_))));
}
