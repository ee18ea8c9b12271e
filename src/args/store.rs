//! The store that a question is put to, and the journal whose tail it sees.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

use crate::store::StoreLocation;

#[derive(Debug, Args)]
struct Flags {
    /// The store: sqlite:FILE, or postgres://USER@HOST:PORT/DATABASE
    // Variables are shown in help as they stand, and an address may hold a password.
    #[arg(long, value_name = "STORE", env = "FRESHGATE_STORE", hide_env_values = true)]
    store: StoreLocation,
    /// Folder of a gate's journal, to see also what the store does not have yet; beside a SQLite file it is found
    // Help is printed as it is; what rustdoc wants in code marks would have them here too.
    #[arg(
        help = "Folder of a gate's journal, to see also what the store does not have yet; default FILE.journal of a SQLite store",
        long,
        value_name = "DIR",
        env = "FRESHGATE_AUDIT_JOURNAL"
    )]
    audit_journal: Option<PathBuf>,
}

/// A store to be asked, with its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedStore(StoreLocation);

impl Deref for AskedStore {
    type Target = StoreLocation;

    fn deref(&self) -> &StoreLocation {
        &self.0
    }
}

impl fmt::Display for AskedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromArgMatches for AskedStore {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let Flags { store, audit_journal } = Flags::from_arg_matches(matches)?;
        Ok(Self(store.with_journal(audit_journal)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for AskedStore {
    fn augment_args(command: Command) -> Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args_for_update(command)
    }
}
