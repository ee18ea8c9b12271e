//! The freeze's column of the change table, every state and action, hysteresis, silence, services, exceptions; and how
//! it is said.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::*;
use crate::budget::freeze::Freeze;
use crate::budget::lift::Slice;
use crate::budget::measure::{Reading, Unmeasured, Weighting};
use crate::budget::service::IdentityFrom;
use crate::budget::snapshot::{History as SlicesOf, Sampled};
use crate::budget::window::Window;
use crate::evidence::{
    Admission, Cache, Fact, History, Lift, Owner, OwnerFound, ResolvedImage, RunningElsewhere, ServiceIdentity,
    SourceState,
};
use crate::exception::{Grant, Reason};
use crate::policy::compile::{CompiledPolicy, PolicySet};
use crate::policy::evaluate::evaluate;
use crate::subject::{
    Difference, Fingerprints, ImageUse, Operation, OwnerReference, Place, PullHints, ServiceLabels, Subject,
};
use crate::verdict::words::{Context, denial, sentence, warnings};
use crate::verdict::{Decision, Verdict};

fn now() -> DateTime<Utc> {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

fn freezing(more: &Value) -> PolicySet {
    let mut rule = json!({"sources": ["slo"]});
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    set(&json!({"validationActions": ["Deny"], "errorBudget": rule}))
}

fn set(spec: &Value) -> PolicySet {
    let spec = serde_json::from_value(spec.clone()).unwrap();
    PolicySet::new(vec![CompiledPolicy::compile("production", spec).unwrap()])
}

fn uses(images: &[&str]) -> Vec<ImageUse> {
    let used = images.iter().zip(["app", "side"]);
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
        labels: ServiceLabels::default(),
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

fn reading(service: &str, slo: &str) -> Reading {
    Reading {
        service: service.into(),
        slo: slo.into(),
        objective: 0.999,
        window: Window::Rolling { seconds: 30 * 86_400 },
        error_ratio: None,
        total: None,
        bad: None,
        recent: Vec::new(),
        burn_rate: None,
        weighting: Weighting::Events,
        sampled_at: now() - TimeDelta::seconds(42),
        covered_seconds: None,
        series: 1,
        note: None,
        unmeasured: None,
        partial: None,
    }
}

/// A budget of which so much is left, of a million events, sampled 42 seconds ago.
fn left(service: &str, slo: &str, remaining: f64) -> Budget {
    let (total, bad) = (Some(1e6), Some((1.0 - remaining) * 1_000.0));
    Budget::of("slo", Reading { total, bad, ..reading(service, slo) }, 300, now())
}

fn with(budgets: Vec<Budget>) -> Evidence {
    let image = |digest: &str| {
        Fact::Known(ResolvedImage { digest: digest.into(), platforms: vec![], cache: Cache::Cached, fetched_at: now() })
    };
    Evidence {
        images: ["a:1", "a:2", "b:1"].iter().map(|one| ((*one).to_owned(), image(one))).collect(),
        services: vec![identity("checkout")],
        sources: [("slo".to_owned(), SourceState { format: "Sloth".into(), trouble: None })].into(),
        budgets: budgets
            .into_iter()
            .map(|budget| BudgetEvidence {
                budget,
                freezes: BTreeMap::new(),
                lifts: vec![Lift { unfreeze_above: 0.05, at: Some(now() + TimeDelta::hours(26)) }],
            })
            .collect(),
        ..Evidence::default()
    }
}

fn identity(service: &str) -> ServiceIdentity {
    ServiceIdentity { source: "slo".into(), service: service.into(), from: Some(IdentityFrom::Mapping), until: None }
}

fn spent() -> Evidence {
    with(vec![left("checkout", "availability", -0.125)])
}

fn decide(subject: &Subject, evidence: &Evidence, policies: &PolicySet) -> Decision {
    evaluate(subject, evidence, policies, now()).decision
}

/// R4: a freeze stops what the table says and nothing else.
#[test]
fn the_freezes_column_of_the_change_table() {
    use Decision::{Allow, Deny};
    let policies = freezing(&json!({}));
    let admitted = |one: &str, days: i64| Admission {
        digest: one.into(),
        reference: one.into(),
        first_admitted_at: now() - TimeDelta::days(days),
        last_admitted_at: now() - TimeDelta::days(days),
    };
    let rollback = Evidence {
        history: History { admissions: vec![admitted("a:1", 20), admitted("a:2", 2)], ..History::default() },
        ..spent()
    };
    let elsewhere = RunningElsewhere { workload: "Deployment checkout-canary".into(), digests: vec!["a:2".into()] };
    let promotion = Evidence { running_elsewhere: vec![elsewhere], ..spent() };
    let to_new = || update(&["a:1"], &["a:2"], Difference::Equal);
    let same = |difference| update(&["a:1"], &["a:1"], difference);
    for (what, subject, evidence, decision) in [
        ("create", create(&["a:1"]), spent(), Deny),
        ("new image", to_new(), spent(), Deny),
        ("configuration", same(Difference::Other), spent(), Deny),
        ("rollback", update(&["a:2"], &["a:1"], Difference::Equal), rollback.clone(), Allow),
        ("forward again", to_new(), rollback.clone(), Deny),
        ("restore", create(&["a:1"]), rollback, Allow),
        ("promotion", to_new(), promotion.clone(), Allow),
        ("blue to green", create(&["a:2"]), promotion, Allow),
        ("mitigation", same(Difference::Mitigation), spent(), Allow),
        ("restart", same(Difference::Restart), spent(), Allow),
        ("scale", same(Difference::Equal), spent(), Allow),
        ("delete", Subject { operation: Operation::Delete, ..create(&[]) }, spent(), Allow),
        (
            "a container to look into a Pod with",
            Subject { kind: "Pod".into(), sub_resource: Some("ephemeralcontainers".into()), ..to_new() },
            spent(),
            Allow,
        ),
    ] {
        assert_eq!(decide(&subject, &evidence, &policies), decision, "{what}");
    }
}

#[test]
fn what_a_controller_makes_of_what_was_judged_passes() {
    let owner = |found| Owner { kind: "ReplicaSet".into(), name: "x".into(), found };
    let reference =
        OwnerReference { api_version: "apps/v1".into(), kind: "ReplicaSet".into(), name: "x".into(), uid: "u".into() };
    let pod = Subject { kind: "Pod".into(), owner: Some(reference), ..create(&["a:1", "b:1"]) };
    let of = |found| Evidence { owner: Some(owner(found)), ..spent() };
    let policies = freezing(&json!({}));
    // With a sidecar that something injected, too.
    assert_eq!(decide(&pod, &of(OwnerFound::Templates(vec![vec!["a:1".into()]])), &policies), Decision::Allow);
    assert_eq!(decide(&pod, &of(OwnerFound::UnknownKind), &policies), Decision::Warn);
    // An operator's Deployment is a deploy all the same, and so is an image that somebody puts into a controller's Pod.
    let deployment = Subject { kind: "Deployment".into(), ..pod.clone() };
    assert_eq!(decide(&deployment, &of(OwnerFound::UnknownKind), &policies), Decision::Deny);
    let swapped =
        Subject { kind: "Pod".into(), owner: pod.owner.clone(), ..update(&["a:1"], &["a:2"], Difference::Equal) };
    assert_eq!(decide(&swapped, &of(OwnerFound::Templates(vec![vec!["a:1".into()]])), &policies), Decision::Deny);
    let instead = Subject { images: uses(&["b:1"]), ..pod.clone() };
    assert_eq!(decide(&instead, &of(OwnerFound::Templates(vec![vec!["a:1".into()]])), &policies), Decision::Deny);
    assert_eq!(decide(&pod, &of(OwnerFound::Forged { detail: "none".into() }), &policies), Decision::Deny);
}

#[test]
fn each_state_acts_as_its_setting_says() {
    use BudgetState::{
        Ambiguous, Exhausted, FastBurn, Healthy, InsufficientHistory, Invalid, Low, LowTraffic, NoData, NoTraffic,
        Partial, Stale, Unmapped,
    };
    let unknown = |state| {
        let mut budget = left("checkout", "availability", 1.0);
        budget.measured = crate::budget::measure::Measured::Unknown(Unmeasured::new(state, "why"));
        with(vec![budget])
    };
    let stale = || {
        let mut budget = left("checkout", "availability", 1.0);
        budget.sampled_at -= TimeDelta::hours(1);
        with(vec![budget])
    };
    let burning = || {
        let mut budget = left("checkout", "availability", 0.5);
        if let crate::budget::measure::Measured::Known(figures) = &mut budget.measured {
            figures.burn_rate = Some(20.0);
        }
        with(vec![budget])
    };
    let unmapped = || Evidence { services: vec![], budgets: vec![], ..spent() };
    for state in BudgetState::ALL {
        let evidence = match state {
            Healthy => with(vec![left("checkout", "availability", 0.5)]),
            Low => with(vec![left("checkout", "availability", 0.1)]),
            FastBurn => burning(),
            Exhausted => spent(),
            Stale => stale(),
            Unmapped => unmapped(),
            NoTraffic | LowTraffic | NoData | Partial | Invalid | Ambiguous | InsufficientHistory => unknown(state),
        };
        let default = match state {
            Exhausted => Decision::Deny,
            Healthy => Decision::Allow,
            _ => Decision::Warn,
        };
        let verdict = evaluate(&create(&["a:1"]), &evidence, &freezing(&json!({})), now());
        assert_eq!((verdict.decision, verdict.budgets[0].state), (default, state), "{state:?}");
        for (action, decision) in [("Deny", Decision::Deny), ("Warn", Decision::Warn), ("Allow", Decision::Allow)] {
            if (state, action) == (Healthy, "Deny") {
                continue; // nobody may write that
            }
            let policies = freezing(&json!({"on": {state.as_str(): action}}));
            assert_eq!(decide(&create(&["a:1"]), &evidence, &policies), decision, "{state:?} {action}");
        }
    }
}

#[test]
fn a_source_that_is_not_there_is_a_named_unknown() {
    let trouble = Unmeasured::new(BudgetState::NoData, "there is no BudgetSource \"slo\"");
    let missing = Evidence {
        services: vec![],
        budgets: vec![],
        sources: [("slo".to_owned(), SourceState { format: String::new(), trouble: Some(trouble) })].into(),
        ..spent()
    };
    let verdict = evaluate(&create(&["a:1"]), &missing, &freezing(&json!({})), now());
    assert_eq!(verdict.decision, Decision::Warn);
    assert_snapshot!(sentence(&verdict.findings[0]), @r#"error-budget: the error budget of the workload is not known (NoData): there is no BudgetSource "slo" (policy "production")"#);
    // A service that the source does not know is not healthy either.
    let unknown = Evidence { budgets: vec![], ..spent() };
    let verdict = evaluate(&create(&["a:1"]), &unknown, &freezing(&json!({"on": {"NoData": "Deny"}})), now());
    assert_eq!(verdict.decision, Decision::Deny);
}

#[test]
fn the_worst_objective_decides_and_all_are_recorded() {
    let evidence = with(vec![
        left("checkout", "availability", 0.5),
        left("checkout", "latency", -0.2),
        left("checkout", "freshness", 0.1),
        left("basket", "availability", -9.0),
    ]);
    let verdict = evaluate(&create(&["a:1"]), &evidence, &freezing(&json!({})), now());
    let slos = |verdict: &Verdict| -> Vec<String> {
        verdict.budgets.iter().map(|one| one.budget.as_ref().unwrap().slo.clone()).collect()
    };
    assert_eq!(slos(&verdict), ["latency", "freshness", "availability"]);
    assert_eq!(verdict.findings.len(), 1);
    // Only those that the policy counts.
    let verdict = evaluate(&create(&["a:1"]), &evidence, &freezing(&json!({"slos": ["avail*", "fresh*"]})), now());
    assert_eq!((verdict.decision, slos(&verdict).len()), (Decision::Warn, 2));
}

#[test]
fn what_the_policy_makes_of_a_state_counts_before_how_grave_it_is() {
    let unknown = |state| {
        let mut budget = left("checkout", "unknown", 1.0);
        budget.measured = crate::budget::measure::Measured::Unknown(Unmeasured::new(state, "why"));
        budget
    };
    for (other, on) in [
        (0.5, json!({"NoData": "Deny"})),
        (0.1, json!({"NoData": "Deny"})),
        (0.1, json!({"NoData": "Deny", "Low": "Allow"})),
        (-0.5, json!({"NoData": "Deny", "Exhausted": "Warn"})),
    ] {
        let evidence = with(vec![left("checkout", "availability", other), unknown(BudgetState::NoData)]);
        assert_eq!(decide(&create(&["a:1"]), &evidence, &freezing(&json!({"on": on}))), Decision::Deny, "{other} {on}");
    }
    let quiet = with(vec![left("checkout", "availability", 0.1), unknown(BudgetState::LowTraffic)]);
    let policies = freezing(&json!({"on": {"Low": "Allow", "LowTraffic": "Deny"}}));
    assert_eq!(decide(&create(&["a:1"]), &quiet, &policies), Decision::Deny);
}

/// T10: a workload is judged under what it was, too.
#[test]
fn another_label_does_not_free_a_workload() {
    let earlier = ServiceIdentity { until: Some(now() - TimeDelta::days(3)), from: None, ..identity("checkout") };
    let evidence = Evidence { services: vec![identity("free"), earlier], ..spent() };
    let evidence = Evidence {
        budgets: evidence
            .budgets
            .iter()
            .cloned()
            .chain(with(vec![left("free", "availability", 1.0)]).budgets)
            .collect(),
        ..evidence
    };
    assert_eq!(decide(&create(&["a:1"]), &evidence, &freezing(&json!({}))), Decision::Deny);
    let free = Evidence { services: vec![identity("free")], ..evidence };
    assert_eq!(decide(&create(&["a:1"]), &free, &freezing(&json!({}))), Decision::Allow);
}

fn frozen(evidence: Evidence, since_hours: i64, last: Budget) -> Evidence {
    let freeze = Freeze { since: now() - TimeDelta::hours(since_hours), last };
    let mut evidence = evidence;
    evidence.budgets[0].freezes = [("production".to_owned(), freeze)].into();
    evidence
}

#[test]
fn a_freeze_lifts_later_than_it_begins() {
    let between = || with(vec![left("checkout", "availability", 0.03)]);
    assert_eq!(decide(&create(&["a:1"]), &between(), &freezing(&json!({}))), Decision::Warn);
    let still = frozen(between(), 5, left("checkout", "availability", 0.02));
    assert_eq!(decide(&create(&["a:1"]), &still, &freezing(&json!({}))), Decision::Deny);
    let above = frozen(with(vec![left("checkout", "availability", 0.06)]), 5, left("checkout", "availability", 0.02));
    assert_eq!(decide(&create(&["a:1"]), &above, &freezing(&json!({}))), Decision::Warn);
    // Another policy's freeze is not this one's.
    let mut others = still;
    let freeze = others.budgets[0].freezes.remove("production").unwrap();
    others.budgets[0].freezes.insert("another".into(), freeze);
    assert_eq!(decide(&create(&["a:1"]), &others, &freezing(&json!({}))), Decision::Warn);
}

#[test]
fn a_silent_source_holds_a_freeze_for_a_while() {
    let silent = |minutes: i64| {
        let mut old = left("checkout", "availability", -0.125);
        old.sampled_at = now() - TimeDelta::minutes(minutes);
        frozen(with(vec![old.clone()]), 5, old)
    };
    let policies = freezing(&json!({}));
    assert_eq!(decide(&create(&["a:1"]), &silent(60), &policies), Decision::Deny);
    assert_eq!(
        decide(&create(&["a:1"]), &silent(61), &policies),
        Decision::Warn,
        "then the state's own action applies"
    );
    assert_eq!(decide(&create(&["a:1"]), &silent(61), &freezing(&json!({"staleHold": "2h"}))), Decision::Deny);
    assert_eq!(decide(&create(&["a:1"]), &silent(61), &freezing(&json!({"on": {"Stale": "Deny"}}))), Decision::Deny);
    let verdict = evaluate(&create(&["a:1"]), &silent(20), &policies, now());
    assert_snapshot!(sentence(&verdict.findings[0]), @r#"error-budget: service "checkout" has spent its error budget of SLO "availability" (99.9 % over the last 30 days): -12.5 % is left, 125 bad events more than it allows; its deploys are frozen since 2026-11-25 07:00 UTC, measured 20 minutes ago by source "slo" (Sloth, by events); it cannot be measured since (its last sample is 20m old, more than 5m), so the freeze still holds; it lifts around 2026-11-26 14:00 UTC if errors stay at today's rate (policy "production")"#);
}

/// The clock moved to the estimate: until then the freeze holds, and there it has lifted.
#[test]
fn at_the_time_that_a_denial_names_the_freeze_has_lifted() {
    const STEP: i64 = 7_200;
    let ends_at = |index: i64| now() + TimeDelta::seconds(STEP * (index - 359));
    // A thousand events each two hours; six hundred of them bad in one slice, ten days ago.
    let slice =
        |index: i64| Slice { ends_at: ends_at(index), total: 1_000.0, bad: if index == 240 { 600.0 } else { 0.1 } };
    // What the source says when asked at a time, if what comes is as it is now.
    let measured_at = |time: DateTime<Utc>| {
        let last = time.signed_duration_since(ends_at(0)).num_seconds() / STEP;
        let slices: Vec<Slice> = (last - 359..=last).map(slice).collect();
        let mut reading = reading("checkout", "availability");
        reading.total = Some(slices.iter().map(|slice| slice.total).sum());
        reading.bad = Some(slices.iter().map(|slice| slice.bad).sum());
        reading.sampled_at = time;
        let budget = Budget::of("slo", reading, 300, time);
        Sampled { budget, history: Some(Arc::new(SlicesOf { slices, step_seconds: STEP })) }
    };
    let evidence_at = |time: DateTime<Utc>, freeze: Option<Freeze>| {
        let sampled = measured_at(time);
        let mut evidence = with(vec![sampled.budget.clone()]);
        evidence.budgets[0].lifts = vec![Lift { unfreeze_above: 0.05, at: sampled.lifts_at(0.05, time) }];
        evidence.budgets[0].freezes = freeze.map(|freeze| ("production".to_owned(), freeze)).into_iter().collect();
        evidence
    };
    let policies = freezing(&json!({}));
    let verdict = evaluate(&create(&["a:1"]), &evidence_at(now(), None), &policies, now());
    let LiftEstimate::At(lifts_at) = verdict.budgets[0].lift else { panic!("{:?}", verdict.budgets) };
    assert_eq!(verdict.decision, Decision::Deny);
    let freeze = Freeze { since: now(), last: measured_at(now()).budget };
    for hours in [1, 100, 400] {
        let time = now() + TimeDelta::hours(hours);
        assert!(time < lifts_at);
        let decision = evaluate(&create(&["a:1"]), &evidence_at(time, Some(freeze.clone())), &policies, time).decision;
        assert_eq!(decision, Decision::Deny, "after {hours} hours");
    }
    let verdict = evaluate(&create(&["a:1"]), &evidence_at(lifts_at, Some(freeze)), &policies, lifts_at);
    assert!(verdict.decision < Decision::Deny, "{:?}", verdict.budgets);
    assert_eq!(verdict.budgets[0].frozen_since, None);
}

fn grant(reason: Reason) -> Grant {
    Grant {
        name: "checkout-retry-storm".into(),
        rules: vec![Rule::ErrorBudget],
        reason,
        digest: None,
        dependency: None,
        ticket: Some("OPS-1234".into()),
        granted_by: "alice".into(),
        granted_at: now() - TimeDelta::hours(1),
        expires_at: now() + TimeDelta::hours(1),
    }
}

#[test]
fn an_exception_touches_the_decision_and_not_the_measurement() {
    let excepted = |grant: Grant| Evidence { exceptions: vec![grant], ..spent() };
    let to_new = update(&["a:1"], &["a:2"], Difference::Equal);
    let policies = freezing(&json!({}));
    let good = grant(Reason::ReliabilityFix);
    for (what, grant, decision) in [
        ("good", good.clone(), Decision::Warn),
        ("expired", Grant { expires_at: now(), ..good.clone() }, Decision::Deny),
        ("longer than may be", Grant { granted_at: now() - TimeDelta::days(8), ..good.clone() }, Decision::Deny),
        ("for another rule", Grant { rules: vec![Rule::ImageAge], ..good.clone() }, Decision::Deny),
        ("for this digest", Grant { digest: Some("a:2".into()), ..good.clone() }, Decision::Warn),
        ("for another digest", Grant { digest: Some("a:9".into()), ..good.clone() }, Decision::Deny),
    ] {
        assert_eq!(decide(&to_new, &excepted(grant), &policies), decision, "{what}");
    }
    let verdict = evaluate(&to_new, &excepted(good), &policies, now());
    assert_eq!(verdict.findings[0].exception.as_deref(), Some("checkout-retry-storm"));
    assert_eq!(verdict.budgets[0].state, BudgetState::Exhausted);
    assert_snapshot!(warnings(&verdict, &CONTEXT)[0], @r#"freshgate: "checkout" has spent its error budget (availability): -12.5 % is left; an exception lets it pass"#);
}

#[test]
fn another_teams_outage_is_a_reason_while_it_lasts() {
    let excepted = |dependency_left: f64| {
        let grant = Grant { dependency: Some("payments".into()), ..grant(Reason::DependencyOutage) };
        let budgets = vec![left("checkout", "availability", -0.125), left("payments", "availability", dependency_left)];
        Evidence { exceptions: vec![grant], ..with(budgets) }
    };
    let policies = freezing(&json!({}));
    assert_eq!(decide(&create(&["a:1"]), &excepted(-0.5), &policies), Decision::Warn);
    assert_eq!(decide(&create(&["a:1"]), &excepted(0.5), &policies), Decision::Deny);
    // Not one's own, not a freeze of long ago, and by what the policy holds budgets to.
    let mut own = excepted(-0.5);
    own.exceptions[0].dependency = Some("checkout".into());
    assert_eq!(decide(&create(&["a:1"]), &own, &policies), Decision::Deny);
    let mut forgotten = excepted(-0.5);
    let mut long_ago = left("payments", "availability", -0.5);
    long_ago.sampled_at -= TimeDelta::days(2);
    forgotten.budgets[1].budget = long_ago.clone();
    forgotten.budgets[1].freezes =
        [("production".to_owned(), Freeze { since: now() - TimeDelta::days(9), last: long_ago })].into();
    assert_eq!(decide(&create(&["a:1"]), &forgotten, &policies), Decision::Deny);
    assert_eq!(decide(&create(&["a:1"]), &excepted(0.05), &policies), Decision::Deny);
    assert_eq!(decide(&create(&["a:1"]), &excepted(0.05), &freezing(&json!({"freezeBelow": "10%"}))), Decision::Warn);
    let nobody = Evidence { budgets: spent().budgets, ..excepted(0.5) };
    assert_eq!(decide(&create(&["a:1"]), &nobody, &policies), Decision::Deny);
}

#[test]
fn what_denies_later_warns_until_then() {
    let later =
        set(&json!({"validationActions": ["Deny"], "enforceFrom": "2027-01-15", "errorBudget": {"sources": ["slo"]}}));
    let verdict = evaluate(&create(&["a:1"]), &spent(), &later, now());
    assert_eq!(verdict.decision, Decision::Warn);
    assert_snapshot!(warnings(&verdict, &CONTEXT)[0], @r#"freshgate: "checkout" has spent its error budget (availability): -12.5 % is left; refused from 2027-01-15"#);
    // Where nobody could tell whether the policy is for the namespace, it does no more than warn.
    let by_label = set(&json!({
        "match": {"namespaceSelector": {"matchLabels": {"environment": "production"}}},
        "validationActions": ["Deny"], "errorBudget": {"sources": ["slo"]},
    }));
    let unknown = Evidence { namespace_unknown: Some("the API server did not answer".into()), ..spent() };
    assert_eq!(decide(&create(&["a:1"]), &unknown, &by_label), Decision::Warn);
}

const CONTEXT: Context<'_> =
    Context { decision_id: "01JD", dry_run: false, public_url: None, contact: None, subject: None };

#[test]
fn the_denial_says_all_that_its_reader_needs() {
    let subject = create(&["a:1"]);
    let context = Context { subject: Some(&subject), ..CONTEXT };
    let verdict = evaluate(&subject, &spent(), &freezing(&json!({})), now());
    assert_snapshot!(denial(&verdict, &context).unwrap(), @r#"
    error-budget: service "checkout" has spent its error budget of SLO "availability" (99.9 % over the last 30 days): -12.5 % is left, 125 bad events more than it allows; its deploys are frozen since 2026-11-25 11:59 UTC, measured 42 seconds ago by source "slo" (Sloth, by events); it lifts around 2026-11-26 14:00 UTC if errors stay at today's rate (policy "production").
    Rollbacks, restarts, scaling and changes of resources, probes and scheduling pass meanwhile. For a fix that cannot wait, whoever may grant it makes an exception: freshgate exception new --target shop/Deployment/checkout --rule errorBudget --reason reliability-fix
    decision 01JD · ask whoever owns policy "production"
    "#);
}

#[test]
fn each_lift_and_each_unit_has_its_words() {
    let say = |change: &dyn Fn(&mut BudgetEvidence)| {
        let mut evidence = spent();
        change(&mut evidence.budgets[0]);
        let verdict = evaluate(&create(&["a:1"]), &evidence, &freezing(&json!({})), now());
        sentence(&verdict.findings[0]).split("is left, ").nth(1).unwrap_or("").to_owned()
    };
    let minutes = |one: &mut BudgetEvidence| {
        if let crate::budget::measure::Measured::Known(figures) = &mut one.budget.measured {
            figures.events = None;
            figures.weighting = Weighting::MeanOfRatios;
        }
    };
    assert_snapshot!(say(&minutes), @r#"5 bad minutes more than it allows; its deploys are frozen since 2026-11-25 11:59 UTC, measured 42 seconds ago by source "slo" (Sloth, a mean of ratios); it lifts around 2026-11-26 14:00 UTC if errors stay at today's rate (policy "production")"#);
    assert!(say(&|one| one.lifts[0].at = None).contains("; at today's rate of errors it does not lift by itself ("));
    assert!(say(&|one| one.lifts.clear()).contains("; when it lifts is not known: the source has no history of it ("));
    let month = |one: &mut BudgetEvidence| {
        let (starts_at, ends_at) = ("2026-11-01T00:00:00Z".parse().unwrap(), "2026-12-01T00:00:00Z".parse().unwrap());
        one.budget.window = Window::Calendar { written: "1M".into(), starts_at, ends_at };
        one.lifts[0].at = Some(ends_at);
    };
    assert!(say(&month).contains("; it lifts on 2026-12-01 00:00 UTC, when a new period begins ("));
}

#[test]
fn warnings_say_what_is_left_and_how_long_it_lasts() {
    let warn = |budget: Budget| {
        let verdict = evaluate(&create(&["a:1"]), &with(vec![budget]), &freezing(&json!({})), now());
        let said = warnings(&verdict, &CONTEXT);
        assert!(said[0].chars().count() <= 120, "{}", said[0]);
        said[0].clone()
    };
    // One hour of budget left, burning twice too fast.
    let mut soon = left("checkout", "availability", 1.0 / 720.0);
    if let crate::budget::measure::Measured::Known(figures) = &mut soon.measured {
        figures.burn_rate = Some(2.0);
    }
    assert_snapshot!(warn(soon), @r#"freshgate: "checkout" has 0.14 % of its error budget (availability) left, will be spent in 30 minutes"#);
    assert_snapshot!(warn(left("checkout", "availability", 0.1)), @r#"freshgate: "checkout" has 10 % of its error budget (availability) left (policy "production")"#);
    let mut stale = left("checkout", "availability", 0.5);
    stale.sampled_at -= TimeDelta::hours(2);
    assert_snapshot!(warn(stale), @r#"freshgate: "checkout" error budget (availability) is not known (Stale) (policy "production")"#);
    let long = left(&"x".repeat(200), &"y".repeat(200), 0.1);
    let evidence = Evidence { services: vec![identity(&"x".repeat(200))], ..with(vec![long]) };
    let verdict = evaluate(&create(&["a:1"]), &evidence, &freezing(&json!({})), now());
    assert!(warnings(&verdict, &CONTEXT)[0].chars().count() <= 120);
}

#[test]
fn both_rules_of_a_policy_speak() {
    let both = set(&json!({
        "validationActions": ["Deny"], "imageAge": {"maxAge": "90d", "onUnknown": "Deny"}, "errorBudget": {"sources": ["slo"]},
    }));
    let verdict = evaluate(&create(&["a:1"]), &spent(), &both, now());
    let rules: Vec<Rule> = verdict.denials().map(|finding| finding.rule).collect();
    assert_eq!(rules, [Rule::ImageAge, Rule::ErrorBudget]);
}
