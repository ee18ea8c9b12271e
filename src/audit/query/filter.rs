//! Which records are asked for, and whether one of them is. The store's questions say the same in SQL.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use thiserror::Error;

use super::super::columns::Columns;
use super::super::facet::{self, Facet};
use crate::store::time::{from_column, to_column};

/// Which records are asked for; what is not set does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryFilter {
    /// Made at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Made before this time.
    pub until: Option<DateTime<Utc>>,
    /// The object's namespace, exactly.
    pub namespace: Option<String>,
    /// The object's kind, exactly.
    pub kind: Option<String>,
    /// The object's name, exactly.
    pub name: Option<String>,
    /// Who asked, exactly.
    pub user: Option<String>,
    /// `allow`, `warn` or `deny`.
    pub decision: Option<String>,
    /// A rule that did not pass.
    pub rule: Option<String>,
    /// A policy that had a say.
    pub policy: Option<String>,
    /// A service whose budgets were looked at, or that the workload belongs to.
    pub service: Option<String>,
    /// The digest of an image, exactly.
    pub digest: Option<String>,
    /// An image's repository; `nginx` is `docker.io/library/nginx`.
    pub repository: Option<String>,
    /// Part of an image's reference or digest.
    pub image: Option<String>,
    /// An exception that was used, asked for or granted.
    pub exception: Option<String>,
    /// The decision's id.
    pub decision_id: Option<String>,
    /// Only those after this one, on the way from the newest to the oldest.
    pub after: Option<Cursor>,
    /// At most so many records.
    pub limit: Option<usize>,
}

/// A record's place on the way from the newest to the oldest; what follows it is the next page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// As the column has it, so that text sorts as time.
    pub(super) timestamp: String,
    pub(super) writer_id: String,
    pub(super) seq: u64,
}

/// The text is no cursor.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
#[error("the cursor is none that was given out: leave it out to begin with the newest decision")]
pub struct NotACursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timestamp, writer_id, seq } = self;
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("{timestamp} {writer_id} {seq}")))
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotACursor)?;
        let text = String::from_utf8(bytes).map_err(|_| NotACursor)?;
        let mut parts = text.split(' ');
        let (Some(timestamp), Some(writer_id), Some(seq), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotACursor);
        };
        // A record that cannot be read has no time, and can be the last of a page all the same.
        if !timestamp.is_empty() && from_column(timestamp).is_none() {
            return Err(NotACursor);
        }
        let seq = seq.parse().map_err(|_| NotACursor)?;
        Ok(Self { timestamp: timestamp.to_owned(), writer_id: writer_id.to_owned(), seq })
    }
}

impl QueryFilter {
    /// The facets that a record must have, all of them; those that few records have come first.
    pub(super) fn facets(&self) -> Vec<String> {
        [
            (Facet::Exception, &self.exception),
            (Facet::Digest, &self.digest),
            (Facet::Repository, &self.repository),
            (Facet::Service, &self.service),
            (Facet::Name, &self.name),
            (Facet::Namespace, &self.namespace),
            (Facet::User, &self.user),
            (Facet::Policy, &self.policy),
            (Facet::Rule, &self.rule),
            (Facet::Decision, &self.decision),
            (Facet::Kind, &self.kind),
        ]
        .into_iter()
        .filter_map(|(facet, value)| Some(facet.of(value.as_ref()?)))
        .collect()
    }

    /// Whether a record is one of them; for records that are not in the store yet.
    pub(in crate::audit) fn matches(&self, columns: &Columns) -> bool {
        let wanted = self.facets();
        let in_time = self.since.is_none_or(|since| columns.timestamp >= to_column(since))
            && self.until.is_none_or(|until| columns.timestamp < to_column(until))
            && self.after.as_ref().is_none_or(|after| Cursor::of(columns) < *after);
        if !in_time
            || self.decision_id.as_ref().is_some_and(|id| *id != columns.decision_id)
            || self.image.as_ref().is_some_and(|image| !columns.images.contains(image.as_str()))
        {
            return false;
        }
        let has = if wanted.is_empty() { Vec::new() } else { facet::read(&columns.facets) };
        wanted.iter().all(|facet| has.contains(facet))
    }
}

impl Cursor {
    /// The place of the record with these columns.
    pub(super) fn of(columns: &Columns) -> Self {
        Self { timestamp: columns.timestamp.clone(), writer_id: columns.writer_id.clone(), seq: columns.seq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_was_written_and_nothing_else_is_one() {
        for timestamp in ["2026-11-24T10:00:00.250000Z", ""] {
            let cursor = Cursor { timestamp: timestamp.to_owned(), writer_id: "w".to_owned(), seq: 7 };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for text in [
            "",
            "§",
            "x y z",
            &encoded("yesterday w 7"),
            &encoded("2026-11-24T10:00:00Z w"),
            &encoded("2026-11-24T10:00:00Z w -1"),
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(NotACursor), "{text}");
        }
    }
}
