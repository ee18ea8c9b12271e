//! Flags about the scan of what runs.

use std::path::PathBuf;

use chrono::TimeDelta;
use clap::Args;

use crate::policy::duration::PolicyDuration;

/// Shorter, and registries would be asked for nothing new.
const SHORTEST_SECONDS: i64 = 1;
/// Longer, and nobody would call it continuous.
const LONGEST_SECONDS: i64 = 30 * 86_400;

/// Flags of `serve` about the scan.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Scan")]
pub struct ScanArgs {
    /// How long each image that runs in the cluster may go without being looked up again, as 6h; 0 scans nothing
    #[arg(long, value_name = "DURATION", env = "FRESHGATE_SCAN_INTERVAL", default_value = "6h", value_parser = interval)]
    pub scan_interval: ScanInterval,
    /// YAML file that names package indexes, of which the scan asks what is in images; without it none is asked
    #[arg(long, value_name = "FILE", env = "FRESHGATE_INDEXES")]
    pub indexes: Option<PathBuf>,
}

/// The interval of the scan; none where nothing is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanInterval(pub Option<TimeDelta>);

fn interval(written: &str) -> Result<ScanInterval, String> {
    if written == "0" {
        return Ok(ScanInterval(None));
    }
    let span = PolicyDuration::parse(written).map_err(|error| format!("{error}; 0 scans nothing"))?;
    match span.seconds() {
        0 => Ok(ScanInterval(None)),
        SHORTEST_SECONDS..=LONGEST_SECONDS => Ok(ScanInterval(Some(span.delta()))),
        _ => Err("a scan takes between 1s and 30d, as 6h; 0 scans nothing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_bounds_and_zero_is_none() {
        assert_eq!(interval("6h"), Ok(ScanInterval(Some(TimeDelta::hours(6)))));
        assert_eq!(interval("0"), Ok(ScanInterval(None)));
        assert!(interval("1y").unwrap_err().contains("between 1s and 30d"));
        assert!(interval("often").unwrap_err().contains("0 scans nothing"));
    }
}
