//! The table `decisions`: writing batches of records into it, and what a row reads as.

mod page;

use std::borrow::Cow;
use std::collections::HashMap;

use super::database::{Connection, Dialect, Insert, Kind, Pool, Query, Row, Value, without_nul};
use crate::audit::columns::Columns;
pub(crate) use page::{PAGE_ROWS, StoredRow, page};

/// The columns, in the order in which [`DecisionRow::read`] expects them.
macro_rules! columns {
    () => {
        "d.writer_id, d.seq, d.decision_id, d.timestamp, d.decision, d.namespace, d.kind, d.name, d.operation, \
         d.username, d.rules, d.images, d.repeat_of, d.prev_hash, d.facets, d.hash, d.line, d.signature"
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
    pub(crate) fn read(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            columns: Columns {
                writer_id: row.text(0)?,
                // A negative number is nobody's; 0 is one that no record has, either.
                seq: u64::try_from(row.integer(1)?).unwrap_or(0),
                decision_id: row.text(2)?,
                timestamp: row.text(3)?,
                decision: row.text(4)?,
                namespace: row.text(5)?,
                kind: row.text(6)?,
                name: row.text(7)?,
                operation: row.text(8)?,
                username: row.text(9)?,
                rules: row.text(10)?,
                images: row.text(11)?,
                repeat_of: row.text_or_null(12)?,
                prev_hash: row.text(13)?,
                facets: row.text(14)?,
                signature: row.integer(17)?,
            },
            hash: row.text(15)?,
            line: row.text(16)?,
        })
    }
}

/// How rows are added. What retention removed stays removed: another replica may have done that while this one's journal
/// still held the records.
const INSERT: Insert<18> = Insert {
    table: "decisions",
    columns: [
        ("writer_id", Kind::Text),
        ("seq", Kind::Integer),
        ("decision_id", Kind::Text),
        ("timestamp", Kind::Text),
        ("decision", Kind::Text),
        ("namespace", Kind::Text),
        ("kind", Kind::Text),
        ("name", Kind::Text),
        ("operation", Kind::Text),
        ("username", Kind::Text),
        ("rules", Kind::Text),
        ("images", Kind::Text),
        ("repeat_of", Kind::Text),
        ("prev_hash", Kind::Text),
        ("facets", Kind::Text),
        ("hash", Kind::Text),
        ("line", Kind::Text),
        ("signature", Kind::Integer),
    ],
    on_conflict: " ON CONFLICT (writer_id, seq) DO NOTHING",
    postgres_where: " WHERE NOT EXISTS (SELECT 1 FROM boundaries b WHERE b.writer_id = v.writer_id AND b.seq >= v.seq)",
    sqlite_rows: 64,
};

/// Adds the rows. One that is there already stays as it is; if its hash is another, that is logged, because the record
/// that was answered for is then not the one that is kept.
pub(crate) async fn insert(connection: &mut Connection, rows: &[DecisionRow]) -> Result<(), sqlx::Error> {
    let values = |row| {
        let DecisionRow { columns, hash, line }: &DecisionRow = row;
        [
            Value::key(&columns.writer_id),
            Value::number(columns.seq),
            Value::from(&columns.decision_id),
            Value::from(&columns.timestamp),
            Value::from(&columns.decision),
            Value::from(&columns.namespace),
            Value::from(&columns.kind),
            Value::from(&columns.name),
            Value::from(&columns.operation),
            Value::from(&columns.username),
            Value::from(&columns.rules),
            Value::from(&columns.images),
            Value::from(columns.repeat_of.as_deref()),
            Value::from(&columns.prev_hash),
            Value::from(&columns.facets),
            Value::from(hash),
            Value::from(line),
            Value::from(columns.signature),
        ]
    };
    let values: Vec<_> = rows.iter().map(values).collect();
    if connection.insert(&INSERT, &values).await? < rows.len() as u64 {
        compare(connection, rows).await?;
    }
    Ok(())
}

/// The name of the first column that is not what the line says, as the store keeps it: PostgreSQL's texts hold no zero
/// character.
pub(crate) fn first_difference(
    dialect: Dialect,
    expected: &Columns<impl AsRef<str>>,
    columns: &Columns<impl AsRef<str>>,
    line: &str,
) -> Option<&'static str> {
    // In JSON it can only be written as an escape, and hardly any record has one.
    if dialect == Dialect::Sqlite || memchr::memmem::find(line.as_bytes(), br"\u0000").is_none() {
        return expected.first_difference(columns);
    }
    // Times and facets are written without one.
    let kept: Columns<Cow<'_, str>> = expected.lent().map(without_nul);
    kept.first_difference(columns)
}

/// All writers that have rows. Jumps from one to the next along the key: reading all rows for that takes long.
pub(crate) async fn writers(pool: &Pool) -> Result<Vec<String>, sqlx::Error> {
    let query = Query::new(
        "WITH RECURSIVE writers (id) AS (
             SELECT min(writer_id) FROM decisions
             UNION ALL
             SELECT (SELECT min(writer_id) FROM decisions WHERE writer_id > id) FROM writers WHERE id IS NOT NULL
         )
         SELECT id FROM writers WHERE id IS NOT NULL",
    );
    pool.rows(query).await?.iter().map(|row| row.text(0)).collect()
}

/// Each writer's last row: writer, number and hash.
pub(crate) async fn heads(pool: &Pool) -> Result<Vec<(String, i64, String)>, sqlx::Error> {
    let mut heads = Vec::new();
    for writer_id in writers(pool).await? {
        if let Some((seq, hash)) = head(pool, &writer_id).await? {
            heads.push((writer_id, seq, hash));
        }
    }
    Ok(heads)
}

/// Number and hash of a writer's last row.
pub(crate) async fn head(pool: &Pool, writer_id: &str) -> Result<Option<(i64, String)>, sqlx::Error> {
    let query = Query::new("SELECT seq, hash FROM decisions WHERE writer_id = $1 ORDER BY seq DESC LIMIT 1");
    let row = pool.row(query.bind(Value::key(writer_id))).await?;
    row.map(|row| Ok((row.integer(0)?, row.text(1)?))).transpose()
}

/// Compares rows that may be there already with what is.
async fn compare(connection: &mut Connection, rows: &[DecisionRow]) -> Result<(), sqlx::Error> {
    for of_writer in rows.chunk_by(|one, next| one.columns.writer_id == next.columns.writer_id) {
        let (Some(first), Some(last)) = (of_writer.first(), of_writer.last()) else {
            continue;
        };
        let query = Query::new("SELECT seq, hash FROM decisions WHERE writer_id = $1 AND seq BETWEEN $2 AND $3")
            .bind(Value::key(&first.columns.writer_id))
            .bind(Value::number(first.columns.seq))
            .bind(Value::number(last.columns.seq));
        let stored = connection.rows(query).await?;
        let stored: HashMap<i64, String> =
            stored.iter().map(|row| Ok((row.integer(0)?, row.text(1)?))).collect::<Result<_, sqlx::Error>>()?;
        for DecisionRow { columns, hash, .. } in of_writer {
            let stored = i64::try_from(columns.seq).ok().and_then(|seq| stored.get(&seq));
            if stored.is_some_and(|stored| stored != hash) {
                tracing::error!(
                    writer_id = columns.writer_id,
                    seq = columns.seq,
                    decision_id = columns.decision_id,
                    "the store holds another record in this one's place: run `freshgate audit verify`"
                );
            }
        }
    }
    Ok(())
}
