//! Gathers what a decision needs, side by side and under one deadline. It never fails: what could not be learnt in time
//! is an unknown with its reason.

mod budgets;
mod elsewhere;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use futures::future::join_all;
use opentelemetry::KeyValue;
use tokio::time::Instant;

pub use self::budgets::Budgets;
use self::elsewhere::Elsewhere;
use super::{Evidence, Fact, History, Owner, OwnerFound, ResolvedImage, Revision, UnknownReason};
use crate::cluster::Cluster;
use crate::exception::Exceptions;
use crate::image::registry::credentials::Credentials;
use crate::image::resolver::{Request, Resolver};
use crate::policy::api::{PlatformRule, Platforms};
use crate::policy::compile::{Matching, PolicySet};
use crate::store::ledger::{Admission, BelongedTo, Ledger, WorkloadKey, WorkloadLedger};
use crate::subject::{Operation, Subject};
use crate::telemetry::Traces;

/// Where evidence comes from.
#[derive(Clone)]
pub struct Gatherer {
    /// Images and their dates.
    pub resolver: Resolver,
    /// What was admitted before, where there is a store.
    pub ledger: Option<Ledger>,
    /// The cluster, where there is one.
    pub cluster: Option<Arc<Cluster>>,
    /// Namespaces' labels as somebody stated them, where there is no cluster to ask.
    pub stated: StatedLabels,
    /// Error budgets as they were measured last.
    pub budgets: Budgets,
    /// Exceptions that are good.
    pub exceptions: Arc<ArcSwap<Exceptions>>,
    /// What shows how long each look-up took.
    pub traces: Traces,
}

/// Namespaces' labels as manifests or flags state them.
#[derive(Clone, Debug, Default)]
pub struct StatedLabels {
    /// Of single namespaces.
    pub by_namespace: BTreeMap<String, BTreeMap<String, String>>,
    /// Of all others.
    pub of_others: Option<BTreeMap<String, String>>,
}

impl Gatherer {
    /// Gathers what the policies that match need to judge the subject, until the deadline.
    pub async fn gather(
        &self,
        subject: &Subject,
        policies: &PolicySet,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Evidence {
        let mut evidence = self.namespace(subject, deadline).await;
        let matching = policies.matching(&subject.namespace, evidence.labels_of_namespace(), &subject.kind);
        if matching.is_empty() {
            return evidence;
        }
        evidence.node_platforms = self.node_platforms();
        evidence.owner = self.owner(subject, deadline).await;
        let templates = evidence.owner.as_ref().and_then(|owner| owner.found.templates()).unwrap_or_default();
        let owned: BTreeSet<&str> = templates.iter().flatten().map(String::as_str).collect();
        let wanted = references(subject, &owned);
        let platforms = platforms(&matching, &evidence.node_platforms);
        let look_ups = async {
            // What belongs to its controller wholly needs no look-up, and so no credentials.
            if wanted.is_empty() {
                return BTreeMap::new();
            }
            let credentials = self.credentials(subject, deadline).await;
            let request = Request { credentials: credentials.as_ref(), platforms: &platforms, now, deadline };
            let found = join_all(wanted.iter().map(|reference| self.image(reference, request))).await;
            wanted.iter().map(|reference| (*reference).to_owned()).zip(found).collect()
        };
        let (images, past) = tokio::join!(look_ups, self.past(subject, &wanted, deadline));
        evidence.images = images;
        evidence.history = past.history;
        if !wanted.is_empty() {
            self.add_services(subject, &matching, &past.services, &mut evidence, now, deadline).await;
            evidence.exceptions = self.exceptions.load().of(&subject.namespace, &subject.kind, &subject.name);
            self.budgets.add(&matching, &mut evidence, now);
        }
        self.add_admissions_in_namespace(subject, &mut evidence, deadline).await;
        evidence
    }

    /// The same of a workload that runs, as if it were made now: from what is known of its images and its namespace, and
    /// from what is in memory anyway. It asks nobody.
    pub fn gather_known(
        &self,
        subject: &Subject,
        policies: &PolicySet,
        namespace: &Evidence,
        images: BTreeMap<String, Fact<ResolvedImage>>,
        now: DateTime<Utc>,
    ) -> Evidence {
        let mut evidence = namespace.clone();
        let matching = policies.matching(&subject.namespace, evidence.labels_of_namespace(), &subject.kind);
        evidence.node_platforms = self.node_platforms();
        // What a controller of a known kind makes is not among what runs: it answers for that itself.
        evidence.owner = subject.owner.as_ref().map(|owner| Owner {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            found: OwnerFound::UnknownKind,
        });
        evidence.images = images;
        services::add(self.budgets.snapshots.load().iter(), subject, &[], &mut evidence, now);
        self.add_sources(&matching, &mut evidence);
        evidence.exceptions = self.exceptions.load().of(&subject.namespace, &subject.kind, &subject.name);
        self.budgets.add(&matching, &mut evidence, now);
        evidence
    }

    /// The platforms on which policies judge the subject's images; empty for all.
    pub fn platforms_of(&self, subject: &Subject, policies: &PolicySet, namespace: &Evidence) -> Vec<String> {
        let matching = policies.matching(&subject.namespace, namespace.labels_of_namespace(), &subject.kind);
        platforms(&matching, &self.node_platforms())
    }

    fn node_platforms(&self) -> Vec<String> {
        self.cluster.as_ref().map(|cluster| cluster.nodes.platforms().to_vec()).unwrap_or_default()
    }

    /// What the ledger has to learn from a change that passes whatever policies say: another label can make a workload
    /// another service's, and what is deleted ran until now.
    pub async fn gather_unjudged(&self, subject: &Subject, now: DateTime<Utc>, deadline: Instant) -> Evidence {
        let deleted = subject.operation == Operation::Delete && subject.old_images.is_some();
        if !deleted && !subject.is_relabelled() {
            return Evidence::default();
        }
        let mut evidence = self.namespace(subject, deadline).await;
        let known = self.ledger_of(subject, deadline).await.unwrap_or_default();
        if deleted {
            evidence.history.admissions = known.digests.iter().map(admission).collect();
        }
        services::add(self.budgets.snapshots.load().iter(), subject, &[], &mut evidence, now);
        evidence
    }

    /// What is known of the namespace.
    pub async fn namespace(&self, subject: &Subject, deadline: Instant) -> Evidence {
        let (namespace_labels, namespace_unknown) = match &self.cluster {
            None => {
                (self.stated.by_namespace.get(&subject.namespace).or(self.stated.of_others.as_ref()).cloned(), None)
            }
            Some(_) if subject.namespace.is_empty() => (None, None),
            Some(cluster) => match cluster.namespaces.of(&subject.namespace, deadline).await {
                Ok(labels) => (Some(labels), None),
                Err(error) => {
                    tracing::warn!(namespace = subject.namespace, %error, "a namespace's labels could not be read");
                    (None, Some(error.to_string()))
                }
            },
        };
        Evidence { namespace_labels, namespace_unknown, ..Evidence::default() }
    }

    async fn image(&self, reference: &str, request: Request<'_>) -> Fact<ResolvedImage> {
        let look_up = || async {
            let found = self.resolver.resolve(reference, request).await;
            self.traces.describe(|| {
                vec![KeyValue::new("image", reference.to_owned()), KeyValue::new("state", state_of(&found))]
            });
            found
        };
        self.traces.step("look up image", look_up).await
    }

    /// The credentials that come with the workload, where the gate may read them.
    pub async fn credentials(&self, subject: &Subject, deadline: Instant) -> Option<Credentials> {
        let secrets = self.cluster.as_ref()?.pull_secrets.as_ref()?;
        let hints = &subject.pull;
        // In a box, like the look-up of an owner: what few reviews need would be part of what each one carries about.
        let found = Box::pin(secrets.of(&subject.namespace, &hints.secrets, Some(&hints.service_account), deadline));
        let configs = found.await;
        let mut all = Credentials::default();
        for config in configs {
            match Credentials::from_docker_config(config.as_str()) {
                Ok(credentials) => all = all.and(credentials),
                Err(error) => tracing::warn!(workload = %subject.in_words(), %error, "a pull secret cannot be used"),
            }
        }
        (!all.is_empty()).then_some(all)
    }

    /// The controller that the object claims: looked up, never believed.
    async fn owner(&self, subject: &Subject, deadline: Instant) -> Option<Owner> {
        let claimed = subject.owner.as_ref()?;
        let found = match &self.cluster {
            None => OwnerFound::NotLookedUp { detail: "there is no cluster to look it up in".to_owned() },
            Some(cluster) => {
                let find = |fresh| Box::pin(cluster.owners.find(subject, claimed, fresh, deadline));
                let found = find(false).await;
                let runs =
                    |image: &String| found.templates().is_none_or(|all| all.iter().flatten().any(|one| one == image));
                // What is remembered may be older than a rollout that is under way.
                if subject.images.iter().all(|used| runs(&used.image)) { found } else { find(true).await }
            }
        };
        Some(Owner { kind: claimed.kind.clone(), name: claimed.name.clone(), found })
    }

    /// What was under this name before, by the ledger and by the cluster's revisions.
    async fn past(&self, subject: &Subject, wanted: &BTreeSet<&str>, deadline: Instant) -> Past {
        let mut past = Past::default();
        if wanted.is_empty() || subject.name.ends_with('*') {
            return past;
        }
        let history = &mut past.history;
        match self.ledger_of(subject, deadline).await {
            Ok(known) => {
                history.admissions = known.digests.iter().map(admission).collect();
                history.revisions =
                    known.templates.iter().map(|(fingerprint, at)| revision(fingerprint, *at)).collect();
                past.services = known.services.clone();
            }
            Err(why) => history.unknown = Some(why.to_owned()),
        }
        if subject.operation == Operation::Update
            && let Some(cluster) = &self.cluster
        {
            match cluster.owners.revisions(&subject.namespace, &subject.as_reference(), deadline).await {
                Ok(revisions) => history.revisions.extend(revisions),
                Err(error) => history.unknown = Some(error.to_string()),
            }
        }
        past
    }

    /// What the ledger knows of the workload, or why it does not say.
    async fn ledger_of(&self, subject: &Subject, deadline: Instant) -> Result<Arc<WorkloadLedger>, &'static str> {
        let Some(ledger) = &self.ledger else {
            return Ok(Arc::default());
        };
        let key = WorkloadKey {
            namespace: subject.namespace.clone(),
            kind: subject.kind.clone(),
            name: subject.name.clone(),
        };
        match tokio::time::timeout_at(deadline, ledger.history(&key)).await {
            Ok(Ok(known)) => Ok(known),
            Ok(Err(error)) => {
                tracing::warn!(%error, workload = %subject.in_words(), "the ledger could not be read");
                Err("the ledger could not be read")
            }
            Err(_) => Err("the ledger did not answer in time"),
        }
    }

    /// The services of the workload, and what other workloads of them run: by that a promotion is told.
    async fn add_services(
        &self,
        subject: &Subject,
        matching: &[Matching<'_>],
        earlier: &[BelongedTo],
        evidence: &mut Evidence,
        now: DateTime<Utc>,
        deadline: Instant,
    ) {
        services::add(self.budgets.snapshots.load().iter(), subject, earlier, evidence, now);
        if let (false, Some(ledger), Some(cluster)) = (evidence.services.is_empty(), &self.ledger, &self.cluster) {
            let elsewhere = Elsewhere { ledger, cluster, subject, deadline, now };
            evidence.running_elsewhere = elsewhere.find(evidence).await;
        }
        self.add_sources(matching, evidence);
    }

    /// What is known of the sources of budgets that the policies name.
    fn add_sources(&self, matching: &[Matching<'_>], evidence: &mut Evidence) {
        for source in
            matching.iter().filter_map(|one| one.policy.spec.error_budget.as_ref()).flat_map(|rule| &rule.sources)
        {
            if !evidence.sources.contains_key(source) {
                evidence.sources.insert(source.clone(), self.budgets.state_of(source));
            }
        }
    }

    /// A hook's Job has another name each time, so what its namespace admitted counts for it.
    async fn add_admissions_in_namespace(&self, subject: &Subject, evidence: &mut Evidence, deadline: Instant) {
        let (true, Some(ledger)) = (subject.hook && subject.old_images.is_none(), &self.ledger) else {
            return;
        };
        let images: Vec<(String, String)> = evidence
            .images
            .iter()
            .filter_map(|(reference, image)| Some((reference.clone(), image.known()?.digest.clone())))
            .collect();
        for (reference, digest) in images {
            match tokio::time::timeout_at(deadline, ledger.admitted_in_namespace(&subject.namespace, &digest)).await {
                Ok(Ok(Some((first_admitted_at, last_admitted_at)))) => evidence
                    .history
                    .admissions
                    .push(super::Admission { digest, reference, first_admitted_at, last_admitted_at }),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the ledger could not be read"),
                Err(_) => evidence.history.unknown = Some("the ledger did not answer in time".to_owned()),
            }
        }
    }
}

/// What was under a workload's name before.
#[derive(Default)]
struct Past {
    history: History,
    services: Vec<BelongedTo>,
}

/// The ledger's words in the evidence's.
fn admission(known: &Admission) -> super::Admission {
    super::Admission {
        digest: known.digest.clone(),
        reference: known.reference.clone(),
        first_admitted_at: known.first_admitted_at,
        last_admitted_at: known.last_admitted_at,
    }
}

fn revision(fingerprint: &str, at: DateTime<Utc>) -> Revision {
    Revision { fingerprint: fingerprint.to_owned(), images: Vec::new(), created_at: at }
}

/// The references to look up: of the new template, of the old one to tell what is new, and of the controller where the
/// object's own are not among them.
fn references<'a>(subject: &'a Subject, owned: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let new = subject.images.iter().map(|used| used.image.as_str());
    let old = subject.old_images.iter().flatten().map(|used| used.image.as_str());
    if owned.is_empty() {
        return new.chain(old).collect();
    }
    let beyond: BTreeSet<&str> = new.filter(|image| !owned.contains(image)).collect();
    if beyond.is_empty() {
        return beyond;
    }
    beyond.into_iter().chain(owned.iter().copied()).chain(old).collect()
}

/// The platforms that any of the policies judges; empty for all.
fn platforms(matching: &[Matching<'_>], nodes: &[String]) -> Vec<String> {
    let mut wanted = BTreeSet::new();
    for rule in matching.iter().filter_map(|one| one.policy.spec.image_age.as_ref()) {
        match &rule.platforms {
            None | Some(Platforms::Named(PlatformRule::Nodes)) if !nodes.is_empty() => {
                wanted.extend(nodes.iter().cloned());
            }
            Some(Platforms::List(list)) => wanted.extend(list.iter().cloned()),
            _ => return Vec::new(),
        }
    }
    wanted.into_iter().collect()
}

/// What was looked up, for metrics.
pub fn state_of(image: &Fact<ResolvedImage>) -> &'static str {
    match image {
        Fact::Unknown(unknown) => unknown.reason.as_str(),
        Fact::Known(image) if image.platforms.iter().all(|platform| platform.built.known().is_some()) => "known",
        Fact::Known(image) => {
            let reasons = image.platforms.iter().filter_map(|platform| match &platform.built {
                Fact::Unknown(unknown) => Some(unknown.reason),
                Fact::Known(_) => None,
            });
            reasons.max().unwrap_or(UnknownReason::NoDate).as_str()
        }
    }
}
