//! Flags about what is kept of the audit, and about proving, exporting and importing it.

use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use clap::{Args, ValueEnum};

use super::AskedStore;
use crate::policy::duration::PolicyDuration;
use crate::store::StoreLocation;

/// Flags of `serve` about checkpoints and retention.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Audit")]
pub struct KeepingArgs {
    /// How often a signed checkpoint of the audit is made, where something was recorded; one is made at the end as well
    #[arg(long, value_name = "DURATION", env = "FRESHGATE_CHECKPOINT_EVERY", default_value = "5m", value_parser = span)]
    pub checkpoint_every: Duration,
    /// File to append checkpoints to, beside the log; keep it where whoever can write to the store cannot
    #[arg(long, value_name = "FILE", env = "FRESHGATE_CHECKPOINT_FILE")]
    pub checkpoint_file: Option<PathBuf>,
    /// `ConfigMap` of the gate's namespace that keeps the newest checkpoints; made where it is missing
    // Help is printed as it is; what rustdoc wants in code marks would have them here too.
    #[arg(
        help = "ConfigMap of the gate's namespace that keeps the newest checkpoints; made where it is missing",
        long,
        value_name = "NAME",
        env = "FRESHGATE_CHECKPOINT_CONFIG_MAP",
        requires = "kubernetes"
    )]
    pub checkpoint_config_map: Option<String>,
    /// How long records are kept, as 90d, or forever
    #[arg(long, value_name = "DURATION", env = "FRESHGATE_RETAIN_FOR", default_value = "90d", value_parser = age)]
    pub retain_for: Age,
    /// How many bytes of records are kept, as 10Gi; the oldest go; default as many as there are
    #[arg(long, value_name = "BYTES", env = "FRESHGATE_RETAIN_BYTES", value_parser = bytes)]
    pub retain_bytes: Option<u64>,
}

/// How long records are kept; `None` for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(pub Option<TimeDelta>);

/// Flags of `audit verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The store.
    #[command(flatten)]
    pub store: AskedStore,
    /// Only records not made before: an RFC 3339 time, or how long ago, as 2h or 7d
    #[arg(long, value_name = "TIME", conflicts_with = "since_checkpoint")]
    pub since: Option<String>,
    /// Only records made before: likewise
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// File with checkpoints, as --checkpoint-file or a log holds them: they show what was cut off or made anew
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Only what came after the newest checkpoint of that file
    #[arg(long, requires = "checkpoint")]
    pub since_checkpoint: bool,
    /// File with the key that signed, or its public half, in PEM; default FILE.signing-key of the store, where that is
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The store was made by audit import: what it begins with is taken as it is
    #[arg(long)]
    pub archive: bool,
}

/// Flags of `audit export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The store.
    #[command(flatten)]
    pub store: AskedStore,
    /// Not before: an RFC 3339 time, or how long ago, as 2h or 7d
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before: likewise
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// How records are written
    #[arg(long, value_enum, default_value_t)]
    pub format: ExportFormat,
}

/// How exported records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// One JSON line each, as hashed: `audit import` reads these
    #[default]
    Jsonl,
    /// The columns that a table has room for
    Csv,
}

/// Flags of `audit import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What `audit export` wrote as JSON lines, or - for stdin
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// The archive to make: sqlite:FILE, or postgres://USER@HOST:PORT/DATABASE; there must be none yet
    #[arg(long, value_name = "NEW")]
    pub store: StoreLocation,
}

fn span(written: &str) -> Result<Duration, String> {
    let span = PolicyDuration::parse(written).map_err(|error| error.to_string())?;
    Ok(Duration::from_secs(u64::try_from(span.seconds()).unwrap_or_default()))
}

fn age(written: &str) -> Result<Age, String> {
    if written == "forever" {
        return Ok(Age(None));
    }
    let span = PolicyDuration::parse(written).map_err(|error| format!("{error}, or write forever"))?;
    Ok(Age(Some(span.delta())))
}

/// A number of bytes, with the suffixes that Kubernetes knows.
fn bytes(written: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let (digits, unit) =
        UNITS.iter().find_map(|(suffix, unit)| Some((written.strip_suffix(suffix)?, *unit))).unwrap_or((written, 1));
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|bytes| *bytes > 0);
    number.ok_or_else(|| "write a number of bytes, as 10Gi or 500M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_read_as_the_field_writes_them() {
        assert_eq!(span("5m"), Ok(Duration::from_mins(5)));
        assert_eq!((age("forever"), age("90d")), (Ok(Age(None)), Ok(Age(Some(TimeDelta::days(90))))));
        assert!(age("never").unwrap_err().ends_with(", or write forever"));
        for (written, means) in [("1024", 1024), ("10Gi", 10 << 30), ("500M", 500_000_000), ("1k", 1000)] {
            assert_eq!(bytes(written), Ok(means));
        }
        for wrong in ["", "0", "-1", "Gi", "1.5Gi", "99999999999Ti"] {
            assert_eq!(bytes(wrong), Err("write a number of bytes, as 10Gi or 500M".to_owned()), "{wrong}");
        }
    }
}
