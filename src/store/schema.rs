//! The tables of the store, embedded, and how a store comes to them: forward only, one version at a time.
//! A store knows its version (`user_version`) and whose it is (`application_id`), and what does not fit is refused.
//! Both databases have the same tables in each version, with the same texts in them.

mod fill;
pub(super) mod postgres;

use std::path::Path;

use sqlx::{Connection, Row, SqliteConnection};

use super::StoreError;

/// What each version adds; the first brings a store from nothing to version 1.
const STEPS: [&str; 7] = [
    include_str!("schema/0001-first.sql"),
    include_str!("schema/0002-budgets.sql"),
    include_str!("schema/0003-boundaries.sql"),
    include_str!("schema/0004-asking.sql"),
    include_str!("schema/0005-signatures.sql"),
    include_str!("schema/0006-findings.sql"),
    include_str!("schema/0007-answers.sql"),
];

/// The version that brought facets, which rows of before have in their lines alone.
const FACETS_SINCE: i64 = 4;

/// The version this program writes and reads.
const KNOWN_VERSION: i64 = 7;

const _: () = assert!(KNOWN_VERSION.unsigned_abs() == STEPS.len() as u64);

/// "FGAT": tells a store of Freshgate from any other `SQLite` file.
const APPLICATION_ID: i64 = 0x4647_4154;

/// Brings the store to [`KNOWN_VERSION`], or says why it cannot be used.
pub(super) async fn migrate(connection: &mut SqliteConnection, file: &Path) -> Result<(), StoreError> {
    // IMMEDIATE: two programs that start at once must not both find the store empty.
    let mut transaction =
        connection.begin_with("BEGIN IMMEDIATE").await.map_err(|source| StoreError::open(file, source))?;
    let found = version(&mut transaction, file).await?;
    if found > KNOWN_VERSION {
        return Err(StoreError::Newer { file: file.to_owned(), found, known: KNOWN_VERSION });
    }
    let missing = STEPS.get(usize::try_from(found).unwrap_or(0)..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    for step in missing {
        run(&mut transaction, file, *step).await?;
    }
    if found < FACETS_SINCE {
        fill::facets(&mut transaction).await.map_err(|source| StoreError::open(file, source))?;
    }
    // A pragma takes no bound values; these are constants of this program.
    let stamp = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {KNOWN_VERSION};");
    run(&mut transaction, file, sqlx::AssertSqlSafe(stamp)).await?;
    transaction.commit().await.map_err(|source| StoreError::open(file, source))?;
    tracing::info!(store = %file.display(), from = found, to = KNOWN_VERSION, "store brought to the present schema version");
    Ok(())
}

/// For readers, who change nothing: the store has exactly the version this program knows.
pub(super) async fn check(connection: &mut SqliteConnection, file: &Path) -> Result<(), StoreError> {
    match version(connection, file).await? {
        KNOWN_VERSION => Ok(()),
        found if found > KNOWN_VERSION => Err(StoreError::Newer { file: file.to_owned(), found, known: KNOWN_VERSION }),
        found => Err(StoreError::Older { file: file.to_owned(), found, known: KNOWN_VERSION }),
    }
}

async fn version(connection: &mut SqliteConnection, file: &Path) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id),
                EXISTS (SELECT 1 FROM sqlite_schema)",
    )
    .fetch_one(connection)
    .await
    .map_err(|source| StoreError::open(file, source))?;
    let read = |index| row.try_get::<i64, _>(index).map_err(|source| StoreError::open(file, source));
    let (version, application, holds_tables) = (read(0)?, read(1)?, read(2)?);
    if application == APPLICATION_ID || (application == 0 && version == 0 && holds_tables == 0) {
        Ok(version)
    } else {
        Err(StoreError::Foreign { file: file.to_owned() })
    }
}

async fn run(connection: &mut SqliteConnection, file: &Path, sql: impl sqlx::SqlSafeStr) -> Result<(), StoreError> {
    sqlx::raw_sql(sql).execute(connection).await.map_err(|source| StoreError::open(file, source))?;
    Ok(())
}
