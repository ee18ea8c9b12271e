//! The look-ups of a round: which images run, which of them are due, and each of them once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};

use super::fleet::Fleet;
use super::known::{ImageKey, Known};
use super::shelf::KnownImages;
use super::{Scanner, pace};
use crate::dependency::look_up::{LookUps, Used};
use crate::evidence::{Fact, ResolvedImage};
use crate::image::reference::ImageReference;
use crate::image::registry::credentials::Credentials;
use crate::image::resolver::Request;
use crate::subject::Subject;

/// Look-ups under way at once.
const AT_ONCE: usize = 4;
/// How long those of one image may take.
const WITHIN: Duration = Duration::from_secs(60);
/// Found images that are kept together: enough for one commit, few enough that a leader that ends loses little.
const KEPT_TOGETHER: usize = 50;
/// How long pull secrets may take.
const SECRETS_WITHIN: Duration = Duration::from_secs(5);

/// An image that runs, and what it takes to look it up.
pub(super) struct Wanted {
    pub(super) credentials: Option<Credentials>,
    /// Platforms that some policy judges; `None` for all.
    pub(super) platforms: Option<BTreeSet<String>>,
}

impl Scanner {
    /// Looks up what is due, and drops what runs no more.
    pub(super) async fn look_up_due(&self, wanted: &BTreeMap<ImageKey, Wanted>, known: &mut KnownImages) {
        let gone: Vec<ImageKey> = known.keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
        for key in &gone {
            known.remove(key);
        }
        self.shelf.save(&[], &gone).await;

        let now = (self.clock)();
        let mut due: Vec<(&ImageKey, &Wanted)> = wanted
            .iter()
            .filter(|(key, _)| known.get(*key).is_none_or(|known| known.due_at(key, self.interval) <= now))
            .collect();
        // What was never looked up comes first.
        due.sort_by_key(|(key, _)| known.get(*key).map(|known| known.scanned_at));
        self.metrics.scan.images.set(i64::try_from(wanted.len()).unwrap_or(i64::MAX));
        let pause = pace::pause(self.interval, due.len());
        // What is asked for several images, as the tags of a repository, is asked once in a round.
        let look_ups = LookUps::new(&self.gatherer.resolver, WITHIN);
        let look_ups = &look_ups;
        let before: BTreeMap<&ImageKey, Arc<Known>> =
            due.iter().filter_map(|(key, _)| Some((*key, Arc::clone(known.get(*key)?)))).collect();
        let before = &before;
        let mut found = stream::iter(due)
            .then(|(key, wanted)| async move {
                sleep(pause).await;
                (key, wanted)
            })
            .map(|(key, wanted)| async move {
                let mut found = self.look_up(look_ups, key, wanted).await;
                // What is in a digest does not change with what its name means.
                found.contents = before.get(key).and_then(|before| before.contents.clone());
                (key.clone(), Arc::new(found))
            })
            .buffer_unordered(AT_ONCE)
            .chunks(KEPT_TOGETHER)
            .boxed();
        while let Some(some) = found.next().await {
            self.shelf.save(&some, &[]).await;
            known.extend(some);
        }
    }

    async fn look_up(&self, look_ups: &LookUps<'_>, key: &ImageKey, wanted: &Wanted) -> Known {
        let now = (self.clock)();
        let platforms: Vec<String> = wanted.platforms.iter().flatten().cloned().collect();
        let request = Request {
            credentials: wanted.credentials.as_ref(),
            platforms: &platforms,
            now,
            deadline: Instant::now() + WITHIN,
        };
        let mut found = self.gatherer.resolver.resolve(&key.image, request).await;
        let used = Used {
            written: &key.image,
            running: Some(key.running.as_str()).filter(|running| !running.is_empty()),
            found: &found,
            credentials: wanted.credentials.as_ref(),
            platforms: &platforms,
        };
        let mut findings = look_ups.findings(used, now).await;
        forget_candidates(&mut found);
        findings.targets.values_mut().for_each(forget_candidates);
        Known { scanned_at: now, found, findings, contents: None }
    }

    /// Every image that runs, once for each digest that Pods run under it.
    pub(super) async fn wanted(&self, fleet: &Fleet) -> BTreeMap<ImageKey, Wanted> {
        let mut wanted: BTreeMap<ImageKey, Wanted> = BTreeMap::new();
        let policies = self.policies.load_full();
        let mut secrets: BTreeMap<(String, String, Vec<String>), Option<Credentials>> = BTreeMap::new();
        let mut namespace = None;
        for workload in &fleet.workloads {
            let subject = &workload.subject;
            if namespace.as_ref().is_none_or(|(name, _)| *name != subject.namespace) {
                let labels = self.gatherer.namespace(subject, Instant::now() + SECRETS_WITHIN).await;
                namespace = Some((subject.namespace.clone(), labels));
            }
            let Some((_, labels)) = &namespace else { continue };
            let platforms = self.gatherer.platforms_of(subject, &policies, labels);
            let of = (subject.namespace.clone(), subject.pull.service_account.clone(), subject.pull.secrets.clone());
            let credentials = match secrets.get(&of) {
                Some(credentials) => credentials.clone(),
                None => {
                    let found = self.gatherer.credentials(subject, Instant::now() + SECRETS_WITHIN).await;
                    secrets.insert(of, found.clone());
                    found
                }
            };
            for used in &subject.images {
                for key in keys(fleet, subject, &used.image, credentials.as_ref()) {
                    let credentials = credentials.clone().filter(|_| !key.scope.is_empty());
                    let one =
                        wanted.entry(key).or_insert_with(|| Wanted { credentials, platforms: Some(BTreeSet::new()) });
                    match &mut one.platforms {
                        Some(all) if !platforms.is_empty() => all.extend(platforms.iter().cloned()),
                        all => *all = None,
                    }
                }
            }
        }
        wanted
    }
}

/// Under which keys an image of a workload is known.
pub(super) fn keys(fleet: &Fleet, subject: &Subject, image: &str, credentials: Option<&Credentials>) -> Vec<ImageKey> {
    let theirs = credentials.is_some_and(|credentials| {
        ImageReference::parse(image).is_ok_and(|reference| credentials.for_image(&reference).next().is_some())
    });
    let scope = if theirs { subject.namespace.clone() } else { String::new() };
    let key = |running: &str| ImageKey { scope: scope.clone(), image: image.to_owned(), running: running.to_owned() };
    let running: Vec<ImageKey> = fleet.digests(&subject.namespace, image).map(key).collect();
    if running.is_empty() { vec![key("")] } else { running }
}

/// Every date that was looked at is for `inspect`; what counts is kept beside it.
fn forget_candidates(found: &mut Fact<ResolvedImage>) {
    if let Fact::Known(image) = found {
        for platform in &mut image.platforms {
            platform.candidates = Vec::new();
        }
    }
}
