//! Other policies, tried on what a gate recorded.

use super::*;
use crate::reviews::policies;

fn policy(spec: &str) -> String {
    format!("apiVersion: freshgate.dev/v1alpha1\nkind: GatePolicy\nmetadata: {{name: tried}}\nspec: {spec}\n")
}

fn simulate(scene: &Scene, spec: &str, more: &[&str]) -> (i32, String, String) {
    let folder = policies(&policy(spec));
    let (folder, store) = (folder.path().display().to_string(), scene.gate.store());
    run(&[&["simulate", "--policies", &folder, "--store", &store], more].concat(), "")
}

#[tokio::test(flavor = "multi_thread")]
async fn other_policies_are_tried_on_what_was_recorded() {
    let scene = Scene::play().await;
    let json = |spec: &str, more: &[&str]| -> (i32, Value) {
        let (code, stdout, stderr) = simulate(&scene, spec, &[&["-o", "json"], more].concat());
        assert_eq!(stderr, "");
        (code, serde_json::from_str(&stdout).unwrap())
    };
    // The same limits: nothing turns. A repeat counts as the refusal that it was.
    let same = "{validationActions: [Deny], imageAge: {maxAge: 90d, onUnknown: {NotFound: Deny}}, errorBudget: {sources: [snapshot]}}";
    let (code, found) = json(same, &["--fail-on-new-denials"]);
    let figures = |found: &Value| {
        ["decisions", "deniedThen", "deniedNow", "newDenials", "liftedDenials", "unknown", "passedOver"]
            .map(|name| found[name].as_u64().unwrap())
    };
    assert_eq!((code, figures(&found)), (0, [11, 4, 4, 0, 0, 0, 0]), "{found}");

    // A stricter limit, without the freeze: two more workloads are refused, and the one that was frozen is not.
    let stricter = "{validationActions: [Deny], imageAge: {maxAge: 60d, onUnknown: {NotFound: Deny}}}";
    let (code, found) = json(stricter, &["--fail-on-new-denials"]);
    assert_eq!((code, figures(&found)), (1, [11, 4, 5, 2, 1, 0, 0]), "{found}");
    assert_eq!(
        found["byRule"],
        json!([
            {"namespace": "shop", "rule": "imageAge", "newDenials": 2, "liftedDenials": 0},
            {"namespace": "shop", "rule": "errorBudget", "newDenials": 0, "liftedDenials": 1},
        ])
    );
    let hit: Vec<&str> =
        found["firstHit"].as_array().unwrap().iter().map(|hit| hit["workload"].as_str().unwrap()).collect();
    assert_eq!(hit, ["Deployment shop/ageing", "Deployment shop/web"]);
    assert_eq!(found["firstHit"][0]["decisionId"], scene.ids["ageing"].as_str());
    let why = found["firstHit"][0]["why"].as_str().unwrap();
    assert!(why.contains("was built 80 days ago") && why.contains("the limit here is 60 days"), "{why}");

    let (code, stdout, _) = simulate(&scene, stricter, &[]);
    assert_eq!(code, 0, "it only fails when it is asked to");
    assert!(
        stdout.starts_with(
            "11 decisions: 4 refusals then, 5 with these policies; 4 warnings then, 2 with these policies\n2 more refused, 1 no longer refused\n"
        ),
        "{stdout}"
    );
    assert!(
        stdout.contains("NAMESPACE") && stdout.contains("+2") && stdout.contains("Deployment shop/web"),
        "{stdout}"
    );

    // What was not measured then cannot be judged now; what is refused for its age is refused all the same.
    let unmeasured = "{validationActions: [Deny], imageAge: {maxAge: 90d, onUnknown: {NotFound: Deny}}, errorBudget: {sources: [another]}}";
    let (_, found) = json(unmeasured, &[]);
    assert!(found["unknown"].as_u64().unwrap() > 0, "{found}");
    assert_eq!(found["deniedNow"], 3, "{found}");

    let (_, found) = json(same, &["--since", "2026-01-01", "--until", "2026-01-02"]);
    assert_eq!(figures(&found), [0; 7]);
    let (code, _, stderr) = simulate(&scene, same, &["--since", "someday"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--since \"someday\" is no time"), "{stderr}");
}
