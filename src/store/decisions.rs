//! The table `decisions`: writing batches of records into it, and what a row reads as.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool};

use crate::audit::columns::Columns;

/// One statement, prepared once, takes this many rows; what is left over gets a statement of its own.
const ROWS_PER_STATEMENT: usize = 64;

/// The columns, in the order in which [`DecisionRow::read`] expects them.
macro_rules! columns {
    () => {
        "d.writer_id, d.seq, d.decision_id, d.timestamp, d.decision, d.namespace, d.kind, d.name, d.operation, \
         d.username, d.rules, d.images, d.repeat_of, d.prev_hash, d.facets, d.hash, d.line"
    };
}

/// What a row is read from, where the table is called `d`.
pub(crate) const COLUMNS: &str = columns!();

/// All rows; a question goes on from there.
pub(crate) const SELECT: &str = concat!("SELECT ", columns!(), " FROM decisions d");

/// A row: a record's line as hashed, its hash, and the columns as they stand in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DecisionRow {
    pub(crate) columns: Columns,
    pub(crate) hash: String,
    pub(crate) line: String,
}

impl DecisionRow {
    pub(crate) fn read(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let seq: i64 = row.try_get(1)?;
        Ok(Self {
            columns: Columns {
                writer_id: row.try_get(0)?,
                // A negative number is nobody's; 0 is one that no record has, either.
                seq: u64::try_from(seq).unwrap_or(0),
                decision_id: row.try_get(2)?,
                timestamp: row.try_get(3)?,
                decision: row.try_get(4)?,
                namespace: row.try_get(5)?,
                kind: row.try_get(6)?,
                name: row.try_get(7)?,
                operation: row.try_get(8)?,
                username: row.try_get(9)?,
                rules: row.try_get(10)?,
                images: row.try_get(11)?,
                repeat_of: row.try_get(12)?,
                prev_hash: row.try_get(13)?,
                facets: row.try_get(14)?,
            },
            hash: row.try_get(15)?,
            line: row.try_get(16)?,
        })
    }
}

/// Adds the rows. One that is there already stays as it is; if its hash is another, that is logged, because the record
/// that was answered for is then not the one that is kept.
pub(crate) async fn insert(connection: &mut SqliteConnection, rows: &[DecisionRow]) -> Result<(), sqlx::Error> {
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO decisions (writer_id, seq, decision_id, timestamp, decision, namespace, kind, name, operation, \
             username, rules, images, repeat_of, prev_hash, facets, hash, line) ",
        );
        insert.push_values(rows, |mut values, row| {
            let columns = &row.columns;
            values
                .push_bind(&columns.writer_id)
                .push_bind(i64::try_from(columns.seq).unwrap_or(i64::MAX))
                .push_bind(&columns.decision_id)
                .push_bind(&columns.timestamp)
                .push_bind(&columns.decision)
                .push_bind(&columns.namespace)
                .push_bind(&columns.kind)
                .push_bind(&columns.name)
                .push_bind(&columns.operation)
                .push_bind(&columns.username)
                .push_bind(&columns.rules)
                .push_bind(&columns.images)
                .push_bind(&columns.repeat_of)
                .push_bind(&columns.prev_hash)
                .push_bind(&columns.facets)
                .push_bind(&row.hash)
                .push_bind(&row.line);
        });
        insert.push(" ON CONFLICT (writer_id, seq) DO NOTHING");
        let whole = rows.len() == ROWS_PER_STATEMENT;
        let added = insert.build().persistent(whole).execute(&mut *connection).await?.rows_affected();
        if added < rows.len() as u64 {
            compare(connection, rows).await?;
        }
    }
    Ok(())
}

/// All writers that have rows. Jumps from one to the next along the key: reading all rows for that takes long.
pub(crate) async fn writers(pool: &SqlitePool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "WITH RECURSIVE writers (id) AS (
             SELECT min(writer_id) FROM decisions
             UNION ALL
             SELECT (SELECT min(writer_id) FROM decisions WHERE writer_id > id) FROM writers WHERE id IS NOT NULL
         )
         SELECT id FROM writers WHERE id IS NOT NULL",
    )
    .fetch_all(pool)
    .await
}

/// Each writer's last row: writer, number and hash.
pub(crate) async fn heads(pool: &SqlitePool) -> Result<Vec<(String, i64, String)>, sqlx::Error> {
    let mut heads = Vec::new();
    for writer_id in writers(pool).await? {
        let head: Option<(i64, String)> =
            sqlx::query_as("SELECT seq, hash FROM decisions WHERE writer_id = ? ORDER BY seq DESC LIMIT 1")
                .bind(&writer_id)
                .fetch_optional(pool)
                .await?;
        heads.extend(head.map(|(seq, hash)| (writer_id, seq, hash)));
    }
    Ok(heads)
}

async fn compare(connection: &mut SqliteConnection, rows: &[DecisionRow]) -> Result<(), sqlx::Error> {
    for row in rows {
        let columns = &row.columns;
        let stored: Option<String> = sqlx::query_scalar("SELECT hash FROM decisions WHERE writer_id = ? AND seq = ?")
            .bind(&columns.writer_id)
            .bind(i64::try_from(columns.seq).unwrap_or(i64::MAX))
            .fetch_optional(&mut *connection)
            .await?;
        if stored.as_ref().is_some_and(|stored| *stored != row.hash) {
            tracing::error!(
                writer_id = columns.writer_id,
                seq = columns.seq,
                decision_id = columns.decision_id,
                "the store holds another record in this one's place: run `freshgate audit verify`"
            );
        }
    }
    Ok(())
}
