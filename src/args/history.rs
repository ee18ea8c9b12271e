//! Flags of what looks back: deciding again, and trying policies on what was decided or on cases.

use std::path::PathBuf;

use clap::{Args, value_parser};

use super::{AskedStore, Output, RegistryArgs, TIMEOUT_SECONDS};
use crate::store::StoreLocation;
use crate::subject::kinds::WorkloadKind;

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
    #[arg(long, value_name = "TIME", conflicts_with = "cluster")]
    pub until: Option<String>,
    /// The store: sqlite:FILE, or postgres://USER@HOST:PORT/DATABASE
    #[arg(
        long,
        value_name = "STORE",
        env = "FRESHGATE_STORE",
        hide_env_values = true,
        required_unless_present = "cluster"
    )]
    pub store: Option<StoreLocation>,
    /// Folder of a gate's journal, to see also what the store does not have yet; beside a `SQLite` file it is found
    #[arg(
        help = "Folder of a gate's journal, to see also what the store does not have yet; default FILE.journal of a SQLite store",
        long,
        value_name = "DIR",
        env = "FRESHGATE_AUDIT_JOURNAL"
    )]
    pub audit_journal: Option<PathBuf>,
    /// Instead of recorded decisions, what runs now in the cluster that the kubeconfig names, beside its `GatePolicies`
    // Help is printed as it is; what rustdoc wants in code marks would have them here too.
    #[arg(
        help = "Instead of recorded decisions, what runs now in the cluster that the kubeconfig names, beside its GatePolicies",
        long
    )]
    pub cluster: bool,
    /// Exit 1 where something would be refused that was not, to hold back a change of policies in CI
    #[arg(long)]
    pub fail_on_new_denials: bool,
    /// How the result is printed
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
    /// What runs.
    #[command(flatten)]
    pub running: RunningArgs,
    /// Registries.
    #[command(flatten)]
    pub registries: RegistryArgs,
}

/// Flags of `simulate` that only `--cluster` needs.
#[derive(Debug, Args)]
#[command(next_help_heading = "With --cluster")]
pub struct RunningArgs {
    /// Another kind with a Pod template, as apps.kruise.io/CloneSet=spec.template (repeatable)
    #[arg(long, value_name = "GROUP/KIND=PATH", env = "FRESHGATE_WORKLOAD_KINDS", value_delimiter = ',', value_parser = WorkloadKind::parse)]
    pub workload_kind: Vec<WorkloadKind>,
    /// Read the workloads' imagePullSecrets, where RBAC grants it
    #[arg(help = "Read the workloads' imagePullSecrets, where RBAC grants it", long)]
    pub read_pull_secrets: bool,
    /// Namespace of the gate, whose Secrets budget sources of the cluster may name
    #[arg(long, value_name = "NAMESPACE", env = "FRESHGATE_NAMESPACE", default_value = "freshgate")]
    pub own_namespace: String,
    /// Seconds for all look-ups of one workload, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = value_parser!(u64).range(TIMEOUT_SECONDS))]
    pub timeout_seconds: u64,
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
