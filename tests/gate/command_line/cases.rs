//! `policy test`: cases of policies, as CI runs them.

use serde_json::{Value, json};

use super::run;
use crate::reviews::{POLICY, policies};

const CASE: &str = "
apiVersion: freshgate.dev/v1alpha1
kind: PolicyTest
now: 2026-11-25T12:00:00Z
cases:
- name: an old image is refused
  manifest: {apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: app, image: 'shop/app:1'}]}}
  facts: {images: {'shop/app:1': {age: 112d}}}
  expect: {decision: deny, words: [was built 112 days ago]}
";

#[test]
fn cases_are_tried_on_the_policies_above_them() {
    let folder = policies(POLICY);
    let cases = folder.path().join("tests");
    std::fs::create_dir(&cases).unwrap();
    let file = cases.join("age.yaml");
    std::fs::write(&file, CASE).unwrap();
    let (path, name) = (folder.path().display().to_string(), file.display().to_string());
    for path in [&path, &cases.display().to_string(), &name] {
        let (code, stdout, stderr) = run(&["policy", "test", path], "");
        assert_eq!(
            (code, stdout, stderr.as_str()),
            (0, format!("pass {name}: an old image is refused\n1 passed, 0 failed\n"), "")
        );
    }
    // The gate reads top-level files alone, so the cases beside a policy are no hindrance.
    assert_eq!(run(&["policy", "lint", &path], "").0, 0);

    std::fs::write(folder.path().join("policy.yaml"), POLICY.replace("maxAge: 90d", "maxAge: 200d")).unwrap();
    let (code, stdout, _) = run(&["policy", "test", &path], "");
    assert_eq!(code, 1);
    let expected = format!(
        "fail {name}: an old image is refused\n  expected decision deny, found allow\n  expected the words \"was built 112 days ago\"\n  found nothing said\n0 passed, 1 failed\n"
    );
    assert_eq!(stdout, expected);
    let (code, stdout, _) = run(&["policy", "test", &path, "-o", "json"], "");
    assert_eq!(code, 1);
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&said[0]["name"], &said[0]["problems"][0]),
        (&json!("an old image is refused"), &json!("expected decision deny, found allow"))
    );

    std::fs::write(&file, CASE.replace("kind: PolicyTest", "kind: PolicyTest\npolicies: [gone.yaml]")).unwrap();
    let (code, _, stderr) = run(&["policy", "test", &path], "");
    assert_eq!(code, 2);
    assert!(stderr.contains("tests/gone.yaml cannot be read: No such file"), "{stderr}");
    std::fs::write(&file, "a: b\n").unwrap();
    let (code, _, stderr) = run(&["policy", "test", &path], "");
    assert_eq!(code, 2);
    assert!(stderr.contains("age.yaml:1: kind: expected PolicyTest"), "{stderr}");
}

#[test]
fn the_cases_of_the_policies_that_are_ready_to_use_pass() {
    let ready = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
    let (code, stdout, stderr) = run(&["policy", "test", ready], "");
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.ends_with("14 passed, 0 failed\n"), "{stdout}");
}
