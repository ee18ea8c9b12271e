//! The end of a round: what the policies in force say to all that runs, and where that is written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::Scanner;
use super::figures::show;
use super::fleet::{Fleet, Workload};
use super::known::{ImageKey, Known};
use super::shelf::KnownImages;
use super::tally::Tally;
use crate::dependency::finding::Findings;
use crate::evidence::{Fact, ResolvedImage};

/// How long one namespace may take.
const NAMESPACE_WITHIN: Duration = Duration::from_secs(5);
/// Workloads that are judged in one go: other tasks of the same thread then have their turn.
const AT_ONCE: usize = 32;

impl Scanner {
    /// Says what there is to say, as far as this process still leads.
    pub(super) async fn say(&self, fleet: &Fleet, known: &KnownImages) {
        let (tally, unknown) = self.tally(fleet, known).await;
        if !self.leadership.leads() {
            return;
        }
        show(&tally, &self.metrics);
        self.counts.write(&tally.policies).await;
        self.reports.write(&tally.namespaces, &unknown).await;
    }

    /// What the policies say, and the namespaces of which nobody can tell which policies are for them.
    async fn tally(&self, fleet: &Fleet, known: &KnownImages) -> (Tally, BTreeSet<String>) {
        let policies = self.policies.load_full();
        let by_image = ByImage::of(known);
        let (mut tally, mut unknown) = (Tally::new(&policies), BTreeSet::new());
        let now = (self.clock)();
        for of_namespace in fleet.workloads.chunk_by(|one, other| one.subject.namespace == other.subject.namespace) {
            let Some(first) = of_namespace.first() else { continue };
            let namespace = self.gatherer.namespace(&first.subject, Instant::now() + NAMESPACE_WITHIN).await;
            if namespace.namespace_unknown.is_some() {
                // It is gone, or its labels are not known: nothing is said of it, and what was said stays.
                unknown.insert(first.subject.namespace.clone());
                continue;
            }
            for some in of_namespace.chunks(AT_ONCE) {
                for workload in some {
                    let (images, findings) = by_image.of_workload(fleet, workload);
                    let evidence = self.gatherer.gather_known(&workload.subject, &policies, &namespace, images, now);
                    tally.add(workload, &evidence, &policies, &findings, now);
                }
                tokio::task::yield_now().await;
            }
        }
        (tally, unknown)
    }
}

/// What is known, by image.
struct ByImage<'a>(BTreeMap<&'a str, Vec<(&'a ImageKey, &'a Known)>>);

impl<'a> ByImage<'a> {
    fn of(known: &'a KnownImages) -> Self {
        let mut all: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (key, known) in known {
            all.entry(key.image.as_str()).or_default().push((key, &**known));
        }
        Self(all)
    }

    /// What is known of a workload's images: what its own namespace's credentials opened, and what anybody may know.
    fn of_workload(
        &self,
        fleet: &Fleet,
        workload: &Workload,
    ) -> (BTreeMap<String, Fact<ResolvedImage>>, BTreeMap<String, Findings>) {
        let namespace = workload.subject.namespace.as_str();
        let (mut images, mut findings) = (BTreeMap::new(), BTreeMap::new());
        for used in &workload.subject.images {
            if images.contains_key(&used.image) {
                continue;
            }
            let all = self.0.get(used.image.as_str()).map(Vec::as_slice).unwrap_or_default();
            let running: BTreeSet<&str> = fleet.digests(namespace, &used.image).collect();
            let theirs = |key: &ImageKey| {
                (key.scope.is_empty() || key.scope == namespace)
                    && (running.contains(key.running.as_str()) || (running.is_empty() && key.running.is_empty()))
            };
            let mut found: Option<&Fact<ResolvedImage>> = None;
            let mut steps = Findings::default();
            for (_, known) in all.iter().filter(|(key, _)| theirs(key)) {
                // What the namespace's own credentials opened counts before what could not be opened without them.
                if found.is_none_or(|before| before.known().is_none()) {
                    found = Some(&known.found);
                }
                steps.merge(known.findings.clone());
            }
            if let Some(found) = found {
                images.insert(used.image.clone(), found.clone());
                findings.insert(used.image.clone(), steps);
            }
        }
        (images, findings)
    }
}
