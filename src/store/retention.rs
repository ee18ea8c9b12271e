//! Removing the oldest records of a writer, with the boundary that stands for them.

use sqlx::{Connection as _, SqliteConnection};

use super::decisions::{self, DecisionRow};
use super::{Store, StoreError, boundaries};
use crate::audit::boundary::Boundary;
use crate::background::run_on;

impl Store {
    /// All writers that have records in the store.
    pub(crate) async fn writers(&self) -> Result<Vec<String>, StoreError> {
        decisions::writers(self.readers()).await.map_err(StoreError::failed("listing the writers of records"))
    }

    /// A writer's first records, at most so many, in the order of their numbers.
    pub(crate) async fn first_records(&self, writer_id: &str, most: u32) -> Result<Vec<DecisionRow>, StoreError> {
        let failed = || StoreError::failed("reading the oldest records");
        let sql = format!("{} WHERE writer_id = ? ORDER BY seq LIMIT {most}", decisions::SELECT);
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(writer_id).fetch_all(self.readers()).await;
        rows.map_err(failed())?.iter().map(DecisionRow::read).collect::<Result<_, _>>().map_err(failed())
    }

    /// Up to where a writer's records were removed.
    pub(crate) async fn boundary(&self, writer_id: &str) -> Result<Option<Boundary>, StoreError> {
        boundaries::of(self.readers(), writer_id)
            .await
            .map_err(StoreError::failed("reading up to where records were removed"))
    }

    /// Bytes of all records' lines. Looks at every row: not for every day's questions.
    pub(crate) async fn record_bytes(&self) -> Result<u64, StoreError> {
        let bytes: Option<i64> = sqlx::query_scalar("SELECT sum(octet_length(line)) FROM decisions")
            .fetch_one(self.readers())
            .await
            .map_err(StoreError::failed("adding up the bytes of records"))?;
        Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0))
    }

    /// Removes a writer's records up to the boundary and puts that in their place, both or neither.
    pub(crate) async fn remove_up_to(&self, boundary: Boundary) -> Result<(), StoreError> {
        let store = self.clone();
        run_on(self.background(), async move {
            let failed = || StoreError::failed("removing old records");
            let mut connection = store.writer().acquire().await.map_err(failed())?;
            let removed = remove(&mut connection, &boundary).await;
            if removed.is_err() {
                Store::give_up(connection);
            }
            removed.map_err(failed())
        })
        .await
    }
}

async fn remove(connection: &mut SqliteConnection, boundary: &Boundary) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("DELETE FROM decisions WHERE writer_id = ? AND seq <= ?")
        .bind(&boundary.writer_id)
        .bind(i64::try_from(boundary.seq).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?;
    boundaries::put(&mut transaction, boundary).await?;
    transaction.commit().await
}
