//! Recorded decisions over HTTP: shown to whom the API server knows and RBAC lets see them, and to nobody else.

use std::process::Command;

use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, deployment};
use crate::cluster::control_plane::wait_for;

pub const SCENARIOS: &[Scenario] = &[("decisions_are_shown_to_whom_rbac_lets_see_them", shown)];

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

/// Asks the gate with these arguments of curl.
fn ask(bed: &Bed, path: &str, more: &[&str]) -> Answer {
    let url = format!("http://127.0.0.1:{}/v1/decisions{path}", bed.gate.admin_port);
    let output = Command::new("curl").args(["-s", "-i", &url]).args(more).output().unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_lowercase(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}

/// A service account with these permissions, and its token as a header.
fn account(bed: &Bed, namespace: &str, name: &str, everywhere: bool) -> String {
    assert!(bed.plane.kubectl(&["-n", namespace, "create", "serviceaccount", name]).success);
    let (role, binding) = if everywhere { ("ClusterRole", "ClusterRoleBinding") } else { ("Role", "RoleBinding") };
    let metadata = if everywhere { json!({"name": name}) } else { json!({"name": name, "namespace": namespace}) };
    let group = "rbac.authorization.k8s.io";
    let api_version = format!("{group}/v1");
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": api_version, "kind": role, "metadata": metadata,
         "rules": [{"apiGroups": ["freshgate.dev"], "resources": ["decisions"], "verbs": ["list", "get"]}]},
        {"apiVersion": api_version, "kind": binding, "metadata": metadata,
         "roleRef": {"apiGroup": group, "kind": role, "name": name},
         "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]},
    ]});
    let said = bed.plane.apply(&objects.to_string());
    assert!(said.success, "{}", said.stderr);
    token(bed, namespace, name)
}

fn token(bed: &Bed, namespace: &str, name: &str) -> String {
    let said = bed.plane.kubectl(&["-n", namespace, "create", "token", name]);
    assert!(said.success, "{}", said.stderr);
    format!("Authorization: Bearer {}", said.stdout.trim())
}

fn refused(answer: &Answer, status: u16, why: &str) {
    assert_eq!((answer.status, answer.body["error"].as_str()), (status, Some(why)), "{}", answer.head);
    for header in [
        "content-type: application/json",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'; frame-ancestors 'none'",
    ] {
        assert!(answer.head.contains(header), "{header}: {}", answer.head);
    }
}

fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let decisions = answer.body["decisions"].as_array().unwrap();
    decisions.iter().map(|decision| decision["decision_id"].as_str().unwrap().to_owned()).collect()
}

fn shown(bed: &Bed) {
    let refuse = |namespace: &str, name: &str| {
        bed.denied(&bed.create(namespace, &deployment(name, &bed.old)), "container", "app")
    };
    bed.production("seen");
    bed.production("hidden");
    let (first, second) = (refuse("seen", "one"), refuse("seen", "two"));
    let hidden = refuse("hidden", "one");
    let reader = account(bed, "seen", "reader", false);
    let auditor = account(bed, "seen", "auditor-of-all", true);
    let reader = ["-H", &reader];
    let auditor = ["-H", &auditor];
    // The authorizer follows RBAC by watching it.
    wait_for("the reader's permissions", || ask(bed, "?namespace=seen", &reader).status == 200);
    wait_for("the auditor's permissions", || ask(bed, "", &auditor).status == 200);

    assert_eq!(ids(&ask(bed, "?namespace=seen", &reader)), [second.clone(), first.clone()]);
    assert_eq!(ids(&ask(bed, "?namespace=seen&name=one&decision=deny", &reader)), vec![first.clone()]);
    let page = ask(bed, "?namespace=seen&limit=1", &reader);
    assert_eq!(ids(&page), [second]);
    let rest = ask(bed, &format!("?namespace=seen&limit=1&cursor={}", page.body["next"].as_str().unwrap()), &reader);
    assert_eq!((ids(&rest), rest.body.get("next")), (vec![first.clone()], None));
    let one = ask(bed, &format!("/{first}"), &reader);
    assert_eq!((one.status, &one.body["decision_id"], &one.body["decision"]), (200, &json!(first), &json!("deny")));
    assert_eq!(one.body["hash"].as_str().unwrap().len(), 64);
    let all = ids(&ask(bed, "?name=one", &auditor));
    assert!(all.contains(&first) && all.contains(&hidden), "{all:?}");
    assert_eq!(ask(bed, &format!("/{hidden}"), &auditor).status, 200);

    let name = "\"system:serviceaccount:seen:reader\"";
    let role = |verb: &str| format!("a role with the verb {verb} on decisions of freshgate.dev lets them");
    let list = role("list");
    refused(
        &ask(bed, "?namespace=hidden", &reader),
        403,
        &format!("{name} may not list decisions in namespace \"hidden\"; {list}"),
    );
    for everywhere in ["", "?name=one", "?namespace="] {
        let why =
            format!("{name} may not list decisions in all namespaces: name one with the parameter namespace; {list}");
        refused(&ask(bed, everywhere, &reader), 403, &why);
    }
    // Whether there is such a decision is not told either.
    for id in [&hidden, "019a0000-0000-7000-8000-00000000ffff"] {
        refused(
            &ask(bed, &format!("/{id}"), &reader),
            403,
            &format!("{name} may not get this decision; {}", role("get")),
        );
    }
    refused(
        &ask(bed, "/019a0000-0000-7000-8000-00000000ffff", &auditor),
        404,
        "no decision 019a0000-0000-7000-8000-00000000ffff is recorded here; dry runs are not recorded",
    );

    let nobody = ask(bed, "?namespace=seen", &[]);
    refused(&nobody, 401, "it is not said who asks: send one header Authorization: Bearer TOKEN");
    assert!(nobody.head.contains("www-authenticate: bearer"), "{}", nobody.head);
    refused(
        &ask(bed, "?namespace=seen", &["-H", "Authorization: Bearer forged"]),
        401,
        "the API server does not know this token: ask with one that has not expired",
    );
    refused(
        &ask(bed, "?namespace=seen", &["-H", "Authorization: Basic eDp5"]),
        401,
        "the header Authorization holds no bearer token: send Authorization: Bearer TOKEN",
    );
    let limit = ask(bed, "?namespace=seen&limit=x", &reader);
    refused(&limit, 400, "limit \"x\" is no number from 1 to 500");
    for method in ["POST", "DELETE", "PUT", "OPTIONS"] {
        let answer = ask(bed, "?namespace=seen", &[&reader[..], &["-X", method]].concat());
        refused(&answer, 405, "decisions can be read and nothing else: use GET");
        assert!(answer.head.contains("allow: get"), "{}", answer.head);
    }
    let html = ask(bed, "?namespace=seen", &[&reader[..], &["-H", "Accept: text/html"]].concat());
    refused(&html, 406, "decisions are JSON: accept application/json");
    assert!(!bed.gate.process.log().contains(reader[1].trim_start_matches("Authorization: Bearer ")));

    // A token that is revoked ends at once: nothing of it is kept.
    assert!(bed.plane.kubectl(&["-n", "seen", "delete", "serviceaccount", "reader"]).success);
    wait_for("the token to be unknown", || ask(bed, "?namespace=seen", &reader).status == 401);
}
