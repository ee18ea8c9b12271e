//! What cases find, what they miss, and what is said of those that are wrong.

use super::*;
use crate::policy::compile::CompiledPolicy;

const CASES: &str = r#"
apiVersion: freshgate.dev/v1alpha1
kind: PolicyTest
now: 2026-11-25T12:00:00Z
facts:
  images: {"app:old": {age: 112d}, "app:new": {age: 2d}}
  budgets: [{source: slo, service: checkout, remaining: 40%}]
cases:
"#;

fn policies() -> PolicySet {
    let spec = json!({
        "validationActions": ["Deny"], "imageAge": {"maxAge": "90d"}, "errorBudget": {"sources": ["slo"]},
    });
    PolicySet::new(vec![CompiledPolicy::compile("production", serde_json::from_value(spec).unwrap()).unwrap()])
}

/// The problems of one case, written in YAML's flow style.
fn problems(case: &str) -> Vec<String> {
    let cases = read("c.yaml", &format!("{CASES}- {{name: x, {case}}}\n")).unwrap();
    let results = cases[0].run(&policies());
    assert_eq!(results.len(), 1);
    results.into_iter().next().unwrap().problems
}

fn manifest(image: &str) -> String {
    format!(
        "manifest: {{apiVersion: v1, kind: Pod, metadata: {{name: x}}, spec: {{containers: [{{name: app, image: '{image}'}}]}}}}"
    )
}

#[test]
fn a_case_passes_only_if_all_that_it_expects_is_found() {
    let old = manifest("app:old");
    assert_eq!(
        problems(&format!("{old}, expect: {{decision: deny, change: Create, words: [was built 112 days ago]}}")),
        Vec::<String>::new()
    );
    let found =
        problems(&format!("{old}, expect: {{decision: allow, change: NewImage, words: [was built 3 days ago]}}"));
    assert_eq!(
        found[..3],
        [
            "expected decision allow, found deny",
            "expected change NewImage, found Create",
            "expected the words \"was built 3 days ago\"",
        ]
    );
    assert!(found[3].starts_with("found the words \"binary-age: image app:old@sha256:"), "{}", found[3]);
    let found = problems(&format!("{}, expect: {{decision: deny}}", manifest("app:new")));
    assert_eq!(found, ["expected decision deny, found allow", "found nothing said"]);
}

#[test]
fn facts_of_a_case_add_to_those_of_its_document() {
    let new = manifest("app:new");
    let frozen = "facts: {budgets: [{source: slo, service: pay, remaining: -12.5%, window: 7d, objective: 99.5%}]}";
    let said =
        "words: ['has spent its error budget of SLO \"availability\" (99.5 % over the last 7 days): -12.5 % is left']";
    assert_eq!(problems(&format!("{new}, {frozen}, expect: {{decision: deny, {said}}}")), Vec::<String>::new());
    let silent = "facts: {budgets: [{source: slo, service: pay, unknown: NoData}]}";
    assert_eq!(problems(&format!("{new}, {silent}, expect: {{decision: warn}}")), Vec::<String>::new());
    let younger = "facts: {images: {'app:old': {built: 2026-11-24}}}";
    assert_eq!(
        problems(&format!("{}, {younger}, expect: {{decision: allow}}", manifest("app:old"))),
        Vec::<String>::new()
    );
}

#[test]
fn an_update_and_a_whole_review_are_asked_for_too() {
    let object =
        |image: &str| format!("{{metadata: {{name: x}}, spec: {{containers: [{{name: app, image: '{image}'}}]}}}}");
    let update = format!("{}, old: {}", manifest("app:new"), object("app:old"));
    assert_eq!(problems(&format!("{update}, expect: {{decision: allow, change: NewImage}}")), Vec::<String>::new());
    let review = format!(
        "review: {{request: {{operation: UPDATE, namespace: shop, name: x, kind: {{group: '', version: v1, kind: Pod}}, object: {}, oldObject: {}}}}}",
        object("app:old"),
        object("app:new")
    );
    assert_eq!(problems(&format!("{review}, expect: {{decision: deny, change: NewImage}}")), Vec::<String>::new());
}

#[test]
fn what_cannot_be_decided_is_told() {
    for (case, said) in [
        (manifest("app:other"), "nothing is known of image \"app:other\"; write it under facts.images"),
        (
            "manifest: {apiVersion: v1, kind: ConfigMap, metadata: {name: x}}".to_owned(),
            "the gate does not judge ConfigMap, so no policy has a say",
        ),
        (
            format!("{}, facts: {{images: {{'app:old': {{age: 1d, unknown: NoDate}}}}}}", manifest("app:old")),
            "facts.images: image \"app:old\" says twice when it was built: write `built`, `age` or `unknown`, and one of them alone",
        ),
        (
            format!("{}, facts: {{budgets: [{{source: s, service: y}}]}}", manifest("app:old")),
            "facts.budgets: the budget of service \"y\": write `remaining`, as 12.5%, or `unknown`, as NoData",
        ),
        (
            "manifest: {apiVersion: v1, kind: Pod, metadata: {name: x}, spec: 3}".to_owned(),
            "request.object.spec: invalid type: integer `3`, expected a Pod spec",
        ),
    ] {
        assert_eq!(problems(&format!("{case}, expect: {{decision: allow}}")), [said]);
    }
}

#[test]
fn a_document_that_is_wrong_is_told_with_its_place() {
    let said = |text: &str| read("c.yaml", text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        said("apiVersion: freshgate.dev/v1alpha1\nkind: GatePolicy\n"),
        [
            "c.yaml:1: kind: expected PolicyTest of freshgate.dev/v1alpha1, found \"GatePolicy\" of \"freshgate.dev/v1alpha1\"; begin it with `apiVersion: freshgate.dev/v1alpha1` and `kind: PolicyTest`"
        ]
    );
    let with = |case: &str| said(&format!("{CASES}{case}"));
    assert_eq!(
        with("- name: x\n  expect: {decisions: deny}\n"),
        ["c.yaml:10: cases[0].expect.decisions: unknown field \"decisions\"; did you mean \"decision\"?"]
    );
    assert_eq!(
        with("- {name: x, expect: {decision: deny}}\n"),
        ["c.yaml:9: cases[0]: case \"x\" asks for nothing; write a `manifest` or a `review`"]
    );
    assert_eq!(
        with("- {name: x, now: soon, manifest: {}, expect: {decision: deny}}\n")[0].split_once("\"soon\"").unwrap().1,
        " is no time: write it as 2026-11-23T12:00:00Z, or as 2026-11-23"
    );
}
