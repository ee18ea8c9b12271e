//! Flags of what looks back: deciding again, and trying policies on what was decided or on cases.

use std::path::PathBuf;

use clap::Args;

use super::{AskedStore, Output};

/// Flags of `audit replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Id of the decision, as a denial names it
    #[arg(value_name = "ID", required_unless_present = "since", conflicts_with_all = ["since", "until"])]
    pub id: Option<String>,
    /// All decisions from this time on: an RFC 3339 time, or how long ago, as 2h or 7d
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Not after: likewise
    #[arg(long, value_name = "TIME", requires = "since")]
    pub until: Option<String>,
    /// The store.
    #[command(flatten)]
    pub store: AskedStore,
    /// How the result is printed
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
}

/// Flags of `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Folder with the policies to try: its top-level *.yaml and *.yml
    #[arg(long, value_name = "DIR", env = "FRESHGATE_POLICIES")]
    pub policies: PathBuf,
    /// Decisions from this time on: an RFC 3339 time, or how long ago, as 2h or 7d
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub since: String,
    /// Not after: likewise
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The store.
    #[command(flatten)]
    pub store: AskedStore,
    /// Exit 1 where something would be refused that was not, to hold back a change of policies in CI
    #[arg(long)]
    pub fail_on_new_denials: bool,
    /// How the result is printed
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
}

/// Flags of `policy test`.
#[derive(Debug, Args)]
pub struct PolicyTestArgs {
    /// Folders with cases, or single files; of a folder with policies, the cases in its sub-folder tests
    #[arg(value_name = "DIR|FILE", required = true)]
    pub paths: Vec<PathBuf>,
    /// How the result is printed
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
}
