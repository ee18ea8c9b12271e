//! Compiles what was written of a source into what polls it, and says what is wrong with it.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use url::Url;

use super::api::{
    BudgetSourceSpec, OpenSloSettings, PrometheusSettings, SecretKey, SeveralSeries, SourceFormat, TlsSettings,
};
use super::openslo;
use super::promql;
use super::queried::Objective;
use super::service::ServiceRules;
use crate::policy::compile::Problem;
use crate::policy::duration::PolicyDuration;

const DEFAULT_INTERVAL_SECONDS: i64 = 30;
const DEFAULT_MAX_AGE_SECONDS: i64 = 300;
const DEFAULT_TIMEOUT_SECONDS: i64 = 10;
/// Quicker polls would only load the source: budgets are of days.
const SHORTEST_INTERVAL_SECONDS: i64 = 1;
/// A poll that takes longer is no background any more.
const LONGEST_TIMEOUT_SECONDS: i64 = 120;

/// Where a source was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file of this folder: other files are named relative to it.
    Folder(PathBuf),
    /// In a cluster: whoever may write the object must not be able to send the gate's files anywhere.
    Cluster,
}

/// A source that can be polled.
#[derive(Clone, Debug)]
pub struct CompiledSource {
    /// Its name.
    pub name: String,
    /// SHA-256, in hex, of its spec: what has another revision is polled anew.
    pub revision: String,
    /// Its spec.
    pub spec: BudgetSourceSpec,
    /// Where it was written.
    pub origin: Origin,
    /// The objectives of format `PromQL`.
    pub objectives: Vec<Objective>,
}

impl CompiledSource {
    /// Checks what spans fields.
    pub fn compile(name: &str, spec: BudgetSourceSpec, origin: Origin) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        check_sections(&spec, &mut problems);
        check_times(&spec, &mut problems);
        if let Some(prometheus) = &spec.prometheus {
            check_prometheus(prometheus, &origin, &mut problems);
        }
        if let Some(rules) = &spec.service {
            check_rules(rules, &mut problems);
        }
        if let (SourceFormat::OpenSlo, Some(settings)) = (spec.format, &spec.openslo) {
            check_openslo(settings, &origin, &mut problems);
        }
        if origin == Origin::Cluster && spec.format == SourceFormat::File {
            problems.push(Problem::new(
                "spec.format",
                "in a cluster no source reads the gate's files",
                "name a Prometheus, or serve from files with --policies",
            ));
        }
        if let Some(file) = spec.file.as_ref().filter(|file| file.path.is_empty()) {
            problems.push(Problem::new("spec.file.path", format!("{:?} names no file", file.path), "write its path"));
        }
        let mut objectives = Vec::new();
        if let (SourceFormat::PromQl, Some(settings)) = (spec.format, &spec.promql) {
            match promql::compile(settings) {
                Ok(compiled) => objectives = compiled,
                Err(found) => problems.extend(found),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let written = serde_json::to_vec(&spec).map_err(|error| {
            vec![Problem::new("spec", format!("it cannot be written as JSON: {error}"), "report this")]
        })?;
        Ok(Self { name: name.to_owned(), revision: hex::encode(Sha256::digest(written)), spec, origin, objectives })
    }

    /// How often it is polled, in seconds.
    pub fn interval_seconds(&self) -> i64 {
        self.spec.interval.as_ref().map_or(DEFAULT_INTERVAL_SECONDS, PolicyDuration::seconds)
    }

    /// How old a sample may be, in seconds.
    pub fn max_age_seconds(&self) -> i64 {
        self.spec.max_age.as_ref().map_or(DEFAULT_MAX_AGE_SECONDS, PolicyDuration::seconds)
    }

    /// How long a poll may take, in seconds.
    pub fn timeout_seconds(&self) -> i64 {
        let written = self.spec.prometheus.as_ref().and_then(|prometheus| prometheus.timeout.as_ref());
        written.map_or(DEFAULT_TIMEOUT_SECONDS, PolicyDuration::seconds)
    }

    /// What several series of one objective mean.
    pub fn several(&self) -> SeveralSeries {
        self.spec.several_series.unwrap_or_default()
    }

    /// How the services of workloads are told.
    pub fn rules(&self) -> ServiceRules {
        self.spec.service.clone().unwrap_or_default()
    }
}

fn check_sections(spec: &BudgetSourceSpec, problems: &mut Vec<Problem>) {
    let format = spec.format;
    let sections = [
        ("openslo", spec.openslo.is_some(), SourceFormat::OpenSlo, "documents, files or configMaps"),
        ("promql", spec.promql.is_some(), SourceFormat::PromQl, "objectives"),
        ("file", spec.file.is_some(), SourceFormat::File, "path"),
    ];
    for (name, is_there, of, wants) in sections {
        if is_there && format != of {
            problems.push(Problem::new(
                &format!("spec.{name}"),
                format!("it has no effect, because the format is {}", format.as_str()),
                format!("leave it out, or write format: {}", of.as_str()),
            ));
        } else if !is_there && format == of {
            problems.push(Problem::new(
                &format!("spec.{name}"),
                format!("format {} needs it", format.as_str()),
                format!("add {name} with {wants}"),
            ));
        }
    }
    match (&spec.prometheus, format) {
        (Some(_), SourceFormat::File) => problems.push(Problem::new(
            "spec.prometheus",
            "it has no effect, because the format is File",
            "leave it out, or write another format",
        )),
        (None, SourceFormat::File) | (Some(_), _) => {}
        (None, _) => problems.push(Problem::new(
            "spec.prometheus",
            format!("format {} needs it", format.as_str()),
            "add prometheus with a url",
        )),
    }
}

fn check_times(spec: &BudgetSourceSpec, problems: &mut Vec<Problem>) {
    let interval = spec.interval.as_ref().map_or(DEFAULT_INTERVAL_SECONDS, PolicyDuration::seconds);
    let max_age = spec.max_age.as_ref().map_or(DEFAULT_MAX_AGE_SECONDS, PolicyDuration::seconds);
    if interval < SHORTEST_INTERVAL_SECONDS {
        problems.push(Problem::new("spec.interval", "it is too short", "write 1s or more"));
    }
    if max_age < interval && spec.format != SourceFormat::File {
        problems.push(Problem::new(
            "spec.maxAge",
            "it is shorter than interval, so every budget would be stale before the next poll",
            "make maxAge longer, or interval shorter",
        ));
    }
    let timeout = spec.prometheus.as_ref().and_then(|prometheus| prometheus.timeout.as_ref());
    if timeout.is_some_and(|timeout| timeout.seconds() > LONGEST_TIMEOUT_SECONDS) {
        problems.push(Problem::new("spec.prometheus.timeout", "it is longer than 2m", "write 2m or less"));
    }
}

fn check_prometheus(prometheus: &PrometheusSettings, origin: &Origin, problems: &mut Vec<Problem>) {
    let place = "spec.prometheus";
    match Url::parse(&prometheus.url) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) => {
            problems.push(Problem::new(
                &format!("{place}.url"),
                "it is no address of HTTP",
                "write http:// or https:// and a host, as http://prometheus.monitoring.svc:9090",
            ));
        }
        // The address is shown in messages and logs.
        Ok(url) if !url.username().is_empty() || url.password().is_some() => problems.push(Problem::new(
            &format!("{place}.url"),
            "it carries a name or a password, which would be seen by everybody who sees the address",
            "write them as basic, with the password in a Secret or a file",
        )),
        Ok(url) if url.query().is_some() || url.fragment().is_some() => problems.push(Problem::new(
            &format!("{place}.url"),
            "it has something behind its path",
            "write scheme, host, port and the path before /api/v1 alone",
        )),
        Ok(_) => {}
        Err(error) => problems.push(Problem::new(
            &format!("{place}.url"),
            format!("it is no address: {error}"),
            "write http:// or https:// and a host, as http://prometheus.monitoring.svc:9090",
        )),
    }
    let is_text = |text: &str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    for (name, value) in &prometheus.headers {
        let field = format!("{place}.headers.{name}");
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_name || !is_text(value) {
            problems.push(Problem::new(
                &field,
                "it can be no header",
                "write letters, digits and dashes, and a value of plain text",
            ));
        }
        if let Some(meant) = own_header(name) {
            problems.push(Problem::new(&field, "this header is the gate's own", meant));
        }
    }
    if prometheus.tenant.as_ref().is_some_and(|tenant| tenant.is_empty() || !is_text(tenant)) {
        problems.push(Problem::new(&format!("{place}.tenant"), "it can be no tenant", "write plain text"));
    }
    if prometheus.basic.is_some() && prometheus.bearer.is_some() {
        problems.push(Problem::new(
            &format!("{place}.bearer"),
            "basic and bearer contradict each other",
            "write one of them",
        ));
    }
    if let Some(basic) = &prometheus.basic {
        if basic.username.contains(':') {
            problems.push(Problem::new(
                &format!("{place}.basic.username"),
                "a name has no colon",
                "write the name alone",
            ));
        }
        let place = format!("{place}.basic");
        check_one(
            &place,
            "password",
            basic.password_secret.as_ref(),
            basic.password_file.as_ref(),
            true,
            origin,
            problems,
        );
    }
    if let Some(bearer) = &prometheus.bearer {
        let place = format!("{place}.bearer");
        check_one(&place, "", bearer.secret.as_ref(), bearer.file.as_ref(), true, origin, problems);
    }
    if let Some(tls) = &prometheus.tls {
        check_tls(&format!("{place}.tls"), tls, origin, problems);
    }
}

/// What to write in place of a header that is set already.
fn own_header(name: &str) -> Option<&'static str> {
    match name.to_ascii_lowercase().as_str() {
        "authorization" => Some("write basic or bearer"),
        "x-scope-orgid" => Some("write tenant"),
        "host" | "content-type" | "content-length" | "transfer-encoding" | "connection" => Some("leave it out"),
        _ => None,
    }
}

fn check_tls(place: &str, tls: &TlsSettings, origin: &Origin, problems: &mut Vec<Problem>) {
    check_one(place, "ca", tls.ca_secret.as_ref(), tls.ca_file.as_ref(), false, origin, problems);
    let certificate = tls.certificate_secret.is_some() || tls.certificate_file.is_some();
    let key = tls.key_secret.is_some() || tls.key_file.is_some();
    check_one(
        place,
        "certificate",
        tls.certificate_secret.as_ref(),
        tls.certificate_file.as_ref(),
        key,
        origin,
        problems,
    );
    check_one(place, "key", tls.key_secret.as_ref(), tls.key_file.as_ref(), certificate, origin, problems);
}

/// Exactly one of a Secret and a file, where one is needed; each only where it can be read.
fn check_one(
    place: &str,
    what: &str,
    secret: Option<&SecretKey>,
    file: Option<&String>,
    is_needed: bool,
    origin: &Origin,
    problems: &mut Vec<Problem>,
) {
    let field = |end: &str| {
        let name = if what.is_empty() { end.to_lowercase() } else { format!("{what}{end}") };
        format!("{place}.{name}")
    };
    match (secret, file) {
        (Some(_), Some(_)) => problems.push(Problem::new(
            &field("Secret"),
            "a Secret and a file contradict each other",
            "write one of them",
        )),
        (None, None) if is_needed => {
            let meant = if *origin == Origin::Cluster { "Secret" } else { "File" };
            problems.push(Problem::new(&field(meant), "it is missing", "write where it stands"));
        }
        (_, Some(_)) if *origin == Origin::Cluster => problems.push(Problem::new(
            &field("File"),
            "in a cluster no source reads the gate's files",
            "put it into a Secret of the gate's namespace",
        )),
        (Some(_), _) if *origin != Origin::Cluster => problems.push(Problem::new(
            &field("Secret"),
            "without a cluster there are no Secrets",
            "write the path of a file, or serve with --kubernetes",
        )),
        (Some(secret), None) if secret.name.is_empty() || secret.key.is_empty() => {
            problems.push(Problem::new(&field("Secret"), "it names no entry of a Secret", "write name and key"));
        }
        (_, Some(path)) if path.is_empty() => {
            problems.push(Problem::new(&field("File"), "it names no file", "write its path"));
        }
        _ => {}
    }
}

fn check_rules(rules: &ServiceRules, problems: &mut Vec<Problem>) {
    if rules.from.is_empty() {
        problems.push(Problem::new(
            "spec.service.from",
            "it is empty, so no workload would have a service",
            "write [Mapping, NamespaceLabel], or leave it out",
        ));
    }
    for (index, entry) in rules.mapping.iter().enumerate() {
        if entry.service.is_empty() {
            problems.push(Problem::new(
                &format!("spec.service.mapping[{index}].service"),
                "it is empty",
                "name the service as the source does",
            ));
        }
    }
}

fn check_openslo(settings: &OpenSloSettings, origin: &Origin, problems: &mut Vec<Problem>) {
    if settings.documents.is_empty() && settings.files.is_empty() && settings.config_maps.is_empty() {
        problems.push(Problem::new("spec.openslo", "it names no document", "write documents, files or configMaps"));
    }
    if *origin == Origin::Cluster && !settings.files.is_empty() {
        problems.push(Problem::new(
            "spec.openslo.files",
            "in a cluster no source reads the gate's files",
            "put them into a ConfigMap of the gate's namespace, and name it in configMaps",
        ));
    }
    if *origin != Origin::Cluster && !settings.config_maps.is_empty() {
        problems.push(Problem::new(
            "spec.openslo.configMaps",
            "without a cluster there are no ConfigMaps",
            "write files, or serve with --kubernetes",
        ));
    }
    // What stands elsewhere may be missing here, an SLI for example: then it shows when the source is polled.
    if settings.files.is_empty() && settings.config_maps.is_empty() {
        for problem in openslo::read(&inline_documents(settings)).problems {
            let field = format!("spec.openslo.{}", problem.document);
            let slo = problem.slo.map(|slo| format!("SLO {slo:?}: ")).unwrap_or_default();
            let message = format!("line {}: {slo}{}", problem.line, problem.message);
            problems.push(Problem::new(&field, message, problem.remedy));
        }
    }
}

/// The documents that stand in the object itself, with a name each.
pub fn inline_documents(settings: &OpenSloSettings) -> Vec<(String, String)> {
    let named = |(index, text): (usize, &String)| (format!("documents[{index}]"), text.clone());
    settings.documents.iter().enumerate().map(named).collect()
}

#[cfg(test)]
mod tests;
