//! The store on a PostgreSQL server, for several replicas: how it is reached, within which times it has to answer, and
//! what is told where it does not. Its tables stand in a schema of their own, [`SCHEMA`].

pub(super) mod address;
mod error;
mod outage;
pub(crate) mod pool;
mod schema_check;

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tokio::time::timeout;

use super::database::Pool;
use super::schema;
pub use address::PostgresAddress;
pub use error::PostgresError;
use outage::Outage;
use pool::{PostgresPool, Terms};
pub(super) use schema_check::SchemaCheck;

/// The schema that holds the tables. Its name stands in the SQL of the schema as well.
pub(super) const SCHEMA: &str = "freshgate";

/// How long a connection may take to be made where somebody waits for it at a terminal, or a Pod starts.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long what writes waits for a connection; it tries again.
const WRITER_WAITS: Duration = Duration::from_secs(5);

/// How long a decision waits for a connection, and for an answer. Where it did in vain, others do not for a while.
const DECISION_WAITS: Duration = Duration::from_secs(1);

/// How long what is written in the background may take.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// How long a question of somebody at a terminal may take.
const QUESTION_WITHIN: Duration = Duration::from_mins(5);

/// How long somebody else's lock is waited for; who writes tries again.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Connections that decisions ask by, and those that write behind them.
const READERS: usize = 4;
const WRITERS: usize = 3;

/// What a pool's connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Decisions ask, and wait no longer than they must.
    Decisions,
    /// What can wait is written.
    Background,
    /// Answers wait for records to be written.
    Records,
    /// Somebody asks, and changes nothing.
    Questions,
}

impl Purpose {
    fn answer_within(self) -> Duration {
        match self {
            Self::Decisions => DECISION_WAITS,
            Self::Background => WRITE_WITHIN,
            Self::Records => WRITER_WAITS,
            Self::Questions => QUESTION_WITHIN,
        }
    }

    /// What each connection is told first. The server's own limits come a little before ours, so that it is the server
    /// who says what took too long, as long as there is one.
    fn settings(self) -> String {
        let statement = self.answer_within().mul_f64(0.9).as_millis();
        let read_only = if self == Self::Questions { "on" } else { "off" };
        format!(
            "SET search_path = {SCHEMA}; SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
             SET idle_in_transaction_session_timeout = {idle}; SET default_transaction_read_only = {read_only}",
            lock = LOCK_WAIT.as_millis().min(statement),
            idle = WRITE_WITHIN.as_millis(),
        )
    }
}

/// Brings the server's schema to the present version, and says what is wrong where that cannot be done.
pub(super) async fn migrate(address: &PostgresAddress) -> Result<(), PostgresError> {
    let mut connection = connect(address, Purpose::Background).await?;
    let migrated = schema::postgres::migrate(&mut connection, address).await;
    drop(timeout(DECISION_WAITS, connection.close()).await);
    migrated
}

/// Whether the schema is there, whoever made it.
pub(super) async fn exists(address: &PostgresAddress) -> Result<bool, PostgresError> {
    let mut connection = connect(address, Purpose::Questions).await?;
    let checked = schema::postgres::check(&mut connection, address).await;
    drop(timeout(DECISION_WAITS, connection.close()).await);
    match checked {
        Err(PostgresError::Missing { .. }) => Ok(false),
        Ok(()) | Err(PostgresError::Foreign { .. } | PostgresError::Older { .. } | PostgresError::Newer { .. }) => {
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Removes the schema with all that is in it.
pub(super) async fn remove(address: &PostgresAddress) -> Result<(), PostgresError> {
    let mut connection = connect(address, Purpose::Background).await?;
    let dropped = connection.execute("DROP SCHEMA freshgate CASCADE").await;
    drop(timeout(DECISION_WAITS, connection.close()).await);
    dropped.map(|_| ()).map_err(|source| PostgresError::of("removing the schema", address, source))
}

/// Connections for a purpose; none is made before it is needed, nor before the schema is known.
pub(super) fn pool(address: &PostgresAddress, purpose: Purpose, schema: &SchemaCheck) -> Pool {
    let (most, acquire_within) = match purpose {
        Purpose::Decisions => (READERS, DECISION_WAITS),
        Purpose::Background => (WRITERS, WRITER_WAITS),
        Purpose::Records => (1, WRITER_WAITS),
        // One walks along the records, another looks beside the way.
        Purpose::Questions => (2, CONNECT_WITHIN),
    };
    Pool::Postgres(PostgresPool::new(Terms {
        options: address.options().clone(),
        settings: purpose.settings(),
        most,
        acquire_within,
        answer_within: purpose.answer_within(),
        outage: (purpose == Purpose::Decisions).then(Outage::default),
        schema: schema.clone(),
    }))
}

/// Connections for questions, once it is known that the schema is the one that is read here.
pub(super) async fn pool_for_questions(address: &PostgresAddress) -> Result<Pool, PostgresError> {
    let mut connection = connect(address, Purpose::Questions).await?;
    let checked = schema::postgres::check(&mut connection, address).await;
    drop(timeout(DECISION_WAITS, connection.close()).await);
    checked.map(|()| pool(address, Purpose::Questions, &SchemaCheck::passed()))
}

/// One connection, made at once: a pool would try again and forget why.
async fn connect(address: &PostgresAddress, purpose: Purpose) -> Result<PgConnection, PostgresError> {
    address.check_files()?;
    let connected = async {
        let mut connection = address.options().connect().await?;
        connection.execute(sqlx::AssertSqlSafe(purpose.settings())).await?;
        Ok(connection)
    };
    match timeout(CONNECT_WITHIN, connected).await {
        Ok(connected) => connected.map_err(|source| PostgresError::connecting(address, source)),
        Err(_) => Err(PostgresError::Unreachable {
            place: address.to_string(),
            detail: format!("it did not answer within {} seconds", CONNECT_WITHIN.as_secs()),
        }),
    }
}
