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
use crate::dependency::package::libyear::Libyears;
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
                    let OfWorkload { images, findings, libyears } = by_image.of_workload(fleet, workload);
                    let evidence = self.gatherer.gather_known(&workload.subject, &policies, &namespace, images, now);
                    tally.add(workload, &evidence, &policies, &findings, now);
                    tally.add_libyears(&workload.subject.namespace, libyears);
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
    fn of_workload(&self, fleet: &Fleet, workload: &Workload) -> OfWorkload {
        let namespace = workload.subject.namespace.as_str();
        let mut all_of_it = OfWorkload::default();
        let OfWorkload { images, findings, libyears } = &mut all_of_it;
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
            for (key, known) in all.iter().filter(|(key, _)| theirs(key)) {
                // What the namespace's own credentials opened counts before what could not be opened without them.
                if found.is_none_or(|before| before.known().is_none()) {
                    found = Some(&known.found);
                }
                steps.merge(known.all_findings(key));
                let contents = known.contents(key);
                libyears.extend(contents.and_then(|one| Some((one.digest.clone(), one.libyears.clone()?))));
            }
            if let Some(found) = found {
                images.insert(used.image.clone(), found.clone());
                findings.insert(used.image.clone(), steps);
            }
        }
        all_of_it
    }
}

/// What is known of a workload's images, by reference as written, and how far behind their packages are, by digest.
#[derive(Default)]
struct OfWorkload {
    images: BTreeMap<String, Fact<ResolvedImage>>,
    findings: BTreeMap<String, Findings>,
    libyears: BTreeMap<String, Libyears>,
}
