//! Flags about package indexes, and those of `snapshot`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, value_parser};

use super::{RegistryArgs, TIMEOUT_SECONDS};

/// Which indexes are asked, and where their answers are kept.
#[derive(Clone, Debug, Default, Args)]
pub struct IndexArgs {
    /// YAML file that names package indexes and what is never asked of them; without it none is asked
    #[arg(long, value_name = "FILE", env = "FRESHGATE_INDEXES")]
    pub indexes: Option<PathBuf>,
    /// Folder in which answers of indexes are kept from one run to the next; without it they are forgotten
    #[arg(long, value_name = "DIR", env = "FRESHGATE_INDEX_CACHE")]
    pub index_cache: Option<PathBuf>,
    /// Print what would be asked of which index, and ask none
    #[arg(long, requires = "indexes")]
    pub show_lookups: bool,
}

/// Flags of `snapshot`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("of").required(true).multiple(true).args(["image", "images", "sbom"]))]
pub struct SnapshotArgs {
    /// Images whose packages are looked up
    #[arg(value_name = "IMAGE")]
    pub image: Vec<String>,
    /// File with one image a line, or - for stdin; empty lines and what follows a # are passed over
    #[arg(long, value_name = "FILE|-")]
    pub images: Option<PathBuf>,
    /// Bills of materials.
    // Help is printed as it is; what rustdoc wants in code marks would have them here too.
    #[arg(help = "Bill of materials, SPDX or CycloneDX in JSON (repeatable)", long, value_name = "FILE")]
    pub sbom: Vec<PathBuf>,
    /// File to write to; without it, stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Seconds for all look-ups of one image, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = value_parser!(u64).range(TIMEOUT_SECONDS))]
    pub timeout_seconds: u64,
    /// Indexes.
    #[command(flatten)]
    pub indexes: IndexArgs,
    /// Registries.
    #[command(flatten)]
    pub registries: RegistryArgs,
}
