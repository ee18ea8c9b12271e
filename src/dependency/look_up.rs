//! Looks up, for one image, what registries know of a next step: newer tags, the same tag rebuilt, a base that moved.
//!
//! The transport, its limits and its patience are those of the resolver. What cannot be looked up is said, never guessed.

mod base;
mod newer;
mod rebuilt;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::finding::{Findings, days_between};
use super::workload::oldest;
use crate::evidence::{Fact, ResolvedImage, Unknown};
use crate::image::reference::ImageReference;
use crate::image::registry::credentials::{Credential, Credentials};
use crate::image::resolver::{Request, Resolver};

/// An image that is used.
#[derive(Clone, Copy, Debug)]
pub struct Used<'a> {
    /// The reference, as the workload writes it.
    pub written: &'a str,
    /// The digest that runs, where somebody knows it; else what the reference means now.
    pub running: Option<&'a str>,
    /// What the reference means now.
    pub found: &'a Fact<ResolvedImage>,
    /// Credentials that come with the workload.
    pub credentials: Option<&'a Credentials>,
    /// Platforms that matter, as `linux/amd64`; empty for all.
    pub platforms: &'a [String],
}

/// The tags of a repository, asked for once.
type Listing = Arc<OnceCell<Result<Arc<Vec<String>>, Unknown>>>;

/// Looks up next steps; what is asked for several images is asked once.
pub struct LookUps<'a> {
    resolver: &'a Resolver,
    /// How long the look-ups of one image may take.
    within: Duration,
    listings: Mutex<HashMap<(String, Vec<String>), Listing>>,
}

/// What all look-ups of one image share.
struct OneImage<'a> {
    look_ups: &'a LookUps<'a>,
    used: Used<'a>,
    image: ImageReference,
    /// What runs, where that is known.
    runs: Option<ResolvedImage>,
    now: DateTime<Utc>,
    deadline: Instant,
}

impl<'a> LookUps<'a> {
    /// Look-ups through a resolver; those of one image may take so long.
    pub fn new(resolver: &'a Resolver, within: Duration) -> Self {
        Self { resolver, within, listings: Mutex::default() }
    }

    /// The next steps of an image, as of `now` (UTC), and what could not be looked up.
    pub async fn findings(&self, used: Used<'_>, now: DateTime<Utc>) -> Findings {
        let Ok(image) = ImageReference::parse(used.written) else {
            return Findings::default(); // its date is unknown for that reason, and so it is said
        };
        let deadline = Instant::now() + self.within;
        let mut one = OneImage { look_ups: self, used, image, runs: None, now, deadline };
        one.runs = match (one.running(), used.found) {
            (Some(running), Fact::Known(image)) if image.digest == running => Some(image.clone()),
            // A digest that is gone from its registry is compared as it is.
            (Some(running), _) => one.resolve(&one.image.pinned(running)).await.known().cloned(),
            (None, _) => None,
        };
        let (mut findings, newer, base) = tokio::join!(one.rebuilt(), one.newer_tags(), one.base_drift());
        findings.merge(newer);
        findings.merge(base);
        findings
    }
}

impl OneImage<'_> {
    fn request(&self) -> Request<'_> {
        Request {
            credentials: self.used.credentials,
            platforms: self.used.platforms,
            now: self.now,
            deadline: self.deadline,
        }
    }

    /// `docker.io/library/node`.
    fn name(&self) -> String {
        self.image.name()
    }

    /// The repository as the workload writes it, without tag and digest.
    fn written_name(&self) -> &str {
        let without_digest = self.used.written.split('@').next().unwrap_or_default();
        match without_digest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => name,
            _ => without_digest,
        }
    }

    /// The digest that runs: as it is known, as it is written, or as the tag means now.
    fn running(&self) -> Option<&str> {
        let resolved = || self.used.found.known().map(|image| image.digest.as_str());
        self.used.running.or_else(|| self.image.digest()).or_else(resolved)
    }

    /// What runs, where that is known.
    fn running_image(&self) -> Option<&ResolvedImage> {
        self.runs.as_ref()
    }

    /// When what runs was built, where that is known.
    fn running_built(&self) -> Option<DateTime<Utc>> {
        self.running_image().and_then(oldest).map(|built| built.time)
    }

    /// All tags of the image's repository.
    async fn tags(&self) -> Result<Arc<Vec<String>>, Unknown> {
        let theirs = self.used.credentials.into_iter().flat_map(|all| all.for_image(&self.image));
        let key = (self.name(), theirs.map(Credential::id).collect());
        let listing = {
            let mut listings = self.look_ups.listings.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(listings.entry(key).or_default())
        };
        let ask = async || self.look_ups.resolver.tags(&self.image, self.request()).await.map(Arc::new);
        listing.get_or_init(ask).await.clone()
    }

    async fn resolve(&self, reference: &str) -> Fact<ResolvedImage> {
        self.look_ups.resolver.resolve(reference, self.request()).await
    }

    /// Days since an image was built, where that is known; of several platforms the oldest counts, and one that is unknown
    /// leaves it open.
    fn age_days(&self, image: &ResolvedImage) -> Option<i64> {
        let all_known = image.platforms.iter().all(|platform| platform.built.known().is_some());
        oldest(image).filter(|_| all_known).map(|built| days_between(built.time, self.now))
    }

    /// `, built 41 days ago; what is used now was built 112 days ago`, as far as either is known.
    fn ages_in_words(&self, target_days: Option<i64>) -> String {
        let target = match target_days {
            Some(days) => format!("was built {}", ago(days)),
            None => "has no build date that is known".to_owned(),
        };
        match self.running_built() {
            Some(built) => {
                format!("{target}; what is used now was built {}", ago(days_between(built, self.now)))
            }
            None => target,
        }
    }
}

fn ago(days: i64) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "1 day ago".to_owned(),
        days => format!("{days} days ago"),
    }
}
