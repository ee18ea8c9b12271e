//! The figures of a scan, for Prometheus. They are of what runs now, so each scan says all of them anew, and who leads no more
//! says none.

use super::tally::{AGE_DAYS, Tally};
use crate::dependency::package::libyear::Libyears;
use crate::metrics::Metrics;
use crate::metrics::scan::{AgeLabels, KindLabels, NamespaceLabels, RefusalLabels};

/// Takes the figures away when it goes.
pub(super) struct Shown<'a>(pub(super) &'a Metrics);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        clear(self.0);
        self.0.scan.images.set(0);
        self.0.scan.last_success.set(0);
    }
}

fn clear(metrics: &Metrics) {
    let scan = &metrics.scan;
    scan.images_by_age.clear();
    scan.images_of_unknown_age.clear();
    scan.workloads.clear();
    scan.days_until_refusal.clear();
    scan.libyears.clear();
    scan.libyears_mean.clear();
    scan.libyears_worst.clear();
    scan.findings.clear();
}

pub(super) fn show(tally: &Tally, metrics: &Metrics) {
    clear(metrics);
    let scan = &metrics.scan;
    for (kind, count) in &tally.findings {
        scan.findings.get_or_create(&KindLabels { kind }).set(*count);
    }
    for (namespace, found) in &tally.namespaces {
        let bounds = AGE_DAYS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (le, count) in bounds.zip(found.ages) {
            scan.images_by_age.get_or_create(&AgeLabels { namespace: namespace.clone(), le }).set(count);
        }
        let labels = NamespaceLabels { namespace: namespace.clone() };
        scan.images_of_unknown_age.get_or_create(&labels).set(found.unknown_ages);
        if let Some(days) = found.days_until_refusal {
            scan.days_until_refusal.get_or_create(&labels).set(days);
        }
        if let Some(libyears) = Libyears::sum(found.libyears.values()) {
            scan.libyears.get_or_create(&labels).set(libyears.total);
            scan.libyears_mean.get_or_create(&labels).set(libyears.mean);
            scan.libyears_worst.get_or_create(&labels).set(libyears.worst);
        }
        let by = found.workloads;
        for (refused, count) in
            [("today", by.today), ("within_a_week", by.within_a_week), ("later", by.later), ("never", by.never)]
        {
            scan.workloads.get_or_create(&RefusalLabels { namespace: namespace.clone(), refused }).set(count);
        }
    }
}
