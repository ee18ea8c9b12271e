//! `BudgetSource`, the object that says where error budgets come from: the same in a cluster and in a file.
//!
//! Shapes are checked here and by the CRD's schema; what spans fields is checked when a source is compiled.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::service::ServiceRules;
use crate::policy::api::Condition;
use crate::policy::duration::PolicyDuration;

/// Where error budgets come from: a Prometheus and how its series are to be read, or a file.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "freshgate.dev",
    version = "v1alpha1",
    kind = "BudgetSource",
    plural = "budgetsources",
    singular = "budgetsource",
    shortname = "bsrc",
    category = "freshgate",
    status = "BudgetSourceStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BudgetSourceSpec {
    /// What the budgets are written in.
    pub format: SourceFormat,
    /// The Prometheus, Thanos, Mimir or Grafana Cloud that is asked; every format but `File` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSettings>,
    /// How often it is asked; default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub interval: Option<PolicyDuration>,
    /// How old a sample may be before it says nothing any more; default `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub max_age: Option<PolicyDuration>,
    /// What several series of one objective mean, as pairs for high availability leave them: the budget is
    /// `Ambiguous` (the default), or the `Worst` of them counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SeveralSeries")]
    pub several_series: Option<SeveralSeries>,
    /// How the service of a workload is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ServiceRules")]
    pub service: Option<ServiceRules>,
    /// The documents of format `OpenSLO`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openslo: Option<OpenSloSettings>,
    /// The objectives of format `PromQL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promql: Option<PromQlSettings>,
    /// The file of format `File`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSettings>,
}

/// What budgets are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SourceFormat {
    /// The series that Sloth records.
    Sloth,
    /// The series that Pyrra records.
    Pyrra,
    /// The series of Grafana SLO.
    #[serde(rename = "GrafanaSLO")]
    GrafanaSlo,
    /// Documents of `OpenSLO`, whose queries Prometheus answers.
    #[serde(rename = "OpenSLO")]
    OpenSlo,
    /// Queries of one's own.
    #[serde(rename = "PromQL")]
    PromQl,
    /// A snapshot in JSON.
    File,
}

impl SourceFormat {
    /// The name as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sloth => "Sloth",
            Self::Pyrra => "Pyrra",
            Self::GrafanaSlo => "GrafanaSLO",
            Self::OpenSlo => "OpenSLO",
            Self::PromQl => "PromQL",
            Self::File => "File",
        }
    }
}

/// What several series of one objective mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SeveralSeries {
    /// Nobody knows which one counts.
    #[default]
    Ambiguous,
    /// The worst counts.
    Worst,
}

/// How Prometheus is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusSettings {
    /// Its address, as `http://prometheus.monitoring.svc:9090`; a path before `/api/v1` belongs to it.
    pub url: String,
    /// How long all questions of one poll may take together; default `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<PolicyDuration>,
    /// More headers, by name; not for passwords, which stand in Secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The tenant of Mimir or Grafana Cloud, sent as `X-Scope-OrgID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// A name and a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicCredentials>,
    /// A token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerToken>,
    /// Certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
}

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicCredentials {
    /// The name.
    pub username: String,
    /// The password, in a Secret of the gate's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretKey>,
    /// The password, in a file; not in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BearerToken {
    /// It stands in a Secret of the gate's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretKey>,
    /// It stands in a file; not in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Certificates, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsSettings {
    /// Certificate authorities beside the system's, in a Secret of the gate's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
    /// Certificate authorities beside the system's, in a file; not in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The gate's own certificate, in a Secret of its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_secret: Option<SecretKey>,
    /// The gate's own certificate, in a file; not in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<String>,
    /// The key of that certificate, in a Secret of its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<SecretKey>,
    /// The key of that certificate, in a file; not in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

/// One entry of a Secret in the gate's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// The entry.
    pub key: String,
}

/// Where the documents of `OpenSLO` are. An SLO may refer to an SLI in another document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenSloSettings {
    /// Documents as text, each perhaps of several YAML documents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<String>,
    /// Files, beside this object's own file; not in a cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// `ConfigMaps` of the gate's namespace; every entry is a document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_maps: Vec<ConfigMapName>,
}

/// A `ConfigMap` of the gate's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMapName {
    /// Its name.
    pub name: String,
}

/// Objectives by queries of one's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromQlSettings {
    /// The objectives; each is asked for once, for all services.
    pub objectives: Vec<PromQlObjective>,
}

/// An objective, for every service that its queries answer with.
///
/// `$window` in a query stands for a length of time, as in `increase(http_requests_total[$window])`. With it the gate
/// asks for shorter times too, so that it can tell a fast burn, and for the past, so that it can say when a freeze lifts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromQlObjective {
    /// Its name.
    pub slo: String,
    /// The part of all that should be good, above 0 and at most 1, as `0.999`.
    pub objective: f64,
    /// The last so long counts, as `30d`; this or `calendar`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub window: Option<PolicyDuration>,
    /// A period of the calendar counts; this or `window`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<CalendarSettings>,
    /// The label of the answer that names the service; default `service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_label: Option<String>,
    /// Good events in the window, for each service; with `total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
    /// All events in the window, for each service; with `good`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// The part of all that was bad in the window, for each service; in place of `good` and `total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_ratio: Option<String>,
}

/// Periods of the calendar, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CalendarSettings {
    /// The length of each, as `1M`, `1w`, `1Q` or `1Y`.
    pub length: String,
    /// The local time at which one began, as `2026-01-01 00:00:00`.
    pub start: String,
    /// The time zone in which that is meant, as `Europe/Berlin`; default `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// A snapshot in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileSettings {
    /// The file, beside this object's own file.
    pub path: String,
}

/// What the gate says of a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetSourceStatus {
    /// The generation that the conditions speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted` says whether the source can be used, `Reachable` whether it answers, and if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
