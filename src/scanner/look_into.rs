//! What is in the images that run: packages and what ends, by the indexes that an operator named.
//!
//! It comes after the look-ups of a round and what is said of them, so that an index which is slow or away holds up nothing
//! else; and it ends with the round's time, so that the next one comes. What was not reached is next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout};

use super::fleet::Fleet;
use super::known::{ImageKey, Known, KnownContents};
use super::look_up::Wanted;
use super::shelf::KnownImages;
use super::{POLICIES_EVERY, Scanner, pace};
use crate::dependency::contents::{Asked, LookInto};
use crate::dependency::index::indexes::Indexes;

/// Images that are looked into at once: their bills of materials are large.
const AT_ONCE: usize = 2;
/// How long one of them may take. What was answered by then is kept, and the next look goes on from it.
const WITHIN: Duration = Duration::from_secs(120);
/// Images whose contents are kept together.
const KEPT_TOGETHER: usize = 8;

/// The package indexes that are asked.
pub struct Asking {
    /// The indexes.
    pub indexes: Indexes,
    /// Tells their settings from others: with others, all images are looked into again.
    pub mark: String,
}

/// A name under which a digest runs, with what is known of it.
type Name<'a> = (&'a ImageKey, Arc<Known>);

/// One digest that runs, under whatever names.
struct Due<'a> {
    names: Vec<Name<'a>>,
    digest: String,
    wanted: &'a Wanted,
    platforms: Vec<String>,
}

impl Scanner {
    /// Looks into the images that are due, each digest once, as long as there is time; whether there were any.
    pub(super) async fn look_into_due(
        &self,
        asking: &Asking,
        (fleet, wanted): (&Fleet, &BTreeMap<ImageKey, Wanted>),
        known: &mut KnownImages,
        until: Instant,
    ) -> bool {
        let due = self.due(asking, wanted, known);
        if due.is_empty() {
            return false;
        }
        let pause = pace::pause(self.interval, due.len());
        let look_into = LookInto::new(&self.gatherer.resolver, &asking.indexes, WITHIN);
        let look_into = &look_into;
        let mut looked = stream::iter(due)
            .then(|due| async move {
                // What there is no time for now is first in the next round.
                if Instant::now() >= until {
                    return None;
                }
                sleep(pause).await;
                Some(due)
            })
            .map(|due| async move {
                match due {
                    Some(due) => self.look_into(asking, look_into, &due).await,
                    None => Vec::new(),
                }
            })
            .buffer_unordered(AT_ONCE)
            .ready_chunks(KEPT_TOGETHER)
            .boxed();
        let mut asked = self.policies.load_full();
        loop {
            match timeout(POLICIES_EVERY, looked.next()).await {
                Ok(Some(some)) => {
                    let some: Vec<(ImageKey, Arc<Known>)> = some.into_iter().flatten().collect();
                    self.shelf.save(&some, &[]).await;
                    known.extend(some);
                }
                Ok(None) => return true,
                Err(_) => {}
            }
            // It may take the rest of a round, and policies do not wait for that.
            self.ask_anew(&mut asked, fleet, known).await;
        }
    }

    /// The digests that are due, those that nobody looked into first.
    fn due<'a>(&self, asking: &Asking, wanted: &'a BTreeMap<ImageKey, Wanted>, known: &KnownImages) -> Vec<Due<'a>> {
        let now = (self.clock)();
        let mut groups: BTreeMap<(&str, String), Vec<Name<'a>>> = BTreeMap::new();
        for key in wanted.keys() {
            if let Some(known) = known.get(key)
                && let Some(digest) = digest(known, key)
            {
                let names = groups.entry((key.scope.as_str(), digest.to_owned())).or_default();
                names.push((key, Arc::clone(known)));
            }
        }
        let is_due = |(key, known): &Name<'_>| {
            known.contents_due_at(key, &asking.mark, self.interval).is_some_and(|due_at| due_at <= now)
        };
        let mut due: Vec<_> = groups.into_iter().filter(|(_, names)| names.iter().any(is_due)).collect();
        due.sort_by_key(|(_, names)| {
            names.iter().map(|(key, known)| known.contents(key).map(|contents| contents.looked_at)).min()
        });
        let due = due.into_iter().filter_map(|((_, digest), names)| {
            let platforms = platforms(names.iter().filter_map(|(key, _)| wanted.get(*key)));
            let wanted = wanted.get(names.first()?.0)?;
            Some(Due { names, digest, wanted, platforms })
        });
        due.collect()
    }

    async fn look_into(&self, asking: &Asking, look_into: &LookInto<'_>, due: &Due<'_>) -> Vec<(ImageKey, Arc<Known>)> {
        let Some((first, _)) = due.names.first() else { return Vec::new() };
        let now = (self.clock)();
        let asked = Asked {
            written: &first.image,
            digest: &due.digest,
            credentials: due.wanted.credentials.as_ref(),
            platforms: &due.platforms,
        };
        let inside = look_into.inside(asked, now).await;
        asking.indexes.settle(now).await;
        let told = |(key, before): &Name<'_>| {
            let found = inside.contents(&key.image, now);
            let contents = KnownContents::new(now, before.digest(key)?, &asking.mark, inside.is_passing, found);
            Some(((*key).clone(), Arc::new(Known { contents: Some(contents), ..(**before).clone() })))
        };
        due.names.iter().filter_map(told).collect()
    }
}

/// The digest to which everything is attached: where a platform runs, its index, which may list attestations.
fn digest<'a>(known: &'a Known, key: &'a ImageKey) -> Option<&'a str> {
    let running = known.digest(key)?;
    let is_of_index = known.found.known().filter(|image| image.platforms.iter().any(|one| one.digest == running));
    Some(is_of_index.map_or(running, |image| image.digest.as_str()))
}

/// The platforms that any of them wants; none for all.
fn platforms<'a>(wanted: impl Iterator<Item = &'a Wanted>) -> Vec<String> {
    let mut all = BTreeSet::new();
    for one in wanted {
        match &one.platforms {
            Some(some) => all.extend(some.iter().cloned()),
            None => return Vec::new(),
        }
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::dependency::finding::Findings;
    use crate::evidence::{Cache, Fact, PlatformImage, ResolvedImage, UnknownReason};

    #[test]
    fn what_is_attached_hangs_at_the_index_of_a_platform_that_runs() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let platform = PlatformImage {
            platform: None,
            digest: "sha256:platform".to_owned(),
            built: Fact::unknown(UnknownReason::NoDate, "x"),
            first_seen: None,
            candidates: Vec::new(),
        };
        let found = Fact::Known(ResolvedImage {
            digest: "sha256:index".to_owned(),
            platforms: vec![platform],
            cache: Cache::Fetched,
            fetched_at: at,
        });
        let known = Known { scanned_at: at, found, findings: Findings::default(), contents: None };
        let key =
            |running: &str| ImageKey { scope: String::new(), image: "a:1".to_owned(), running: running.to_owned() };
        for (running, expected) in
            [("", "sha256:index"), ("sha256:platform", "sha256:index"), ("sha256:before", "sha256:before")]
        {
            assert_eq!(digest(&known, &key(running)), Some(expected), "{running}");
        }
        let known = Known { found: Fact::unknown(UnknownReason::Unreachable, "x"), ..known };
        assert_eq!(digest(&known, &key("")), None);
    }

    #[test]
    fn one_that_wants_all_platforms_wants_them_for_all() {
        let wanted = |platforms: Option<&[&str]>| Wanted {
            credentials: None,
            platforms: platforms.map(|some| some.iter().map(|one| (*one).to_owned()).collect()),
        };
        let (some, more, all) = (wanted(Some(&["linux/arm64"])), wanted(Some(&["linux/amd64"])), wanted(None));
        assert_eq!(platforms([&some, &more].into_iter()), ["linux/amd64", "linux/arm64"]);
        assert_eq!(platforms([&some, &all].into_iter()), [""; 0]);
    }
}
