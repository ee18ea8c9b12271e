//! Removing the oldest records of a writer, with the boundary that stands for them.

use super::database::{Connection, Pool, Query, Value};
use super::decisions::{self, DecisionRow};
use super::{Store, StoreError, boundaries};
use crate::audit::boundary::Boundary;
use crate::background::run_on;

/// "FGRT": whoever removes old records holds this lock.
const RETENTION_LOCK: i64 = 0x4647_5254;

/// That no other replica removes old records. The lock is the connection's, and goes with it whatever happens.
#[derive(Debug)]
pub(crate) struct RetentionTurn {
    connection: Option<Connection>,
}

impl Drop for RetentionTurn {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.give_up();
        }
    }
}

impl Store {
    /// All writers that have records in the store.
    pub(crate) async fn writers(&self) -> Result<Vec<String>, StoreError> {
        decisions::writers(self.unhurried()).await.map_err(StoreError::failed("listing the writers of records"))
    }

    /// A writer's first records, at most so many, in the order of their numbers.
    pub(crate) async fn first_records(&self, writer_id: &str, most: u32) -> Result<Vec<DecisionRow>, StoreError> {
        let failed = || StoreError::failed("reading the oldest records");
        let sql = format!("{} WHERE writer_id = $1 ORDER BY seq LIMIT {most}", decisions::SELECT);
        let rows = self.unhurried().rows(Query::new(sql).bind(Value::key(writer_id))).await;
        rows.map_err(failed())?.iter().map(DecisionRow::read).collect::<Result<_, _>>().map_err(failed())
    }

    /// Up to where a writer's records were removed.
    pub(crate) async fn boundary(&self, writer_id: &str) -> Result<Option<Boundary>, StoreError> {
        boundaries::of(self.unhurried(), writer_id)
            .await
            .map_err(StoreError::failed("reading up to where records were removed"))
    }

    /// Bytes of all records' lines. Looks at every row: not for every day's questions.
    pub(crate) async fn record_bytes(&self) -> Result<u64, StoreError> {
        let query = Query::new("SELECT CAST(sum(octet_length(line)) AS BIGINT) FROM decisions");
        let row = self.unhurried().row(query).await;
        let bytes = row.and_then(|row| row.map_or(Ok(None), |row| row.integer_or_null(0)));
        let bytes = bytes.map_err(StoreError::failed("adding up the bytes of records"))?;
        Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0))
    }

    /// The turn to remove old records; `None` while another replica has it. Dropping it gives it back.
    pub(crate) async fn retention_turn(&self) -> Result<Option<RetentionTurn>, StoreError> {
        if !self.is_shared() {
            return Ok(Some(RetentionTurn { connection: None }));
        }
        let taken = async {
            let mut connection = self.writer().acquire().await?;
            let ask = Query::new("SELECT CAST(CASE WHEN pg_try_advisory_lock($1) THEN 1 ELSE 0 END AS BIGINT)");
            let row = connection.row(ask.bind(RETENTION_LOCK)).await?;
            let is_ours = row.map_or(Ok(0), |row| row.integer(0))? == 1;
            Ok(is_ours.then_some(RetentionTurn { connection: Some(connection) }))
        };
        taken.await.map_err(StoreError::failed("asking whether another replica removes old records"))
    }

    /// Removes a writer's records up to the boundary and puts that in their place, both or neither.
    pub(crate) async fn remove_up_to(&self, boundary: Boundary) -> Result<(), StoreError> {
        let store = self.clone();
        run_on(self.background(), async move {
            remove(store.writer(), &boundary).await.map_err(StoreError::failed("removing old records"))
        })
        .await
    }
}

async fn remove(writer: &Pool, boundary: &Boundary) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin().await?;
    let delete = Query::new("DELETE FROM decisions WHERE writer_id = $1 AND seq <= $2");
    transaction.execute(delete.bind(Value::key(&boundary.writer_id)).bind(Value::number(boundary.seq))).await?;
    boundaries::put(&mut transaction, boundary).await?;
    transaction.commit().await
}
