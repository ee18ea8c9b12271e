//! Flags about OpenTelemetry. Their variables have the names that the field knows.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};
use url::Url;

/// Flags of `serve` about what a collector is told.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "OpenTelemetry")]
pub struct TelemetryArgs {
    /// Collector that gets records as logs and reviews as traces.
    // Help is printed as it is; what rustdoc wants in angle brackets would have them here too.
    #[arg(
        help = "Collector that gets each record as a log and each review as a trace, by OTLP over HTTP, as http://collector:4318; headers for it, as a token, come from $OTEL_EXPORTER_OTLP_HEADERS alone; default none",
        long,
        value_name = "URL",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_parser = endpoint
    )]
    pub otlp_endpoint: Option<OtlpEndpoint>,
    /// Certificate authorities of the collector beside the system's, in PEM
    #[arg(long, value_name = "FILE", env = "OTEL_EXPORTER_OTLP_CERTIFICATE")]
    pub otlp_ca: Option<PathBuf>,
    /// Milliseconds that one request to the collector may take
    #[arg(long, value_name = "MILLISECONDS", env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value_t = 10_000, value_parser = value_parser!(u64).range(1..=600_000))]
    pub otlp_timeout_milliseconds: u64,
}

/// Where a collector is; by the specification an empty variable is as good as none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpEndpoint(Option<Url>);

impl TelemetryArgs {
    /// The collector, where one is named.
    pub fn endpoint(&self) -> Option<Url> {
        self.otlp_endpoint.as_ref()?.0.clone()
    }

    /// How long one request to it may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.otlp_timeout_milliseconds)
    }
}

fn endpoint(written: &str) -> Result<OtlpEndpoint, String> {
    if written.is_empty() {
        return Ok(OtlpEndpoint(None));
    }
    let url = Url::parse(written).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or_else(|| "write the address of a collector, as http://collector.example:4318".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        // An address is shown in logs.
        return Err("credentials go into OTEL_EXPORTER_OTLP_HEADERS and not into the address".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("write the address without a query: v1/logs and v1/traces are put behind it".to_owned());
    }
    Ok(OtlpEndpoint(Some(url)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_a_collector_and_carries_no_secret() {
        for good in ["http://collector:4318", "https://collector.example/otlp/"] {
            assert_eq!(endpoint(good), Ok(OtlpEndpoint(Url::parse(good).ok())));
        }
        assert_eq!(endpoint(""), Ok(OtlpEndpoint(None)));
        for wrong in ["collector:4318", "grpc://collector:4317", "http://", "no url"] {
            assert!(endpoint(wrong).unwrap_err().starts_with("write the address of a collector"), "{wrong}");
        }
        for secret in ["http://me@collector", "http://me:word@collector"] {
            assert!(endpoint(secret).unwrap_err().contains("OTEL_EXPORTER_OTLP_HEADERS"), "{secret}");
        }
        assert!(endpoint("http://collector/?key=1").unwrap_err().contains("without a query"));
    }
}
