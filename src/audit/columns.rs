//! The columns of a record that questions are asked by, each derived from its line and from nothing else. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Deserialize;

/// What is derived from a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Writer of the record.
    pub writer_id: String,
    /// Its number among that writer's.
    pub seq: u64,
    /// Hash before it, in hex.
    pub prev_hash: String,
    /// Id of the decision.
    pub decision_id: String,
    /// RFC 3339, UTC.
    pub timestamp: String,
    /// `allow`, `warn` or `deny`.
    pub decision: String,
    /// Namespace of the workload.
    pub namespace: String,
    /// Kind of the workload.
    pub kind: String,
    /// Name of the workload.
    pub name: String,
    /// `CREATE`, `UPDATE` …
    pub operation: String,
    /// Who asked.
    pub username: String,
    /// Rules that did not pass, each once, separated by a space.
    pub rules: String,
    /// References and digests, each once, separated by a space.
    pub images: String,
    /// The decision that this one repeats; empty where it repeats none.
    pub repeat_of: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    writer_id: Cow<'a, str>,
    #[serde(default)]
    seq: u64,
    #[serde(borrow, default)]
    prev_hash: Cow<'a, str>,
    #[serde(borrow)]
    decision_id: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    decision: Cow<'a, str>,
    #[serde(borrow)]
    request: Request<'a>,
    #[serde(borrow, default)]
    rules: Vec<Rule<'a>>,
    #[serde(borrow, default)]
    images: Vec<Image<'a>>,
    #[serde(borrow, default)]
    repeat_of: Cow<'a, str>,
    ledger: Option<LedgerLine>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    kind: Kind<'a>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    operation: Cow<'a, str>,
    #[serde(borrow, default)]
    user_info: User<'a>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
struct User<'a> {
    #[serde(borrow, default)]
    username: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Rule<'a> {
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow)]
    result: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Image<'a> {
    #[serde(borrow, rename = "ref")]
    reference: Cow<'a, str>,
    #[serde(borrow, default)]
    digest: Cow<'a, str>,
}

/// What the ledger learns from a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LedgerLine {
    /// Digests admitted by it.
    pub digests: Vec<LedgerDigest>,
    /// Digests that ran before it.
    pub earlier_digests: Vec<LedgerDigest>,
    /// Templates.
    pub templates: Vec<LedgerTemplate>,
}

/// A digest that was admitted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerDigest {
    /// The digest.
    pub digest: String,
    /// The reference, as written.
    pub reference: String,
    /// When first, in UTC; the decision's time where it is left out.
    pub first_admitted_at: Option<DateTime<Utc>>,
}

/// A template that was admitted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LedgerTemplate {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Since when, in UTC.
    pub at: DateTime<Utc>,
}

/// Derives the columns of a line, and what the ledger learns from it.
pub fn derive(line: &str) -> Result<(Columns, Option<LedgerLine>), serde_json::Error> {
    let line: Line<'_> = serde_json::from_str(line)?;
    let distinct = |texts: &mut dyn Iterator<Item = &str>| {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut joined = String::new();
        for text in texts.filter(|text| !text.is_empty()) {
            if seen.insert(text) {
                if !joined.is_empty() {
                    joined.push(' ');
                }
                joined.push_str(text);
            }
        }
        joined
    };
    let rules = distinct(&mut line.rules.iter().filter(|rule| rule.result != "pass").map(|rule| &*rule.rule));
    let images = distinct(&mut line.images.iter().flat_map(|image| [&*image.reference, &*image.digest]));
    let columns = Columns {
        rules,
        images,
        writer_id: line.writer_id.into_owned(),
        seq: line.seq,
        prev_hash: line.prev_hash.into_owned(),
        decision_id: line.decision_id.into_owned(),
        timestamp: line.timestamp.into_owned(),
        decision: line.decision.into_owned(),
        namespace: line.request.namespace.into_owned(),
        kind: line.request.kind.kind.into_owned(),
        name: line.request.name.into_owned(),
        operation: line.request.operation.into_owned(),
        username: line.request.user_info.username.into_owned(),
        repeat_of: line.repeat_of.into_owned(),
    };
    Ok((columns, line.ledger))
}
