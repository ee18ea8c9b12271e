//! Fills columns that came later from the lines of the records that were there before. Each line holds all that any
//! column says, so nothing is lost to those who began early.

use sqlx::{Row, SqliteConnection};

use crate::audit::columns::Columns;

/// Rows in memory at a time.
const PAGE: i64 = 1000;

/// Fills `facets`, and its signature, where it is empty; its index follows by the triggers.
pub(super) async fn facets(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let (mut writer_id, mut seq) = (String::new(), i64::MIN);
    loop {
        let rows = sqlx::query(
            "SELECT writer_id, seq, line FROM decisions
             WHERE (writer_id, seq) > (?1, ?2) AND facets = '' ORDER BY writer_id, seq LIMIT ?3",
        )
        .bind(&writer_id)
        .bind(seq)
        .bind(PAGE)
        .fetch_all(&mut *connection)
        .await?;
        for row in &rows {
            writer_id = row.try_get(0)?;
            seq = row.try_get(1)?;
            // A line that cannot be read has no facets, neither now nor if it came today.
            if let Ok((columns, _)) = Columns::derive(row.try_get(2)?) {
                sqlx::query("UPDATE decisions SET facets = ?1, signature = ?4 WHERE writer_id = ?2 AND seq = ?3")
                    .bind(columns.facets)
                    .bind(&writer_id)
                    .bind(seq)
                    .bind(columns.signature)
                    .execute(&mut *connection)
                    .await?;
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}
