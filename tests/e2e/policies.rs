//! Policies as objects of the API server: their schema, their status, and how they come into force.

use crate::Scenario;
use crate::bed::{Bed, POLICY, allowed, deployment};
use crate::cluster::control_plane::wait_for;

pub const SCENARIOS: &[Scenario] = &[
    ("explain_has_words", explain),
    ("a_bad_policy_is_refused_by_its_schema", schema),
    ("a_policy_comes_into_force_and_goes", comes_and_goes),
    ("a_policy_that_only_the_gate_can_see_through_says_why_and_its_last_version_stays", last_good),
];

fn explain(bed: &Bed) {
    for (field, words) in [
        ("gatepolicy.spec", "Limits how long ago an image was built."),
        ("gatepolicy.spec.imageAge.maxAge", "The longest time since an image was built"),
        ("gatepolicy.spec.imageAge.onUnknown", "What an unknown build date means"),
        ("gatepolicy.spec.imageAge.movedTags", "What a restart means whose tag now names a digest new to the workload"),
        ("gatepolicy.spec.match.namespaceSelector", "Labels that the namespace must have."),
    ] {
        let said = bed.plane.kubectl(&["explain", field]);
        let text = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "{field}: {text}");
    }
    let table = bed.plane.kubectl(&["get", "gpol", "production"]).stdout;
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "ACTIONS", "MAX-AGE", "ACCEPTED", "WORKLOADS", "WARNED", "REFUSED", "AGE"]);
}

fn schema(bed: &Bed) {
    let with = |spec: &str| {
        bed.plane.apply(&format!(
            "apiVersion: freshgate.dev/v1alpha1\nkind: GatePolicy\nmetadata: {{name: bad}}\nspec: {spec}"
        ))
    };
    for (spec, words) in [
        ("{}", "a policy needs a rule: add imageAge with a maxAge"),
        ("{imageAge: {}}", "spec.imageAge.maxAge: Required value"),
        ("{imageAge: {maxAge: ninety}}", "maxAge: write a number and a unit (y, w, d, h, m or s), as 90d or 1d12h"),
        (
            "{imageAge: {maxAge: 90d, warnBefore: x}}",
            "warnBefore: write a number and a unit (y, w, d, h, m or s), as 90d or 1d12h",
        ),
        (
            "{imageAge: {maxAge: 90d}, validationActions: [Deny, Warn]}",
            "validationActions: write [Deny], [Warn] or [Audit]",
        ),
        ("{imageAge: {maxAge: 90d}, validationActions: [Forbid]}", "supported values: \"Deny\", \"Warn\", \"Audit\""),
        ("{imageAge: {maxAge: 90d}, freshness: {}}", "unknown field \"spec.freshness\""),
        ("{imageAge: {maxAge: 90d}, dependencies: {}}", "spec.dependencies.nudges: Required value"),
        ("{imageAge: {maxAge: 90d}, dependencies: {nudges: 4}}", "should be less than or equal to 3"),
        ("{dependencies: {nudges: 0}}", "a policy needs a rule: add imageAge with a maxAge"),
        ("{errorBudget: {}}", "spec.errorBudget.sources: Required value"),
        (
            "{errorBudget: {sources: [slo], freezeBelow: some}}",
            "freezeBelow: write a number and a percent sign, as 20% or 2.5%",
        ),
        (
            "{errorBudget: {sources: [slo], on: {Exausted: Deny}}}",
            "on: name states of budgets, as {FastBurn: Deny, Stale: Warn}",
        ),
        ("{imageAge: {maxAge: 90d, overrides: [{images: [a], maxAge: never}]}}", "maxAge: write a number and a unit"),
    ] {
        let said = with(spec);
        assert!(!said.success && said.stderr.contains(words), "{spec}: {}{}", said.stdout, said.stderr);
    }
}

fn accepted(bed: &Bed, name: &str) -> (String, String) {
    let condition = |field: &str| {
        let path = format!("jsonpath={{.status.conditions[?(@.type==\"Accepted\")].{field}}}");
        bed.plane.kubectl(&["get", "gpol", name, "-o", &path]).stdout
    };
    (condition("status"), condition("message"))
}

fn comes_and_goes(bed: &Bed) {
    bed.plane.namespace("going", &["tier=going"]);
    let policy = POLICY.replace("name: production", "name: going").replace("environment: production", "tier: going");
    assert!(bed.plane.apply(&policy).success);
    wait_for("its status", || accepted(bed, "going").0 == "True");
    let old = deployment("app", &bed.old);
    let said = bed.create("going", &old);
    assert!(!said.success && said.stderr.contains("(policy \"going\")"), "{}", said.stderr);
    assert!(bed.plane.apply(&policy.replace("[Deny]", "[Warn]")).success);
    let dry =
        || bed.plane.kubectl_as("admin", &["-n", "going", "create", "--dry-run=server", "-f", "-"], &old.to_string());
    wait_for("the change", || dry().success);
    assert_eq!(allowed(&dry()), ["freshgate: app:1 was built 112 days ago, limit 90 days (policy \"going\")"]);
    assert!(bed.plane.kubectl(&["delete", "gpol", "going"]).success);
    wait_for("its end", || allowed(&dry()).is_empty());
}

fn last_good(bed: &Bed) {
    bed.plane.namespace("lasting", &["tier=lasting"]);
    let policy =
        POLICY.replace("name: production", "name: lasting").replace("environment: production", "tier: lasting");
    assert!(bed.plane.apply(&policy).success);
    wait_for("its status", || accepted(bed, "lasting").0 == "True");
    let bad = policy.replace("{maxAge: 90d}", "{maxAge: 90d, warnBefore: 120d}");
    assert!(bed.plane.apply(&bad).success, "its shape is right");
    wait_for("the status of the bad version", || accepted(bed, "lasting").0 == "False");
    assert_eq!(
        accepted(bed, "lasting").1,
        "spec.imageAge.warnBefore: a warning 120d before a limit of 90d would never be silent; make warnBefore shorter than maxAge; generation 1 stays in force."
    );
    let said = bed.create("lasting", &deployment("app", &bed.old));
    assert!(!said.success && said.stderr.contains("(policy \"lasting\")"), "{}", said.stderr);
    assert!(bed.plane.kubectl(&["delete", "gpol", "lasting"]).success);
}
