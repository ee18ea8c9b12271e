//! The store: every decision, the ledger of what was admitted, and what is known of images, in one `SQLite` file or on a
//! PostgreSQL server. What writes does so in large batches behind the answers' back; a few connections read.

pub(crate) mod answers;
pub(crate) mod boundaries;
pub(crate) mod database;
pub(crate) mod decisions;
pub(crate) mod findings;
mod freezes;
mod heads;
pub mod ledger;
pub mod location;
pub mod postgres;
mod read_only;
mod retention;
mod revisions;
mod schema;
pub(crate) mod time;
mod write_behind;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use thiserror::Error;
use tokio::runtime::Handle;

use crate::background::run_on;
use database::{Dialect, Pool, Query, Value};
pub use ledger::Ledger;
use location::Place;
pub use location::StoreLocation;
pub use postgres::address::without_password;
use postgres::{PostgresAddress, PostgresError, Purpose, SchemaCheck};
pub use read_only::ReadOnlyStore;
use write_behind::WriteBehind;

/// How long one attempt waits for somebody else's lock on the file; the attempt is then repeated by who made it.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// How long a question waits for a free connection.
const READER_WAIT: Duration = Duration::from_secs(2);

/// `SQLite` reads side by side, and two cores are the usual size of the gate.
const READERS: u32 = 4;

/// Why the store cannot be used, or what failed in it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// `--store` is not of a form that is understood.
    #[error(
        "the store \"{given}\" is not understood: write sqlite:FILE, as in sqlite:/var/lib/freshgate/gate.db, or postgres://USER@HOST:PORT/DATABASE"
    )]
    Location {
        /// As given, without a password.
        given: String,
    },
    /// The server.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// There is no such file, and a reader makes none.
    #[error("there is no store at {}: `freshgate serve` makes one when it starts", file.display())]
    Missing {
        /// The `SQLite` file.
        file: PathBuf,
    },
    /// The folder that should hold the file does not exist.
    #[error("the folder {} of the store does not exist: create it, or name another with --store", folder.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// The path is a folder, or the file cannot be opened or made.
    #[error("the store {} cannot be opened: {detail}: check that it is a file, and that it and its folder can be written", file.display())]
    Unopenable {
        /// The `SQLite` file.
        file: PathBuf,
        /// `SQLite`'s words.
        detail: String,
    },
    /// The bytes are not those of a `SQLite` database.
    #[error("the store {} is corrupt: {detail}: restore it from a copy, or move it away together with its -wal and -shm files and a new one is made", file.display())]
    Corrupt {
        /// The `SQLite` file.
        file: PathBuf,
        /// `SQLite`'s words.
        detail: String,
    },
    /// A `SQLite` database, but of another program.
    #[error("the file {} is a SQLite database of another program: name another file with --store", file.display())]
    Foreign {
        /// The `SQLite` file.
        file: PathBuf,
    },
    /// Written by a newer version of this program.
    #[error("the store {} has schema version {found}, and this freshgate knows versions up to {known}: run the newer freshgate that wrote it, or name another store", file.display())]
    Newer {
        /// The `SQLite` file.
        file: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// Written by an older version, and a reader migrates nothing.
    #[error("the store {} has schema version {found}, and this freshgate reads version {known}: start this version's `freshgate serve` once, which brings it there", file.display())]
    Older {
        /// The `SQLite` file.
        file: PathBuf,
        /// Its schema version.
        found: i64,
        /// The one read here.
        known: i64,
    },
    /// The file is one of ours, and opening it failed for another reason.
    #[error("opening the store {} failed: {source}: if another program holds it, try again when that is done", file.display())]
    Open {
        /// The `SQLite` file.
        file: PathBuf,
        /// What `SQLite` said.
        source: sqlx::Error,
    },
    /// Somebody else holds the file longer than a question waits.
    #[error("{act} failed, because another program holds the store {}: try again when it is done", file.display())]
    Busy {
        /// What was attempted.
        act: &'static str,
        /// The `SQLite` file.
        file: PathBuf,
    },
    /// A question of a reader failed.
    #[error("{act} failed in the store {}: {source}: try again, and if it stays so restore the store from a copy", file.display())]
    Unreadable {
        /// What was attempted.
        act: &'static str,
        /// The `SQLite` file.
        file: PathBuf,
        /// What `SQLite` said.
        source: sqlx::Error,
    },
    /// A question or a change failed.
    #[error("{act} failed in the store: {source}")]
    Failed {
        /// What was attempted.
        act: &'static str,
        /// What `SQLite` said.
        source: sqlx::Error,
    },
}

impl StoreError {
    fn open(file: &Path, source: sqlx::Error) -> Self {
        let file = file.to_owned();
        match code_and_words(&source) {
            (Some(CORRUPT | NOT_A_DATABASE), detail) => Self::Corrupt { file, detail },
            (Some(READ_ONLY | CANNOT_OPEN), detail) => Self::Unopenable { file, detail },
            _ => Self::Open { file, source },
        }
    }

    /// A question of a reader that failed, and in which file.
    pub(crate) fn asking(act: &'static str, file: &Path, source: sqlx::Error) -> Self {
        let file = file.to_owned();
        match code_and_words(&source) {
            (Some(CORRUPT | NOT_A_DATABASE), detail) => Self::Corrupt { file, detail },
            (Some(BUSY | LOCKED), _) => Self::Busy { act, file },
            _ => Self::Unreadable { act, file, source },
        }
    }

    fn failed(act: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Failed { act, source }
    }
}

// SQLite's primary result codes; an extended one keeps them in its low byte.
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const READ_ONLY: u32 = 8;
const CORRUPT: u32 = 11;
const CANNOT_OPEN: u32 = 14;
const NOT_A_DATABASE: u32 = 26;

/// `SQLite`'s primary result code, where the error is one of its own, and its words.
fn code_and_words(error: &sqlx::Error) -> (Option<u32>, String) {
    let Some(error) = error.as_database_error() else {
        return (None, String::new());
    };
    let code = error.code().and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
    (code, error.message().to_owned())
}

/// An open store; clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    location: StoreLocation,
    /// Where everything that writes runs.
    background: Handle,
    readers: Pool,
    /// Of `SQLite` one connection: it has one writer at a time, and waiting here is cheaper than its busy loop.
    writer: Pool,
    /// Of a server: whether its schema is known.
    schema: Option<SchemaCheck>,
    write_behind: WriteBehind,
    memory: Arc<ledger::Memory>,
}

impl Store {
    /// Opens the store for the server, makes it if there is none, and brings it to the present schema.
    /// Call it inside a tokio runtime, where it writes behind its callers' back.
    pub async fn open(location: &StoreLocation) -> Result<Self, StoreError> {
        Self::open_with(location, &Handle::current(), IfAway::Fail).await
    }

    /// As [`Self::open`], with all writing done on the runtime `background`; a server that is away at this moment is
    /// waited for there, and until then nothing is read from it nor written to it.
    pub async fn open_on(location: &StoreLocation, background: &Handle) -> Result<Self, StoreError> {
        Self::open_with(location, background, IfAway::GoOn).await
    }

    async fn open_with(location: &StoreLocation, background: &Handle, if_away: IfAway) -> Result<Self, StoreError> {
        let (readers, writer, schema) = match location.place() {
            Place::Sqlite(file) => {
                let (readers, writer) = open_sqlite(file, background).await?;
                (readers, writer, None)
            }
            Place::Postgres(address) => open_postgres(address, background, if_away).await?,
        };
        let write_behind = WriteBehind::start(writer.clone(), background);
        let overlay =
            if location.is_shared() { ledger::Overlay::over_a_shared_store() } else { ledger::Overlay::over_a_store() };
        let shared = Shared {
            location: location.clone(),
            background: background.clone(),
            readers,
            writer,
            schema,
            write_behind,
            memory: Arc::new(ledger::Memory::new(overlay)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Opens the store for questions alone, also while a server runs or after it was killed. Makes and changes nothing.
    pub async fn open_read_only(location: &StoreLocation) -> Result<ReadOnlyStore, StoreError> {
        ReadOnlyStore::open(location).await
    }

    /// Whether there is anything in its place.
    pub(crate) async fn exists(location: &StoreLocation) -> Result<bool, StoreError> {
        match location.place() {
            Place::Sqlite(file) => Ok(file.exists()),
            Place::Postgres(address) => Ok(postgres::exists(address).await?),
        }
    }

    /// Removes the whole store, as far as that can be done.
    pub(crate) async fn remove(location: &StoreLocation) {
        match location.place() {
            Place::Sqlite(file) => drop(std::fs::remove_file(file)),
            Place::Postgres(address) => {
                if let Err(error) = postgres::remove(address).await {
                    tracing::error!(%error, "what was begun is still there; remove the schema by hand");
                }
            }
        }
    }

    /// Where it lies.
    pub fn location(&self) -> &StoreLocation {
        &self.shared.location
    }

    /// Whether other replicas may write to it: what is remembered of it then ages.
    pub fn is_shared(&self) -> bool {
        self.shared.location.is_shared()
    }

    /// What was admitted and first seen, this store's and what is about to be in it.
    pub fn ledger(&self) -> Ledger {
        Ledger::over(self.clone())
    }

    /// What was put for this digest, as JSON, and when in UTC; sees what is not yet on the disk. `None` also when the
    /// store cannot answer: a fact can be fetched again.
    pub async fn image_fact(&self, digest: &str) -> Option<(String, DateTime<Utc>)> {
        if let Some(fact) = self.shared.write_behind.unwritten_fact(digest) {
            return Some(fact);
        }
        let asked = async {
            let query =
                Query::new("SELECT fact, fetched_at FROM image_facts WHERE digest = $1").bind(Value::key(digest));
            let row = self.shared.readers.row(query).await?;
            row.map(|row| Ok::<_, sqlx::Error>((row.text(0)?, row.text(1)?))).transpose()
        };
        match asked.await {
            Ok(row) => row.and_then(|(fact, at)| Some((fact, time::from_column(&at)?))),
            Err(error) => {
                tracing::warn!(digest, %error, "image fact not read from the store");
                None
            }
        }
    }

    /// Keeps what is known about a digest; on the disk shortly after.
    pub fn put_image_fact(&self, digest: &str, fact_json: &str, now: DateTime<Utc>) {
        self.shared.write_behind.put_fact(digest, fact_json, now);
    }

    /// Writes what is still only in memory and closes the file. After it, questions fail.
    pub async fn flush_and_close(&self) -> Result<(), StoreError> {
        let flushed = self.shared.write_behind.flush_and_stop().await;
        self.shared.readers.close().await;
        self.shared.writer.close().await;
        flushed
    }

    fn memory(&self) -> &Arc<ledger::Memory> {
        &self.shared.memory
    }

    fn write_behind(&self) -> &WriteBehind {
        &self.shared.write_behind
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.shared.writer.dialect()
    }

    pub(crate) fn background(&self) -> &Handle {
        &self.shared.background
    }

    pub(crate) fn writer(&self) -> &Pool {
        &self.shared.writer
    }

    /// A connection of its own for records that answers wait for. Call it inside the runtime that is to use it.
    pub(crate) fn records(&self) -> Pool {
        match (self.shared.location.place(), &self.shared.schema) {
            (Place::Postgres(address), Some(schema)) => postgres::pool(address, Purpose::Records, schema),
            _ => self.shared.writer.clone(),
        }
    }

    fn readers(&self) -> &Pool {
        &self.shared.readers
    }

    /// What asks in the background: on a server with the time that writing has, and not with a decision's.
    fn unhurried(&self) -> &Pool {
        if self.is_shared() { &self.shared.writer } else { &self.shared.readers }
    }
}

/// The connections that read and the one that writes, on a file with the present schema.
async fn open_sqlite(file: &Path, background: &Handle) -> Result<(Pool, Pool), StoreError> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty())
        && !folder.is_dir()
    {
        return Err(StoreError::NoFolder { folder: folder.to_owned() });
    }
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A segment of the journal goes when the store has it, so a commit must be on the disk.
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "4000")
        .busy_timeout(LOCK_WAIT);
    let writer = run_on(background, sqlite_writer(options.clone(), file.to_owned())).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(READER_WAIT)
        .connect_with(options.create_if_missing(false).pragma("query_only", "1"))
        .await
        .map_err(|source| StoreError::open(file, source))?;
    Ok((Pool::Sqlite(readers), Pool::Sqlite(writer)))
}

/// The connection that writes, on a file with the present schema.
async fn sqlite_writer(options: SqliteConnectOptions, file: PathBuf) -> Result<SqlitePool, StoreError> {
    let open = |source| StoreError::open(&file, source);
    let options_of_pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(LOCK_WAIT * 2);
    let writer = options_of_pool.connect_with(options).await.map_err(open)?;
    schema::migrate(&mut *writer.acquire().await.map_err(open)?, &file).await?;
    Ok(writer)
}

/// What becomes of a start while the server is away.
#[derive(Clone, Copy)]
enum IfAway {
    Fail,
    GoOn,
}

/// The connections that read and those that write, to a server with the present schema, or to one that is away for now.
async fn open_postgres(
    address: &PostgresAddress,
    background: &Handle,
    if_away: IfAway,
) -> Result<(Pool, Pool, Option<SchemaCheck>), StoreError> {
    let address = address.clone();
    let opened = run_on(background, async move {
        let schema = match if_away {
            IfAway::GoOn => SchemaCheck::make(&address).await?,
            IfAway::Fail => {
                postgres::migrate(&address).await?;
                SchemaCheck::passed()
            }
        };
        let pool = |purpose| postgres::pool(&address, purpose, &schema);
        Ok::<_, PostgresError>((pool(Purpose::Decisions), pool(Purpose::Background), Some(schema)))
    });
    Ok(opened.await?)
}
