//! What `check` makes of manifests: nothing of them is passed over in silence.

use super::*;

/// Refused without asking anybody: the policy denies what has no known date, and this address is asked by nobody.
const UNKNOWN: &str = "169.254.169.254/x:1";

/// `check` of some manifests from stdin, in JSON.
fn check(policy: &str, manifests: &str, more: &[&str]) -> (i32, Vec<Value>, String) {
    let folder = policies(policy);
    let folder = folder.path().display().to_string();
    let args = [&["check", "-f", "-", "--policies", &folder, "-o", "json"], more].concat();
    let (code, stdout, stderr) = run(&args, manifests);
    (code, serde_json::from_str(&stdout).unwrap_or_default(), stderr)
}

fn deployment(name: &str, indented: &str) -> String {
    format!(
        "metadata: {{name: {name}}}\nspec: {{template: {{spec: {{containers: [{{name: app, image: '{UNKNOWN}'}}]}}}}}}"
    )
    .replace('\n', &format!("\n{indented}"))
}

#[test]
fn labels_that_are_not_known_are_told_for_each_namespace_once() {
    let selecting = POLICY.replace(
        "spec:\n",
        "spec:\n  match: {namespaceSelector: {matchLabels: {tier: gold}}, excludeNamespaces: [none]}\n",
    );
    let namespaced = |name: &str, namespace: &str| {
        format!("---\n{}", pod(name, UNKNOWN).replace("{name:", &format!("{{namespace: {namespace}, name:")))
            .replace(&format!("[{{namespace: {namespace}, name: app"), "[{name: app")
    };
    let other = "apiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {tier: gold}}\n";
    let manifests = [
        other.to_owned(),
        namespaced("a", "shop"),
        namespaced("b", "shop"),
        namespaced("c", "bank"),
        namespaced("d", "none"),
        namespaced("e", "other"),
    ];
    let (code, said, stderr) = check(&selecting, &manifests.concat(), &[]);
    let warning = |namespace: &str| {
        format!(
            "warning: the labels of namespace {namespace:?} are not known here, and policy \"production\" may be for it by them; give --namespace-labels, or its Namespace object among the manifests\n"
        )
    };
    assert_eq!(stderr, warning("bank") + &warning("shop"));
    assert_eq!(code, 1, "in the namespace that is known it counts");
    assert_eq!(
        said.iter().map(|one| &one["decision"]).collect::<Vec<_>>(),
        ["allow", "allow", "allow", "allow", "deny"]
    );
    let (code, _, stderr) = check(&selecting, &manifests.concat(), &["--namespace-labels", "tier=iron"]);
    assert_eq!((code, stderr.as_str()), (1, ""));
}

#[test]
fn a_label_that_is_no_text_is_told_and_takes_no_other_with_it() {
    let selecting =
        POLICY.replace("spec:\n", "spec:\n  match: {namespaceSelector: {matchLabels: {environment: production}}}\n");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  labels:\n    environment: production\n    a.example/x: 3\n---\n";
    let (code, _, stderr) = check(&selecting, namespace, &[]);
    let told = "error: stdin:7: Namespace default: metadata.labels[\"a.example/x\"]: a label is a text, not 3; write it in quotes\n";
    assert_eq!((code, stderr.as_str()), (2, told));
    let (code, _, stderr) = check(&selecting, &(namespace.to_owned() + &pod("x", UNKNOWN)), &[]);
    assert_eq!((code, stderr.as_str()), (1, told), "the other label still selects, and refused outranks unreadable");
    let (code, _, stderr) =
        check(&selecting, "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  labels: []\n", &[]);
    assert_eq!(
        (code, stderr.as_str()),
        (2, "error: stdin:5: Namespace default: metadata.labels: labels are a map of texts, not a list\n")
    );
}

#[test]
fn lists_are_taken_apart_or_told() {
    for (list, told) in [
        ("apiVersion: v1\nkind: List\nitems: foo\n", "stdin:3: the items of a List are a list, not the text \"foo\""),
        ("apiVersion: v1\nkind: List\n", "stdin:1: a List without items; add `items: []` if it is meant"),
        ("apiVersion: v1\nkind: List\nitems:\n- 3\n", "stdin:4: it is no Kubernetes object but 3"),
        (
            "apiVersion: v1\nkind: List\nitems:\n- {kind: Pod}\n",
            "stdin:4: it is no Kubernetes object: apiVersion or kind is missing",
        ),
        (
            "apiVersion: apps/v1\nkind: DeploymentList\nitems: {}\n",
            "stdin:3: the items of a DeploymentList are a list, not a map",
        ),
    ] {
        let (code, _, stderr) = check(POLICY, list, &[]);
        assert_eq!((code, stderr), (2, format!("error: {told}\n")), "{list}");
    }
    let other = "apiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: x}\n";
    assert_eq!(check(POLICY, other, &[]), (0, Vec::new(), String::new()));
    // As kubectl reads it: the items are what the list says.
    let typed = format!("apiVersion: apps/v1\nkind: DeploymentList\nitems:\n- {}\n", deployment("listed", "  "));
    let (code, said, stderr) = check(POLICY, &typed, &[]);
    assert_eq!((code, stderr.as_str()), (1, ""));
    assert_eq!((&said[0]["kind"], &said[0]["name"]), (&"Deployment".into(), &"listed".into()));
}

#[test]
fn nothing_to_check_is_told() {
    for nothing in ["", "\n", "# Source: chart\n---\n", "---\nnull\n", "apiVersion: v1\nkind: List\nitems: null\n"] {
        let (code, _, stderr) = check(POLICY, nothing, &[]);
        let told = "warning: there is nothing in stdin, so nothing of it was checked; did what should write it fail?\n";
        assert_eq!((code, stderr.as_str()), (0, told), "{nothing:?}");
    }
}

#[test]
fn kinds_can_be_added() {
    let clone_set = format!("apiVersion: apps.kruise.io/v1alpha1\nkind: CloneSet\n{}\n", deployment("x", ""));
    assert_eq!(check(POLICY, &clone_set, &[]).0, 0, "it is not known");
    let (code, said, _) = check(POLICY, &clone_set, &["--workload-kind", "apps.kruise.io/CloneSet=spec.template"]);
    assert_eq!((code, &said[0]["kind"]), (1, &"CloneSet".into()));
}

#[test]
fn what_is_wrong_with_an_object_names_file_line_object_and_field() {
    let head = "# Source: chart\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: x\n  namespace: shop\n";
    for (rest, told) in [
        (
            "spec:\n  template:\n    spec:\n      containers: none\n",
            "stdin:11: Deployment shop/x: spec.template.spec.containers: invalid type: string \"none\", expected a sequence",
        ),
        (
            "spec:\n  template:\n    spec:\n      containers:\n      - name: app\n      - image: 3\n",
            "stdin:13: Deployment shop/x: spec.template.spec.containers[1].image: invalid type: integer `3`, expected a string",
        ),
        (
            "spec:\n  template: 3\n",
            "stdin:9: Deployment shop/x: spec.template: invalid type: integer `3`, expected a Pod template",
        ),
        (
            "spec: 3\n",
            "stdin:8: Deployment shop/x: spec: invalid type: integer `3`, expected an object with \"template\"",
        ),
        (
            "  ownerReferences: [{controller: maybe}]\n",
            "stdin:8: Deployment shop/x: metadata.ownerReferences[0].controller: invalid type: string \"maybe\", expected a boolean",
        ),
        (
            "spec: {}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: b, namespace: 7}\n",
            "stdin:12: Pod b: metadata.namespace: a namespace's name is a text, not 7; write it in quotes",
        ),
        ("kind: Pod\n", "stdin:8: the key \"kind\" stands here a second time; keep one of them"),
    ] {
        let (code, _, stderr) = check(POLICY, &format!("{head}{rest}"), &[]);
        assert_eq!((code, stderr), (2, format!("error: {told}\n")), "{rest}");
    }
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {generateName: x-}\n  spec: {containers: {}}\n";
    assert_eq!(
        check(POLICY, list, &[]).2,
        "error: stdin:7: Pod x-: spec.containers: invalid type: map, expected a sequence\n"
    );
    let (code, _, stderr) =
        run(&["check", "-f", "/no/such/file", "--policies", policies(POLICY).path().to_str().unwrap()], "");
    assert_eq!(code, 2);
    assert_eq!(
        stderr,
        "error: /no/such/file cannot be read: No such file or directory (os error 2); name a file of manifests, or - for stdin\n"
    );
}

#[test]
fn a_layout_that_is_not_there_is_told_at_start() {
    let folder = policies(POLICY);
    let folder = folder.path().display().to_string();
    let mirror = ["--mirror", "registry.example=oci:/no/such/layout"];
    let told = "error: the image layout /no/such/layout cannot be used: its index.json cannot be read: No such file or directory (os error 2); name the folder that holds index.json and blobs, as oci:DIR\n";
    for command in [
        &["check", "-f", "-", "--policies", &folder][..],
        &["inspect", "registry.example/x:1"],
        &["serve", "--policies", &folder, "--store", "stdout", "--tls-self-signed"],
    ] {
        let (code, _, stderr) = run(&[command, &mirror].concat(), "");
        assert_eq!(code, 2, "{command:?}");
        assert!(stderr.ends_with(told), "{command:?}: {stderr}");
    }
    let (code, _, stderr) = run(&["inspect", "oci:/no/such/layout"], "");
    assert_eq!((code, stderr.as_str()), (2, told));
}
