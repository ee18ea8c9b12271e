//! The table `boundaries`: up to where records were removed.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::time::{from_column, to_column};
use crate::audit::boundary::Boundary;
use crate::signing::Signature;

const SELECT: &str = "SELECT writer_id, seq, hash, removed_at, reason, key_id, signature FROM boundaries";

/// All boundaries, by writer.
pub(crate) async fn all(pool: &SqlitePool) -> Result<BTreeMap<String, Boundary>, sqlx::Error> {
    let rows = sqlx::query(SELECT).fetch_all(pool).await?;
    rows.iter().map(|row| read(row).map(|boundary| (boundary.writer_id.clone(), boundary))).collect()
}

/// One writer's.
pub(crate) async fn of(pool: &SqlitePool, writer_id: &str) -> Result<Option<Boundary>, sqlx::Error> {
    let sql = format!("{SELECT} WHERE writer_id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(writer_id).fetch_optional(pool).await?;
    row.as_ref().map(read).transpose()
}

/// Puts a boundary in the place of the writer's earlier one.
pub(crate) async fn put(connection: &mut SqliteConnection, boundary: &Boundary) -> Result<(), sqlx::Error> {
    let (key_id, signature) =
        boundary.signature.as_ref().map(|made| (made.key_id.to_string(), made.to_base64())).unzip();
    sqlx::query(
        "INSERT INTO boundaries (writer_id, seq, hash, removed_at, reason, key_id, signature) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (writer_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, removed_at = excluded.removed_at,
             reason = excluded.reason, key_id = excluded.key_id, signature = excluded.signature",
    )
    .bind(&boundary.writer_id)
    .bind(i64::try_from(boundary.seq).unwrap_or(i64::MAX))
    .bind(boundary.hash.to_string())
    .bind(to_column(boundary.removed_at))
    .bind(&boundary.reason)
    .bind(key_id)
    .bind(signature)
    .execute(connection)
    .await?;
    Ok(())
}

/// What cannot be read is as good as forged: it becomes a boundary that nothing fits and nobody signed.
fn read(row: &SqliteRow) -> Result<Boundary, sqlx::Error> {
    let (seq, hash, removed_at): (i64, String, String) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let (key_id, signature): (Option<String>, Option<String>) = (row.try_get(5)?, row.try_get(6)?);
    let signature = key_id.zip(signature).and_then(|(key_id, made)| Signature::from_base64(&key_id, &made));
    Ok(Boundary {
        writer_id: row.try_get(0)?,
        seq: u64::try_from(seq).unwrap_or(0),
        hash: hash.parse().unwrap_or_default(),
        removed_at: from_column(&removed_at).unwrap_or_default(),
        reason: row.try_get(4)?,
        signature,
    })
}
