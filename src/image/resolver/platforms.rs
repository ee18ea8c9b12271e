//! From a digest to the images that it may run as, one for each platform, each with its date or with why it has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, Utc};
use futures::future::{BoxFuture, join_all};

use super::LookUp;
use super::facts::{DigestFact, Entry, Kept};
use crate::evidence::{Fact, PlatformImage, Unknown, UnknownReason};
use crate::image::build_date::{self, Claim, Source};
use crate::image::claims::Base;
use crate::image::registry::error::RegistryError;

/// Entries of an index that are looked at.
pub(super) const MOST_INDEX_ENTRIES: usize = 64;
/// Indexes within indexes.
const MOST_INDEX_LEVELS: usize = 3;
/// Entries of all indexes under one reference that are looked at: without it, levels would multiply.
const MOST_ENTRIES_IN_ALL: usize = 128;

/// A digest in its place: what the reference names, or what an index lists, with what stands above it.
pub(super) struct Place {
    pub digest: String,
    /// The platform that the index names.
    platform: Option<String>,
    /// What the index and its entry say of the date.
    claims: Vec<Claim>,
    /// The index, with its digest.
    pub index: Option<(String, Arc<Kept>)>,
    /// When what stands above was first seen: what it lists was there then.
    first_seen: Option<DateTime<Utc>>,
    level: usize,
}

/// What goes for all places under one reference.
struct Walk<'a> {
    /// Platforms that matter; empty for all.
    wanted: &'a [String],
    entries_left: AtomicUsize,
}

impl Walk<'_> {
    fn may_look_at(&self, entries: usize) -> bool {
        let take = |left: usize| left.checked_sub(entries);
        self.entries_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

impl LookUp {
    /// The platforms of an image. One that cannot be had is unknown by itself; whether that makes the image unknown is the
    /// policy's question.
    pub(super) async fn platforms(&self, digest: &str, kept: &Arc<Kept>, wanted: &[String]) -> Vec<PlatformImage> {
        let top = Place {
            digest: digest.to_owned(),
            platform: None,
            claims: Vec::new(),
            index: None,
            first_seen: None,
            level: 0,
        };
        let walk = Walk { wanted, entries_left: AtomicUsize::new(MOST_ENTRIES_IN_ALL) };
        self.images_at(top, Ok(Arc::clone(kept)), &walk).await
    }

    fn images_at<'a>(
        &'a self,
        place: Place,
        found: Result<Arc<Kept>, RegistryError>,
        walk: &'a Walk<'_>,
    ) -> BoxFuture<'a, Vec<PlatformImage>> {
        Box::pin(async move {
            let first_seen = self.first_seen(&place, found.is_ok()).await;
            let undated = |place: Place, unknown: Unknown| {
                vec![PlatformImage {
                    platform: place.platform,
                    digest: place.digest,
                    built: Fact::Unknown(unknown),
                    first_seen,
                    candidates: Vec::new(),
                }]
            };
            let no_date = |detail: String| Unknown { reason: UnknownReason::NoDate, detail };
            let kept = match found {
                Ok(kept) => kept,
                Err(error) => return undated(place, error.into_unknown()),
            };
            match &kept.fact {
                DigestFact::NoImage { why } => undated(place, no_date(why.clone())),
                DigestFact::Image { platform, claims, base } => {
                    vec![self.weighed(place, platform.as_ref(), claims, base.as_ref(), first_seen).await]
                }
                DigestFact::Index { .. } if place.level >= MOST_INDEX_LEVELS => {
                    undated(place, no_date(format!("indexes are nested more than {MOST_INDEX_LEVELS} deep")))
                }
                DigestFact::Index { entries, .. } if entries.is_empty() => {
                    undated(place, no_date("its index lists no image".to_owned()))
                }
                DigestFact::Index { entries, claims, .. } => {
                    let chosen = chosen(entries, walk.wanted);
                    if !walk.may_look_at(chosen.len()) {
                        let why = format!("its indexes list more than {MOST_ENTRIES_IN_ALL} images in all");
                        return undated(place, no_date(why));
                    }
                    let children = chosen.into_iter().map(|entry| {
                        let below = Place {
                            digest: entry.digest.clone(),
                            platform: entry.platform.clone(),
                            claims: entry.claims.iter().chain(claims).cloned().collect(),
                            index: Some((place.digest.clone(), Arc::clone(&kept))),
                            first_seen,
                            level: place.level + 1,
                        };
                        async move {
                            let found = self.digest(&below.digest).await.map(|(kept, _)| kept);
                            self.images_at(below, found, walk).await
                        }
                    });
                    join_all(children).await.into_iter().flatten().collect()
                }
            }
        })
    }

    /// When the digest was first seen, or what lists it: the earlier, so that a new index makes nothing younger. What was
    /// not fetched is merely named, and not noted as seen.
    async fn first_seen(&self, place: &Place, fetched: bool) -> Option<DateTime<Utc>> {
        let store = &self.inner.store;
        let seen =
            if fetched { store.first_seen(&place.digest, self.now) } else { store.first_seen_before(&place.digest) };
        let seen = tokio::time::timeout_at(self.deadline, seen).await.ok().flatten();
        [seen, place.first_seen].into_iter().flatten().min()
    }

    /// An image with its date. What comes before others in the order of belief and cannot be learnt just now leaves the
    /// date unknown: it may be another than theirs.
    async fn weighed(
        &self,
        place: Place,
        platform: Option<&String>,
        claims: &[Claim],
        base: Option<&Base>,
        first_seen: Option<DateTime<Utc>>,
    ) -> PlatformImage {
        let mut claims: Vec<Claim> = claims.iter().chain(&place.claims).cloned().collect();
        let mut open = None;
        if !build_date::is_settled_by(&claims, &[Source::Config], self.now) {
            match self.in_time(self.provenance(&place)).await {
                Ok(found) => claims.extend(found),
                Err(error) => open = Some(error.leaving_open("the build provenance")),
            }
        }
        if open.is_none()
            && let Some(base) = base
        {
            open = self.bar_inherited_label(&mut claims, base).await.err();
        }
        let (built, mut candidates) = build_date::weigh(&claims, first_seen, self.now);
        let built = match open {
            None => built,
            Some(error) => {
                for candidate in candidates.iter_mut().filter(|candidate| candidate.used) {
                    candidate.used = false;
                    candidate.why = "what comes before it could not be learnt".to_owned();
                }
                Fact::Unknown(error.into_unknown())
            }
        };
        let platform = place.platform.or_else(|| platform.cloned());
        PlatformImage { platform, digest: place.digest, built, first_seen, candidates }
    }
}

/// The entries for the wanted platforms; all, where none of them is. An entry that names no platform is always looked at.
fn chosen<'a>(entries: &'a [Entry], wanted: &[String]) -> Vec<&'a Entry> {
    let fits = |entry: &&Entry| {
        wanted.is_empty()
            || entry.platform.as_ref().is_none_or(|have| {
                wanted.iter().any(|want| {
                    have == want || have.starts_with(&format!("{want}/")) || want.starts_with(&format!("{have}/"))
                })
            })
    };
    let chosen: Vec<_> = entries.iter().filter(fits).collect();
    if chosen.is_empty() { entries.iter().collect() } else { chosen }
}
