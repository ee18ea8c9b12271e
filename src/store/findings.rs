//! What the scanner found of images, kept so that every replica has it and the next leader goes on from it.

use chrono::{DateTime, Utc};

use super::database::{Query, Row, Value};
use super::time::{from_column, to_column};
use super::{Store, StoreError};
use crate::background::run_on;

/// The findings of one image, as a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingsRow {
    /// The namespace whose credentials opened it; empty where none were needed.
    pub scope: String,
    /// The reference, as workloads write it.
    pub image: String,
    /// The digest that Pods run under it; empty where none is known.
    pub running: String,
    /// When something of it was last learnt, in UTC.
    pub scanned_at: DateTime<Utc>,
    /// What was found, as JSON.
    pub findings: String,
}

/// Tells one state of the table from another: how many rows, and the newest.
pub type FindingsMark = (i64, Option<String>);

impl Store {
    /// All that is kept; a row whose time cannot be read is left out, and looked up anew.
    pub async fn image_findings(&self) -> Result<Vec<FindingsRow>, StoreError> {
        let asked = async {
            let query = Query::new("SELECT scope, image, running, scanned_at, findings FROM image_findings");
            let rows = self.unhurried().rows(query).await?;
            rows.iter().map(read).collect::<Result<Vec<_>, sqlx::Error>>()
        };
        let rows = asked.await.map_err(StoreError::failed("reading what the scanner found"))?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// What changes when the rows do.
    pub async fn image_findings_mark(&self) -> Result<FindingsMark, StoreError> {
        let asked = async {
            let query = Query::new("SELECT COUNT(*), MAX(scanned_at) FROM image_findings");
            let row = self.unhurried().row(query).await?;
            row.map_or(Ok((0, None)), |row| Ok((row.integer(0)?, row.text_or_null(1)?)))
        };
        asked.await.map_err(StoreError::failed("reading what the scanner found"))
    }

    /// Keeps findings, and drops those of images that run no more; all or nothing.
    pub async fn save_image_findings(
        &self,
        found: Vec<FindingsRow>,
        gone: Vec<(String, String, String)>,
    ) -> Result<(), StoreError> {
        let store = self.clone();
        run_on(self.background(), async move {
            write(&store, &found, &gone).await.map_err(StoreError::failed("keeping what the scanner found"))
        })
        .await
    }
}

fn read(row: &Row) -> Result<Option<FindingsRow>, sqlx::Error> {
    let at = row.text(3)?;
    let (scope, image, running, findings) = (row.text(0)?, row.text(1)?, row.text(2)?, row.text(4)?);
    Ok(from_column(&at).map(|scanned_at| FindingsRow { scope, image, running, scanned_at, findings }))
}

async fn write(store: &Store, found: &[FindingsRow], gone: &[(String, String, String)]) -> Result<(), sqlx::Error> {
    let mut transaction = store.writer().begin().await?;
    for (scope, image, running) in gone {
        let delete = Query::new("DELETE FROM image_findings WHERE scope = $1 AND image = $2 AND running = $3");
        transaction.execute(delete.bind(Value::key(scope)).bind(Value::key(image)).bind(Value::key(running))).await?;
    }
    for row in found {
        let upsert = Query::new(
            "INSERT INTO image_findings (scope, image, running, scanned_at, findings) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (scope, image, running) DO UPDATE
             SET scanned_at = excluded.scanned_at, findings = excluded.findings",
        );
        let upsert = upsert.bind(Value::key(&row.scope)).bind(Value::key(&row.image)).bind(Value::key(&row.running));
        transaction.execute(upsert.bind(to_column(row.scanned_at)).bind(&row.findings)).await?;
    }
    transaction.commit().await
}
