//! Which policies are for a workload, and every problem that a policy can have, with its words.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn spec(matches: &Value) -> GatePolicySpec {
    serde_json::from_value(json!({"match": matches, "imageAge": {"maxAge": "90d"}})).unwrap()
}

fn policy(name: &str, matches: &Value) -> CompiledPolicy {
    CompiledPolicy::compile(name, spec(matches)).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Whether a policy is for a Deployment in `shop`, whose namespace has these labels.
fn is_for_shop(matches: &Value, of_shop: Option<&BTreeMap<String, String>>) -> bool {
    let set = PolicySet::new(vec![policy("p", matches)]);
    let labels = of_shop.map_or(NamespaceLabels::NameOnly, NamespaceLabels::Known);
    !set.matching("shop", labels, "Deployment").is_empty()
}

#[test]
fn a_policy_is_for_what_its_match_says() {
    let of_shop = labels(&[("environment", "production"), ("team", "shop")]);
    let requires = |key: &str, operator: &str, values: &[&str]| {
        let requirement = if values.is_empty() {
            json!({"key": key, "operator": operator})
        } else {
            json!({"key": key, "operator": operator, "values": values})
        };
        json!({"namespaceSelector": {"matchExpressions": [requirement]}})
    };
    for (matches, expected) in [
        (json!(null), true),
        (json!({}), true),
        (json!({"namespaceSelector": {}}), true),
        (json!({"namespaceSelector": {"matchLabels": {"environment": "production"}}}), true),
        (json!({"namespaceSelector": {"matchLabels": {"environment": "test"}}}), false),
        (json!({"namespaceSelector": {"matchLabels": {"environment": "production", "team": "pay"}}}), false),
        (json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}), true),
        (json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "pay"}}}), false),
        (requires("environment", "In", &["test", "production"]), true),
        (requires("environment", "In", &["test"]), false),
        (requires("nowhere", "In", &["test"]), false),
        (requires("environment", "NotIn", &["test"]), true),
        (requires("environment", "NotIn", &["production"]), false),
        (requires("nowhere", "NotIn", &["test"]), true),
        (requires("environment", "Exists", &[]), true),
        (requires("nowhere", "Exists", &[]), false),
        (requires("environment", "DoesNotExist", &[]), false),
        (requires("nowhere", "DoesNotExist", &[]), true),
        (requires("kubernetes.io/metadata.name", "NotIn", &["shop"]), false),
        (json!({"namespaces": ["shop"]}), true),
        (json!({"namespaces": ["pay", "sh*"]}), true),
        (json!({"namespaces": ["shop-*"]}), false),
        (json!({"excludeNamespaces": ["shop"]}), false),
        (json!({"excludeNamespaces": ["*op"]}), false),
        (json!({"excludeNamespaces": ["pay"]}), true),
        (json!({"namespaces": ["*"], "excludeNamespaces": ["shop"]}), false),
        (json!({"kinds": ["Deployment"]}), true),
        (json!({"kinds": ["Job", "CronJob"]}), false),
        (json!({"kinds": ["Deployment"], "namespaces": ["pay"]}), false),
    ] {
        assert_eq!(is_for_shop(&matches, Some(&of_shop)), expected, "{matches}");
    }
}

#[test]
fn of_a_namespace_nobody_can_ask_about_only_the_name_is_known() {
    for (matches, expected) in [
        (json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}), true),
        (json!({"namespaceSelector": {"matchLabels": {"environment": "production"}}}), false),
        (json!({"namespaces": ["shop"]}), true),
        (json!({}), true),
    ] {
        assert_eq!(is_for_shop(&matches, None), expected, "{matches}");
    }
}

/// Threat T18: a namespace cannot be relabelled to another's name.
#[test]
fn the_name_is_the_namespaces_own_whatever_its_labels_say() {
    let forged = labels(&[("kubernetes.io/metadata.name", "kube-system")]);
    let named = |name: &str| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
    assert!(is_for_shop(&named("shop"), Some(&forged)));
    assert!(!is_for_shop(&named("kube-system"), Some(&forged)));
}

#[test]
fn policies_come_in_the_order_of_their_names() {
    let set = PolicySet::new(vec![
        policy("c", &json!({})),
        policy("a", &json!({"namespaces": ["shop"]})),
        policy("b", &json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}})),
    ]);
    let names: Vec<_> =
        set.matching("shop", NamespaceLabels::NameOnly, "Job").iter().map(|one| one.policy.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!((set.len(), set.is_empty()), (3, false));
}

#[test]
fn what_selects_by_labels_that_nobody_could_read_may_be_for_a_workload() {
    let set = PolicySet::new(vec![
        policy("by-label", &json!({"namespaceSelector": {"matchLabels": {"environment": "production"}}})),
        policy(
            "by-label-elsewhere",
            &json!({"namespaces": ["bank"], "namespaceSelector": {"matchLabels": {"a": "b"}}}),
        ),
        policy("by-label-of-jobs", &json!({"kinds": ["Job"], "namespaceSelector": {"matchLabels": {"a": "b"}}})),
        policy("by-name", &json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}})),
        policy("by-name-elsewhere", &json!({"namespaces": ["bank"]})),
        policy("everywhere", &json!({})),
    ]);
    let found = set.matching("shop", NamespaceLabels::Unknown, "Deployment");
    let found: Vec<_> = found.iter().map(|one| (one.policy.name.as_str(), one.certain)).collect();
    assert_eq!(found, [("by-label", false), ("by-name", true), ("everywhere", true)]);
}

#[test]
fn the_same_rules_have_the_same_revision() {
    let revision =
        |name: &str, text: &str| CompiledPolicy::compile(name, serde_json::from_str(text).unwrap()).unwrap().revision;
    let one = revision("a", r#"{"match":{"namespaces":["x"]},"imageAge":{"maxAge":"90d"}}"#);
    assert_eq!(one.len(), 64);
    assert_eq!(one, revision("b", r#"{"imageAge":{"maxAge":"90d"},"match":{"namespaces":["x"]}}"#));
    assert_ne!(one, revision("a", r#"{"match":{"namespaces":["x"]},"imageAge":{"maxAge":"91d"}}"#));
    assert_ne!(one, revision("a", r#"{"match":{"namespaces":["y"]},"imageAge":{"maxAge":"90d"}}"#));
}

#[test]
fn every_problem_names_its_field_and_what_to_write_instead() {
    let with = |rule: Value| {
        let mut spec = json!({"imageAge": {"maxAge": "90d"}});
        spec["imageAge"].as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
        spec
    };
    let matching = |matches: Value| json!({"match": matches, "imageAge": {"maxAge": "90d"}});
    let entry = |entry: Value| with(json!({"overrides": [{"images": ["a"], "maxAge": "off"}, entry]}));
    for (spec, field, message, remedy) in [
        (json!({}), "spec", "it has no rule, so it would do nothing", "add `imageAge: {maxAge: 90d}`"),
        (
            json!({"dependencies": {"nudges": 0}}),
            "spec",
            "it has no rule, so it would do nothing",
            "add `imageAge: {maxAge: 90d}`",
        ),
        (
            json!({"imageAge": {"maxAge": "90d"}, "dependencies": {"nudges": 4}}),
            "spec.dependencies.nudges",
            "4 is no number of warnings that a deploy can have",
            "write 0 to 3",
        ),
        (
            json!({"imageAge": {"maxAge": "90d"}, "dependencies": {"nudges": -1}}),
            "spec.dependencies.nudges",
            "-1 is no number of warnings that a deploy can have",
            "write 0 to 3",
        ),
        (
            matching(json!({"kinds": ["Deploymnet"]})),
            "spec.match.kinds",
            "there is no kind \"Deploymnet\"",
            "did you mean \"Deployment\"?",
        ),
        (
            matching(json!({"namespaces": ["Shop"]})),
            "spec.match.namespaces",
            "\"Shop\" can be no namespace's name",
            "write a name or a glob of lower case letters, digits, `-` and `*`",
        ),
        (
            matching(json!({"excludeNamespaces": [""]})),
            "spec.match.excludeNamespaces",
            "\"\" can be no namespace's name",
            "write a name or a glob of lower case letters, digits, `-` and `*`",
        ),
        (
            matching(json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}})),
            "spec.match.namespaceSelector.matchExpressions",
            "the operator of \"a\" and its values do not go together",
            "In and NotIn want values, Exists and DoesNotExist want none",
        ),
        (
            matching(
                json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}),
            ),
            "spec.match.namespaceSelector.matchExpressions",
            "the operator of \"a\" and its values do not go together",
            "In and NotIn want values, Exists and DoesNotExist want none",
        ),
        (
            json!({"validationActions": [], "imageAge": {"maxAge": "90d"}}),
            "spec.validationActions",
            "it is empty",
            "write [Deny], [Warn] or [Audit]",
        ),
        (
            json!({"validationActions": ["Deny", "Deny"], "imageAge": {"maxAge": "90d"}}),
            "spec.validationActions",
            "an action stands there twice",
            "write it once",
        ),
        (
            with(json!({"validationActions": ["Deny", "Warn"]})),
            "spec.imageAge.validationActions",
            "Deny and Warn together say everything twice",
            "write [Deny]: it warns as well while a limit comes near",
        ),
        (
            with(json!({"warnBefore": "90d"})),
            "spec.imageAge.warnBefore",
            "a warning 90d before a limit of 90d would never be silent",
            "make warnBefore shorter than maxAge",
        ),
        (
            with(json!({"onUnknown": {"IntegrityFailure": "Allow"}})),
            "spec.imageAge.onUnknown.IntegrityFailure",
            "bytes that do not match their digest are refused whatever is written here",
            "leave it out",
        ),
        (
            with(json!({"platforms": []})),
            "spec.imageAge.platforms",
            "the list is empty",
            "write Nodes, All, or a list as [linux/amd64]",
        ),
        (
            with(json!({"platforms": ["linux"]})),
            "spec.imageAge.platforms",
            "\"linux\" is no platform",
            "write os/architecture[/variant], as linux/arm64",
        ),
        (
            entry(json!({"images": [], "maxAge": "1d"})),
            "spec.imageAge.overrides[1].images",
            "it names no image",
            "write globs, as [registry.example/platform/*]",
        ),
        (
            entry(json!({"images": ["b"]})),
            "spec.imageAge.overrides[1].maxAge",
            "the entry changes nothing",
            "write maxAge (a duration, or off), warnBefore or onUnknown",
        ),
        (
            entry(json!({"images": ["b"], "maxAge": "7d", "warnBefore": "8d"})),
            "spec.imageAge.overrides[1].warnBefore",
            "a warning 8d before a limit of 7d would never be silent",
            "make warnBefore shorter than maxAge",
        ),
        (
            entry(json!({"images": ["b"], "warnBefore": "90d"})),
            "spec.imageAge.overrides[1].warnBefore",
            "a warning 90d before a limit of 90d would never be silent",
            "make warnBefore shorter than maxAge",
        ),
        (
            entry(json!({"images": ["b"], "maxAge": "off", "warnBefore": "8d"})),
            "spec.imageAge.overrides[1].warnBefore",
            "there is no limit to warn of, because maxAge is off",
            "leave it out, or write a limit",
        ),
        (
            entry(json!({"images": ["b"], "onUnknown": {"IntegrityFailure": "Warn"}})),
            "spec.imageAge.overrides[1].onUnknown.IntegrityFailure",
            "bytes that do not match their digest are refused whatever is written here",
            "leave it out",
        ),
    ] {
        let problems = CompiledPolicy::compile("p", serde_json::from_value(spec.clone()).unwrap()).unwrap_err();
        assert_eq!(problems, [Problem::new(field, message, remedy)], "{spec}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let spec = json!({
        "match": {"kinds": ["deployment"], "namespaces": ["a.b"]},
        "validationActions": [],
        "imageAge": {"maxAge": "7d", "warnBefore": "9d", "platforms": []},
    });
    let problems = CompiledPolicy::compile("p", serde_json::from_value(spec).unwrap()).unwrap_err();
    let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
    let expected = [
        "spec.match.kinds",
        "spec.match.namespaces",
        "spec.validationActions",
        "spec.imageAge.warnBefore",
        "spec.imageAge.platforms",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn what_is_lawful_is_accepted() {
    for spec in [
        json!({"imageAge": {"maxAge": "90d", "warnBefore": "89d"}}),
        json!({"validationActions": ["Deny", "Audit"], "imageAge": {"maxAge": "90d"}}),
        json!({"match": {"kinds": ["CloneSet", "Rollout"]}, "imageAge": {"maxAge": "90d"}}),
        json!({"imageAge": {"maxAge": "90d", "onUnknown": {"IntegrityFailure": "Deny", "NoDate": "Allow"}}}),
        json!({"imageAge": {"maxAge": "90d", "platforms": ["linux/arm/v7"]}}),
        json!({"imageAge": {"maxAge": "90d", "warnBefore": "30d", "overrides": [{"images": ["a"], "maxAge": "7d"}]}}),
    ] {
        let compiled = CompiledPolicy::compile("p", serde_json::from_value(spec.clone()).unwrap());
        assert_eq!(compiled.map(|policy| policy.advice()), Ok(vec![]), "{spec}");
    }
}

#[test]
fn what_is_unwise_is_advised_against() {
    let advice = |spec: Value| {
        let policy = CompiledPolicy::compile("p", serde_json::from_value(spec).unwrap()).unwrap();
        policy.advice().into_iter().map(|advice| (advice.field, advice.message)).collect::<Vec<_>>()
    };
    let by_label = json!({"matchLabels": {"environment": "production", "kubernetes.io/metadata.name": "shop"}});
    assert_eq!(
        advice(json!({"match": {"namespaceSelector": by_label}, "imageAge": {"maxAge": "90d"}})),
        [(
            "spec.match.namespaceSelector".to_owned(),
            "whoever may edit a namespace's labels decides by \"environment\" whether the policy is for it".to_owned()
        )]
    );
    let no_effect = ("spec.enforceFrom".to_owned(), "it has no effect, because nothing here denies".to_owned());
    assert_eq!(advice(json!({"enforceFrom": "2027-01-15", "imageAge": {"maxAge": "90d"}})), [no_effect]);
    assert_eq!(
        advice(json!({"enforceFrom": "2027-01-15", "imageAge": {"maxAge": "90d", "validationActions": ["Deny"]}})),
        []
    );
}

#[test]
fn a_selector_that_needs_a_cluster_is_told() {
    for (matches, needed) in [
        (json!(null), false),
        (json!({"namespaces": ["a"]}), false),
        (json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}}), false),
        (json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}), true),
        (json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}), true),
    ] {
        assert_eq!(needs_namespace_labels(&spec(&matches)), needed, "{matches}");
    }
}

fn any_match() -> impl Strategy<Value = Value> {
    let globs = || proptest::collection::vec("[a-b*]{1,2}", 0..3);
    let label = proptest::option::of((prop_oneof![Just("x"), Just("y"), Just(NAMESPACE_NAME_LABEL)], "[a-b]{1,2}"));
    let operator = proptest::option::of(prop_oneof![Just("Exists"), Just("DoesNotExist")]);
    let kinds = proptest::collection::vec(prop_oneof![Just("Pod"), Just("Job")], 0..2);
    (globs(), globs(), label, operator, kinds).prop_map(|(namespaces, excluded, label, operator, kinds)| {
        let match_labels: BTreeMap<_, _> = label.into_iter().collect();
        let expressions: Vec<_> =
            operator.into_iter().map(|operator| json!({"key": "y", "operator": operator})).collect();
        json!({
            "namespaceSelector": {"matchLabels": match_labels, "matchExpressions": expressions},
            "namespaces": namespaces, "excludeNamespaces": excluded, "kinds": kinds,
        })
    })
}

proptest! {
    /// The index leaves out nothing and adds nothing.
    #[test]
    fn the_index_finds_what_looking_at_each_would(
        matches in proptest::collection::vec(any_match(), 0..12),
        namespace in "[a-b]{1,2}",
        of_namespace in proptest::option::of(proptest::collection::btree_map(
            prop_oneof![Just("x".to_owned()), Just("y".to_owned()), Just(NAMESPACE_NAME_LABEL.to_owned())], "[a-b]{1,2}", 0..3,
        )),
        kind in prop_oneof![Just("Pod"), Just("Job")],
    ) {
        let set = PolicySet::new(
            matches.iter().enumerate().map(|(index, matches)| policy(&format!("p{index:02}"), matches)).collect(),
        );
        let known = of_namespace.clone().unwrap_or_default();
        let naive: Vec<_> = set.iter().filter(|policy| policy.is_for(&namespace, &known, kind)).map(|one| &one.name).collect();
        let labels = of_namespace.as_ref().map_or(NamespaceLabels::NameOnly, NamespaceLabels::Known);
        let found: Vec<_> =
            set.matching(&namespace, labels, kind).into_iter().map(|one| &one.policy.name).collect();
        prop_assert_eq!(found, naive);
    }
}

#[test]
fn the_largest_number_of_nudges_counts_and_what_is_uncertain_says_nothing() {
    let nudging = |name: &str, nudges: i32| {
        let spec = json!({"dependencies": {"nudges": nudges}, "imageAge": {"maxAge": "90d"}});
        CompiledPolicy::compile(name, serde_json::from_value(spec).unwrap()).unwrap()
    };
    let (one, two, none) = (nudging("one", 1), nudging("two", 2), policy("none", &json!(null)));
    let matching = |policy, certain| Matching { policy, certain };
    assert_eq!(nudges(&[matching(&one, true), matching(&two, true), matching(&none, true)]), 2);
    assert_eq!(nudges(&[matching(&one, true), matching(&two, false)]), 1);
    assert_eq!(nudges(&[matching(&none, true)]), 0);
    // It is a rule of its own: a policy may do no more than tell.
    let alone = serde_json::from_value(json!({"dependencies": {"nudges": 1}})).unwrap();
    assert!(CompiledPolicy::compile("alone", alone).unwrap().rules().is_empty());
}
