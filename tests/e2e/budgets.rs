//! Budget sources as objects of the API server: their schema, what the gate says of them, and what they may name.

use serde_json::json;

use crate::Scenario;
use crate::bed::Bed;
use crate::cluster::control_plane::wait_for;
use crate::cluster::prometheus::{Prometheus, Samples};

pub const SCENARIOS: &[Scenario] = &[
    ("a_bad_budget_source_is_refused_by_its_schema", schema),
    ("a_budget_source_says_whether_it_is_accepted_and_answers", status),
    ("a_budget_source_takes_credentials_and_documents_from_the_gates_namespace_alone", materials),
    ("what_a_custom_resource_declares_and_nobody_records_has_no_data", declared),
];

fn object(name: &str, spec: &str) -> String {
    format!("apiVersion: freshgate.dev/v1alpha1\nkind: BudgetSource\nmetadata: {{name: {name}}}\nspec: {spec}")
}

fn schema(bed: &Bed) {
    for (spec, words) in [
        ("{format: Sloth}", "prometheus: add it, with a url"),
        ("{format: Slot, prometheus: {url: 'http://p'}}", "supported values: \"Sloth\", \"Pyrra\""),
        (
            "{format: File, prometheus: {url: 'http://p'}}",
            "in a cluster no source reads the gate's files: name a Prometheus",
        ),
        ("{format: Sloth, prometheus: {url: 'ftp://p'}}", "spec.prometheus.url"),
        (
            "{format: Sloth, prometheus: {url: 'http://p', bearer: {file: /var/run/token}}}",
            "in a cluster no source reads the gate's files: write Secrets of the gate's namespace",
        ),
        (
            "{format: OpenSLO, openslo: {files: [a]}, prometheus: {url: 'http://p'}}",
            "openslo.files: in a cluster no source reads the gate's files; write configMaps",
        ),
        ("{format: PromQL, prometheus: {url: 'http://p'}}", "promql: write it for format PromQL, and for no other"),
        ("{format: Sloth, interval: soon, prometheus: {url: 'http://p'}}", "interval: write a number and a unit"),
        ("{format: Sloth, prometheus: {ulr: 'http://p'}}", "unknown field \"spec.prometheus.ulr\""),
    ] {
        let said = bed.plane.apply(&object("bad", spec));
        assert!(!said.success && said.stderr.contains(words), "{spec}: {}{}", said.stdout, said.stderr);
    }
    for (field, words) in [
        ("budgetsource.spec.severalSeries", "What several series of one objective mean"),
        ("budgetsource.spec.promql.objectives", "`$window` in a query stands for a length of time"),
        ("budgetsource.spec.prometheus.bearer.secret", "It stands in a Secret of the gate's namespace."),
        ("budgetsource.spec.service.from", "The places that are looked at, in this order"),
    ] {
        let said = bed.plane.kubectl(&["explain", field]);
        let text = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "{field}: {text}");
    }
}

fn condition(bed: &Bed, name: &str, kind: &str) -> (String, String) {
    let field = |field: &str| {
        let path = format!("jsonpath={{.status.conditions[?(@.type==\"{kind}\")].{field}}}");
        bed.plane.kubectl(&["get", "bsrc", name, "-o", &path]).stdout
    };
    (field("status"), field("message"))
}

/// A Prometheus that knows one objective of Sloth's until now, and the counters that it is made of.
fn prometheus() -> Prometheus {
    let now = chrono::Utc::now().timestamp() / 60 * 60;
    let times = || (now - 7_200..=now + 1_800).step_by(60);
    let labels = r#"{sloth_id="checkout-availability",sloth_service="checkout",sloth_slo="availability"}"#;
    let constant = |name: &str, value: f64| Samples {
        series: format!("{name}{labels}"),
        samples: times().map(|at| (at, value)).collect(),
    };
    let counter = |code: &str, each: f64| Samples {
        series: format!("http_requests_total{{code=\"{code}\"}}"),
        #[allow(clippy::cast_precision_loss)]
        samples: times().map(|at| (at, each * (at - now + 7_200) as f64)).collect(),
    };
    Prometheus::with(&[
        constant("slo:sli_error:ratio_rate5m", 0.002),
        constant("slo:sli_error:ratio_rate1h", 0.002),
        constant("slo:objective:ratio", 0.999),
        constant("slo:time_period:days", 1.0 / 24.0),
        counter("200", 0.998),
        counter("500", 0.002),
    ])
}

fn metrics(bed: &Bed) -> String {
    let url = format!("http://127.0.0.1:{}/metrics", bed.gate.admin_port);
    String::from_utf8(std::process::Command::new("curl").args(["-s", &url]).output().unwrap().stdout).unwrap()
}

fn status(bed: &Bed) {
    let prometheus = prometheus();
    let spec = |url: &str| format!("{{format: Sloth, interval: 1s, prometheus: {{url: '{url}', timeout: 2s}}}}");
    assert!(bed.plane.apply(&object("slo", &spec(&prometheus.url()))).success);
    wait_for("its answer", || condition(bed, "slo", "Reachable").0 == "True");
    assert_eq!(condition(bed, "slo", "Accepted"), ("True".to_owned(), "The source is polled.".to_owned()));
    assert_eq!(condition(bed, "slo", "Reachable").1, "It answers for 1 service; no sample is older than maxAge.");
    let table = bed.plane.kubectl(&["get", "bsrc", "slo"]).stdout;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "FORMAT", "ACCEPTED", "REACHABLE", "AGE"]);
    assert_eq!(rows[1][..4], ["slo", "Sloth", "True", "True"]);
    assert!(metrics(bed).contains(r#"freshgate_budgets{source="slo",state="Exhausted"} 1"#), "{}", metrics(bed));

    // While nothing changes, nothing is written.
    let version = || bed.plane.kubectl(&["get", "bsrc", "slo", "-o", "jsonpath={.metadata.resourceVersion}"]).stdout;
    let before = version();
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(version(), before);

    let url = prometheus.url();
    drop(prometheus);
    wait_for("its silence", || condition(bed, "slo", "Reachable").0 == "False");
    let said = condition(bed, "slo", "Reachable").1;
    assert!(said.starts_with(&format!("{url} cannot be reached: ")), "{said}");
    assert!(said.contains("; what it said last of 1 service stays, the newest of 20"), "{said}");

    // A version that only the gate can see through changes nothing that is in force.
    assert!(bed.plane.apply(&object("slo", &spec("http://me:secret@p"))).success);
    wait_for("the status of the bad version", || condition(bed, "slo", "Accepted").0 == "False");
    let said = condition(bed, "slo", "Accepted").1;
    assert!(
        said.starts_with("spec.prometheus.url: it carries a name or a password")
            && said.ends_with("; generation 1 stays in force."),
        "{said}"
    );
    assert!(bed.plane.kubectl(&["delete", "bsrc", "slo"]).success);
    wait_for("its end", || !metrics(bed).contains(r#"freshgate_budgets{source="slo""#));
}

fn materials(bed: &Bed) {
    bed.plane.namespace("freshgate", &[]);
    bed.plane.namespace("elsewhere", &[]);
    let secret = |namespace: &str, name: &str| {
        bed.plane.kubectl(&["-n", namespace, "create", "secret", "generic", name, "--from-literal=token=t"]).success
    };
    let prometheus = prometheus();
    let spec = |secret: &str| {
        format!(
            "{{format: Sloth, interval: 1s, prometheus: {{url: '{}', bearer: {{secret: {{name: {secret}, key: token}}}}}}}}",
            prometheus.url()
        )
    };
    assert!(secret("elsewhere", "tenants") && secret("freshgate", "own"));
    assert!(bed.plane.apply(&object("with-secret", &spec("tenants"))).success);
    wait_for("what is missing", || condition(bed, "with-secret", "Reachable").0 == "False");
    assert_eq!(
        condition(bed, "with-secret", "Reachable").1,
        "the token in Secret \"tenants\" cannot be read: there is no Secret \"tenants\" in namespace \"freshgate\"; it has not answered yet."
    );
    assert!(bed.plane.apply(&object("with-secret", &spec("own"))).success);
    wait_for("its answer", || condition(bed, "with-secret", "Reachable").0 == "True");

    let document = json!({
        "apiVersion": "openslo/v1", "kind": "SLO", "metadata": {"name": "availability", "labels": {"team": ["a", "b"]}},
        "spec": {
            "service": "cart", "budgetingMethod": "Occurrences", "objectives": [{"target": 0.999}],
            "timeWindow": [{"duration": "1h", "isRolling": true}],
            "indicator": {"metadata": {"name": "x"}, "spec": {"ratioMetric": {"counter": true,
                "bad": {"metricSource": {"type": "Prometheus", "spec": {"query": "sum(http_requests_total{code=\"500\"})"}}},
                "total": {"metricSource": {"type": "Prometheus", "spec": {"query": "sum(http_requests_total)"}}}}}},
        },
    });
    let literal = format!("--from-literal=slo.yaml={document}");
    assert!(bed.plane.kubectl(&["-n", "freshgate", "create", "configmap", "slos", &literal]).success);
    let spec = format!(
        "{{format: OpenSLO, interval: 1s, openslo: {{configMaps: [{{name: slos}}]}}, prometheus: {{url: '{}'}}}}",
        prometheus.url()
    );
    assert!(bed.plane.apply(&object("from-config-map", &spec)).success);
    wait_for("its budget", || {
        metrics(bed).contains(r#"freshgate_budgets{source="from-config-map",state="Exhausted"} 1"#)
    });
    for name in ["with-secret", "from-config-map"] {
        assert!(bed.plane.kubectl(&["delete", "bsrc", name]).success);
    }
}

fn declared(bed: &Bed) {
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "prometheusservicelevels.sloth.slok.dev"},
        "spec": {
            "group": "sloth.slok.dev", "scope": "Namespaced",
            "names": {"kind": "PrometheusServiceLevel", "plural": "prometheusservicelevels", "singular": "prometheusservicelevel"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    assert!(bed.plane.apply(&crd.to_string()).success);
    let of = "crd/prometheusservicelevels.sloth.slok.dev";
    assert!(bed.plane.kubectl(&["wait", "--for=condition=Established", of]).success);
    let level = json!({
        "apiVersion": "sloth.slok.dev/v1", "kind": "PrometheusServiceLevel", "metadata": {"name": "cart", "namespace": "default"},
        "spec": {"service": "cart", "slos": [{"name": "latency", "objective": 99.5}]},
    });
    wait_for("the new kind", || bed.plane.apply(&level.to_string()).success);
    let prometheus = prometheus();
    let spec = format!("{{format: Sloth, interval: 1s, prometheus: {{url: '{}'}}}}", prometheus.url());
    assert!(bed.plane.apply(&object("with-levels", &spec)).success);
    wait_for("the declared one", || {
        metrics(bed).contains(r#"freshgate_budgets{source="with-levels",state="NoData"} 1"#)
    });
    assert_eq!(
        condition(bed, "with-levels", "Reachable").1,
        "It answers for 2 services; no sample is older than maxAge, and 1 of their budgets have no figures."
    );
    assert!(bed.plane.kubectl(&["delete", "bsrc", "with-levels"]).success);
}
