//! Flags of `report`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum, value_parser};

use super::{IndexArgs, RegistryArgs, TIMEOUT_SECONDS};
use crate::subject::kinds::WorkloadKind;

/// Flags of `report`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["layout", "files", "images", "cluster"]))]
pub struct ReportArgs {
    /// A local image layout, as oci:DIR: all images in it
    #[arg(value_name = "oci:DIR", value_parser = layout)]
    pub layout: Option<PathBuf>,
    /// Manifests: YAML or JSON, several documents, Lists, a folder's top-level files, or - for stdin (repeatable)
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// File with one image a line, or - for stdin; empty lines and what follows a # are passed over
    #[arg(long, value_name = "FILE|-")]
    pub images: Option<PathBuf>,
    /// What runs in the cluster that the kubeconfig names: the digests that its Pods run, and its exceptions
    #[arg(long)]
    pub cluster: bool,
    /// File with the gate's signing key, or its public half, in PEM: proves the exceptions of the cluster
    #[arg(long, value_name = "FILE", requires = "cluster")]
    pub key: Option<PathBuf>,
    /// Folder with policies; without it nothing is said of when images are refused, but with --cluster, whose GatePolicies are
    /// then asked
    // Help is printed as it is; what rustdoc wants in code marks would have them here too.
    #[allow(clippy::doc_markdown)]
    #[arg(long, value_name = "DIR", env = "FRESHGATE_POLICIES")]
    pub policies: Option<PathBuf>,
    /// How the result is printed
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: ReportOutput,
    /// What workloads are put together by
    #[arg(long, value_enum, default_value_t)]
    pub group_by: GroupBy,
    /// Label that names a workload's team: its own, its template's or its namespace's
    #[arg(long, value_name = "LABEL", default_value = "team")]
    pub team_label: String,
    /// An earlier report, as -o json writes it: says what has come, gone and grown older since
    #[arg(long, value_name = "FILE")]
    pub since: Option<PathBuf>,
    /// Labels of every namespace that is not itself among the manifests (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub namespace_labels: Vec<String>,
    /// Namespace of manifests that name none, and of images without a workload
    #[arg(short = 'n', long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Another kind with a Pod template, as apps.kruise.io/CloneSet=spec.template (repeatable)
    #[arg(long, value_name = "GROUP/KIND=PATH", env = "FRESHGATE_WORKLOAD_KINDS", value_delimiter = ',', value_parser = WorkloadKind::parse)]
    pub workload_kind: Vec<WorkloadKind>,
    /// Seconds for all look-ups of one image, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(TIMEOUT_SECONDS))]
    pub timeout_seconds: u64,
    /// Package indexes.
    #[command(flatten)]
    pub indexes: IndexArgs,
    /// Registries.
    #[command(flatten)]
    pub registries: RegistryArgs,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportOutput {
    /// For people at a terminal.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For a comment on a pull request.
    Markdown,
    /// For a browser: one file that needs no other.
    Html,
}

/// What workloads are put together by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GroupBy {
    /// The namespace.
    #[default]
    Namespace,
    /// The team, by label.
    Team,
    /// The image.
    Image,
}

fn layout(written: &str) -> Result<PathBuf, String> {
    match written.strip_prefix("oci:") {
        Some(folder) if !folder.is_empty() => Ok(PathBuf::from(folder)),
        _ => Err("an image layout is written oci:DIR; manifests are named with -f, images with --images".to_owned()),
    }
}
