//! One way to ask either database. A question's text is the same for both, with `$1`, `$2` … for its values; the little
//! that is not stands in [`Dialect`].

mod connection;
mod query;
mod row;

pub(crate) use connection::{Connection, Pool};
pub(crate) use query::{Insert, Kind, Query, Value, without_nul};

pub(crate) use row::Row;

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// One file, one writer.
    Sqlite,
    /// A server that several replicas share.
    Postgres,
}

impl Dialect {
    /// Says after a table's name which index is to be used: left alone, `SQLite` now and then reads and sorts the whole
    /// table. PostgreSQL goes by its statistics.
    pub(crate) fn indexed_by(self, index: &str) -> String {
        match self {
            Self::Sqlite => format!(" INDEXED BY {index}"),
            Self::Postgres => String::new(),
        }
    }
}
