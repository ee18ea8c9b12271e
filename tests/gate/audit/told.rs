//! What `audit show`, `tail` and `query --count-by` tell, through the program itself.

use super::*;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::command_line::{closed_pipe, run, run_into};
use crate::reviews::PROGRAM;

/// A record with all that a decision can have.
fn everything() -> Vec<u8> {
    let mut record: Value = serde_json::from_slice(&body(7)).unwrap();
    let more = json!({
        "request": {
            "uid": "u", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"}, "namespace": "shop",
            "name": "checkout", "operation": "UPDATE", "dryRun": false,
            "userInfo": {"username": "jane", "groups": ["sre", "system:authenticated"]},
        },
        "images": [
            {"container": "app", "place": "container", "ref": "registry.example/shop/checkout:7", "digest": "sha256:aa",
             "platform": "linux/amd64", "buildTime": "2026-08-03T00:00:00Z", "source": "config", "class": "claim",
             "ageSeconds": 9_676_800, "cache": "memory", "candidates": [
                {"source": "config", "value": "2026-08-03T00:00:00Z", "used": true, "why": "the newest claim"},
                {"source": "label", "value": "1970-01-01T00:00:00Z", "used": false, "why": "a date that means nothing"}]},
            {"container": "log", "place": "init container", "ref": "log:1", "reason": "Unreachable", "detail": "no route"},
        ],
        "budgets": [{"source": "slo", "service": "checkout", "slo": "availability", "objective": 0.999, "window": "30d",
            "remaining": -0.12, "burnRate": 2.34, "state": "Exhausted", "sampleTime": "2026-11-18T08:00:00Z",
            "frozenSince": "2026-11-17T00:00:00Z", "liftAt": "2026-11-20T00:00:00Z"},
            {"source": "slo", "service": null, "slo": null, "state": "Unreachable", "detail": "connection refused"}],
        "exceptions": [{"name": "fix", "reason": "security", "grantedBy": "joe", "ticket": "OPS-1", "expiresAt": "2026-11-24T12:00:00Z"}],
        "message": "first line\nsecond line",
        "warnings": ["soon too old"],
        "deadlineMs": 8_750, "elapsedMs": 3,
        "labels": {"id": "gate-0", "version": "0.1.0", "cluster": "west"},
        "inputs": {"evidence": {
            "services": [{"source": "slo", "service": "checkout"}, {"source": "slo", "service": "cart", "until": "2026-11-01T00:00:00Z"}],
            "budgets": [{"budget": {"slo": "availability", "service": "checkout"},
                "freezes": {"production": {"since": "2026-11-17T00:00:00Z"}}}]}},
    });
    for (name, value) in more.as_object().unwrap() {
        record[name] = value.clone();
    }
    record.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn show_tells_the_whole_story() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    audit.record(everything(), None).await.unwrap();
    let (code, stdout, stderr) = run(&["audit", "show", &id(7), "--store", &place.location().to_string()], "");
    let record = place.all().await.remove(0);
    let time = at(7).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let expected = format!(
        "decision  {id} deny
time      {time}, after 3 ms of the 8750 ms there were
gate      gate-0, version 0.1.0 in cluster west
change    NewImage of Deployment shop/checkout (UPDATE) by jane
          in groups sre, system:authenticated
policy    production 7
image     registry.example/shop/checkout:7 (container \"app\")
          sha256:aa linux/amd64 built 2026-08-03T00:00:00Z (config), 112 days old, memory
          → config 2026-08-03T00:00:00Z: the newest claim
            label 1970-01-01T00:00:00Z: a date that means nothing
image     log:1 (init container \"log\")
          unknown: Unreachable no route
service   checkout by source slo
service   cart by source slo, until 2026-11-01T00:00:00Z
budget    availability of service checkout (slo): Exhausted
          -12 % left, objective 99.9 %, over 30d, burning at 2.3
          sampled at 2026-11-18T08:00:00Z, frozen since 2026-11-17T00:00:00Z, lifts at 2026-11-20T00:00:00Z
budget    no objective of service unknown (slo): Unreachable
          connection refused
freeze    availability of service checkout since 2026-11-17T00:00:00Z, by policy production
exception fix (security) granted by joe, until 2026-11-24T12:00:00Z, ticket OPS-1
rule      imageAge fail (policy production) image registry.example/shop/checkout was built 112 days ago, on 2026-08-03 (image config)
said      first line
said      second line
warned    soon too old
record    1 of writer {writer}, hash {hash}
",
        id = id(7),
        writer = record.writer_id,
        hash = record.hash,
    );
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, expected);
    close(store, audit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_a_table_or_json_and_say_when_there_are_more() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    for (number, namespace) in [(1, "shop"), (2, "shop"), (3, "bank"), (4, "")] {
        audit.record(body_of(number, "deny", namespace, "app"), None).await.unwrap();
    }
    close(store, audit).await;
    let named = place.location().to_string();
    let count = ["audit", "query", "--store", &named, "--count-by", "namespace"];
    let (code, stdout, stderr) = run(&count, "");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, "NAMESPACE  DECISIONS\nshop       2\n–          1\nbank       1\n");
    let (_, stdout, stderr) = run(&[&count[..], &["--limit", "1", "-o", "json", "--user", "jane"]].concat(), "");
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap(), json!([{"value": "shop", "decisions": 2}]));
    assert_eq!(stderr, "note: these are the 1 most frequent of 3: --limit asks for more of them\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_by_its_name_finds_that_day_and_no_other() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    let now = Utc::now();
    for (number, days_ago) in [(1, 0), (2, 1), (3, 2)] {
        let mut record: Value = serde_json::from_slice(&body(number)).unwrap();
        let noon = (now.date_naive() - chrono::TimeDelta::days(days_ago)).and_hms_opt(0, 0, 1).unwrap();
        record["timestamp"] = json!(noon.and_utc());
        audit.record(record.to_string().into_bytes(), None).await.unwrap();
    }
    let named = place.location().to_string();
    let found = |more: &[&str]| {
        let (code, stdout, stderr) = run(&[&["audit", "query", "-o", "json", "--store", &named], more].concat(), "");
        assert_eq!(code, 0, "{stderr}");
        let records: Vec<Value> = serde_json::from_str(&stdout).unwrap();
        records.iter().map(|record| record["seq"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let weekday = (now - chrono::TimeDelta::days(2)).format("last %A").to_string();
    let day = (now - chrono::TimeDelta::days(1)).format("%Y-%m-%d").to_string();
    for (asked, expected) in [
        (&["--on", "yesterday"][..], vec![2]),
        (&["--on", &day], vec![2]),
        (&["--on", &weekday], vec![3]),
        (&["--since", "yesterday"], vec![1, 2]),
        (&["--since", &weekday, "--until", "yesterday"], vec![3]),
    ] {
        // A test that midnight passes through asks about other days than it recorded.
        if Utc::now().date_naive() == now.date_naive() {
            assert_eq!(found(asked), expected, "{asked:?}");
        }
    }
    let (code, _, stderr) = run(&["audit", "query", "--store", &named, "--on", "2h"], "");
    let told = "error: --on \"2h\" is no day: write it as 2026-11-23, as today, as yesterday or as \"last tuesday\"\n";
    assert_eq!((code, stderr.as_str()), (2, told));
    assert_eq!(run(&["audit", "query", "--store", &named, "--on", "today", "--since", "2h"], "").0, 2);
    close(store, audit).await;
}

/// `audit tail -f` with these flags.
fn follow(store: &str, more: &[&str]) -> Child {
    Command::new(PROGRAM)
        .args(["audit", "tail", "-f", "--store", store])
        .args(more)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_prints_what_is_there_and_then_what_comes_until_interrupted() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    for number in 1..=3 {
        audit.record(body(number), None).await.unwrap();
    }
    let named = place.location().to_string();
    let (code, stdout, stderr) = run(&["audit", "tail", "--store", &named, "--limit", "2", "-o", "json"], "");
    assert_eq!((code, stderr.as_str()), (0, ""));
    let seqs = |text: &str| -> Vec<u64> {
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!(seqs(&stdout), [2, 3], "the newest last");

    let mut child = follow(&named, &["--limit", "1", "-o", "json", "--decision", "deny"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || seqs(&lines.next().unwrap().unwrap());
    assert_eq!(next(), [3]);
    audit.record(body_of(4, "allow", "shop", "checkout"), None).await.unwrap();
    audit.record(body(5), None).await.unwrap();
    assert_eq!(next(), [5], "what the filter does not let through is left out");
    stored(&audit).await;
    audit.record(body(6), None).await.unwrap();
    assert_eq!(next(), [6]);
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
    close(store, audit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_ends_when_nobody_reads_any_more_though_no_decision_comes() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    audit.record(body(1), None).await.unwrap();
    let named = place.location().to_string();
    let tail = ["audit", "tail", "-f", "--store", &named];
    assert_eq!(run_into(closed_pipe(), &tail), (0, String::new()));
    // Read for a while, then closed.
    let mut child = follow(&named, &[]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("TIME "));
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    close(store, audit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_not_shown_over_http_unless_that_is_set() {
    let flags = ["serve", "--store", "stdout", "--policies", "p", "--tls-self-signed", "--decisions-api"];
    let (code, _, stderr) = run(&flags, "");
    let told = "error: --decisions-api (FRESHGATE_DECISIONS_API) asks the cluster who may see which decisions: add --kubernetes (FRESHGATE_KUBERNETES=true), or leave it out\n";
    assert_eq!(code, 2);
    assert!(stderr.starts_with(told), "{stderr}");
    let folder = crate::reviews::policies(crate::reviews::POLICY);
    let path = folder.path().display().to_string();
    crate::cluster::install_tls();
    let gate = crate::cluster::gate::Gate::start(std::path::Path::new(PROGRAM), &["--policies", &path], &[]);
    let url = format!("http://127.0.0.1:{}/v1/decisions", gate.admin_port);
    let output = Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url]).output().unwrap();
    assert_eq!(output.stdout, b"404");
}
