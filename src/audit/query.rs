//! Asks for decisions: from the store, and from the journal's tail that is not in it yet.

use std::collections::HashSet;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use sqlx::Row as _;
use thiserror::Error;

use super::columns::{self, Columns};
use super::segments::{self, StoredRecord};
use crate::store::{Store, StoreError, StoreLocation};

/// What is asked for; what is left out fits anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Not before, in UTC.
    pub since: Option<DateTime<Utc>>,
    /// Not after, in UTC.
    pub until: Option<DateTime<Utc>>,
    /// Namespace of the workload.
    pub namespace: Option<String>,
    /// Name of the workload.
    pub name: Option<String>,
    /// `allow`, `warn` or `deny`.
    pub decision: Option<String>,
    /// A rule that did not pass.
    pub rule: Option<String>,
    /// A part of an image's reference or digest.
    pub image: Option<String>,
    /// Id of the decision.
    pub decision_id: Option<String>,
    /// Most records.
    pub limit: usize,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It broke off while it was read.
    #[error("the store could not be read: {0}")]
    Read(#[from] sqlx::Error),
    /// The journal cannot be read.
    #[error("the journal {folder} could not be read: {why}")]
    Journal {
        /// Its folder.
        folder: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
}

/// The records that fit, the newest first.
pub async fn query(location: &StoreLocation, question: &Question) -> Result<Vec<StoredRecord>, QueryError> {
    // The journal first: what goes to the store meanwhile is then seen twice, not never.
    let tail = tail(location)?;
    let store = Store::open_read_only(location).await?;
    let mut found = stored(&store, question).await?;
    store.close().await;
    for record in tail {
        if let Ok((columns, _)) = columns::derive(&record.line)
            && question.fits(&columns)
        {
            found.push((columns.timestamp, columns.decision_id, record));
        }
    }
    let mut seen = HashSet::new();
    found.retain(|(_, id, _)| seen.insert(id.clone()));
    found.sort_by(|one, other| (&other.0, &other.1).cmp(&(&one.0, &one.1)));
    found.truncate(question.limit);
    Ok(found.into_iter().map(|(.., record)| record).collect())
}

/// What the journal has.
pub fn tail(location: &StoreLocation) -> Result<Vec<StoredRecord>, QueryError> {
    segments::read_all(&location.journal()).map_err(|why| QueryError::Journal { folder: location.journal(), why })
}

async fn stored(store: &Store, question: &Question) -> Result<Vec<(String, String, StoredRecord)>, sqlx::Error> {
    let like = question.image.as_ref().map(|image| {
        let escaped = image.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        format!("%{escaped}%")
    });
    let rule = question.rule.as_ref().map(|rule| format!("% {rule} %"));
    // One statement for every question: what is not asked for is NULL and fits.
    let rows = sqlx::query(
        "SELECT timestamp, decision_id, line, hash FROM decisions WHERE \
         (?1 IS NULL OR timestamp >= ?1) AND (?2 IS NULL OR timestamp <= ?2) \
         AND (?3 IS NULL OR namespace = ?3) AND (?4 IS NULL OR name = ?4) \
         AND (?5 IS NULL OR decision = ?5) AND (?6 IS NULL OR ' ' || rules || ' ' LIKE ?6) \
         AND (?7 IS NULL OR images LIKE ?7 ESCAPE '\\') AND (?8 IS NULL OR decision_id = ?8) \
         ORDER BY timestamp DESC LIMIT ?9",
    )
    .bind(question.since.map(instant))
    .bind(question.until.map(instant))
    .bind(&question.namespace)
    .bind(&question.name)
    .bind(&question.decision)
    .bind(rule)
    .bind(like)
    .bind(&question.decision_id)
    .bind(i64::try_from(question.limit).unwrap_or(i64::MAX))
    .fetch_all(store.readers())
    .await?;
    rows.iter()
        .map(|row| {
            let record = StoredRecord { line: row.try_get("line")?, hash: row.try_get("hash")? };
            Ok((row.try_get("timestamp")?, row.try_get("decision_id")?, record))
        })
        .collect()
}

/// As records have it, so that texts compare as times do.
fn instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

impl Question {
    fn fits(&self, columns: &Columns) -> bool {
        let same = |asked: &Option<String>, column: &str| asked.as_deref().is_none_or(|asked| asked == column);
        self.since.is_none_or(|since| columns.timestamp >= instant(since))
            && self.until.is_none_or(|until| columns.timestamp <= instant(until))
            && same(&self.namespace, &columns.namespace)
            && same(&self.name, &columns.name)
            && same(&self.decision, &columns.decision)
            && same(&self.decision_id, &columns.decision_id)
            && self.rule.as_deref().is_none_or(|rule| columns.rules.split(' ').any(|one| one == rule))
            && self.image.as_deref().is_none_or(|image| columns.images.contains(image))
    }
}
