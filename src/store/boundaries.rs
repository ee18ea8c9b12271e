//! The table `boundaries`: up to where records were removed.

use std::collections::BTreeMap;

use super::database::{Connection, Pool, Query, Row, Value};
use super::time::{from_column, to_column};
use crate::audit::boundary::Boundary;
use crate::signing::Signature;

const SELECT: &str = "SELECT writer_id, seq, hash, removed_at, reason, key_id, signature FROM boundaries";

/// All boundaries, by writer.
pub(crate) async fn all(pool: &Pool) -> Result<BTreeMap<String, Boundary>, sqlx::Error> {
    let rows = pool.rows(Query::new(SELECT)).await?;
    rows.iter().map(|row| read(row).map(|boundary| (boundary.writer_id.clone(), boundary))).collect()
}

/// One writer's.
pub(crate) async fn of(pool: &Pool, writer_id: &str) -> Result<Option<Boundary>, sqlx::Error> {
    let row = pool.row(Query::new(format!("{SELECT} WHERE writer_id = $1")).bind(Value::key(writer_id))).await?;
    row.as_ref().map(read).transpose()
}

/// Puts a boundary in the place of the writer's earlier one. Who comes too late with one that is behind it changes nothing.
pub(crate) async fn put(connection: &mut Connection, boundary: &Boundary) -> Result<(), sqlx::Error> {
    let (key_id, signature) =
        boundary.signature.as_ref().map(|made| (made.key_id.to_string(), made.to_base64())).unzip();
    let put = Query::new(
        "INSERT INTO boundaries (writer_id, seq, hash, removed_at, reason, key_id, signature)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (writer_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, removed_at = excluded.removed_at,
             reason = excluded.reason, key_id = excluded.key_id, signature = excluded.signature
         WHERE boundaries.seq < excluded.seq",
    );
    let put = put
        .bind(Value::key(&boundary.writer_id))
        .bind(Value::number(boundary.seq))
        .bind(boundary.hash.to_string())
        .bind(to_column(boundary.removed_at))
        .bind(&boundary.reason)
        .bind(key_id)
        .bind(signature);
    connection.execute(put).await?;
    Ok(())
}

/// What cannot be read is as good as forged: it becomes a boundary that nothing fits and nobody signed.
fn read(row: &Row) -> Result<Boundary, sqlx::Error> {
    let (seq, hash, removed_at): (i64, String, String) = (row.integer(1)?, row.text(2)?, row.text(3)?);
    let (key_id, signature): (Option<String>, Option<String>) = (row.text_or_null(5)?, row.text_or_null(6)?);
    let signature = key_id.zip(signature).and_then(|(key_id, made)| Signature::from_base64(&key_id, &made));
    Ok(Boundary {
        writer_id: row.text(0)?,
        seq: u64::try_from(seq).unwrap_or(0),
        hash: hash.parse().unwrap_or_default(),
        removed_at: from_column(&removed_at).unwrap_or_default(),
        reason: row.text(4)?,
        signature,
    })
}
