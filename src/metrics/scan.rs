//! What the scanner says of what runs. It is of now, not since the start, so these are gauges, also the histogram of ages.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NamespaceLabels {
    /// Its name.
    pub namespace: String,
}

/// A bucket of a namespace's ages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AgeLabels {
    /// The namespace.
    pub namespace: String,
    /// At most so many days, as a histogram's buckets have it.
    pub le: String,
}

/// Workloads by when they would be refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// The namespace.
    pub namespace: String,
    /// `today`, `within_a_week`, `later` or `never`.
    pub refused: &'static str,
}

/// Findings by kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabels {
    /// As `newer-tag`.
    pub kind: &'static str,
}

/// The metrics of scans.
#[derive(Debug, Default)]
pub struct ScanMetrics {
    /// How long the last round took, in seconds.
    pub duration: Gauge<f64, AtomicU64>,
    /// When a round last came to its end, as a Unix time.
    pub last_success: Gauge,
    /// Rounds that could not list what runs.
    pub failures: Counter,
    /// Images that run.
    pub images: Gauge,
    /// Images of workloads, by namespace and age: each bucket holds those before it too.
    pub images_by_age: Family<AgeLabels, Gauge>,
    /// Images of workloads whose age is not known.
    pub images_of_unknown_age: Family<NamespaceLabels, Gauge>,
    /// Workloads, by namespace and when they would be refused.
    pub workloads: Family<RefusalLabels, Gauge>,
    /// Days until the first workload of a namespace would be refused.
    pub days_until_refusal: Family<NamespaceLabels, Gauge>,
    /// Years by which the packages of running images are behind, together.
    pub libyears: Family<NamespaceLabels, Gauge<f64, AtomicU64>>,
    /// The same of one package on average.
    pub libyears_mean: Family<NamespaceLabels, Gauge<f64, AtomicU64>>,
    /// The same of the package that is furthest behind.
    pub libyears_worst: Family<NamespaceLabels, Gauge<f64, AtomicU64>>,
    /// Next steps, by kind.
    pub findings: Family<KindLabels, Gauge>,
}

impl ScanMetrics {
    pub(super) fn register(&self, all: &mut Registry) {
        all.register_with_unit(
            "scan_duration",
            "How long the last round of the scan took, pauses included",
            Unit::Seconds,
            self.duration.clone(),
        );
        all.register_with_unit(
            "scan_last_success",
            "When a round of the scan last came to its end, as a Unix time; 0 on a replica that does not scan",
            Unit::Seconds,
            self.last_success.clone(),
        );
        all.register("scan_failures", "Rounds of the scan that could not list what runs", self.failures.clone());
        all.register("scan_images", "Images that run, each with each digest once", self.images.clone());
        all.register(
            "running_images_by_age_days",
            "Images of workloads at most so many days old, by namespace, as a histogram has its buckets",
            self.images_by_age.clone(),
        );
        all.register(
            "running_images_of_unknown_age",
            "Images of workloads whose age is not known, by namespace",
            self.images_of_unknown_age.clone(),
        );
        all.register(
            "running_workloads",
            "Workloads by namespace and when they would be refused if they were deployed as they are",
            self.workloads.clone(),
        );
        all.register(
            "days_until_refusal",
            "Days until the first workload of a namespace would be refused; 0 where one would be today",
            self.days_until_refusal.clone(),
        );
        all.register(
            "running_libyears",
            "Years by which the packages of running images are behind, by namespace, each image once",
            self.libyears.clone(),
        );
        all.register(
            "running_libyears_mean",
            "Years by which one package of running images is behind on average, by namespace",
            self.libyears_mean.clone(),
        );
        all.register(
            "running_libyears_worst",
            "Years by which the package that is furthest behind is so, by namespace",
            self.libyears_worst.clone(),
        );
        all.register("findings", "Next steps of workloads by kind, at most three of each", self.findings.clone());
    }
}
