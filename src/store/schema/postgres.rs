//! The tables on a PostgreSQL server: the same, in a schema of their own that says in a table whose it is and which
//! version it has.

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};

use super::KNOWN_VERSION;
use crate::store::postgres::{PostgresAddress, PostgresError};

/// What each step brings the schema to; the first one does so from nothing.
const STEPS: [(i64, &str); 4] = [
    (4, include_str!("postgres-0004.sql")),
    (5, include_str!("postgres-0005.sql")),
    (6, include_str!("postgres-0006.sql")),
    (7, include_str!("postgres-0007.sql")),
];

const _: () = assert!(STEPS[STEPS.len() - 1].0 == KNOWN_VERSION);

/// What a store's table `about` calls its program.
const PROGRAM: &str = "freshgate";

/// "FGAT": whoever makes or changes the schema holds this lock, so that replicas that start at once do so in turn.
const SCHEMA_LOCK: i64 = 0x4647_4154;

/// What failed.
const ACT: &str = "bringing the schema to the present version";

/// What stands there.
enum Found {
    Nothing,
    Version(i64),
    Foreign,
}

/// Brings the schema to [`KNOWN_VERSION`], or says why it cannot be used.
pub(in crate::store) async fn migrate(
    connection: &mut PgConnection,
    address: &PostgresAddress,
) -> Result<(), PostgresError> {
    let failed = |source| PostgresError::of(ACT, address, source);
    let mut transaction = connection.begin().await.map_err(failed)?;
    // Whoever holds it may have much to do; the statement's time is limit enough.
    sqlx::raw_sql("SET LOCAL lock_timeout = 0").execute(&mut *transaction).await.map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(SCHEMA_LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    let from = match found(&mut transaction).await.map_err(failed)? {
        Found::Foreign => return Err(PostgresError::Foreign { place: address.to_string() }),
        Found::Version(found) if found > KNOWN_VERSION => {
            return Err(PostgresError::Newer { place: address.to_string(), found, known: KNOWN_VERSION });
        }
        Found::Version(KNOWN_VERSION) => return Ok(()),
        Found::Version(found) => found,
        Found::Nothing => 0,
    };
    // Asked first: `IF NOT EXISTS` would want the right to make one also where somebody has made it for us.
    let is_there: bool = sqlx::query_scalar("SELECT to_regnamespace('freshgate') IS NOT NULL")
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;
    if !is_there {
        sqlx::raw_sql("CREATE SCHEMA freshgate").execute(&mut *transaction).await.map_err(failed)?;
    }
    for (_, step) in STEPS.iter().filter(|(version, _)| *version > from) {
        sqlx::raw_sql(*step).execute(&mut *transaction).await.map_err(failed)?;
    }
    sqlx::query("INSERT INTO freshgate.about (program, version) VALUES ($1, $2) ON CONFLICT (program) DO UPDATE SET version = $2")
        .bind(PROGRAM)
        .bind(KNOWN_VERSION)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    tracing::info!(store = %address, from, to = KNOWN_VERSION, "store brought to the present schema version");
    Ok(())
}

/// For readers, who change nothing: the schema has exactly the version this program knows.
pub(in crate::store) async fn check(
    connection: &mut PgConnection,
    address: &PostgresAddress,
) -> Result<(), PostgresError> {
    let place = address.to_string();
    let found = found(connection).await.map_err(|source| PostgresError::of("looking at the schema", address, source));
    match found? {
        Found::Version(KNOWN_VERSION) => Ok(()),
        Found::Version(found) if found > KNOWN_VERSION => {
            Err(PostgresError::Newer { place, found, known: KNOWN_VERSION })
        }
        Found::Version(found) => Err(PostgresError::Older { place, found, known: KNOWN_VERSION }),
        Found::Nothing => Err(PostgresError::Missing { place }),
        Found::Foreign => Err(PostgresError::Foreign { place }),
    }
}

async fn found(connection: &mut PgConnection) -> Result<Found, sqlx::Error> {
    let row = sqlx::query(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                        WHERE n.nspname = 'freshgate'),
                to_regclass('freshgate.about') IS NOT NULL",
    )
    .fetch_one(&mut *connection)
    .await?;
    match (row.try_get(0)?, row.try_get(1)?) {
        (false, _) => return Ok(Found::Nothing),
        (true, false) => return Ok(Found::Foreign),
        (true, true) => {}
    }
    let version = sqlx::query_scalar("SELECT version FROM freshgate.about WHERE program = $1")
        .bind(PROGRAM)
        .fetch_optional(connection)
        .await;
    match version {
        Ok(version) => Ok(version.map_or(Found::Foreign, Found::Version)),
        // A table of that name with other columns.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42703") => Ok(Found::Foreign),
        Err(error) => Err(error),
    }
}
