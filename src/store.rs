//! The embedded store: one SQLite file for facts, the ledger and the decisions, where questions are asked.
//!
//! It is filled behind the answers' backs ([`crate::audit`]); a slow or absent store delays no decision.

pub mod facts;
pub mod ledger;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use thiserror::Error;

/// The version of the schema that this program writes; forward only.
const SCHEMA_VERSION: i64 = 1;
/// How each version is made from the one before it.
const MIGRATIONS: [&str; 1] = [include_str!("store/schema.sql")];

/// Connections for reading.
const READERS: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the store is: `sqlite:FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLocation {
    file: PathBuf,
}

impl StoreLocation {
    /// The SQLite file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The folder of the journal, beside the file.
    pub fn journal(&self) -> PathBuf {
        self.beside(".journal")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(suffix);
        name.into()
    }
}

impl FromStr for StoreLocation {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        match written.strip_prefix("sqlite:") {
            Some(file) if !file.is_empty() => Ok(Self { file: PathBuf::from(file) }),
            _ => Err(format!("{written:?} is no store; write sqlite:FILE")),
        }
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sqlite:{}", self.file.display())
    }
}

/// Why a store cannot be used; each names the file.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("the store {0} is in use by another freshgate; stop that one, or name another file")]
    InUse(PathBuf),
    /// It cannot be opened or made.
    #[error("the store {file} cannot be opened: {why}; its folder must exist and be writable")]
    Open {
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: String,
    },
    /// It is there, but is no store.
    #[error("the store {file} cannot be read: {why}; restore it, or move it away and let a new one be made")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What SQLite says.
        why: String,
    },
    /// A newer program wrote it.
    #[error(
        "the store {file} is of version {found}, this freshgate knows {SCHEMA_VERSION}; use the newer freshgate, or another file"
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: i64,
    },
    /// There is none.
    #[error("there is no store at {0}; `freshgate serve --store sqlite:FILE` makes one")]
    Missing(PathBuf),
}

/// An open store.
#[derive(Clone, Debug)]
pub struct Store {
    readers: SqlitePool,
    writer: SqlitePool,
    /// Held while the process lives, so that no second one writes.
    _lock: std::sync::Arc<Option<std::fs::File>>,
}

impl Store {
    /// Opens the store for writing, and makes or migrates it where needed.
    pub async fn open(location: &StoreLocation) -> Result<Self, StoreError> {
        let file = location.file().to_owned();
        let cannot = |why: String| StoreError::Open { file: file.clone(), why };
        let lock = std::fs::File::create(location.beside(".lock")).map_err(|error| cannot(error.to_string()))?;
        lock.try_lock().map_err(|_| StoreError::InUse(file.clone()))?;

        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A journal segment goes when the store has it, so what the store says it has must be on the disk.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options.clone())
            .await
            .map_err(
                |error| {
                    if is_unreadable(&error) { unreadable(&file, &error) } else { cannot(error.to_string()) }
                },
            )?;
        let version = version(&writer, &file).await?;
        migrate(&writer, version).await.map_err(|error| unreadable(&file, &error))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(|error| cannot(error.to_string()))?;
        Ok(Self { readers, writer, _lock: std::sync::Arc::new(Some(lock)) })
    }

    /// Opens the store for questions alone; makes nothing, changes nothing.
    pub async fn open_read_only(location: &StoreLocation) -> Result<Self, StoreError> {
        let file = location.file().to_owned();
        if !file.exists() {
            return Err(StoreError::Missing(file));
        }
        let options = SqliteConnectOptions::new().filename(&file).read_only(true).busy_timeout(BUSY_TIMEOUT);
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(|error| unreadable(&file, &error))?;
        match version(&readers, &file).await? {
            0 => Err(StoreError::Unreadable { file, why: "it is no freshgate store".to_owned() }),
            _ => Ok(Self { writer: readers.clone(), readers, _lock: std::sync::Arc::new(None) }),
        }
    }

    /// Connections for reading.
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// The one connection for writing.
    pub fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    /// Closes all connections, after what they are doing.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Whether the file is there but is not SQLite's, or broken.
fn is_unreadable(error: &sqlx::Error) -> bool {
    let code = match error {
        sqlx::Error::Database(error) => error.code().map(std::borrow::Cow::into_owned),
        _ => None,
    };
    matches!(code.as_deref(), Some("11" | "26"))
}

fn unreadable(file: &Path, error: &sqlx::Error) -> StoreError {
    StoreError::Unreadable { file: file.to_owned(), why: error.to_string() }
}

async fn version(pool: &SqlitePool, file: &Path) -> Result<i64, StoreError> {
    let found: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(pool).await.map_err(|error| unreadable(file, &error))?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer { file: file.to_owned(), found });
    }
    Ok(found)
}

async fn migrate(pool: &SqlitePool, from: i64) -> Result<(), sqlx::Error> {
    for (step, migration) in MIGRATIONS.iter().enumerate().skip(usize::try_from(from).unwrap_or(0)) {
        let mut transaction = pool.begin().await?;
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
        // A pragma takes no bound argument; the number is ours.
        let stamp = format!("PRAGMA user_version = {}", step + 1);
        sqlx::raw_sql(sqlx::AssertSqlSafe(stamp)).execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    Ok(())
}
