//! A freeze in front of a real API server, measured by a real Prometheus that scrapes what the scenario says.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, allowed, deployment, job, pod};
use crate::cluster::control_plane::{Said, wait_for};
use crate::cluster::exposition::Exposition;
use crate::cluster::gate::Gate;
use crate::cluster::prometheus::Prometheus;

pub const SCENARIOS: &[Scenario] = &[
    ("a_freeze_stops_what_the_table_says_and_lifts", table),
    ("back_from_what_burnt_the_budget_and_not_forward_again", back),
    ("a_canary_is_promoted_during_a_freeze", promoted),
    ("another_label_in_one_step_or_two_frees_nobody", relabelled),
    ("a_freeze_outlives_a_restart_of_the_gate", restarted),
    ("one_deploy_passes_by_an_exception_of_who_may_grant_it", excepted),
    ("what_is_scheduled_and_what_is_tried_again_passes_a_freeze", batch),
    ("the_outage_of_another_service_is_a_reason_while_it_lasts", outage),
    ("a_silent_source_holds_a_freeze_and_is_what_its_setting_says", silent),
];

/// A source, the policies that name it, and what it measures.
struct Freezing {
    exposition: Exposition,
    prometheus: Option<Prometheus>,
    name: &'static str,
}

impl Freezing {
    /// Namespaces labelled `tier: <name>` are frozen by the budgets of the services in them.
    fn start(bed: &Bed, name: &'static str, source: &Value) -> Self {
        let exposition = Exposition::start();
        let prometheus = Prometheus::scraping(&exposition.host());
        let mut spec = json!({
            "format": "PromQL", "interval": "1s", "prometheus": {"url": prometheus.url(), "timeout": "2s"},
            "promql": {"objectives": [{"slo": "availability", "objective": 0.9, "window": "30d", "errorRatio": "slo_errors"}]},
            "service": {"from": ["Mapping", "NamespaceLabel", "WorkloadLabel"]},
        });
        spec.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        let object = json!({"apiVersion": "freshgate.dev/v1alpha1", "kind": "BudgetSource", "metadata": {"name": name}, "spec": spec});
        let said = bed.plane.apply(&object.to_string());
        assert!(said.success, "{}", said.stderr);
        Self { exposition, prometheus: Some(prometheus), name }
    }

    fn policy(&self, bed: &Bed, tier: &str, more: &Value) {
        let mut rule = json!({"sources": [self.name]});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let object = json!({
            "apiVersion": "freshgate.dev/v1alpha1", "kind": "GatePolicy", "metadata": {"name": tier},
            "spec": {"match": {"namespaceSelector": {"matchLabels": {"tier": tier}}}, "validationActions": ["Deny"], "errorBudget": rule},
        });
        let said = bed.plane.apply(&object.to_string());
        assert!(said.success, "{}", said.stderr);
        wait_for("the policy", || {
            let path = "jsonpath={.status.conditions[?(@.type==\"Accepted\")].status}";
            bed.plane.kubectl(&["get", "gpol", tier, "-o", path]).stdout == "True"
        });
    }

    /// From now on so much of the service's budget is left.
    fn left(&self, service: &str, remaining: f64) {
        self.exposition.set(&format!("slo_errors{{service=\"{service}\"}}"), (1.0 - remaining) * 0.1);
    }
}

/// Waits until a new Deployment in the namespace would be answered so.
fn wait(bed: &Bed, namespace: &str, service: &str, frozen: bool) {
    // An image that runs nowhere: one that does would be promoted.
    let probe = of_service(deployment("probe", &bed.old), service);
    wait_for("the freeze", || {
        let said = bed.plane.kubectl_as(
            "admin",
            &["-n", namespace, "create", "--dry-run=server", "-f", "-"],
            &probe.to_string(),
        );
        // What cannot be measured yet warns, and is not what is waited for.
        said.success != frozen && !said.stderr.contains("is not known (")
    });
}

fn of_service(mut object: Value, service: &str) -> Value {
    object["metadata"]["labels"] = json!({"app.kubernetes.io/name": service});
    object
}

fn refused(said: &Said) -> String {
    assert!(!said.success, "it was let in: {}", said.stdout);
    let (_, message) = said.stderr.split_once("denied the request: ").unwrap_or_else(|| panic!("{}", said.stderr));
    message.trim().to_owned()
}

/// What would be answered to another image: nothing changes, so it can be asked again.
fn trial(bed: &Bed, namespace: &str, workload: &str, other: &str) -> Said {
    let patch = image(other).to_string();
    bed.plane.kubectl(&["-n", namespace, "patch", workload, "--type=strategic", "--dry-run=server", "-p", &patch])
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}})
}

fn table(bed: &Bed) {
    let freezing = Freezing::start(bed, "table", &json!({}));
    freezing.policy(bed, "table", &json!({}));
    bed.plane.namespace("table", &["tier=table"]);
    freezing.left("table", 1.0);
    wait(bed, "table", "table", false);
    let named = |name: &str, image: &str| {
        let mut object = of_service(deployment(name, image), "table");
        // Pods have their template's labels, not their Deployment's.
        object["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] = json!("table");
        object
    };
    for name in ["app", "config", "running"] {
        allowed(&bed.create("table", &named(name, &bed.fresh)));
    }
    // A version forward, so that there is one to go back to.
    allowed(&bed.patch("table", "deployment/running", &image(&bed.fresh_too)));

    freezing.left("table", -1.0);
    wait(bed, "table", "table", true);
    let message = refused(&bed.create("table", &named("new", &bed.ageing)));
    let id = message.rsplit_once("\ndecision ").map_or("", |(_, rest)| rest.split(' ').next().unwrap());
    let record = bed.gate.records(&["--namespace", "table", "--name", "new"])[0].clone();
    let budget = &record["budgets"][0];
    let since: chrono::DateTime<chrono::Utc> = budget["frozenSince"].as_str().unwrap().parse().unwrap();
    let age = message.split("measured ").nth(1).and_then(|rest| rest.split(" ago").next()).unwrap();
    assert_eq!(
        message,
        format!(
            "error-budget: service \"table\" has spent its error budget of SLO \"availability\" (90 % over the last 30 days): -100 % is left, 72 bad hours more than it allows; its deploys are frozen since {}, measured {age} ago by source \"table\" (PromQL, a mean of ratios); when it lifts is not known: the source has no history of it (policy \"table\").\n\
             Rollbacks, restarts, scaling and changes of resources, probes and scheduling pass meanwhile. For a fix that cannot wait, whoever may grant it makes an exception: freshgate exception new --target table/Deployment/new --rule errorBudget --reason reliability-fix\n\
             decision {id} · ask whoever owns policy \"table\"",
            since.format("%Y-%m-%d %H:%M UTC")
        )
    );
    assert_eq!((&budget["state"], &budget["service"]), (&json!("Exhausted"), &json!("table")));
    assert!((budget["remaining"].as_f64().unwrap() + 1.0).abs() < 1e-9, "{budget}");

    let env = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": bed.fresh, "env": [{"name": "A", "value": "1"}]}]}}}});
    refused(&bed.patch("table", "deployment/app", &image(&bed.ageing)));
    refused(&bed.patch("table", "deployment/config", &env));
    refused(&bed.create("table", &of_service(pod("bare", &bed.ageing), "table")));
    // What keeps a service alive passes.
    let kubectl = |args: &[&str]| bed.plane.kubectl(&[&["-n", "table"], args].concat());
    allowed(&kubectl(&["scale", "deployment/app", "--replicas=3"]));
    allowed(&kubectl(&["rollout", "restart", "deployment/app"]));
    allowed(&bed.patch(
        "table",
        "deployment/app",
        &json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 45}}}}),
    ));
    allowed(&kubectl(&["rollout", "undo", "deployment/running"]));
    allowed(&kubectl(&["delete", "pods", "--all", "--wait=false"]));
    let pods = || kubectl(&["get", "pods", "-o", "name"]).stdout;
    wait_for("Pods to come back", || pods().lines().count() >= 5);
    let one = pods().lines().next().unwrap().to_owned();
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": bed.debugger, "targetContainerName": "app"}]}});
    allowed(&kubectl(&[
        "patch",
        &one,
        "--subresource=ephemeralcontainers",
        "--type=strategic",
        "-p",
        &debug.to_string(),
    ]));
    // An image that somebody puts into a controller's Pod is a deploy, and what a debugger brought in is not "running".
    refused(&kubectl(&["set", "image", &one, &format!("app={}", bed.ageing)]));
    refused(&bed.patch("table", "deployment/app", &image(&bed.debugger)));
    allowed(&kubectl(&["delete", "deployment/config"]));
    // Between the thresholds it stays frozen, above them it lifts.
    freezing.left("table", 0.03);
    std::thread::sleep(Duration::from_secs(5));
    refused(&bed.patch("table", "deployment/app", &image(&bed.ageing)));
    freezing.left("table", 0.5);
    wait(bed, "table", "table", false);
    allowed(&bed.patch("table", "deployment/app", &image(&bed.ageing)));
}

/// The next run of what was let in, and its next try; with the same image a Job of somebody's own is a deploy.
fn batch(bed: &Bed) {
    let freezing = Freezing::start(bed, "batch", &json!({}));
    freezing.policy(bed, "batch", &json!({}));
    bed.plane.namespace("batch", &["tier=batch"]);
    freezing.left("batch", 1.0);
    wait(bed, "batch", "batch", false);
    let of_batch = |name: &str| {
        let mut object = of_service(job(name, &bed.fresh), "batch");
        object["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] = json!("batch");
        object
    };
    let nightly = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "* * * * *", "suspend": true, "jobTemplate": {"spec": of_batch("x")["spec"]}},
    });
    allowed(&bed.create("batch", &of_service(nightly, "batch")));
    allowed(&bed.create("batch", &of_batch("work")));
    let kubectl = |args: &[&str]| bed.plane.kubectl(&[&["-n", "batch"], args].concat());
    let tries = || kubectl(&["get", "pods", "-l", "job-name=work", "-o", "name"]).stdout;
    wait_for("the first try", || !tries().is_empty());

    freezing.left("batch", -1.0);
    wait(bed, "batch", "batch", true);
    let first = tries().lines().next().unwrap().to_owned();
    allowed(&kubectl(&["delete", &first, "--force", "--grace-period=0"]));
    wait_for("the next try", || tries().lines().any(|pod| pod != first));
    // The controller's own run; asked for by hand it is the CronJob's too.
    allowed(&bed.patch("batch", "cronjob/nightly", &json!({"spec": {"suspend": false}})));
    wait_for("the next run", || {
        kubectl(&["get", "jobs", "-o", "name"]).stdout.lines().any(|one| one.starts_with("job.batch/nightly-"))
    });
    allowed(&bed.patch("batch", "cronjob/nightly", &json!({"spec": {"suspend": true}})));
    allowed(&kubectl(&["create", "job", "by-hand", "--from=cronjob/nightly"]));
    wait_for("its Pods", || !kubectl(&["get", "pods", "-l", "job-name=by-hand", "-o", "name"]).stdout.is_empty());

    refused(&bed.create("batch", &of_batch("another")));
    let next = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": bed.ageing}]}}}}}});
    refused(&bed.patch("batch", "cronjob/nightly", &next));
}

fn back(bed: &Bed) {
    let freezing = Freezing::start(bed, "back", &json!({}));
    freezing.policy(bed, "back", &json!({}));
    bed.plane.namespace("back", &["tier=back"]);
    freezing.left("back", 1.0);
    wait(bed, "back", "back", false);
    allowed(&bed.create("back", &of_service(deployment("app", &bed.fresh), "back")));
    std::thread::sleep(Duration::from_millis(1_100)); // Kubernetes keeps whole seconds
    allowed(&bed.patch("back", "deployment/app", &image(&bed.fresh_too)));
    freezing.left("back", -0.2);
    wait(bed, "back", "back", true);
    allowed(&bed.patch("back", "deployment/app", &image(&bed.fresh)));
    refused(&bed.patch("back", "deployment/app", &image(&bed.fresh_too)));
    let changes: Vec<Value> =
        bed.gate.records(&["--namespace", "back"]).iter().map(|one| one["change"].clone()).collect();
    assert_eq!(changes, ["NewImage", "Rollback", "NewImage", "Create"]);
}

fn promoted(bed: &Bed) {
    let freezing = Freezing::start(bed, "promoted", &json!({}));
    freezing.policy(bed, "promoted", &json!({}));
    bed.plane.namespace("promoted", &["tier=promoted"]);
    for service in ["promoted", "stranger"] {
        freezing.left(service, 1.0);
        wait(bed, "promoted", service, false);
    }
    allowed(&bed.create("promoted", &of_service(deployment("primary", &bed.fresh), "promoted")));
    allowed(&bed.create("promoted", &of_service(deployment("canary", &bed.fresh_too), "promoted")));
    allowed(&bed.create("promoted", &of_service(deployment("other", &bed.ageing), "stranger")));
    freezing.left("promoted", -0.2);
    wait(bed, "promoted", "promoted", true);
    allowed(&bed.patch("promoted", "deployment/primary", &image(&bed.fresh_too)));
    assert_eq!(bed.gate.records(&["--namespace", "promoted", "--name", "primary"])[0]["change"], "Promotion");
    // What runs in another service is nothing that this one has tried, also when it takes this one's name.
    refused(&bed.patch("promoted", "deployment/primary", &image(&bed.ageing)));
    allowed(&bed.patch(
        "promoted",
        "deployment/other",
        &json!({"metadata": {"labels": {"app.kubernetes.io/name": "promoted"}}}),
    ));
    refused(&bed.patch("promoted", "deployment/primary", &image(&bed.ageing)));
    // And what is scaled to nothing does not run.
    allowed(&bed.plane.kubectl(&["-n", "promoted", "scale", "deployment/canary", "--replicas=0"]));
    allowed(&bed.create("promoted", &of_service(deployment("third", &bed.fresh_too), "promoted")));
    allowed(&bed.plane.kubectl(&["-n", "promoted", "scale", "deployment/primary", "--replicas=0"]));
    allowed(&bed.plane.kubectl(&["-n", "promoted", "scale", "deployment/third", "--replicas=0"]));
    refused(&bed.create("promoted", &of_service(deployment("fourth", &bed.fresh_too), "promoted")));
}

/// T10.
fn relabelled(bed: &Bed) {
    let freezing = Freezing::start(bed, "relabelled", &json!({}));
    freezing.policy(bed, "relabelled", &json!({}));
    bed.plane.namespace("relabelled", &["tier=relabelled"]);
    for service in ["burnt", "free"] {
        freezing.left(service, 1.0);
        wait(bed, "relabelled", service, false);
    }
    for name in ["one-step", "two-steps", "label-off", "anew"] {
        allowed(&bed.create("relabelled", &of_service(deployment(name, &bed.fresh), "burnt")));
    }
    freezing.left("burnt", -0.2);
    wait(bed, "relabelled", "burnt", true);
    let free = json!({"metadata": {"labels": {"app.kubernetes.io/name": "free"}}});
    let mut both = image(&bed.fresh_too);
    both["metadata"] = free["metadata"].clone();
    assert!(refused(&bed.patch("relabelled", "deployment/one-step", &both)).contains("service \"burnt\" has spent"));
    // The label alone is no deploy, and is remembered.
    allowed(&bed.patch("relabelled", "deployment/two-steps", &free));
    let record = &bed.gate.records(&["--namespace", "relabelled", "--name", "two-steps"])[0];
    assert_eq!((&record["change"], &record["decision"]), (&json!("Scale"), &json!("allow")));
    let services = record["ledger"]["services"].as_array().unwrap().iter();
    let services: Vec<&Value> =
        services.filter(|one| one["source"] == "relabelled").map(|one| &one["service"]).collect();
    assert_eq!(services, ["free", "burnt"]);
    let message = refused(&bed.patch("relabelled", "deployment/two-steps", &image(&bed.fresh_too)));
    assert!(message.contains("service \"burnt\" has spent"), "{message}");
    // Taking the label off, or with it the workload, frees nobody either.
    let none = json!({"metadata": {"labels": {"app.kubernetes.io/name": null}}});
    allowed(&bed.patch("relabelled", "deployment/label-off", &none));
    refused(&bed.patch("relabelled", "deployment/label-off", &image(&bed.ageing)));
    assert!(bed.plane.kubectl(&["-n", "relabelled", "delete", "deployment/anew"]).success);
    refused(&bed.create("relabelled", &of_service(deployment("anew", &bed.ageing), "free")));
    // Deleted and made anew under its name it is still what it was.
    assert!(bed.plane.kubectl(&["-n", "relabelled", "delete", "deployment/two-steps"]).success);
    refused(&bed.create("relabelled", &of_service(deployment("two-steps", &bed.fresh_too), "free")));
    allowed(&bed.create("relabelled", &of_service(deployment("another", &bed.fresh_too), "free")));
}

/// Between the thresholds only what was kept can tell that the service is frozen. A gate of its own is restarted.
fn restarted(bed: &Bed) {
    let freezing = Freezing::start(bed, "restarted", &json!({}));
    freezing.policy(bed, "restarted", &json!({}));
    bed.plane.namespace("restarted", &["tier=restarted"]);
    let kubeconfig = bed.plane.kubeconfig();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_freshgate"));
    let mut gate = Gate::start(
        program,
        &["--kubernetes", "--insecure-registry", &bed.registry_host()],
        &[("KUBECONFIG", &kubeconfig)],
    );
    let freezes = |gate: &Gate| {
        let url = format!("http://127.0.0.1:{}/metrics", gate.admin_port);
        let output = std::process::Command::new("curl").args(["-s", &url]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("freshgate_freezes ")).map(str::to_owned);
        line.and_then(|count| count.parse::<usize>().ok()).unwrap_or_default()
    };
    // Other scenarios have freezes of their own, so what is compared is this gate's count with and without this one.
    freezing.left("restarted", 1.0);
    wait(bed, "restarted", "restarted", false);
    let others = freezes(&gate);
    freezing.left("restarted", -0.5);
    wait_for("the freeze", || freezes(&gate) == others + 1);
    freezing.left("restarted", 0.03);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(freezes(&gate), others + 1);
    for _ in 0..3 {
        gate.crash_and_restart();
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(freezes(&gate), others + 1, "{}", gate.process.log());
    }
    freezing.left("restarted", 0.5);
    wait_for("its end", || freezes(&gate) == others);
}

fn excepted(bed: &Bed) {
    let freezing = Freezing::start(bed, "excepted", &json!({}));
    freezing.policy(bed, "excepted", &json!({}));
    bed.plane.namespace("excepted", &["tier=excepted"]);
    freezing.left("excepted", 1.0);
    wait(bed, "excepted", "excepted", false);
    for name in ["app", "other"] {
        allowed(&bed.create("excepted", &of_service(deployment(name, &bed.fresh), "excepted")));
    }
    freezing.left("excepted", -0.2);
    wait(bed, "excepted", "excepted", true);
    let exception = |name: &str, digest: Option<&str>| {
        let mut object = json!({
            "apiVersion": "freshgate.dev/v1alpha1", "kind": "GateException", "metadata": {"name": name},
            "spec": {
                "targets": [{"namespace": "excepted", "kind": "Deployment", "name": "app"}], "rules": ["errorBudget"],
                "reason": "reliability-fix", "text": "adds the missing back-off that burnt the budget",
                "expiresAt": (chrono::Utc::now() + chrono::TimeDelta::hours(2)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            },
        });
        if let Some(digest) = digest {
            object["spec"]["digest"] = json!(digest);
        }
        let said = bed.plane.kubectl_as("admin", &["create", "-f", "-"], &object.to_string());
        assert!(said.success, "{}", said.stderr);
        wait_for("the grant", || {
            let path = "jsonpath={.status.conditions[?(@.type==\"Active\")].status}";
            bed.plane.kubectl(&["get", "gexc", name, "-o", path]).stdout == "True"
        });
    };
    exception("another-digest", Some(&format!("sha256:{}", "0".repeat(64))));
    refused(&bed.patch("excepted", "deployment/app", &image(&bed.fresh_too)));
    exception("for-app", None);
    let warnings = allowed(&bed.patch("excepted", "deployment/app", &image(&bed.fresh_too)));
    assert_eq!(
        warnings,
        ["freshgate: \"excepted\" has spent its error budget (availability): -20 % is left; an exception lets it pass"]
    );
    let record = &bed.gate.records(&["--namespace", "excepted", "--name", "app"])[0];
    assert_eq!(
        (&record["exceptions"][0]["name"], &record["exceptions"][0]["grantedBy"]),
        (&json!("for-app"), &json!("admin"))
    );
    assert_eq!(record["budgets"][0]["state"], "Exhausted", "the measurement is untouched");
    refused(&bed.patch("excepted", "deployment/other", &image(&bed.ageing)));
    assert!(bed.plane.kubectl(&["delete", "gexc", "for-app", "another-digest"]).success);
    wait_for("its end", || !trial(bed, "excepted", "deployment/app", &bed.ageing).success);
}

/// The exception names who is out; it is inert before, and after.
fn outage(bed: &Bed) {
    let freezing = Freezing::start(bed, "outage", &json!({}));
    freezing.policy(bed, "outage", &json!({}));
    bed.plane.namespace("outage", &["tier=outage"]);
    freezing.left("shop", 1.0);
    freezing.left("bank", 1.0);
    wait(bed, "outage", "shop", false);
    allowed(&bed.create("outage", &of_service(deployment("app", &bed.fresh), "shop")));
    freezing.left("shop", -0.2);
    wait(bed, "outage", "shop", true);
    let object = json!({
        "apiVersion": "freshgate.dev/v1alpha1", "kind": "GateException", "metadata": {"name": "bank-is-out"},
        "spec": {
            "targets": [{"namespace": "outage", "kind": "Deployment", "name": "app"}], "rules": ["errorBudget"],
            "reason": "dependency-outage", "dependency": {"service": "bank"}, "text": "answers without the bank",
            "expiresAt": (chrono::Utc::now() + chrono::TimeDelta::hours(2)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        },
    });
    let said = bed.plane.kubectl_as("admin", &["create", "-f", "-"], &object.to_string());
    assert!(said.success, "{}", said.stderr);
    wait_for("the grant", || {
        let path = "jsonpath={.status.conditions[?(@.type==\"Active\")].status}";
        bed.plane.kubectl(&["get", "gexc", "bank-is-out", "-o", path]).stdout == "True"
    });
    let message = refused(&bed.patch("outage", "deployment/app", &image(&bed.fresh_too)));
    assert!(message.starts_with("error-budget: service \"shop\" has spent its error budget"), "{message}");
    freezing.left("bank", -0.5);
    wait_for("the bank's outage", || trial(bed, "outage", "deployment/app", &bed.fresh_too).success);
    let warnings = allowed(&bed.patch("outage", "deployment/app", &image(&bed.fresh_too)));
    assert_eq!(
        warnings,
        [
            "freshgate: \"shop\" has spent its error budget (availability): -20 % is left; an exception lets it pass (policy \"outage\")"
        ]
    );
    freezing.left("bank", 1.0);
    wait_for("the bank's recovery", || !trial(bed, "outage", "deployment/app", &bed.ageing).success);
    refused(&bed.patch("outage", "deployment/app", &image(&bed.ageing)));
    assert!(bed.plane.kubectl(&["delete", "gexc", "bank-is-out"]).success);
}

/// Prometheus is killed, with each setting of `on`.
fn silent(bed: &Bed) {
    let mut freezing = Freezing::start(bed, "silent", &json!({"maxAge": "5s"}));
    for (tier, rule) in [
        ("silent-deny", json!({"on": {"Stale": "Deny"}})),
        ("silent-warn", json!({})),
        ("silent-allow", json!({"on": {"Stale": "Allow"}})),
        ("silent-held", json!({"on": {"Stale": "Allow"}})),
        ("silent-let-go", json!({"on": {"Stale": "Allow"}, "staleHold": "8s"})),
    ] {
        freezing.policy(bed, tier, &rule);
        bed.plane.namespace(tier, &[&format!("tier={tier}")]);
    }
    freezing.left("healthy", 1.0);
    freezing.left("spent", -0.5);
    for tier in ["silent-deny", "silent-warn", "silent-allow"] {
        wait(bed, tier, "healthy", false);
    }
    for tier in ["silent-held", "silent-let-go"] {
        wait(bed, tier, "spent", true);
    }
    drop(freezing.prometheus.take());
    let healthy = |name: &str| of_service(deployment(name, &bed.fresh), "healthy");
    let dry = |namespace: &str, object: &Value| {
        bed.plane.kubectl_as("admin", &["-n", namespace, "create", "--dry-run=server", "-f", "-"], &object.to_string())
    };
    wait_for("the silence to be noticed", || !dry("silent-deny", &healthy("app")).success);
    let message = refused(&bed.create("silent-deny", &healthy("app")));
    assert!(message.contains("is not known (Stale): its last sample is "), "{message}");
    let warnings = allowed(&bed.create("silent-warn", &healthy("app")));
    assert_eq!(
        warnings,
        ["freshgate: \"healthy\" error budget (availability) is not known (Stale) (policy \"silent-warn\")"]
    );
    assert_eq!(allowed(&bed.create("silent-allow", &healthy("app"))), Vec::<String>::new());
    // A freeze outlives its source for a while.
    let spent = |name: &str| of_service(deployment(name, &bed.fresh), "spent");
    let message = refused(&bed.create("silent-held", &spent("app")));
    assert!(message.contains("it cannot be measured since (its last sample is "), "{message}");
    assert!(message.contains("so the freeze still holds"), "{message}");
    wait_for("the hold to end", || dry("silent-let-go", &spent("app")).success);
}
