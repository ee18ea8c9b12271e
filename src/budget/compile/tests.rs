use super::*;

fn spec(yaml: &str) -> BudgetSourceSpec {
    serde_saphyr::from_str(yaml).unwrap()
}

fn folder() -> Origin {
    Origin::Folder("policies".into())
}

fn problems(yaml: &str, origin: Origin) -> Vec<String> {
    match CompiledSource::compile("slo", spec(yaml), origin) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|one| format!("{}: {}; {}", one.field, one.message, one.remedy)).collect(),
    }
}

const SLOTH: &str = "{format: Sloth, prometheus: {url: 'http://prometheus:9090'}}";

#[test]
fn what_is_left_out_has_its_defaults() {
    let source = CompiledSource::compile("slo", spec(SLOTH), Origin::Cluster).unwrap();
    assert_eq!((source.interval_seconds(), source.max_age_seconds(), source.timeout_seconds()), (30, 300, 10));
    assert_eq!(source.several(), SeveralSeries::Ambiguous);
    assert_eq!(source.rules(), ServiceRules::default());
    let other = CompiledSource::compile("slo", spec(&SLOTH.replace("9090", "9091")), Origin::Cluster).unwrap();
    assert_ne!(source.revision, other.revision);
}

#[test]
fn each_problem_names_field_and_remedy() {
    let with = |more: &str| format!("{{format: Sloth, prometheus: {{url: 'http://p:9090', {more}}}}}");
    for (yaml, origin, said) in [
        ("{format: Sloth}".to_owned(), folder(), "spec.prometheus: format Sloth needs it; add prometheus with a url"),
        (
            "{format: File, file: {path: x}, prometheus: {url: 'http://p'}}".to_owned(),
            folder(),
            "spec.prometheus: it has no effect, because the format is File; leave it out, or write another format",
        ),
        (
            "{format: Sloth, prometheus: {url: 'http://p'}, file: {path: x}}".to_owned(),
            folder(),
            "spec.file: it has no effect, because the format is Sloth; leave it out, or write format: File",
        ),
        ("{format: File}".to_owned(), folder(), "spec.file: format File needs it; add file with path"),
        (
            "{format: File, file: {path: x}}".to_owned(),
            Origin::Cluster,
            "spec.format: in a cluster no source reads the gate's files; name a Prometheus, or serve from files with --policies",
        ),
        (
            "{format: Sloth, prometheus: {url: 'http://p'}, interval: 10m}".to_owned(),
            folder(),
            "spec.maxAge: it is shorter than interval, so every budget would be stale before the next poll; make maxAge longer, or interval shorter",
        ),
        (
            SLOTH.replace("http://prometheus:9090", "http://me:secret@p"),
            folder(),
            "spec.prometheus.url: it carries a name or a password, which would be seen by everybody who sees the address; write them as basic, with the password in a Secret or a file",
        ),
        (
            SLOTH.replace("http://prometheus:9090", "file:///etc/passwd"),
            folder(),
            "spec.prometheus.url: it is no address of HTTP; write http:// or https:// and a host, as http://prometheus.monitoring.svc:9090",
        ),
        (
            with("basic: {username: me, passwordFile: /etc/passwd}"),
            Origin::Cluster,
            "spec.prometheus.basic.passwordFile: in a cluster no source reads the gate's files; put it into a Secret of the gate's namespace",
        ),
        (
            with("bearer: {file: /var/token}"),
            Origin::Cluster,
            "spec.prometheus.bearer.file: in a cluster no source reads the gate's files; put it into a Secret of the gate's namespace",
        ),
        (
            with("tls: {caFile: /etc/ca}"),
            Origin::Cluster,
            "spec.prometheus.tls.caFile: in a cluster no source reads the gate's files; put it into a Secret of the gate's namespace",
        ),
        (
            with("tls: {certificateSecret: {name: a, key: b}}"),
            Origin::Cluster,
            "spec.prometheus.tls.keySecret: it is missing; write where it stands",
        ),
        (
            with("bearer: {secret: {name: a, key: b}}"),
            folder(),
            "spec.prometheus.bearer.secret: without a cluster there are no Secrets; write the path of a file, or serve with --kubernetes",
        ),
        (
            with("basic: {username: me}"),
            Origin::Cluster,
            "spec.prometheus.basic.passwordSecret: it is missing; write where it stands",
        ),
        (
            with("headers: {Authorization: x}"),
            folder(),
            "spec.prometheus.headers.Authorization: this header is the gate's own; write basic or bearer",
        ),
        (
            "{format: OpenSLO, prometheus: {url: 'http://p'}, openslo: {files: [a.yaml]}}".to_owned(),
            Origin::Cluster,
            "spec.openslo.files: in a cluster no source reads the gate's files; put them into a ConfigMap of the gate's namespace, and name it in configMaps",
        ),
        (
            "{format: OpenSLO, prometheus: {url: 'http://p'}, openslo: {}}".to_owned(),
            folder(),
            "spec.openslo: it names no document; write documents, files or configMaps",
        ),
        (
            "{format: PromQL, prometheus: {url: 'http://p'}, promql: {objectives: [{slo: a, objective: 99.9, window: 30d, errorRatio: x}]}}".to_owned(),
            folder(),
            "spec.promql.objectives[0].objective: 99.9 is not above 0 and at most 1; write a fraction, as 0.999 for 99.9 %",
        ),
        (
            "{format: PromQL, prometheus: {url: 'http://p'}, promql: {objectives: [{slo: a, objective: 0.9, calendar: {length: 1M, start: '2026-01-01 00:00:00'}, errorRatio: 'x[30d]'}]}}".to_owned(),
            folder(),
            "spec.promql.objectives[0].errorRatio: a period of the calendar is not always equally long, but the query's range is; write [$window] in place of the range",
        ),
        (
            "{format: PromQL, prometheus: {url: 'http://p'}, promql: {objectives: [{slo: a, objective: 0.9, window: 30d, good: x}]}}".to_owned(),
            folder(),
            "spec.promql.objectives[0].good: it is not clear what is measured; write good and total, or errorRatio alone",
        ),
        (
            SLOTH.replace("format: Sloth,", "format: Sloth, service: {from: []},"),
            folder(),
            "spec.service.from: it is empty, so no workload would have a service; write [Mapping, NamespaceLabel], or leave it out",
        ),
    ] {
        assert_eq!(problems(&yaml, origin), [said], "{yaml}");
    }
}

#[test]
fn documents_in_the_object_are_read_at_once() {
    let yaml = "{format: OpenSLO, prometheus: {url: 'http://p'}, openslo: {documents: ['{apiVersion: openslo/v1, kind: SLO, metadata: {name: a}}']}}";
    assert_eq!(
        problems(yaml, folder()),
        [
            "spec.openslo.documents[0]: line 1: SLO \"a\": it names no service; write spec.service (v1) or spec.serviceRef (v2alpha)"
        ]
    );
}
