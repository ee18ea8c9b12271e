//! A few connections to a server, made when they are needed and used again.
//!
//! sqlx's own pool asks each connection how it is when it is given back, for as long as that takes: one way into the
//! network that swallows what is sent, and its places are gone for a quarter of an hour. Here whatever fails or is left
//! half-way is dropped, everything has its time, and an error says what the server or the network said.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::outage::Outage;
use super::schema_check::SchemaCheck;

/// A connection that was used so lately is taken to be sound; others are asked first.
const SOUND_FOR: Duration = Duration::from_secs(1);

/// How long such a question, or a farewell, may take.
const A_WORD: Duration = Duration::from_millis(500);

/// What all connections of a pool have in common.
pub(super) struct Terms {
    pub(super) options: PgConnectOptions,
    /// What each is told first.
    pub(super) settings: String,
    pub(super) most: usize,
    /// How long it may take to have one.
    pub(super) acquire_within: Duration,
    /// How long one answer may take. The server has a limit of its own, but may be where no word of it arrives.
    pub(super) answer_within: Duration,
    /// Where askers must not wait for a server that did not answer a moment ago.
    pub(super) outage: Option<Outage>,
    /// Before it has passed there is no connection.
    pub(super) schema: SchemaCheck,
}

/// Connections to a server; clones share them.
#[derive(Clone)]
pub(crate) struct PostgresPool {
    shared: Arc<Shared>,
}

struct Shared {
    terms: Terms,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PostgresPool {
    /// Without what it connects by: that holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresPool").field("most", &self.shared.terms.most).finish_non_exhaustive()
    }
}

impl PostgresPool {
    pub(super) fn new(terms: Terms) -> Self {
        let places = Arc::new(Semaphore::new(terms.most));
        Self { shared: Arc::new(Shared { terms, places, idle: Mutex::default() }) }
    }

    /// One to be used alone, until it is dropped.
    pub(crate) async fn acquire(&self) -> Result<Lease, sqlx::Error> {
        let terms = &self.shared.terms;
        terms.schema.check()?;
        if let Some(outage) = &terms.outage {
            outage.check()?;
        }
        let acquired = timeout(terms.acquire_within, self.sound_or_new()).await;
        let acquired = acquired.unwrap_or_else(|_| Err(late("the database gave no connection in time")));
        if let Some(outage) = &terms.outage {
            outage.note(acquired.is_ok());
        }
        let (connection, place) = acquired?;
        Ok(Lease { pool: self.clone(), held: Some((connection, place)), busy: false })
    }

    async fn sound_or_new(&self) -> Result<(PgConnection, OwnedSemaphorePermit), sqlx::Error> {
        let place = Arc::clone(&self.shared.places).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
        loop {
            let Some(Idle { mut connection, since }) = self.shared.idle().pop() else {
                break;
            };
            if since.elapsed() < SOUND_FOR || matches!(timeout(A_WORD, connection.ping()).await, Ok(Ok(()))) {
                return Ok((connection, place));
            }
        }
        let mut connection = self.shared.terms.options.connect().await?;
        connection.execute(AssertSqlSafe(self.shared.terms.settings.clone())).await?;
        Ok((connection, place))
    }

    /// Says farewell to those that are idle; others are closed when they are given back.
    pub(crate) async fn close(&self) {
        self.shared.places.close();
        let idle = std::mem::take(&mut *self.shared.idle());
        for Idle { connection, .. } in idle {
            // What the server never answers is not waited for.
            drop(timeout(A_WORD, connection.close()).await);
        }
    }
}

pub(crate) fn late(what: &'static str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, what))
}

/// A connection that somebody has for himself. One that was asked something and has not answered whole when it is dropped
/// is not used again: nobody knows what it would say next.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: PostgresPool,
    /// `None` once it was given up.
    held: Option<(PgConnection, OwnedSemaphorePermit)>,
    busy: bool,
}

impl Lease {
    /// Asks within the time that an answer may take.
    pub(crate) async fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let within = self.answer_within();
        let answered = timeout(within, question(self.begin()?)).await;
        let answered = answered.unwrap_or_else(|_| Err(late("the database did not answer in time")));
        // What the server refused it has answered; after anything else nobody knows where it stands.
        self.end(matches!(answered, Ok(_) | Err(sqlx::Error::Database(_))));
        if let (Some(outage), Err(error)) = (&self.pool.shared.terms.outage, &answered)
            && took_too_long(error)
        {
            outage.note(false);
        }
        answered
    }

    /// Begins a question whose answer comes in parts; [`Self::part`] waits for each, [`Self::end`] says that it was whole.
    pub(crate) fn begin(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.busy = true;
        self.held.as_mut().map(|(connection, _)| connection).ok_or(sqlx::Error::PoolClosed)
    }

    pub(crate) fn answer_within(&self) -> Duration {
        self.pool.shared.terms.answer_within
    }

    pub(crate) fn end(&mut self, whole: bool) {
        self.busy = !whole;
        if let Some(outage) = &self.pool.shared.terms.outage {
            outage.note(whole);
        }
    }

    /// Closes it without a word: closing in order would wait for the server, and a socket that is gone ends its
    /// transaction as well.
    pub(crate) fn give_up(&mut self) {
        drop(self.held.take());
    }
}

/// Whether the server itself gave up: what was asked took too long, or somebody held a lock.
fn took_too_long(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("57014" | "55P03"))
}

/// Waits for a part of an answer.
pub(crate) async fn part<T>(
    within: Duration,
    next: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(within, next).await.unwrap_or_else(|_| Err(late("the database did not answer in time")))
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some((connection, place)) = self.held.take() else {
            return;
        };
        if !self.busy && !self.pool.shared.places.is_closed() {
            self.pool.shared.idle().push(Idle { connection, since: Instant::now() });
        }
        // Only now, so that whoever has the place finds the connection.
        drop(place);
    }
}
