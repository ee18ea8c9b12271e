//! Every problem that an exception can have, with its words.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::policy::compile::CompiledPolicy;

fn spec(changes: &Value) -> GateExceptionSpec {
    let mut spec = json!({
        "targets": [{"namespace": "shop", "kind": "Deployment", "name": "checkout"}],
        "rules": ["imageAge"], "reason": "security", "text": "closes a hole", "expiresAt": "2026-11-24T12:00:00Z"
    });
    for (field, value) in changes.as_object().unwrap() {
        spec[field] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn target(namespace: &str, kind: &str, name: &str) -> Value {
    json!({"namespace": namespace, "kind": kind, "name": name})
}

fn said(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|one| format!("{}: {}; {}", one.field, one.message, one.remedy)).collect()
}

fn shaped(changes: &Value) -> Vec<String> {
    said(&shape(&spec(changes), &WorkloadKinds::default()))
}

#[test]
fn a_good_one_has_no_problems() {
    assert_eq!(shaped(&json!({})), Vec::<String>::new());
    let hundred: Vec<Value> = (0..100).map(|index| target("shop", "Deployment", &format!("app-{index}"))).collect();
    assert_eq!(shaped(&json!({"targets": hundred})), Vec::<String>::new());
    let digest = format!("sha256:{}", "0a".repeat(32));
    assert_eq!(
        shaped(&json!({"digest": digest, "ticket": "OPS-1", "rules": ["imageAge", "errorBudget"]})),
        Vec::<String>::new()
    );
    let outage = json!({"reason": "dependency-outage", "dependency": {"service": "payments"}});
    assert_eq!(shaped(&outage), Vec::<String>::new());
}

#[test]
fn what_is_wrong_with_its_shape_names_field_and_remedy() {
    let many: Vec<Value> = (0..101).map(|index| target("shop", "Deployment", &format!("app-{index}"))).collect();
    let checkout = target("shop", "Deployment", "checkout");
    for (changes, words) in [
        (
            json!({"targets": []}),
            "spec.targets: it names no workload; write at least one, as {namespace: shop, kind: Deployment, name: checkout}",
        ),
        (
            json!({"targets": many}),
            "spec.targets: there are 101 targets, and one exception may have 100; make several exceptions, or ask for the policy to be changed",
        ),
        (
            json!({"targets": [target("shop", "Deployment", "check*")]}),
            r#"spec.targets[0].name: "check*" is a glob, and an exception is for exact workloads; write one target for each workload"#,
        ),
        (
            json!({"targets": [target("*", "Deployment", "checkout")]}),
            r#"spec.targets[0].namespace: "*" is a glob, and an exception is for exact workloads; write one target for each workload"#,
        ),
        (
            json!({"targets": [target("", "Deployment", "checkout")]}),
            r#"spec.targets[0].namespace: "" is no name of a Kubernetes object; write the exact name"#,
        ),
        (
            json!({"targets": [target("shop", "deployment", "checkout")]}),
            r#"spec.targets[0].kind: "deployment" is no kind that the gate judges; did you mean "Deployment"?"#,
        ),
        (
            json!({"targets": [checkout, checkout]}),
            "spec.targets[1]: Deployment shop/checkout stands there twice; write it once",
        ),
        (json!({"rules": []}), "spec.rules: it names no rule; write [imageAge], [errorBudget], or both"),
        (json!({"rules": ["imageAge", "imageAge"]}), "spec.rules: a rule stands there twice; write it once"),
        (json!({"text": " "}), "spec.text: it is empty; say in a sentence why the exception is needed"),
        (
            json!({"text": "x".repeat(1_025)}),
            "spec.text: it is longer than 1024 characters; say it shorter, and name a ticket that says more",
        ),
        (
            json!({"ticket": "a\nb"}),
            "spec.ticket: it is empty, too long or not on one line; write the ticket's name or address",
        ),
        (
            json!({"digest": "sha256:12"}),
            r#"spec.digest: "sha256:12" is no digest; write sha256: and 64 lower-case hexadecimal digits, or leave it out"#,
        ),
        (
            json!({"reason": "dependency-outage"}),
            "spec.dependency: it is missing, and the reason is dependency-outage; name the service that is out, as `dependency: {service: payments}`",
        ),
        (
            json!({"dependency": {"service": "payments"}}),
            "spec.dependency: the reason is security, and a dependency goes with dependency-outage alone; leave it out, or change the reason",
        ),
    ] {
        assert_eq!(shaped(&changes), [words]);
    }
}

fn at(written: &str) -> DateTime<Utc> {
    written.parse().unwrap()
}

fn policies(specs: &[(&str, Value)]) -> PolicySet {
    let compiled = specs.iter().map(|(name, more)| {
        let mut spec = json!({"imageAge": {"maxAge": "90d"}});
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        CompiledPolicy::compile(name, serde_json::from_value(spec).unwrap()).unwrap()
    });
    PolicySet::new(compiled.collect())
}

fn limit_of(policies: &PolicySet, labels: NamespaceLabels<'_>) -> (String, Option<String>) {
    let two = json!({"targets": [target("shop", "Deployment", "checkout"), target("pay", "Job", "bill")]});
    let limit = limit(&spec(&two), policies, |_| labels);
    (limit.most.to_string(), limit.policy)
}

#[test]
fn the_strictest_policy_of_any_target_limits_it() {
    let set = |most: &str| json!({"exceptions": {"maxDuration": {"security": most}}});
    let only = |namespace: &str, most: &str| json!({"match": {"namespaces": [namespace]}, "exceptions": {"maxDuration": {"security": most}}});
    let named = |name: &str| Some(name.to_owned());
    let of = |specs: &[(&str, Value)]| limit_of(&policies(specs), NamespaceLabels::NameOnly);
    assert_eq!(of(&[]), ("14d".into(), None));
    assert_eq!(of(&[("a", json!({}))]), ("14d".into(), None));
    assert_eq!(of(&[("a", set("30d"))]), ("30d".into(), named("a")));
    assert_eq!(of(&[("a", set("30d")), ("b", json!({}))]), ("14d".into(), None), "one does not loosen another");
    assert_eq!(of(&[("a", set("3d")), ("b", set("2d"))]), ("2d".into(), named("b")));
    assert_eq!(of(&[("a", only("pay", "1d"))]), ("1d".into(), named("a")), "the second target counts too");
    assert_eq!(of(&[("a", only("elsewhere", "1d"))]), ("14d".into(), None));
    assert_eq!(of(&[("a", json!({"exceptions": {"maxDuration": {"incident": "1h"}}}))]), ("14d".into(), None));
}

#[test]
fn where_labels_are_unknown_every_policy_that_selects_by_them_counts() {
    let selects = json!({
        "match": {"namespaceSelector": {"matchLabels": {"tier": "gold"}}},
        "exceptions": {"maxDuration": {"security": "1d"}}
    });
    let policies = policies(&[("gold", selects)]);
    let labels = |tier: &str| BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
    assert_eq!(limit_of(&policies, NamespaceLabels::Known(&labels("gold"))).0, "1d");
    assert_eq!(limit_of(&policies, NamespaceLabels::Unknown).0, "1d");
    assert_eq!(limit_of(&policies, NamespaceLabels::Known(&labels("tin"))).0, "14d");
}

#[test]
fn what_is_wrong_with_its_end_says_until_when_it_may_last() {
    let now = at("2026-11-20T12:00:00Z");
    let default = |reason: Reason| Limit { most: default_most(reason), policy: None };
    let check = |changes: &Value, limit: &Limit| {
        duration(&spec(changes), limit, now, now).map(|problem| said(&[problem]).remove(0))
    };
    assert_eq!(check(&json!({}), &default(Reason::Security)), None);
    assert_eq!(check(&json!({"expiresAt": "2026-12-04T12:00:00Z"}), &default(Reason::Security)), None, "to the second");
    for (changes, limit, words) in [
        (
            json!({"expiresAt": "2026-11-20T12:00:00Z"}),
            default(Reason::Security),
            "spec.expiresAt: 2026-11-20T12:00:00Z is past; write 2026-12-04T12:00:00Z or earlier",
        ),
        (
            json!({"expiresAt": "2026-12-04T12:00:01Z"}),
            default(Reason::Security),
            "spec.expiresAt: the exception would last just over 14 days, and one with reason security may last 14 days here; write 2026-12-04T12:00:00Z or earlier",
        ),
        (
            json!({"reason": "incident"}),
            default(Reason::Incident),
            "spec.expiresAt: the exception would last 4 days, and one with reason incident may last 4 hours here; write 2026-11-20T16:00:00Z or earlier",
        ),
        (
            json!({}),
            Limit { most: PolicyDuration::days(3), policy: Some("production".into()) },
            r#"spec.expiresAt: the exception would last 4 days, and one with reason security may last 3 days here (policy "production"); write 2026-11-23T12:00:00Z or earlier"#,
        ),
    ] {
        assert_eq!(check(&changes, &limit).as_deref(), Some(words));
    }
}

proptest! {
    #[test]
    fn no_name_with_anything_but_an_exact_name_passes(name in "\\PC{0,80}") {
        let problems = shape(&spec(&json!({"targets": [target("shop", "Deployment", &name)]})), &WorkloadKinds::default());
        let exact = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
            && !name.starts_with(['-', '.']) && !name.ends_with(['-', '.']);
        prop_assert_eq!(problems.is_empty(), exact);
    }

    #[test]
    fn no_exception_outlasts_its_limit(lasts in -1_000_000_i64..5_000_000, most_hours in 1_i64..1_000) {
        let now = at("2026-11-20T12:00:00Z");
        let expires = now + chrono::TimeDelta::seconds(lasts);
        let limit = Limit { most: PolicyDuration::hours(most_hours), policy: None };
        let good = duration(&spec(&json!({"expiresAt": expires})), &limit, now, now).is_none();
        prop_assert_eq!(good, lasts > 0 && lasts <= most_hours * 3_600);
    }
}
