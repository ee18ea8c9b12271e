//! What the gate tells an OpenTelemetry collector, where one is named: each record as a log, each review as a trace.
//!
//! A collector that is slow or away costs a counter, never a decision or its time: what is told waits in a bounded queue,
//! is sent by tasks that give way, and is dropped and counted where the queue is full or the collector does not take it.

mod logs;
mod queue;
mod traces;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::LogExporter as _;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter as _};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

use crate::metrics::Metrics;
use logs::Logs;
use queue::Queue;
use traces::QueuedSpans;
pub use traces::Traces;

/// How many records, and spans, wait for the collector; a span is counted as so many bytes.
const MOST_WAITING: usize = 2_048;
const MOST_WAITING_BYTES: usize = 8 << 20;
const SPAN_BYTES: usize = 1 << 10;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Whose telemetry it is, and where it goes.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    /// The collector, as OTLP over HTTP has it: logs go to `v1/logs` below it, traces to `v1/traces`.
    pub endpoint: Url,
    /// Certificate authorities to trust beside the system's, in PEM.
    pub ca: Option<PathBuf>,
    /// How long one request to it may take, all attempts together.
    pub timeout: Duration,
    /// Name of this gate.
    pub id: String,
    /// Name of the cluster; empty where none is set.
    pub cluster: String,
}

/// Why nothing can be sent.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The file with its certificate authorities.
    #[error(
        "the collector's certificate authorities in {} cannot be used: {why}; name a PEM file with --otlp-ca (OTEL_EXPORTER_OTLP_CERTIFICATE)", path.display()
    )]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The client.
    #[error("the client for OTLP cannot be made: {0}")]
    Client(#[from] reqwest::Error),
    /// The exporters.
    #[error("the OTLP exporters cannot be made: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// What is sent, and the tasks that send it.
pub struct Telemetry {
    /// Reviews as traces.
    pub traces: Traces,
    logs: Queue<Vec<u8>>,
    provider: SdkTracerProvider,
    closing: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Telemetry {
    /// Begins to send, by tasks of that runtime. `OTEL_EXPORTER_OTLP_HEADERS` says which headers are sent along, and the
    /// other variables of the SDK what is sampled and which attributes the gate itself has.
    pub fn start(
        settings: &TelemetrySettings,
        metrics: &Arc<Metrics>,
        background: &Handle,
    ) -> Result<Self, TelemetryError> {
        let authorities = settings.ca.as_deref().map(authorities).transpose()?.unwrap_or_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("freshgate/", env!("CARGO_PKG_VERSION")))
            // Followed, a redirect would carry the credentials elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN.min(settings.timeout))
            .timeout(settings.timeout)
            .no_proxy();
        let client = if authorities.is_empty() { client } else { client.tls_certs_merge(authorities) };
        let client = client.build()?;
        let resource = resource(settings);
        let base = settings.endpoint.as_str().trim_end_matches('/');
        let mut log_exporter = LogExporter::builder()
            .with_http()
            .with_http_client(client.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(settings.timeout)
            .with_endpoint(format!("{base}/v1/logs"))
            .build()?;
        let mut span_exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(settings.timeout)
            .with_endpoint(format!("{base}/v1/traces"))
            .build()?;
        log_exporter.set_resource(&resource);
        span_exporter.set_resource(&resource);

        let (closing, closed) = watch::channel(false);
        let (logs, log_lines) = queue::new("logs", Arc::clone(metrics), closed.clone(), settings.timeout);
        let (spans, finished_spans) = queue::new("traces", Arc::clone(metrics), closed, settings.timeout);
        let provider =
            SdkTracerProvider::builder().with_span_processor(QueuedSpans(spans)).with_resource(resource).build();
        let traces = Traces::to(provider.tracer("freshgate"));
        let sending_logs = log_lines.send_all({
            let logs = Arc::new(Logs::new(log_exporter, traces.clone()));
            move |lines| {
                let logs = Arc::clone(&logs);
                async move { logs.send(lines).await }
            }
        });
        let span_exporter = Arc::new(span_exporter);
        let sending_spans = finished_spans.send_all(move |spans| {
            let exporter = Arc::clone(&span_exporter);
            async move { exporter.export(spans).await.map_err(|error| error.to_string()) }
        });
        let tasks = vec![background.spawn(sending_logs), background.spawn(sending_spans)];
        Ok(Self { traces, logs, provider, closing, tasks })
    }

    /// What takes each record's line, as the journal has it.
    pub fn listener(&self) -> impl Fn(&[u8]) + Send + Sync + 'static {
        let logs = self.logs.clone();
        move |line| logs.push(line.to_vec(), line.len())
    }

    /// Sends what waits, as far as that goes in this time, and ends.
    pub async fn close(self, within: Duration) {
        self.closing.send_replace(true);
        let ended = tokio::time::timeout(within, futures::future::join_all(self.tasks)).await;
        if ended.is_err() {
            tracing::warn!("the OTLP collector did not take what was left in time");
        }
        // Its processor has nothing left to do, so this cannot fail in a way that matters.
        let _ = self.provider.shutdown_with_timeout(Duration::ZERO);
    }
}

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, TelemetryError> {
    let cannot = |why: String| TelemetryError::Ca { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(cannot("there is no certificate in it".to_owned())),
        Err(error) => Err(cannot(error.to_string())),
    }
}

/// What all of it is about: this gate. `OTEL_RESOURCE_ATTRIBUTES` adds to it, and `OTEL_SERVICE_NAME` names it.
fn resource(settings: &TelemetrySettings) -> Resource {
    let builder = Resource::builder();
    let builder =
        if std::env::var_os("OTEL_SERVICE_NAME").is_some() { builder } else { builder.with_service_name("freshgate") };
    let cluster = (!settings.cluster.is_empty()).then(|| KeyValue::new("k8s.cluster.name", settings.cluster.clone()));
    builder
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", settings.id.clone()))
        .with_attributes(cluster)
        .build()
}
