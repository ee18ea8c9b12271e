//! Records as OTLP logs: the line as the journal has it, what it is found by, and the trace of its review.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry_otlp::LogExporter;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLogRecord, SdkLogger, SdkLoggerProvider};

use super::Traces;
use crate::audit::columns::Columns;

/// What makes logs of lines and sends them.
#[derive(Debug)]
pub(super) struct Logs {
    exporter: LogExporter,
    /// Makes the records; it is connected to nothing.
    logger: SdkLogger,
    scope: InstrumentationScope,
    traces: Traces,
}

impl Logs {
    /// To that exporter; the traces know of which review a record is.
    pub(super) fn new(exporter: LogExporter, traces: Traces) -> Self {
        let logger = SdkLoggerProvider::builder().build().logger("freshgate");
        let scope = InstrumentationScope::builder("freshgate").with_version(env!("CARGO_PKG_VERSION")).build();
        Self { exporter, logger, scope, traces }
    }

    /// Sends some lines.
    pub(super) async fn send(&self, lines: Vec<Vec<u8>>) -> Result<(), String> {
        let records: Vec<SdkLogRecord> = lines.into_iter().map(|line| self.record(line)).collect();
        let batch: Vec<_> = records.iter().map(|record| (record, &self.scope)).collect();
        self.exporter.export(LogBatch::new(&batch)).await.map_err(|error| error.to_string())
    }

    fn record(&self, line: Vec<u8>) -> SdkLogRecord {
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut record = self.logger.create_log_record();
        record.set_event_name("freshgate.decision");
        record.set_observed_timestamp(SystemTime::now());
        // A line that cannot be read goes out all the same: it is what was recorded.
        if let Ok((columns, _)) = Columns::derive(&line) {
            let severity = if columns.decision == "allow" { Severity::Info } else { Severity::Warn };
            record.set_severity_number(severity);
            record.set_severity_text(severity.name());
            if let Ok(time) = columns.timestamp.parse::<DateTime<Utc>>() {
                record.set_timestamp(time.into());
            }
            if let Some(review) = self.traces.review_of(&columns.decision_id) {
                record.set_trace_context(review.trace_id(), review.span_id(), Some(review.trace_flags()));
            }
            for (key, value) in [
                ("decision_id", columns.decision_id),
                ("decision", columns.decision),
                ("namespace", columns.namespace),
                ("kind", columns.kind),
                ("name", columns.name),
            ] {
                record.add_attribute(key, value);
            }
        }
        record.set_body(AnyValue::from(line));
        record
    }
}
