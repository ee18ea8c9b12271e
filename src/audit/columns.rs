//! What is derived from a record's line: the columns of its row in the store, and what it adds to the ledger.
//! The filler writes these, the query filters by them, and `verify` derives them anew and compares.

mod line;

use std::borrow::Cow;

use thiserror::Error;

use super::facet::{References, signature};
use crate::store::ledger::LedgerUpdate;
pub(crate) use line::Record;

/// The line is not a record as this version knows them.
#[derive(Debug, Error)]
#[error("the record cannot be read: {0}")]
pub struct UnreadableLine(#[from] serde_json::Error);

/// The columns that are derived from a line. Their texts are their own, or lie in the line or in the row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns<Text = String> {
    /// The writer whose chain the record is in.
    pub writer_id: Text,
    /// Its number in that chain, from 1.
    pub seq: u64,
    /// The decision's id.
    pub decision_id: Text,
    /// When it was made: UTC, six decimals.
    pub timestamp: Text,
    /// `allow`, `warn` or `deny`.
    pub decision: Text,
    /// The object's namespace, or empty.
    pub namespace: Text,
    /// Its kind.
    pub kind: Text,
    /// Its name.
    pub name: Text,
    /// `CREATE`, `UPDATE` …
    pub operation: Text,
    /// Who asked.
    pub username: Text,
    /// Names of the rules that did not pass, each once, separated by commas.
    pub rules: Text,
    /// References and digests of the images, each once, separated by spaces.
    pub images: Text,
    /// The id of the decision that this one repeats.
    pub repeat_of: Option<Text>,
    /// The hash of the record before it, as the line gives it.
    pub prev_hash: Text,
    /// By what it can be asked for: a JSON list of texts like `namespace=shop`.
    pub facets: Text,
    /// A few bits for each of them, by which most records that lack one are passed over; 0 for one that was stored before
    /// there were signatures.
    pub signature: i64,
}

impl Columns {
    /// Derives the columns, and the update of the ledger if something was admitted.
    pub fn derive(line: &str) -> Result<(Self, Option<LedgerUpdate>), UnreadableLine> {
        let record = Record::read(line)?;
        let columns = record.columns(&mut References::default()).map(Cow::into_owned);
        Ok((columns, record.ledger_update()))
    }
}

impl<Text: Default> Columns<Text> {
    /// For a line that cannot be read: its place in the chain and nothing else, so that it is kept all the same.
    pub fn of_unreadable(writer_id: Text, seq: u64) -> Self {
        Self { writer_id, seq, ..Self::default() }
    }
}

impl<Text> Columns<Text> {
    /// The same columns, with `change` made to each of their texts.
    pub fn map<Changed>(self, mut change: impl FnMut(Text) -> Changed) -> Columns<Changed> {
        Columns {
            writer_id: change(self.writer_id),
            seq: self.seq,
            decision_id: change(self.decision_id),
            timestamp: change(self.timestamp),
            decision: change(self.decision),
            namespace: change(self.namespace),
            kind: change(self.kind),
            name: change(self.name),
            operation: change(self.operation),
            username: change(self.username),
            rules: change(self.rules),
            images: change(self.images),
            repeat_of: self.repeat_of.map(&mut change),
            prev_hash: change(self.prev_hash),
            facets: change(self.facets),
            signature: self.signature,
        }
    }
}

impl<Text: AsRef<str>> Columns<Text> {
    /// The same columns, lent.
    pub fn lent(&self) -> Columns<&str> {
        Columns {
            writer_id: self.writer_id.as_ref(),
            seq: self.seq,
            decision_id: self.decision_id.as_ref(),
            timestamp: self.timestamp.as_ref(),
            decision: self.decision.as_ref(),
            namespace: self.namespace.as_ref(),
            kind: self.kind.as_ref(),
            name: self.name.as_ref(),
            operation: self.operation.as_ref(),
            username: self.username.as_ref(),
            rules: self.rules.as_ref(),
            images: self.images.as_ref(),
            repeat_of: self.repeat_of.as_ref().map(AsRef::as_ref),
            prev_hash: self.prev_hash.as_ref(),
            facets: self.facets.as_ref(),
            signature: self.signature,
        }
    }

    /// The name of the first column that differs from `other`'s, which may be without a signature.
    pub fn first_difference<Other: AsRef<str>>(&self, other: &Columns<Other>) -> Option<&'static str> {
        let (own, other) = (self.lent(), other.lent());
        [
            ("writer_id", own.writer_id != other.writer_id),
            ("seq", own.seq != other.seq),
            ("decision_id", own.decision_id != other.decision_id),
            ("timestamp", own.timestamp != other.timestamp),
            ("decision", own.decision != other.decision),
            ("namespace", own.namespace != other.namespace),
            ("kind", own.kind != other.kind),
            ("name", own.name != other.name),
            ("operation", own.operation != other.operation),
            ("username", own.username != other.username),
            ("rules", own.rules != other.rules),
            ("images", own.images != other.images),
            ("repeat_of", own.repeat_of != other.repeat_of),
            ("prev_hash", own.prev_hash != other.prev_hash),
            ("facets", own.facets != other.facets),
            ("signature", own.signature != other.signature && other.signature != signature::UNSIGNED),
        ]
        .into_iter()
        .find_map(|(column, differs)| differs.then_some(column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::facet;
    use crate::store::ledger::{WorkloadKey, WorkloadLedger};
    use chrono::{DateTime, Utc};
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
            signature: columns.signature,
        };
        let bits = facet::read(&expected.facets).iter().fold(0, |bits, facet| bits | signature::bits(facet));
        assert_eq!(columns.signature, bits);
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
