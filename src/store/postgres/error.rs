//! What is told where the PostgreSQL server cannot be used: what is wrong, where, and what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::SCHEMA;
use super::address::PostgresAddress;

/// Why the store on a server cannot be used.
#[derive(Debug, Error)]
pub enum PostgresError {
    /// `--store` is not an address.
    #[error(
        "the address of the store is not understood: {why}: write postgres://USER@HOST:PORT/DATABASE, as in postgres://freshgate@db.example:5432/freshgate?sslmode=verify-full"
    )]
    Address {
        /// What is wrong with it.
        why: String,
    },
    /// A file that the address names.
    #[error("the file {} that {parameter} of the store names cannot be read: {source}", file.display())]
    File {
        /// The parameter.
        parameter: String,
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error(
        "the store {place} cannot be reached: {detail}: check that the server runs there, and that the network lets us through"
    )]
    Unreachable {
        /// Where it should be.
        place: String,
        /// What the network said.
        detail: String,
    },
    /// No TLS, or not with this certificate.
    #[error(
        "the store {place} is not reached by TLS: {detail}: check sslmode and sslrootcert, and the server's certificate"
    )]
    Tls {
        /// Where it should be.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// The server does not let us in.
    #[error(
        "the store {place} does not let us in: {detail}: give the role's password in PGPASSWORD or in the file that PGPASSFILE names, and check pg_hba.conf"
    )]
    Refused {
        /// Where.
        place: String,
        /// The server's words.
        detail: String,
    },
    /// There is no such database.
    #[error("the store {place} is not there: {detail}: make the database, as docs/postgresql.md says, or name another")]
    NoDatabase {
        /// Where.
        place: String,
        /// The server's words.
        detail: String,
    },
    /// All of the server's connections are taken.
    #[error(
        "the store {place} has no connection left: {detail}: a replica takes up to 9, so raise max_connections or the role's limit"
    )]
    Full {
        /// Where.
        place: String,
        /// The server's words.
        detail: String,
    },
    /// The role may not do what is needed.
    #[error("{act} is not allowed in the store {place}: {detail}: grant it, as docs/postgresql.md says")]
    NotAllowed {
        /// What was attempted.
        act: &'static str,
        /// Where.
        place: String,
        /// The server's words.
        detail: String,
    },
    /// Nothing is there yet, and a reader makes nothing.
    #[error("there is no store at {place}: `freshgate serve` makes one when it starts")]
    Missing {
        /// Where.
        place: String,
    },
    /// The schema is another program's.
    #[error("the schema {SCHEMA} of {place} is of another program: name another database with --store")]
    Foreign {
        /// Where.
        place: String,
    },
    /// Written by a newer version of this program.
    #[error(
        "the store {place} has schema version {found}, and this freshgate knows versions up to {known}: run the newer freshgate that wrote it, or name another store"
    )]
    Newer {
        /// Where.
        place: String,
        /// Its schema version.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// Written by an older version, and a reader migrates nothing.
    #[error(
        "the store {place} has schema version {found}, and this freshgate reads version {known}: start this version's `freshgate serve` once, which brings it there"
    )]
    Older {
        /// Where.
        place: String,
        /// Its schema version.
        found: i64,
        /// The one read here.
        known: i64,
    },
    /// Its tables are not as they were made.
    #[error(
        "{act} failed in the store {place}: {detail}: somebody changed its tables, so restore them from a copy, or name another store"
    )]
    Damaged {
        /// What was attempted.
        act: &'static str,
        /// Where.
        place: String,
        /// The server's words.
        detail: String,
    },
    /// Anything else.
    #[error("{act} failed in the store {place}: {source}: look into the server's log, and try again")]
    Failed {
        /// What was attempted.
        act: &'static str,
        /// Where.
        place: String,
        /// What the server said.
        source: sqlx::Error,
    },
}

impl PostgresError {
    /// Whether it may pass by itself: nobody answers, or the server has no connection left.
    pub(super) fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Full { .. })
    }

    pub(super) fn connecting(address: &PostgresAddress, source: sqlx::Error) -> Self {
        Self::of("connecting", address, source)
    }

    /// What a failed act is told as.
    pub(crate) fn of(act: &'static str, address: &PostgresAddress, source: sqlx::Error) -> Self {
        let place = address.to_string();
        match &source {
            sqlx::Error::Tls(why) => Self::Tls { place, detail: why.to_string() },
            sqlx::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(why) => Self::Tls { place, detail: why.to_string() },
                None => Self::Unreachable { place, detail: error.to_string() },
            },
            sqlx::Error::Database(said) => {
                let detail = said.message().to_owned();
                match said.code().as_deref() {
                    Some("28P01" | "28000") => Self::Refused { place, detail },
                    Some("3D000") => Self::NoDatabase { place, detail },
                    Some("53300") => Self::Full { place, detail },
                    Some("57P03") => Self::Unreachable { place, detail },
                    Some("42P01" | "42703" | "42883") => Self::Damaged { act, place, detail },
                    Some("42501") => Self::NotAllowed { act, place, detail },
                    _ => Self::Failed { act, place, source },
                }
            }
            _ => Self::Failed { act, place, source },
        }
    }
}
