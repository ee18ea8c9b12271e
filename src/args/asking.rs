//! Flags of whatever asks for recorded decisions.

use clap::Args;

use super::{AskedStore, Output, values};
use crate::audit::Facet;

/// Flags of `audit query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// The store.
    #[command(flatten)]
    pub store: AskedStore,
    /// Not before: an RFC 3339 time, a day as 2026-11-20, yesterday or "last tuesday", or how long ago, as 2h or 7d
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before: likewise; a day means its beginning, in UTC
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// On this day, in UTC: 2026-11-20, today, yesterday or "last tuesday"
    #[arg(long, value_name = "DAY", conflicts_with_all = ["since", "until"])]
    pub on: Option<String>,
    /// Which decisions.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Count the decisions by this instead of listing them
    #[arg(long, value_name = "WHAT", value_enum)]
    pub count_by: Option<Facet>,
    /// Most decisions, or counts; when there are more, stderr says so
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    /// How the result is printed
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
}

/// Flags of `audit tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// The store.
    #[command(flatten)]
    pub store: AskedStore,
    /// Go on with decisions as they are made, until interrupted
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// Which decisions.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How many to begin with
    #[arg(long, default_value_t = 10)]
    pub limit: usize,
    /// How they are printed; JSON is one line for each
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
}

/// Which decisions; each of these narrows.
#[derive(Clone, Debug, Default, Args)]
pub struct FilterArgs {
    /// Namespace of the workload
    #[arg(short = 'n', long)]
    pub namespace: Option<String>,
    /// Kind of the workload, as Deployment
    #[arg(long)]
    pub kind: Option<String>,
    /// Name of the workload
    #[arg(long)]
    pub name: Option<String>,
    /// Who asked for it, as system:serviceaccount:ci:deployer
    #[arg(long)]
    pub user: Option<String>,
    /// Outcome
    #[arg(long, value_parser = ["allow", "warn", "deny"])]
    pub decision: Option<String>,
    /// A rule that did not pass, as imageAge
    #[arg(long)]
    pub rule: Option<String>,
    /// A policy that had a say
    #[arg(long)]
    pub policy: Option<String>,
    /// A service whose error budgets were looked at, or that the workload belongs to
    #[arg(long)]
    pub service: Option<String>,
    /// Digest of an image, as sha256:…
    #[arg(long)]
    pub digest: Option<String>,
    /// Repository of an image, as registry.example/shop/checkout; nginx is docker.io/library/nginx
    #[arg(long)]
    pub repository: Option<String>,
    /// A part of an image's reference or digest; no index helps to find it
    #[arg(long)]
    pub image: Option<String>,
    /// An exception that was used, asked for or granted
    #[arg(long)]
    pub exception: Option<String>,
    /// Id of the decision
    #[arg(long)]
    pub id: Option<String>,
}

/// Flags of `serve` about decisions over HTTP.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct DecisionsApiArgs {
    /// Answer questions about decisions at /v1/decisions of the admin listener, to whom RBAC lets "list" or "get"
    /// "decisions" of freshgate.dev; needs --kubernetes and a store
    #[arg(long, env = "FRESHGATE_DECISIONS_API", value_parser = values::yes_or_no)]
    pub decisions_api: bool,
}
