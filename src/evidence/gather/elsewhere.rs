//! What other workloads of the same service run at this moment: found by the ledger, looked at live.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::evidence::{Evidence, RunningElsewhere};
use crate::store::ledger::{Ledger, WorkloadKey, WorkloadLedger};
use crate::subject::Subject;
use crate::subject::change::{digest_of, new_images};

/// Workloads that are looked at for one decision.
const MOST: usize = 8;
/// As long as a workload is judged under an earlier service, it promotes nothing of another.
const REMEMBERED: TimeDelta = TimeDelta::days(30);

/// A search for what runs elsewhere.
pub struct Elsewhere<'a> {
    /// What was admitted where.
    pub ledger: &'a Ledger,
    /// What is there.
    pub cluster: &'a Cluster,
    /// The workload that something may be promoted to.
    pub subject: &'a Subject,
    /// When the answer comes too late.
    pub deadline: Instant,
    /// The decision's time, in UTC.
    pub now: DateTime<Utc>,
}

impl Elsewhere<'_> {
    /// Workloads of the same services and namespace that run a digest which is new to this one. What cannot be learnt
    /// in time is not among them: it makes nothing easier.
    pub async fn find(&self, evidence: &Evidence) -> Vec<RunningElsewhere> {
        let digests: BTreeSet<&str> = new_images(self.subject, evidence)
            .into_iter()
            .filter_map(|used| digest_of(&used.image, evidence))
            .collect();
        let mut candidates: BTreeSet<WorkloadKey> = BTreeSet::new();
        for digest in digests {
            let found = self.ledger.workloads_with(&self.subject.namespace, digest);
            match tokio::time::timeout_at(self.deadline, found).await {
                Ok(Ok(found)) => candidates.extend(found),
                Ok(Err(error)) => tracing::warn!(%error, "the ledger could not be read"),
                Err(_) => return Vec::new(),
            }
        }
        candidates.retain(|one| lasts(&one.kind) && (&one.kind, &one.name) != (&self.subject.kind, &self.subject.name));
        // Under another service until this change it is not yet of this one.
        let services = identities(evidence.services.iter().map(|one| (one.source.as_str(), one.service.as_str())));
        let known = join_all(candidates.iter().map(|one| self.of_these(one, &services))).await;
        let looks = candidates.iter().zip(known).filter_map(|(one, known)| Some((one, known?)));
        join_all(looks.take(MOST).map(|(one, known)| self.look(one, known))).await.into_iter().flatten().collect()
    }

    /// What the ledger knows of a workload of exactly these services; one that was another's lately may have brought the
    /// image in under that one's budget.
    async fn of_these(
        &self,
        other: &WorkloadKey,
        services: &BTreeSet<(String, String)>,
    ) -> Option<Arc<WorkloadLedger>> {
        let known = tokio::time::timeout_at(self.deadline, self.ledger.history(other)).await.ok()?.ok()?;
        let lately = known.services.iter().filter(|one| self.now.signed_duration_since(one.last_at) <= REMEMBERED);
        let same = identities(lately.map(|one| (one.source.as_str(), one.service.as_str()))) == *services;
        same.then_some(known)
    }

    async fn look(&self, other: &WorkloadKey, known: Arc<WorkloadLedger>) -> Option<RunningElsewhere> {
        let running = self.cluster.owners.running(other, self.deadline).await?;
        let meant = |reference: &String| {
            let of_reference = known.digests.iter().filter(|admission| admission.reference == *reference);
            of_reference.max_by_key(|admission| admission.last_admitted_at).map(|admission| admission.digest.clone())
        };
        let digests: Vec<String> = running.iter().filter_map(meant).collect();
        Some(RunningElsewhere { workload: format!("{} {}", other.kind, other.name), digests })
    }
}

/// Whether workloads of this kind run until somebody changes them. A Pod may hold what somebody debugs with, a Job ends.
fn lasts(kind: &str) -> bool {
    !matches!(kind, "Pod" | "Job" | "CronJob" | "ReplicaSet" | "ReplicationController")
}

fn identities<'a>(services: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeSet<(String, String)> {
    services.map(|(source, service)| (source.to_owned(), service.to_owned())).collect()
}
