//! What package indexes answered, kept so that a restart and a new leader ask nothing again.

use chrono::{DateTime, TimeDelta, Utc};

use super::database::{Query, Row, Value};
use super::time::{from_column, to_column};
use super::{Store, StoreError};
use crate::background::run_on;

/// Answers that are dropped in one go: others write through the same connection.
const DROPPED_TOGETHER: u32 = 1_000;
/// How exactly it is noted when an answer was last used: every use would be a write.
const USE_IS_NOTED_EVERY: TimeDelta = TimeDelta::days(1);

/// An answer, as a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerRow {
    /// What was asked: the whole address.
    pub url: String,
    /// When the index was last asked, in UTC.
    pub asked_at: DateTime<Utc>,
    /// What the index calls this state of its answer.
    pub etag: Option<String>,
    /// When that changed, in UTC, where the index says so.
    pub last_modified: Option<DateTime<Utc>>,
    /// What was read of it, in JSON; `None` where the index has no such thing.
    pub answer: Option<String>,
    /// When somebody last wanted it, in UTC, to within a day.
    pub used_at: DateTime<Utc>,
}

impl AnswerRow {
    /// Whether it is to be noted that it was used now.
    pub fn is_use_noted(&self, now: DateTime<Utc>) -> bool {
        now.signed_duration_since(self.used_at) < USE_IS_NOTED_EVERY
    }
}

impl Store {
    /// What is kept of an address; a row whose times cannot be read was never kept.
    pub async fn index_answer(&self, url: &str) -> Result<Option<AnswerRow>, StoreError> {
        let asked = async {
            let query =
                Query::new("SELECT asked_at, etag, last_modified, answer, used_at FROM index_answers WHERE url = $1");
            let row = self.unhurried().row(query.bind(Value::key(url))).await?;
            row.map_or(Ok(None), |row| read(url, &row))
        };
        asked.await.map_err(StoreError::failed("reading what an index answered"))
    }

    /// Keeps answers, and notes which others were used; all or nothing.
    pub async fn save_index_answers(
        &self,
        mut answers: Vec<AnswerRow>,
        mut used: Vec<String>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if answers.is_empty() && used.is_empty() {
            return Ok(());
        }
        // Two writers that meet wait for each other, and not in a circle.
        answers.sort_by(|one, other| one.url.cmp(&other.url));
        used.sort();
        let store = self.clone();
        run_on(self.background(), async move {
            write(&store, &answers, &used, now).await.map_err(StoreError::failed("keeping what indexes answered"))
        })
        .await
    }

    /// Drops answers that nobody used since then, a thousand at most; how many these were.
    pub async fn forget_index_answers(&self, unused_since: DateTime<Utc>) -> Result<u64, StoreError> {
        let store = self.clone();
        run_on(self.background(), async move {
            let delete = Query::new(format!(
                "DELETE FROM index_answers WHERE url IN
                 (SELECT url FROM index_answers WHERE used_at < $1 ORDER BY used_at LIMIT {DROPPED_TOGETHER})"
            ));
            store
                .writer()
                .execute(delete.bind(to_column(unused_since)))
                .await
                .map_err(StoreError::failed("dropping what indexes answered long ago"))
        })
        .await
    }
}

fn read(url: &str, row: &Row) -> Result<Option<AnswerRow>, sqlx::Error> {
    let (asked_at, used_at) = (from_column(&row.text(0)?), from_column(&row.text(4)?));
    let last_modified = row.text_or_null(2)?.and_then(|text| from_column(&text));
    let (etag, answer) = (row.text_or_null(1)?, row.text_or_null(3)?);
    Ok(asked_at.zip(used_at).map(|(asked_at, used_at)| AnswerRow {
        url: url.to_owned(),
        asked_at,
        etag,
        last_modified,
        answer,
        used_at,
    }))
}

async fn write(store: &Store, answers: &[AnswerRow], used: &[String], now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    let mut transaction = store.writer().begin().await?;
    for row in answers {
        let upsert = Query::new(
            "INSERT INTO index_answers (url, asked_at, etag, last_modified, answer, used_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (url) DO UPDATE SET asked_at = excluded.asked_at, etag = excluded.etag,
             last_modified = excluded.last_modified, answer = excluded.answer, used_at = excluded.used_at",
        );
        let upsert = upsert.bind(Value::key(&row.url)).bind(to_column(row.asked_at)).bind(row.etag.as_ref());
        let upsert = upsert.bind(row.last_modified.map(to_column)).bind(row.answer.as_ref());
        transaction.execute(upsert.bind(to_column(row.used_at))).await?;
    }
    for url in used {
        let update = Query::new("UPDATE index_answers SET used_at = $2 WHERE url = $1 AND used_at < $2");
        transaction.execute(update.bind(Value::key(url)).bind(to_column(now))).await?;
    }
    transaction.commit().await
}
