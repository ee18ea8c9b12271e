//! Connections to either database, and transactions on them. One on which something failed half-way, or whose asker
//! stopped waiting, is closed and not used again: nobody knows what it would answer next.

use std::ops::{Deref, DerefMut};

use futures::TryStreamExt as _;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Sqlite, SqlitePool};

use super::{Dialect, Insert, Query, Row, Value};
use crate::store::postgres::pool::{Lease, PostgresPool, part};

/// Bytes of rows in one statement of PostgreSQL, and rows.
const STATEMENT_BYTES: usize = 8 * 1024 * 1024;
const STATEMENT_ROWS: usize = 2000;

/// Where connections come from.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PostgresPool),
}

impl Pool {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(crate) async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => Ok(Connection::Sqlite(pool.acquire().await?)),
            Self::Postgres(pool) => Ok(Connection::Postgres(pool.acquire().await?)),
        }
    }

    /// Begins a change.
    pub(crate) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        let begin = match self.dialect() {
            // Else a reader would become a writer half-way, and be refused.
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN",
        };
        Transaction::begin(self.acquire().await?, begin).await
    }

    /// Begins questions that are answered as of one moment.
    pub(crate) async fn moment(&self) -> Result<Transaction, sqlx::Error> {
        let begin = match self.dialect() {
            Dialect::Sqlite => "BEGIN",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        Transaction::begin(self.acquire().await?, begin).await
    }

    pub(crate) async fn rows(&self, query: Query<'_>) -> Result<Vec<Row>, sqlx::Error> {
        // In a box: what few reviews ask would be room in the future of each one.
        Box::pin(async { self.acquire().await?.rows(query).await }).await
    }

    pub(crate) async fn row(&self, query: Query<'_>) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.rows(query).await?.into_iter().next())
    }

    pub(crate) async fn execute(&self, query: Query<'_>) -> Result<u64, sqlx::Error> {
        self.acquire().await?.execute(query).await
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// A connection that somebody has for himself.
#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(Lease),
}

impl Connection {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Closes it, with whatever it holds.
    pub(crate) fn give_up(self) {
        match self {
            Self::Sqlite(mut connection) => connection.close_on_drop(),
            Self::Postgres(mut lease) => lease.give_up(),
        }
    }

    pub(crate) async fn rows(&mut self, query: Query<'_>) -> Result<Vec<Row>, sqlx::Error> {
        match self {
            Self::Sqlite(connection) => {
                let (sql, arguments, prepared) = query.for_sqlite()?;
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(prepared);
                Ok(query.fetch_all(&mut **connection).await?.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(lease) => {
                let (sql, arguments, prepared) = query.for_postgres()?;
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(prepared);
                let rows = lease.ask(async |connection| query.fetch_all(connection).await).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// The first row, where there is one.
    pub(crate) async fn row(&mut self, query: Query<'_>) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.rows(query).await?.into_iter().next())
    }

    /// Makes a change; how many rows it met.
    pub(crate) async fn execute(&mut self, query: Query<'_>) -> Result<u64, sqlx::Error> {
        match self {
            Self::Sqlite(connection) => {
                let (sql, arguments, prepared) = query.for_sqlite()?;
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(prepared);
                Ok(query.execute(&mut **connection).await?.rows_affected())
            }
            Self::Postgres(lease) => {
                let (sql, arguments, prepared) = query.for_postgres()?;
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(prepared);
                Ok(lease.ask(async |connection| query.execute(connection).await).await?.rows_affected())
            }
        }
    }

    /// Hands over row after row, so that not all of them are in memory at once.
    pub(crate) async fn each(
        &mut self,
        query: Query<'_>,
        mut take: impl FnMut(&Row) -> Result<(), sqlx::Error>,
    ) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => {
                let (sql, arguments, _) = query.for_sqlite()?;
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(false);
                let mut rows = query.fetch(&mut **connection);
                while let Some(row) = rows.try_next().await? {
                    take(&Row::Sqlite(row))?;
                }
                Ok(())
            }
            Self::Postgres(lease) => {
                let (sql, arguments, _) = query.for_postgres()?;
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(false);
                let within = lease.answer_within();
                let mut rows = query.fetch(lease.begin()?);
                while let Some(row) = part(within, rows.try_next()).await? {
                    take(&Row::Postgres(row))?;
                }
                drop(rows);
                lease.end(true);
                Ok(())
            }
        }
    }

    /// Inserts rows; tells `each` how many of which were added.
    pub(crate) async fn insert<const COLUMNS: usize>(
        &mut self,
        insert: &Insert<COLUMNS>,
        rows: &[[Value<'_>; COLUMNS]],
    ) -> Result<u64, sqlx::Error> {
        let mut added = 0;
        match self {
            Self::Sqlite(connection) => {
                for rows in rows.chunks(insert.sqlite_rows) {
                    let (sql, arguments, prepared) = insert.sqlite(rows)?;
                    let query = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(prepared);
                    added += query.execute(&mut **connection).await?.rows_affected();
                }
            }
            Self::Postgres(lease) => {
                let mut left = rows;
                while !left.is_empty() {
                    let (now, later) = left.split_at(statement_rows(left));
                    left = later;
                    let (sql, arguments) = insert.postgres(now)?;
                    let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
                    let done = lease.ask(async |connection| query.execute(connection).await).await?;
                    added += done.rows_affected();
                }
            }
        }
        Ok(added)
    }
}

/// How many of these rows share a statement: at least one.
fn statement_rows<const COLUMNS: usize>(rows: &[[Value<'_>; COLUMNS]]) -> usize {
    let mut bytes = 0;
    let fit = rows.iter().take(STATEMENT_ROWS).take_while(|row| {
        let of_row = row.iter().map(|value| match value {
            Value::Text(text) | Value::Key(text) => text.len(),
            Value::Integer(_) | Value::Null => 8,
        });
        bytes += of_row.sum::<usize>();
        bytes <= STATEMENT_BYTES
    });
    fit.count().max(1)
}

/// A change that is made whole or not at all.
#[derive(Debug)]
pub(crate) struct Transaction {
    connection: Connection,
    ended: bool,
}

impl Transaction {
    async fn begin(connection: Connection, how: &'static str) -> Result<Self, sqlx::Error> {
        // Made first: whoever stops waiting must not leave a transaction that nobody ends.
        let mut transaction = Self { connection, ended: false };
        let begun = transaction.connection.execute(Query::new(how)).await;
        transaction.ended = begun.is_err();
        begun.map(|_| transaction)
    }

    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.connection.execute(Query::new("COMMIT")).await?;
        self.ended = true;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.ended {
            match &mut self.connection {
                // Closing rolls back. After an error of the disk SQLite has done so by itself, and would refuse to.
                Connection::Sqlite(connection) => connection.close_on_drop(),
                Connection::Postgres(lease) => lease.give_up(),
            }
        }
    }
}
