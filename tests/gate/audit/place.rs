//! Where a test keeps its records: in a store of either kind, with the journal in a folder of its own.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use freshgate::audit::{Audit, AuditSettings, QueryFilter, StoredRecord, query};
use freshgate::store::{Store, StoreLocation};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};

use super::at;
use crate::cluster::postgres::{Database, Postgres as Server};

/// A `SQLite` file in the folder.
pub struct Sqlite;

/// A database of a real server.
pub struct Postgres;

/// Which kind of store.
pub trait Kind: Sized {
    /// The database, where it is one of a server.
    fn database() -> Option<Database>;
}

impl Kind for Sqlite {
    fn database() -> Option<Database> {
        None
    }
}

impl Kind for Postgres {
    fn database() -> Option<Database> {
        Some(Server::shared().database())
    }
}

/// A folder with a store in it, or beside it.
pub struct PlaceOn<K> {
    pub folder: tempfile::TempDir,
    pub database: Option<Database>,
    kind: PhantomData<K>,
}

impl<K: Kind> PlaceOn<K> {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database: K::database(), kind: PhantomData }
    }

    /// As `--store` names it; the password of a server's database included.
    pub fn url(&self) -> String {
        match &self.database {
            None => format!("sqlite:{}", self.file().display()),
            Some(database) => database.url(),
        }
    }

    pub fn location(&self) -> StoreLocation {
        self.url().parse::<StoreLocation>().unwrap().with_journal(Some(self.journal()))
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("gate.db")
    }

    pub fn journal(&self) -> PathBuf {
        self.folder.path().join("gate.db.journal")
    }

    pub async fn open(&self) -> (Store, Audit) {
        self.open_with(AuditSettings::default()).await
    }

    pub async fn open_with(&self, settings: AuditSettings) -> (Store, Audit) {
        let store = Store::open(&self.location()).await.unwrap();
        let audit = Audit::open(settings, &store, at(0)).await.unwrap();
        (store, audit)
    }

    /// Everything, newest first; asked from another task, as a server would.
    pub async fn all(&self) -> Vec<StoredRecord> {
        let location = self.location();
        let asked = tokio::spawn(async move { query(&location, &QueryFilter::default()).await });
        asked.await.unwrap().unwrap()
    }

    /// The files of the journal that hold records.
    pub fn segments(&self) -> Vec<PathBuf> {
        let mut found: Vec<_> = std::fs::read_dir(self.journal())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        found.sort();
        found
    }

    /// A connection of somebody else's to the store.
    pub async fn connect(&self) -> Other {
        match &self.database {
            None => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.file());
                Other::Sqlite(options.connect().await.unwrap())
            }
            Some(database) => {
                let mut connection = PgConnection::connect(&database.url()).await.unwrap();
                sqlx::raw_sql("SET search_path = freshgate").execute(&mut connection).await.unwrap();
                Other::Postgres(connection)
            }
        }
    }
}

/// Somebody else's connection, by which a store is locked or changed by hand.
pub enum Other {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Other {
    /// Runs statements.
    pub async fn run(&mut self, statements: impl Into<String>) {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.into()));
        match self {
            Self::Sqlite(connection) => drop(statements.execute(connection).await.unwrap()),
            Self::Postgres(connection) => drop(statements.execute(connection).await.unwrap()),
        }
    }

    /// One number.
    pub async fn number(&mut self, sql: impl Into<String>) -> i64 {
        let sql = AssertSqlSafe(sql.into());
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).fetch_one(connection).await.unwrap(),
            Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_one(connection).await.unwrap(),
        }
    }

    /// From now on nobody else writes, until it is released or this is dropped; reading goes on.
    pub async fn hold(&mut self) {
        self.run(match self {
            Self::Sqlite(_) => "BEGIN EXCLUSIVE",
            Self::Postgres(_) => "BEGIN; LOCK TABLE decisions, first_seen, image_facts, admissions IN EXCLUSIVE MODE",
        })
        .await;
    }

    pub async fn release(&mut self) {
        self.run("COMMIT").await;
    }

    pub async fn close(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}

/// The text as SQL writes it.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Waits until it is so.
pub async fn until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    tokio::time::timeout(super::PATIENCE, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it never was so");
}
