//! Where a store lies, as `--store` names it: `sqlite:FILE`, with the journal in a folder beside the file, or the address
//! of a PostgreSQL server, with the journal where `--audit-journal` says.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::StoreError;
use super::postgres::PostgresAddress;
use super::postgres::address::without_password;

/// A store, and the folder of the journal that it is filled from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreLocation {
    place: Place,
    /// Where it was named.
    journal: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A file on this machine.
    Sqlite(PathBuf),
    /// A server.
    Postgres(PostgresAddress),
}

impl StoreLocation {
    /// The store in this `SQLite` file.
    pub fn sqlite(file: impl Into<PathBuf>) -> Self {
        Self { place: Place::Sqlite(file.into()), journal: None }
    }

    /// The same, with the journal in this folder where one is named.
    #[must_use]
    pub fn with_journal(self, journal: Option<PathBuf>) -> Self {
        Self { journal: journal.or(self.journal), ..self }
    }

    /// The `SQLite` file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::Sqlite(file) => Some(file),
            Place::Postgres(_) => None,
        }
    }

    /// Whether several replicas may use it at once.
    pub fn is_shared(&self) -> bool {
        self.file().is_none()
    }

    /// The file of the key that signs what the gate grants, where no other is named: beside the file. Replicas that share
    /// a server share a key, so there it has to be named.
    pub fn signing_key(&self) -> Option<PathBuf> {
        self.file().map(|file| with_suffix(file, ".signing-key"))
    }

    /// The folder of the journal's segments: the one that was named, else beside the file. Beside a server there is none.
    pub fn journal(&self) -> Option<PathBuf> {
        self.journal.clone().or_else(|| self.file().map(|file| with_suffix(file, ".journal")))
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

impl FromStr for StoreLocation {
    type Err = StoreError;

    fn from_str(given: &str) -> Result<Self, StoreError> {
        if given.starts_with("postgres://") || given.starts_with("postgresql://") {
            return Ok(Self { place: Place::Postgres(given.parse()?), journal: None });
        }
        match given.strip_prefix("sqlite:") {
            Some(file) if !file.is_empty() && !file.ends_with('/') => Ok(Self::sqlite(file)),
            _ => Err(StoreError::Location { given: without_password(given) }),
        }
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
            Place::Postgres(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_names_the_file_and_the_journal_beside_it() {
        let location: StoreLocation = "sqlite:data/gate.db".parse().unwrap();
        assert_eq!(location.file(), Some(Path::new("data/gate.db")));
        assert_eq!(location.journal(), Some(PathBuf::from("data/gate.db.journal")));
        assert_eq!(location.to_string(), "sqlite:data/gate.db");
        assert_eq!(location.with_journal(Some("else".into())).journal(), Some(PathBuf::from("else")));
    }

    #[test]
    fn beside_a_server_there_is_neither_journal_nor_key() {
        for scheme in ["postgres", "postgresql"] {
            let location: StoreLocation = format!("{scheme}://gate:s3cret@db:5432/audit").parse().unwrap();
            assert!(location.is_shared());
            assert_eq!((location.journal(), location.signing_key()), (None, None));
            assert_eq!(location.to_string(), "postgres://gate@db:5432/audit");
            assert_eq!(location.with_journal(Some("else".into())).journal(), Some(PathBuf::from("else")));
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_forms_that_are_understood() {
        for (given, shown) in [
            ("", ""),
            ("gate.db", "gate.db"),
            ("sqlite:", "sqlite:"),
            ("sqlite:dir/", "sqlite:dir/"),
            ("mysql://gate:s3cret@db/audit", "mysql://gate:***@db/audit"),
        ] {
            assert_eq!(
                given.parse::<StoreLocation>().unwrap_err().to_string(),
                format!(
                    "the store \"{shown}\" is not understood: write sqlite:FILE, as in sqlite:/var/lib/freshgate/gate.db, or postgres://USER@HOST:PORT/DATABASE"
                )
            );
        }
    }
}
