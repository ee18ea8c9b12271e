//! The services that a workload belongs to: by each source's rules now and until this change, and by the ledger lately.

use chrono::{DateTime, TimeDelta, Utc};

use crate::budget::service::Candidate;
use crate::budget::snapshot::Snapshot;
use crate::evidence::{Evidence, ServiceIdentity};
use crate::store::ledger::BelongedTo;
use crate::subject::{Operation, ServiceLabels, Subject};

/// For so long a workload is judged under a service that it no longer belongs to.
const REMEMBERED: TimeDelta = TimeDelta::days(30);

/// Adds them to the evidence.
pub fn add<'a>(
    sources: impl Iterator<Item = &'a Snapshot>,
    subject: &Subject,
    earlier: &[BelongedTo],
    evidence: &mut Evidence,
    now: DateTime<Utc>,
) {
    let mut sources: Vec<&Snapshot> = sources.collect();
    sources.sort_by(|one, other| one.source.cmp(&other.source));
    let mut found: Vec<ServiceIdentity> = Vec::new();
    for source in sources {
        let by_labels = |labels: &ServiceLabels| {
            source.rules.service_of(Candidate {
                namespace: &subject.namespace,
                kind: &subject.kind,
                name: &subject.name,
                namespace_labels: evidence.namespace_labels.as_ref(),
                labels: &labels.own,
                template_labels: &labels.template,
            })
        };
        // Until this change it was the old labels' service, so it still counts as that. What is deleted has those alone.
        let present = (subject.operation != Operation::Delete).then_some((&subject.labels, None));
        let former = subject.old_labels.as_ref().map(|labels| (labels, Some(now)));
        for (labels, until) in present.into_iter().chain(former) {
            if let Some((service, from)) = by_labels(labels)
                && !found.iter().any(|known| known.source == source.source && known.service == service)
            {
                found.push(ServiceIdentity { source: source.source.clone(), service, from: Some(from), until });
            }
        }
        let of_source = || earlier.iter().filter(|one| one.source == source.source);
        // What it was when it was last heard of it was until now, however quiet it has been.
        let latest = of_source().map(|one| one.last_at).max();
        for one in of_source() {
            let is_known = found.iter().any(|known| known.source == one.source && known.service == one.service);
            let counts = now.signed_duration_since(one.last_at) <= REMEMBERED || Some(one.last_at) == latest;
            if !is_known && counts {
                found.push(ServiceIdentity {
                    source: one.source.clone(),
                    service: one.service.clone(),
                    from: None,
                    until: Some(one.last_at),
                });
            }
        }
    }
    evidence.services = found;
}
