//! What of a record's line its columns and its share of the ledger come from, read without a copy of what stands there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Columns, UnreadableLine};
use crate::audit::facet::{Facet, Facets, References};
use crate::json::{self, Text};
use crate::store::ledger::{LedgerUpdate, WorkloadKey, WorkloadLedger};
use crate::store::time::to_column;

/// The members of a record that columns and ledger come from.
// A JSON object of which the names alone count: serde reads no set from it.
#[allow(clippy::zero_sized_map_values)]
#[derive(Deserialize)]
pub(crate) struct Record<'a> {
    #[serde(borrow)]
    decision_id: Text<'a>,
    timestamp: DateTime<Utc>,
    #[serde(borrow)]
    decision: Text<'a>,
    #[serde(borrow)]
    request: Request<'a>,
    #[serde(borrow, default)]
    policies: BTreeMap<Text<'a>, IgnoredAny>,
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
    repeat_of: Option<Text<'a>>,
    #[serde(borrow, default)]
    ledger: Option<LedgerMember<'a>>,
    #[serde(borrow)]
    writer_id: Text<'a>,
    seq: u64,
    #[serde(borrow)]
    prev_hash: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    kind: Kind<'a>,
    #[serde(borrow, default)]
    namespace: Option<Text<'a>>,
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    operation: Text<'a>,
    #[serde(borrow, default)]
    user_info: Option<UserInfo<'a>>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    kind: Text<'a>,
}

#[derive(Deserialize)]
struct UserInfo<'a> {
    #[serde(borrow, default)]
    username: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Rule<'a> {
    #[serde(borrow)]
    rule: Text<'a>,
    #[serde(borrow)]
    result: Text<'a>,
    #[serde(borrow, default)]
    properties: Option<Budget<'a>>,
}

/// What names a service: a budget, or the properties of a rule about one.
#[derive(Deserialize)]
struct Budget<'a> {
    #[serde(borrow, default)]
    service: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Exception<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize)]
struct Image<'a> {
    #[serde(borrow, default, rename = "ref")]
    reference: Option<Text<'a>>,
    #[serde(borrow, default)]
    digest: Option<Text<'a>>,
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
    ran: Vec<Text<'a>>,
}

#[derive(Deserialize)]
struct Service<'a> {
    #[serde(borrow)]
    source: Text<'a>,
    #[serde(borrow)]
    service: Text<'a>,
}

#[derive(Deserialize)]
struct Digest<'a> {
    #[serde(borrow)]
    digest: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EarlierDigest<'a> {
    #[serde(borrow)]
    digest: Text<'a>,
    #[serde(borrow)]
    reference: Text<'a>,
    first_admitted_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Template<'a> {
    #[serde(borrow)]
    fingerprint: Text<'a>,
    at: DateTime<Utc>,
}

impl<'a> Record<'a> {
    /// Reads a line. What has no escapes in it is borrowed.
    pub(crate) fn read(line: &'a str) -> Result<Self, UnreadableLine> {
        Ok(json::read(line, PhantomData)?)
    }

    /// Its columns, with nothing copied that stands in the line as it is.
    pub(crate) fn columns(&self, references: &mut References) -> Columns<Cow<'_, str>> {
        let request = &self.request;
        let not_passed = self.rules.iter().filter(|rule| rule.did_not_pass());
        let images = self.images.iter().flat_map(|image| [&image.reference, &image.digest]).flatten();
        let (facets, signature) = self.facets(references);
        Columns {
            writer_id: Cow::Borrowed(&self.writer_id),
            seq: self.seq,
            decision_id: Cow::Borrowed(&self.decision_id),
            timestamp: to_column(self.timestamp).into(),
            decision: Cow::Borrowed(&self.decision),
            namespace: request.namespace.as_deref().map(Cow::Borrowed).unwrap_or_default(),
            kind: Cow::Borrowed(&request.kind.kind),
            name: request.name.as_deref().map(Cow::Borrowed).unwrap_or_default(),
            operation: Cow::Borrowed(&request.operation),
            username: self.username().into(),
            rules: each_once(not_passed.map(|rule| &*rule.rule), ","),
            images: each_once(images.map(|image| &**image), " "),
            repeat_of: self.repeat_of.as_deref().map(Cow::Borrowed),
            prev_hash: Cow::Borrowed(&self.prev_hash),
            facets: facets.into(),
            signature,
        }
    }

    fn username(&self) -> &str {
        self.request.user_info.as_ref().and_then(|user| user.username.as_deref()).unwrap_or_default()
    }

    fn facets(&self, references: &mut References) -> (String, i64) {
        let request = &self.request;
        let mut facets = Facets::default();
        facets.add(Facet::Namespace, request.namespace.as_deref().unwrap_or_default());
        facets.add(Facet::Kind, &request.kind.kind);
        facets.add(Facet::Name, request.name.as_deref().unwrap_or_default());
        facets.add(Facet::User, self.username());
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
                facets.add_reference(reference, references);
            }
            if let Some(digest) = &image.digest {
                facets.add(Facet::Digest, digest);
            }
        }
        for exception in self.exceptions.iter().chain(&self.exception) {
            facets.add(Facet::Exception, &exception.name);
        }
        facets.columns()
    }

    /// What it adds to the ledger, if something was admitted.
    pub(crate) fn ledger_update(&self) -> Option<LedgerUpdate> {
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
        let text = |text: &Option<Text<'_>>| text.as_deref().unwrap_or_default().to_owned();
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

/// One after the other, each the first time it comes.
fn each_once<'a>(mut items: impl Iterator<Item = &'a str>, separator: &str) -> Cow<'a, str> {
    let Some(first) = items.next() else {
        return Cow::default();
    };
    let mut seen = vec![first];
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    if seen.len() == 1 { first.into() } else { seen.join(separator).into() }
}
