//! What the gate counts about itself, in the form that Prometheus reads.

pub mod scan;

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Labels of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DecisionLabels {
    /// `allow`, `warn` or `deny`.
    pub decision: &'static str,
    /// Kind of change.
    pub change: &'static str,
    /// Why it passed unjudged; empty where it was judged.
    pub passed: &'static str,
    /// `true` for a dry run.
    pub dry_run: &'static str,
}

/// Labels of an HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabels {
    /// HTTP status.
    pub code: u16,
}

/// Labels of an image that was looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ImageLabels {
    /// `known`, or the reason of the unknown.
    pub state: &'static str,
}

/// Labels of a budget source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabels {
    /// Its name.
    pub source: String,
}

/// Labels of a poll.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PollLabels {
    /// Name of the source.
    pub source: String,
    /// `ok`, or what went wrong in one word.
    pub outcome: &'static str,
}

/// Labels of budgets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BudgetStateLabels {
    /// Name of the source.
    pub source: String,
    /// Their state, at the default thresholds.
    pub state: &'static str,
}

/// Labels of an exception.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    /// Why it was granted, as `incident`.
    pub reason: &'static str,
}

/// Labels of what an OpenTelemetry collector took.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SignalLabels {
    /// `logs` or `traces`.
    pub signal: &'static str,
}

/// Labels of what it did not get.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DroppedLabels {
    /// `logs` or `traces`.
    pub signal: &'static str,
    /// `queue_full`, or `not_taken` by the collector.
    pub why: &'static str,
}

/// Every metric of the gate.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Answers of `/validate`, by status.
    pub answers: Family<CodeLabels, Counter>,
    /// Time from the request's first byte to its answer.
    pub answer_seconds: Histogram,
    /// Reviews under way.
    pub in_flight: Gauge,
    /// Reviews turned away because there were too many.
    pub shed: Counter,
    /// Reviews that panicked.
    pub panics: Counter,
    /// TLS handshakes that failed.
    pub handshake_failures: Counter,
    /// Connections that are open.
    pub connections: Gauge,
    /// Decisions.
    pub decisions: Family<DecisionLabels, Counter>,
    /// Images looked up for decisions.
    pub images: Family<ImageLabels, Counter>,
    /// When the serving certificate ends, as a Unix time.
    pub certificate_not_after: Gauge,
    /// Certificate files that could not be used; the last good ones stay.
    pub certificate_reload_failures: Counter,
    /// 1 while this replica leads.
    pub leader: Gauge,
    /// 1 while the webhook configuration stands in the cluster, and was as the gate wants it.
    pub webhook_applied: Gauge,
    /// 1 while somebody else's change of the webhook configuration stands; the leader tells.
    pub webhook_drift: Gauge,
    /// Policies in force.
    pub policies: Gauge,
    /// Policies, or sets of them, that could not be used; the last good ones stay.
    pub policy_failures: Counter,
    /// How long ago the policies were last known to be those of their source, in seconds.
    pub policies_staleness: Gauge<f64, AtomicU64>,
    /// Freezes that hold.
    pub freezes: Gauge,
    /// How long ago each budget source last answered, in seconds.
    pub budget_source_age: Family<SourceLabels, Gauge<f64, AtomicU64>>,
    /// Polls of budget sources, by outcome.
    pub budget_polls: Family<PollLabels, Counter>,
    /// Series in the last answers of each budget source.
    pub budget_series: Family<SourceLabels, Gauge>,
    /// How long the last poll of each budget source took, in seconds.
    pub budget_poll_duration: Family<SourceLabels, Gauge<f64, AtomicU64>>,
    /// Budgets, by source and state.
    pub budgets: Family<BudgetStateLabels, Gauge>,
    /// Exceptions that were granted, by reason; those with reason `incident` are break-glass.
    pub exceptions_granted: Family<ReasonLabels, Counter>,
    /// Exceptions that were refused.
    pub exceptions_refused: Counter,
    /// Exceptions that are good; expired ones stay among them until somebody deletes them.
    pub exceptions: Gauge,
    /// Exceptions in the cluster that have no effect, because nothing shows that they were granted.
    pub exceptions_inert: Gauge,
    /// Kubernetes Events that were written.
    pub events_written: Counter,
    /// Kubernetes Events that were not written: too many at once, said just before, or refused by the API server.
    pub events_dropped: Counter,
    /// Records on the disk.
    pub audit_records: Gauge,
    /// Writes to the journal, each one fdatasync for a group of records.
    pub audit_writes: Gauge,
    /// Decisions whose record could not be written.
    pub audit_unrecorded: Counter,
    /// Requests refused because their record could not be written.
    pub audit_refused: Counter,
    /// Records that the journal has and the store has not.
    pub audit_waiting: Gauge,
    /// How long the oldest of them waits, in seconds.
    pub audit_waiting_age: Gauge,
    /// 1 while the store does not take records.
    pub audit_store_failing: Gauge,
    /// Checkpoints of the audit that were made and kept everywhere.
    pub audit_checkpoints: Counter,
    /// Checkpoints of the audit that were not made, or not kept everywhere.
    pub audit_checkpoint_failures: Counter,
    /// Records that retention removed.
    pub audit_removed: Counter,
    /// Records and spans that the OTLP collector took.
    pub otlp_sent: Family<SignalLabels, Counter>,
    /// Records and spans that were dropped on the way to it.
    pub otlp_dropped: Family<DroppedLabels, Counter>,
    /// What the scanner says of what runs.
    pub scan: scan::ScanMetrics,
    /// Digest facts found in memory.
    pub facts_in_memory: Gauge<u64, AtomicU64>,
    /// Digest facts found in the store.
    pub facts_in_store: Gauge<u64, AtomicU64>,
    /// Look-ups at registries.
    pub registry_look_ups: Gauge<u64, AtomicU64>,
    /// Tags served although their registry was away.
    pub stale_tags: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        // From half a millisecond to sixteen seconds: a webhook's time-out is at most thirty.
        let answer_seconds = Histogram::new(exponential_buckets(0.000_5, 2.0, 16));
        let mut metrics = Self {
            registry: Registry::with_prefix("freshgate"),
            answers: Family::default(),
            answer_seconds,
            in_flight: Gauge::default(),
            shed: Counter::default(),
            panics: Counter::default(),
            handshake_failures: Counter::default(),
            connections: Gauge::default(),
            decisions: Family::default(),
            images: Family::default(),
            certificate_not_after: Gauge::default(),
            certificate_reload_failures: Counter::default(),
            leader: Gauge::default(),
            webhook_applied: Gauge::default(),
            webhook_drift: Gauge::default(),
            policies: Gauge::default(),
            policy_failures: Counter::default(),
            policies_staleness: Gauge::default(),
            freezes: Gauge::default(),
            budget_source_age: Family::default(),
            budget_polls: Family::default(),
            budget_series: Family::default(),
            budget_poll_duration: Family::default(),
            budgets: Family::default(),
            exceptions_granted: Family::default(),
            exceptions_refused: Counter::default(),
            exceptions: Gauge::default(),
            exceptions_inert: Gauge::default(),
            events_written: Counter::default(),
            events_dropped: Counter::default(),
            audit_records: Gauge::default(),
            audit_writes: Gauge::default(),
            audit_unrecorded: Counter::default(),
            audit_refused: Counter::default(),
            audit_waiting: Gauge::default(),
            audit_waiting_age: Gauge::default(),
            audit_store_failing: Gauge::default(),
            audit_checkpoints: Counter::default(),
            audit_checkpoint_failures: Counter::default(),
            audit_removed: Counter::default(),
            otlp_sent: Family::default(),
            otlp_dropped: Family::default(),
            scan: scan::ScanMetrics::default(),
            facts_in_memory: Gauge::default(),
            facts_in_store: Gauge::default(),
            registry_look_ups: Gauge::default(),
            stale_tags: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let all = &mut self.registry;
        all.register("answers", "Answers of /validate by HTTP status", self.answers.clone());
        all.register_with_unit("answer", "Time to answer a review", Unit::Seconds, self.answer_seconds.clone());
        all.register("reviews_in_flight", "Reviews under way", self.in_flight.clone());
        all.register("reviews_shed", "Reviews turned away because there were too many", self.shed.clone());
        all.register("reviews_panicked", "Reviews that failed by a panic", self.panics.clone());
        all.register("tls_handshake_failures", "TLS handshakes that failed", self.handshake_failures.clone());
        all.register("connections", "Open connections", self.connections.clone());
        all.register("decisions", "Decisions by outcome and kind of change", self.decisions.clone());
        all.register("images", "Images looked up, by what is known of them", self.images.clone());
        all.register_with_unit(
            "certificate_not_after",
            "End of the serving certificate, as a Unix time",
            Unit::Seconds,
            self.certificate_not_after.clone(),
        );
        all.register(
            "certificate_reload_failures",
            "Certificate files that could not be used",
            self.certificate_reload_failures.clone(),
        );
        all.register("leader", "1 while this replica leads", self.leader.clone());
        all.register(
            "webhook_applied",
            "1 while the webhook configuration that the gate made stands in the cluster",
            self.webhook_applied.clone(),
        );
        all.register(
            "webhook_drift",
            "1 while somebody else's change of the webhook configuration stands, told by the leader",
            self.webhook_drift.clone(),
        );
        all.register("policies", "Policies in force", self.policies.clone());
        all.register("policy_failures", "Policies that could not be used", self.policy_failures.clone());
        all.register_with_unit(
            "policies_staleness",
            "How long ago the policies were last known to be current",
            Unit::Seconds,
            self.policies_staleness.clone(),
        );
        all.register("freezes", "Freezes that hold, by policy and objective", self.freezes.clone());
        all.register_with_unit(
            "budget_source_age",
            "How long ago a budget source last answered",
            Unit::Seconds,
            self.budget_source_age.clone(),
        );
        all.register("budget_polls", "Polls of budget sources by outcome", self.budget_polls.clone());
        all.register("budget_series", "Series in the last answers of a budget source", self.budget_series.clone());
        all.register_with_unit(
            "budget_poll_duration",
            "How long the last poll of a budget source took",
            Unit::Seconds,
            self.budget_poll_duration.clone(),
        );
        all.register("budgets", "Budgets by source and state, at the default thresholds", self.budgets.clone());
        all.register(
            "exceptions_granted",
            "Exceptions granted by reason; incident is break-glass",
            self.exceptions_granted.clone(),
        );
        all.register("exceptions_refused", "Exceptions refused at admission", self.exceptions_refused.clone());
        all.register("exceptions", "Exceptions that are good, expired ones included", self.exceptions.clone());
        all.register(
            "exceptions_inert",
            "Exceptions without effect, because nothing shows that they were granted",
            self.exceptions_inert.clone(),
        );
        all.register("events_written", "Kubernetes Events written", self.events_written.clone());
        all.register("events_dropped", "Kubernetes Events not written", self.events_dropped.clone());
        all.register("audit_records", "Records on the disk", self.audit_records.clone());
        all.register("audit_writes", "Writes to the journal, each of a group of records", self.audit_writes.clone());
        all.register("audit_unrecorded", "Decisions whose record could not be written", self.audit_unrecorded.clone());
        all.register(
            "audit_refused",
            "Requests refused in audit mode strict, because their record could not be written",
            self.audit_refused.clone(),
        );
        all.register("audit_waiting", "Records that the journal has and the store has not", self.audit_waiting.clone());
        all.register_with_unit(
            "audit_waiting_age",
            "How long the oldest record waits for the store",
            Unit::Seconds,
            self.audit_waiting_age.clone(),
        );
        all.register(
            "audit_store_failing",
            "1 while the store does not take records",
            self.audit_store_failing.clone(),
        );
        all.register("audit_checkpoints", "Checkpoints of the audit that were kept", self.audit_checkpoints.clone());
        all.register(
            "audit_checkpoint_failures",
            "Checkpoints of the audit that were not kept everywhere",
            self.audit_checkpoint_failures.clone(),
        );
        all.register("audit_removed", "Records that retention removed", self.audit_removed.clone());
        all.register("otlp_sent", "Records and spans that the OTLP collector took", self.otlp_sent.clone());
        all.register(
            "otlp_dropped",
            "Records and spans dropped on the way to the OTLP collector",
            self.otlp_dropped.clone(),
        );
        self.scan.register(all);
        all.register("facts_in_memory", "Digest facts found in memory", self.facts_in_memory.clone());
        all.register("facts_in_store", "Digest facts found in the store", self.facts_in_store.clone());
        all.register("registry_look_ups", "Look-ups at registries", self.registry_look_ups.clone());
        all.register("stale_tags", "Tags served although their registry was away", self.stale_tags.clone());
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut page = String::new();
        // Writing into a string cannot fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}
