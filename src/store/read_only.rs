//! A store opened for questions alone: beside a running server, after one was killed, or on a disk that is read-only.
//! It makes no file, not even those that `SQLite` keeps beside a database that somebody writes to.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::database::Pool;
use super::location::Place;
use super::postgres::{self, PostgresError};
use super::{LOCK_WAIT, StoreError, StoreLocation, schema};

/// A store opened for questions alone.
#[derive(Debug)]
pub struct ReadOnlyStore {
    place: Place,
    pool: Pool,
    /// Set when nobody had the store open: it is then read without locks, as if nobody could write to it, and
    /// [`Self::close_undisturbed`] tells whether that held.
    at_rest: Option<Stamp>,
}

/// What changes when somebody writes to a file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl ReadOnlyStore {
    pub(super) async fn open(location: &StoreLocation) -> Result<Self, StoreError> {
        let file = match location.place() {
            Place::Sqlite(file) => file,
            Place::Postgres(address) => {
                let pool = postgres::pool_for_questions(address).await?;
                return Ok(Self { place: location.place().clone(), pool, at_rest: None });
            }
        };
        let metadata = match std::fs::metadata(file) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { file: file.to_owned() });
            }
            Err(error) => {
                return Err(StoreError::Unopenable { file: file.to_owned(), detail: error.to_string() });
            }
        };
        if !metadata.is_file() {
            return Err(StoreError::Unopenable { file: file.to_owned(), detail: "it is not a file".to_owned() });
        }
        let at_rest = (!has_log(file)).then(|| Stamp::of(&metadata));
        let options = SqliteConnectOptions::new()
            .filename(file)
            .read_only(true)
            .immutable(at_rest.is_some())
            .busy_timeout(LOCK_WAIT);
        let pool = SqlitePoolOptions::new()
            // One walks along the records, another looks beside the way.
            .max_connections(2)
            .connect_with(options)
            .await
            .map_err(|source| StoreError::open(file, source))?;
        let mut connection = pool.acquire().await.map_err(|source| StoreError::open(file, source))?;
        schema::check(&mut connection, file).await?;
        drop(connection);
        Ok(Self { place: location.place().clone(), pool: Pool::Sqlite(pool), at_rest })
    }

    /// Closes it. False when it was at rest when it was opened and is not any more: answers may then mix old and new, and
    /// the question is to be asked again.
    pub(crate) async fn close_undisturbed(self) -> bool {
        let undisturbed = match (&self.place, self.at_rest) {
            (Place::Sqlite(file), Some(before)) => {
                let now = std::fs::metadata(file).ok().map(|metadata| Stamp::of(&metadata));
                !has_log(file) && now == Some(before)
            }
            _ => true,
        };
        self.pool.close().await;
        undisturbed
    }

    /// What a question that failed is told as.
    pub(crate) fn failed(&self, act: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
        move |source| match &self.place {
            Place::Sqlite(file) => StoreError::asking(act, file, source),
            Place::Postgres(address) => PostgresError::of(act, address, source).into(),
        }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// Whether somebody has the store open, or died with it open.
fn has_log(file: &Path) -> bool {
    let mut log = file.to_owned().into_os_string();
    log.push("-wal");
    Path::new(&log).exists()
}
