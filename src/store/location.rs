//! Where a store lies, as `--store` names it: `sqlite:FILE`, with the journal in a folder beside the file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::StoreError;

/// A store on this machine's disk: the `SQLite` file, and the journal `FILE.journal/` beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreLocation {
    file: PathBuf,
}

impl StoreLocation {
    /// The store in this `SQLite` file.
    pub fn sqlite(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into() }
    }

    /// The `SQLite` file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The file of the key that signs what the gate grants, where no other is named.
    pub fn signing_key(&self) -> PathBuf {
        let mut file = self.file.clone().into_os_string();
        file.push(".signing-key");
        file.into()
    }

    /// The folder of the journal's segments.
    pub fn journal(&self) -> PathBuf {
        let mut folder = self.file.clone().into_os_string();
        folder.push(".journal");
        folder.into()
    }
}

impl FromStr for StoreLocation {
    type Err = StoreError;

    fn from_str(given: &str) -> Result<Self, StoreError> {
        match given.strip_prefix("sqlite:") {
            Some(file) if !file.is_empty() && !file.ends_with('/') => Ok(Self::sqlite(file)),
            _ => Err(StoreError::Location { given: given.to_owned() }),
        }
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite:{}", self.file.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_names_the_file_and_the_journal_beside_it() {
        let location: StoreLocation = "sqlite:data/gate.db".parse().unwrap();
        assert_eq!(location.file(), Path::new("data/gate.db"));
        assert_eq!(location.journal(), Path::new("data/gate.db.journal"));
        assert_eq!(location.to_string(), "sqlite:data/gate.db");
    }

    #[test]
    fn anything_else_is_refused_with_the_form_that_is_understood() {
        for given in ["", "gate.db", "sqlite:", "sqlite:dir/", "postgres://db"] {
            assert_eq!(
                given.parse::<StoreLocation>().unwrap_err().to_string(),
                format!(
                    "the store \"{given}\" is not understood: write sqlite:FILE, as in sqlite:/var/lib/freshgate/gate.db"
                )
            );
        }
    }
}
