//! What is derived from a record's line: the columns of its row in the store, and what it adds to the ledger.
//! The filler writes these, the query filters by them, and `verify` derives them anew and compares.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;

use super::facet::{Facet, Facets};
use crate::store::ledger::{LedgerUpdate, WorkloadKey, WorkloadLedger};
use crate::store::time::to_column;

/// The line is not a record as this version knows them.
#[derive(Debug, Error)]
#[error("the record cannot be read: {0}")]
pub struct UnreadableLine(#[from] serde_json::Error);

/// The columns that are derived from a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// The writer whose chain the record is in.
    pub writer_id: String,
    /// Its number in that chain, from 1.
    pub seq: u64,
    /// The decision's id.
    pub decision_id: String,
    /// When it was made: UTC, six decimals.
    pub timestamp: String,
    /// `allow`, `warn` or `deny`.
    pub decision: String,
    /// The object's namespace, or empty.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `CREATE`, `UPDATE` …
    pub operation: String,
    /// Who asked.
    pub username: String,
    /// Names of the rules that did not pass, each once, separated by commas.
    pub rules: String,
    /// References and digests of the images, each once, separated by spaces.
    pub images: String,
    /// The id of the decision that this one repeats.
    pub repeat_of: Option<String>,
    /// The hash of the record before it, as the line gives it.
    pub prev_hash: String,
    /// By what it can be asked for: a JSON list of texts like `namespace=shop`.
    pub facets: String,
}

impl Columns {
    /// Derives the columns, and the update of the ledger if something was admitted.
    pub fn derive(line: &str) -> Result<(Self, Option<LedgerUpdate>), UnreadableLine> {
        let record: Record<'_> = serde_json::from_str(line)?;
        let update = record.ledger_update();
        Ok((record.columns(), update))
    }

    /// For a line that cannot be read: its place in the chain and nothing else, so that it is kept all the same.
    pub fn of_unreadable(writer_id: String, seq: u64) -> Self {
        Self { writer_id, seq, ..Self::default() }
    }

    /// The name of the first column that differs from `other`'s.
    pub fn first_difference(&self, other: &Self) -> Option<&'static str> {
        [
            ("writer_id", self.writer_id != other.writer_id),
            ("seq", self.seq != other.seq),
            ("decision_id", self.decision_id != other.decision_id),
            ("timestamp", self.timestamp != other.timestamp),
            ("decision", self.decision != other.decision),
            ("namespace", self.namespace != other.namespace),
            ("kind", self.kind != other.kind),
            ("name", self.name != other.name),
            ("operation", self.operation != other.operation),
            ("username", self.username != other.username),
            ("rules", self.rules != other.rules),
            ("images", self.images != other.images),
            ("repeat_of", self.repeat_of != other.repeat_of),
            ("prev_hash", self.prev_hash != other.prev_hash),
            ("facets", self.facets != other.facets),
        ]
        .into_iter()
        .find_map(|(column, differs)| differs.then_some(column))
    }
}

/// The members of a record that columns and ledger come from.
// A JSON object of which the names alone count: serde reads no set from it.
#[allow(clippy::zero_sized_map_values)]
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    decision_id: Cow<'a, str>,
    timestamp: DateTime<Utc>,
    #[serde(borrow)]
    decision: Cow<'a, str>,
    #[serde(borrow)]
    request: Request<'a>,
    #[serde(borrow, default)]
    policies: BTreeMap<Cow<'a, str>, IgnoredAny>,
    #[serde(borrow, default)]
    rules: Vec<Rule<'a>>,
    #[serde(borrow, default)]
    images: Vec<Image<'a>>,
    #[serde(borrow, default)]
    budgets: Vec<Budget<'a>>,
    #[serde(borrow, default)]
    exceptions: Vec<Exception<'a>>,
    #[serde(borrow, default)]
    exception: Option<Exception<'a>>,
    #[serde(borrow, default)]
    repeat_of: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    ledger: Option<LedgerMember<'a>>,
    #[serde(borrow)]
    writer_id: Cow<'a, str>,
    seq: u64,
    #[serde(borrow)]
    prev_hash: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    kind: Kind<'a>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow, default)]
    user_info: Option<UserInfo<'a>>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct UserInfo<'a> {
    #[serde(borrow, default)]
    username: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Rule<'a> {
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow)]
    result: Cow<'a, str>,
    #[serde(borrow, default)]
    properties: Option<Budget<'a>>,
}

/// What names a service: a budget, or the properties of a rule about one.
#[derive(Deserialize)]
struct Budget<'a> {
    #[serde(borrow, default)]
    service: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Exception<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Image<'a> {
    #[serde(borrow, default, rename = "ref")]
    reference: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    digest: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LedgerMember<'a> {
    #[serde(borrow, default)]
    digests: Vec<Digest<'a>>,
    #[serde(borrow, default)]
    earlier_digests: Vec<EarlierDigest<'a>>,
    #[serde(borrow, default)]
    templates: Vec<Template<'a>>,
    #[serde(borrow, default)]
    services: Vec<Service<'a>>,
    #[serde(borrow, default)]
    ran: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Service<'a> {
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    service: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Digest<'a> {
    #[serde(borrow)]
    digest: Cow<'a, str>,
    #[serde(borrow)]
    reference: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EarlierDigest<'a> {
    #[serde(borrow)]
    digest: Cow<'a, str>,
    #[serde(borrow)]
    reference: Cow<'a, str>,
    first_admitted_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Template<'a> {
    #[serde(borrow)]
    fingerprint: Cow<'a, str>,
    at: DateTime<Utc>,
}

impl Record<'_> {
    fn columns(&self) -> Columns {
        let request = &self.request;
        let not_passed = self.rules.iter().filter(|rule| rule.did_not_pass());
        let images = self.images.iter().flat_map(|image| [&image.reference, &image.digest]).flatten();
        Columns {
            writer_id: self.writer_id.to_string(),
            seq: self.seq,
            decision_id: self.decision_id.to_string(),
            timestamp: to_column(self.timestamp),
            decision: self.decision.to_string(),
            namespace: request.namespace.as_deref().unwrap_or_default().to_owned(),
            kind: request.kind.kind.to_string(),
            name: request.name.as_deref().unwrap_or_default().to_owned(),
            operation: request.operation.to_string(),
            username: request
                .user_info
                .as_ref()
                .and_then(|user| user.username.as_deref())
                .unwrap_or_default()
                .to_owned(),
            rules: each_once(not_passed.map(|rule| &*rule.rule), ","),
            images: each_once(images.map(|image| &**image), " "),
            repeat_of: self.repeat_of.as_deref().map(str::to_owned),
            prev_hash: self.prev_hash.to_string(),
            facets: self.facets(),
        }
    }

    fn facets(&self) -> String {
        let request = &self.request;
        let user = request.user_info.as_ref().and_then(|user| user.username.as_deref());
        let mut facets = Facets::default();
        facets.add(Facet::Namespace, request.namespace.as_deref().unwrap_or_default());
        facets.add(Facet::Kind, &request.kind.kind);
        facets.add(Facet::Name, request.name.as_deref().unwrap_or_default());
        facets.add(Facet::User, user.unwrap_or_default());
        facets.add(Facet::Decision, &self.decision);
        for rule in self.rules.iter().filter(|rule| rule.did_not_pass()) {
            facets.add(Facet::Rule, &rule.rule);
        }
        for policy in self.policies.keys() {
            facets.add(Facet::Policy, policy);
        }
        let of_rules = self.rules.iter().filter_map(|rule| rule.properties.as_ref());
        for service in of_rules.chain(&self.budgets).filter_map(|budget| budget.service.as_deref()) {
            facets.add(Facet::Service, service);
        }
        for Service { service, .. } in self.ledger.iter().flat_map(|ledger| &ledger.services) {
            facets.add(Facet::Service, service);
        }
        for image in &self.images {
            if let Some(reference) = &image.reference {
                facets.add_reference(reference);
            }
            if let Some(digest) = &image.digest {
                facets.add(Facet::Digest, digest);
            }
        }
        for exception in self.exceptions.iter().chain(&self.exception) {
            facets.add(Facet::Exception, &exception.name);
        }
        facets.column()
    }

    fn ledger_update(&self) -> Option<LedgerUpdate> {
        let ledger = self.ledger.as_ref()?;
        let mut admitted = WorkloadLedger::default();
        for earlier in &ledger.earlier_digests {
            admitted.admit(&earlier.digest, &earlier.reference, earlier.first_admitted_at);
        }
        for Digest { digest, reference } in &ledger.digests {
            admitted.admit(digest, reference, self.timestamp);
        }
        for template in &ledger.templates {
            admitted.admit_template(&template.fingerprint, template.at);
        }
        for Service { source, service } in &ledger.services {
            admitted.belongs_to(source, service, self.timestamp);
        }
        for reference in &ledger.ran {
            admitted.ran_until(reference, self.timestamp);
        }
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().to_owned();
        let workload = WorkloadKey {
            namespace: text(&self.request.namespace),
            kind: self.request.kind.kind.to_string(),
            name: text(&self.request.name),
        };
        Some(LedgerUpdate { workload, admitted })
    }
}

impl Rule<'_> {
    fn did_not_pass(&self) -> bool {
        !matches!(&*self.result, "pass" | "skip")
    }
}

fn each_once<'a>(items: impl Iterator<Item = &'a str>, separator: &str) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_and_ledger_come_from_the_line() {
        let line = json!({
            "decision_id": "01935e2a-0000-7000-8000-00000000000a", "timestamp": "2026-11-24T10:00:00.25Z", "decision": "warn",
            "request": {"uid": "u", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"}, "namespace": "shop",
                "name": "checkout", "operation": "UPDATE", "dryRun": false, "userInfo": {"username": "jane \"j\" doe"}},
            "change": "NewImage", "policies": {"production": "3", "strict": {"revision": 1}},
            "rules": [{"policy": "production", "rule": "imageAge", "result": "warn", "message": "", "properties": {}},
                {"policy": "strict", "rule": "imageAge", "result": "fail"}, {"policy": "production", "rule": "other", "result": "pass"}],
            "images": [{"container": "app", "ref": "shop:1", "digest": "sha256:aa"}, {"container": "b", "ref": "shop:2", "digest": null},
                {"container": "c", "ref": "shop:1", "digest": "sha256:aa"}],
            "budgets": [{"source": "slo", "service": "checkout"}, {"source": "slo", "service": null}],
            "exceptions": [{"name": "retry-storm", "reason": "security"}],
            "ledger": {"digests": [{"digest": "sha256:aa", "reference": "shop:1"}],
                "services": [{"source": "slo", "service": "payments"}],
                "earlierDigests": [{"digest": "sha256:bb", "reference": "shop:0", "firstAdmittedAt": "2026-11-01T00:00:00Z"}],
                "templates": [{"fingerprint": "f", "at": "2026-11-24T10:00:00.25Z"}]},
            "writer_id": "w", "seq": 7, "prev_hash": "00",
        })
        .to_string();
        let (columns, update) = Columns::derive(&line).unwrap();
        let expected = Columns {
            writer_id: "w".to_owned(),
            seq: 7,
            decision_id: "01935e2a-0000-7000-8000-00000000000a".to_owned(),
            timestamp: "2026-11-24T10:00:00.250000Z".to_owned(),
            decision: "warn".to_owned(),
            namespace: "shop".to_owned(),
            kind: "Deployment".to_owned(),
            name: "checkout".to_owned(),
            operation: "UPDATE".to_owned(),
            username: "jane \"j\" doe".to_owned(),
            rules: "imageAge".to_owned(),
            images: "shop:1 sha256:aa shop:2".to_owned(),
            repeat_of: None,
            prev_hash: "00".to_owned(),
            facets: json!([
                "namespace=shop",
                "kind=Deployment",
                "name=checkout",
                "user=jane \"j\" doe",
                "decision=warn",
                "rule=imageAge",
                "policy=production",
                "policy=strict",
                "service=checkout",
                "service=payments",
                "repository=docker.io/library/shop",
                "digest=sha256:aa",
                "exception=retry-storm",
            ])
            .to_string(),
        };
        assert_eq!(columns, expected);
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let mut admitted = WorkloadLedger::default();
        admitted.admit("sha256:bb", "shop:0", time("2026-11-01T00:00:00Z"));
        admitted.admit("sha256:aa", "shop:1", time("2026-11-24T10:00:00.25Z"));
        admitted.admit_template("f", time("2026-11-24T10:00:00.25Z"));
        admitted.belongs_to("slo", "payments", time("2026-11-24T10:00:00.25Z"));
        let workload =
            WorkloadKey { namespace: "shop".to_owned(), kind: "Deployment".to_owned(), name: "checkout".to_owned() };
        assert_eq!(update, Some(LedgerUpdate { workload, admitted }));
    }

    #[test]
    fn a_line_without_what_identifies_it_is_unreadable() {
        assert_eq!(
            Columns::derive(r#"{"decision":"deny"}"#).unwrap_err().to_string(),
            "the record cannot be read: missing field `decision_id` at line 1 column 19"
        );
    }
}
