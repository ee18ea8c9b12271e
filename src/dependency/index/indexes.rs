//! The indexes that an operator named, asked together: each package of the first that has it, and each question once.
//!
//! Lists of releases are taken as they were for some hours, then asked again by their `ETag`; the date of a release never
//! changes. While an index is away, what it said within a week stands in, and that is told.

mod beyond;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use moka::future::Cache as Memory;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::Instant;

use super::cache::{AnswerStore, Kept};
use super::client::{Answered, AnsweredBody, Before, ClientError, IndexClient, IndexError, LargeAnswers};
use super::protocol::{Kind, Question, Unreadable};
use super::settings::{IndexSetting, IndexSettings, Location};
use super::snapshot::{Snapshot, SnapshotError};
use crate::dependency::end_of_life::{self, Product};
use crate::dependency::package::behind::{Behind, NotComparable, Release, behind};
use crate::dependency::package::version::Version;
use crate::dependency::package::{Package, PackageName};

/// How long a list of releases is taken as it was.
const LIST_FRESH_FOR: TimeDelta = TimeDelta::hours(6);
/// How long it is believed that an index does not have a package.
const NONE_FRESH_FOR: TimeDelta = TimeDelta::hours(1);
/// How long what an index said stands in while it is away.
const STALE_FOR: TimeDelta = TimeDelta::days(7);
/// How long a kept answer stays that nobody wants.
const KEPT_UNUSED_FOR: TimeDelta = TimeDelta::days(30);
/// How long what was found is in memory; shorter than it is fresh.
const IN_MEMORY_FOR: Duration = Duration::from_secs(15 * 60);
const MOST_IN_MEMORY: u64 = 20_000;
/// Most bytes of a snapshot: ten thousand packages have a tenth of that.
const LARGEST_SNAPSHOT_BYTES: u64 = 256 << 20;

/// Why the indexes cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A client could not be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A snapshot cannot be read.
    #[error("the snapshot {} cannot be read: {why}; correct `path` in the settings of the indexes", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A snapshot is none.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Why it is not known how far a package is behind.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotFound {
    /// Nobody may be asked about it.
    #[error("no index for packages of {0} is configured")]
    NoIndex(String),
    /// It is private.
    #[error("it is private, and no index is named that serves it")]
    Private,
    /// Its name is none that an index could have.
    #[error("its name is none that an index could have")]
    Name,
    /// Whoever was asked does not have it.
    #[error("{0} does not have it: it was withdrawn, or is of another origin")]
    Unknown(String),
    /// Whoever was asked gave no answer.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// What is used cannot be compared with what there is.
    #[error(transparent)]
    NotComparable(#[from] NotComparable),
}

/// Something looked up, and since when it may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// What was found.
    pub found: T,
    /// When whoever is away now said so, in UTC; `None` where it is fresh.
    pub stale_since: Option<DateTime<Utc>>,
}

/// One question that would be asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LookUp {
    /// What it is about, as `npm:left-pad`.
    pub about: String,
    /// The whole address, or the snapshot.
    pub address: String,
    /// Whether it is asked only where those before it have no answer.
    pub or_else: bool,
}

enum Source {
    Server(Kind, IndexClient),
    Snapshot(PathBuf, Snapshot),
}

impl Source {
    fn place(&self) -> String {
        match self {
            Self::Server(_, client) => client.place().to_owned(),
            Self::Snapshot(path, _) => format!("the snapshot {}", path.display()),
        }
    }
}

enum EndOfLife {
    Server(IndexClient),
    Snapshot(PathBuf, Snapshot),
}

/// The releases of a package, and which index has them.
#[derive(Debug)]
struct Releases {
    all: Vec<Release>,
    source: usize,
    stale_since: Option<DateTime<Utc>>,
}

type LookedUp = Arc<Result<Releases, NotFound>>;
type LookedUpProduct = Arc<Result<Found<Product>, NotFound>>;

/// The indexes.
pub struct Indexes {
    sources: Vec<(IndexSetting, Source)>,
    private: Vec<String>,
    end_of_life: Option<EndOfLife>,
    kept: Arc<dyn AnswerStore>,
    packages: Memory<PackageName, LookedUp>,
    products: Memory<String, LookedUpProduct>,
}

impl Indexes {
    /// Sets up what the settings name. Nothing is asked yet.
    pub async fn open(settings: &IndexSettings, kept: Arc<dyn AnswerStore>) -> Result<Self, OpenError> {
        let (mut sources, large) = (Vec::new(), LargeAnswers::default());
        for setting in &settings.indexes {
            let source = match (&setting.location, setting.kind) {
                (Location::Server(endpoint), Some(kind)) => {
                    Source::Server(kind, IndexClient::new(endpoint, large.clone()).await?)
                }
                (Location::Snapshot(path), _) => Source::Snapshot(path.clone(), snapshot(path).await?),
                // The settings pair them.
                (Location::Server(_), None) => continue,
            };
            sources.push((setting.clone(), source));
        }
        let end_of_life = match &settings.end_of_life {
            Some(Location::Server(endpoint)) => {
                Some(EndOfLife::Server(IndexClient::new(endpoint, large.clone()).await?))
            }
            Some(Location::Snapshot(path)) => Some(EndOfLife::Snapshot(path.clone(), snapshot(path).await?)),
            None => None,
        };
        Ok(Self {
            sources,
            private: settings.private.clone(),
            end_of_life,
            kept,
            packages: Memory::builder().max_capacity(MOST_IN_MEMORY).time_to_live(IN_MEMORY_FOR).build(),
            products: Memory::builder().max_capacity(MOST_IN_MEMORY).time_to_live(IN_MEMORY_FOR).build(),
        })
    }

    /// Whether anybody could say when support ends.
    pub fn knows_ends(&self) -> bool {
        self.end_of_life.is_some() || self.snapshots().any(|(_, snapshot)| !snapshot.end_of_life.is_empty())
    }

    /// Writes what was learnt to where answers are kept.
    pub async fn settle(&self, now: DateTime<Utc>) {
        self.kept.settle(now).await;
    }

    /// Drops kept answers that nobody used for [`KEPT_UNUSED_FOR`].
    pub async fn forget_unused(&self, now: DateTime<Utc>) {
        self.kept.forget_unused(now - KEPT_UNUSED_FOR).await;
    }

    fn snapshots(&self) -> impl Iterator<Item = (&PathBuf, &Snapshot)> {
        self.sources.iter().filter_map(|(_, source)| match source {
            Source::Snapshot(path, snapshot) => Some((path, snapshot)),
            Source::Server(..) => None,
        })
    }

    /// Which indexes are asked about a package, in order, or why none is.
    fn asked_about(&self, name: &PackageName) -> Result<Vec<usize>, NotFound> {
        let asked =
            self.sources.iter().enumerate().filter(|(_, (setting, _))| setting.is_asked_about(name, &self.private));
        let asked: Vec<usize> = asked.map(|(index, _)| index).collect();
        if !asked.is_empty() {
            return Ok(asked);
        }
        let could = self.sources.iter().any(|(setting, _)| setting.is_asked_about(name, &[]));
        Err(if could { NotFound::Private } else { NotFound::NoIndex(name.ecosystem.to_string()) })
    }

    /// All that would be asked, so that it can be seen before anything is.
    pub fn look_ups<'a>(
        &self,
        packages: impl IntoIterator<Item = &'a Package>,
        products: &BTreeSet<&str>,
    ) -> (Vec<LookUp>, BTreeMap<PackageName, NotFound>) {
        let (mut asked, mut not_asked) = (Vec::new(), BTreeMap::new());
        for package in packages {
            if let Err(why) = version_of(package) {
                not_asked.insert(package.name.clone(), why.into());
                continue;
            }
            match self.asked_about(&package.name) {
                Err(why) => {
                    not_asked.insert(package.name.clone(), why);
                }
                Ok(sources) => {
                    let addresses = sources.iter().flat_map(|index| self.addresses(*index, package));
                    for (position, address) in addresses.enumerate() {
                        asked.push(LookUp { about: package.name.to_string(), address, or_else: position > 0 });
                    }
                }
            }
        }
        for product in products {
            let address = match &self.end_of_life {
                Some(EndOfLife::Server(client)) => Some(client.address(&product_question(product))),
                Some(EndOfLife::Snapshot(path, _)) => Some(format!("the snapshot {}", path.display())),
                None => self.snapshots().next().map(|(path, _)| format!("the snapshot {}", path.display())),
            };
            let about = format!("end of life of {product}");
            asked.extend(address.map(|address| LookUp { about, address, or_else: false }));
        }
        asked.sort();
        asked.dedup();
        (asked, not_asked)
    }

    fn addresses(&self, source: usize, package: &Package) -> Vec<String> {
        match self.sources.get(source) {
            Some((setting, Source::Server(kind, client))) => {
                let protocol = kind.protocol();
                let dates = protocol.date_question(&package.name, &package.version);
                let next = protocol.next_major(&package.name);
                let next = next.filter(|(next, _)| setting.is_asked_about(next, &self.private));
                let apart = dates.into_iter().chain(next.map(|(_, question)| question));
                protocol.questions(&package.name).into_iter().chain(apart).map(|one| client.address(&one)).collect()
            }
            Some((_, source)) => vec![source.place()],
            None => Vec::new(),
        }
    }

    /// How far a package is behind.
    pub async fn compare(
        &self,
        package: &Package,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Result<Found<Behind>, NotFound> {
        // What cannot be compared need not be asked about.
        version_of(package)?;
        let looked_up = self.look_up(&package.name, now, deadline).await;
        let releases = looked_up.as_ref().as_ref().map_err(Clone::clone)?;
        let mut behind = behind(package, &releases.all, now)?;
        if let Some((_, Source::Server(kind, client))) = self.sources.get(releases.source) {
            self.date(&mut behind, *kind, client, &package.name, now, deadline).await?;
        }
        Ok(Found { found: behind, stale_since: releases.stale_since })
    }

    /// Every release of a package, with the dates of those that matter to `used`: what a snapshot keeps.
    pub async fn releases(
        &self,
        name: &PackageName,
        used: &[&Package],
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Result<Vec<Release>, NotFound> {
        let looked_up = self.look_up(name, now, deadline).await;
        let releases = looked_up.as_ref().as_ref().map_err(Clone::clone)?;
        let mut dates: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
        for package in used {
            // One that cannot be compared here cannot be compared elsewhere either, and will say so there.
            if let Ok(Found { found, .. }) = self.compare(package, now, deadline).await {
                let dated = [Some(&found.used), Some(&found.newest), found.next.as_ref().map(|(_, release)| release)];
                let dated = dated.into_iter().flatten();
                dates.extend(dated.filter_map(|release| Some((release.version.clone(), release.published?))));
            }
        }
        let is_used = |version: &str| used.iter().any(|package| package.version == version);
        let is_kept = |release: &&Release| {
            let version = Version::parse(name.ecosystem, &release.version);
            is_used(&release.version) || version.is_some_and(|version| !version.is_pre_release())
        };
        let with_date = |release: &Release| Release {
            published: release.published.or_else(|| dates.get(&release.version).copied()),
            ..release.clone()
        };
        Ok(releases.all.iter().filter(is_kept).map(with_date).collect())
    }

    async fn look_up(&self, name: &PackageName, now: DateTime<Utc>, deadline: Instant) -> LookedUp {
        let looked_up =
            self.packages.get_with_by_ref(name, async { Arc::new(self.find(name, now, deadline).await) }).await;
        if matches!(looked_up.as_ref(), Err(NotFound::Index(_))) {
            // Whoever asks next may have more luck.
            self.packages.invalidate(name).await;
        }
        looked_up
    }

    async fn find(&self, name: &PackageName, now: DateTime<Utc>, deadline: Instant) -> Result<Releases, NotFound> {
        let (mut error, mut asked, mut stale) = (None, Vec::new(), None);
        for index in self.asked_about(name)? {
            let Some((setting, source)) = self.sources.get(index) else { continue };
            match source {
                Source::Snapshot(_, snapshot) => {
                    if let Some(all) = snapshot.releases(name) {
                        return Ok(Releases { all: all.clone(), source: index, stale_since: None });
                    }
                }
                Source::Server(kind, client) => match self.ask_for_releases(*kind, client, name, now, deadline).await {
                    Ok(Some(Found { found: all, stale_since: None })) => {
                        let all = self.complete(all, (setting, *kind, client), name, now, deadline).await?;
                        return Ok(Releases { all, source: index, stale_since: None });
                    }
                    Ok(Some(Found { found: all, stale_since })) => {
                        stale.get_or_insert(Releases { all, source: index, stale_since });
                    }
                    Ok(None) if kind.protocol().questions(name).is_empty() => continue,
                    Ok(None) => {}
                    Err(failed) => {
                        error.get_or_insert(failed);
                    }
                },
            }
            asked.push(source.place());
        }
        match (stale, error) {
            (Some(stale), _) => Ok(stale),
            (None, Some(error)) => Err(error.into()),
            (None, None) if asked.is_empty() => Err(NotFound::Name),
            (None, None) => Err(NotFound::Unknown(asked.join(", "))),
        }
    }

    async fn ask_for_releases(
        &self,
        kind: Kind,
        client: &IndexClient,
        name: &PackageName,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Result<Option<Found<Vec<Release>>>, IndexError> {
        let protocol = kind.protocol();
        for question in protocol.questions(name) {
            let name = name.clone();
            let read = move |body: AnsweredBody| protocol.read(&name, &body.bytes);
            let asking = Asking {
                client,
                question: &question,
                accept: protocol.accept(),
                fresh_for: Some(LIST_FRESH_FOR),
                none_fresh_for: NONE_FRESH_FOR,
            };
            let answer = self.answer(asking, read, now, deadline).await?;
            if let Some(found) = answer.filter(|found| !found.found.is_empty()) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Asks for the dates that the list does not have, of the three releases that matter.
    async fn date(
        &self,
        behind: &mut Behind,
        kind: Kind,
        client: &IndexClient,
        name: &PackageName,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Result<(), IndexError> {
        let mut dates: BTreeMap<String, Option<DateTime<Utc>>> = BTreeMap::new();
        let next = behind.next.as_mut().map(|(_, release)| release);
        for release in [&mut behind.used, &mut behind.newest].into_iter().chain(next) {
            if release.published.is_some() {
                continue;
            }
            if let Some(known) = dates.get(&release.version) {
                release.published = *known;
                continue;
            }
            let protocol = kind.protocol();
            let Some(question) = protocol.date_question(name, &release.version) else { continue };
            let read = move |body: AnsweredBody| Ok(protocol.read_date(&body.bytes, body.last_modified));
            let asking = Asking {
                client,
                question: &question,
                accept: protocol.accept(),
                fresh_for: None,
                none_fresh_for: NONE_FRESH_FOR,
            };
            let answer = self.answer(asking, read, now, deadline).await?;
            let date = answer.and_then(|found| found.found).filter(|date| *date <= now + TimeDelta::hours(24));
            dates.insert(release.version.clone(), date);
            release.published = date;
        }
        Ok(())
    }

    /// What endoflife.date, or a snapshot of it, says of a product.
    pub async fn product(
        &self,
        product: &str,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Result<Found<Product>, NotFound> {
        let found = async { Arc::new(self.find_product(product, now, deadline).await) };
        let found = self.products.get_with_by_ref(product, found).await;
        if matches!(found.as_ref(), Err(NotFound::Index(_))) {
            self.products.invalidate(product).await;
        }
        found.as_ref().clone()
    }

    async fn find_product(
        &self,
        product: &str,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Result<Found<Product>, NotFound> {
        let fresh = |found: &Product| Found { found: found.clone(), stale_since: None };
        match &self.end_of_life {
            Some(EndOfLife::Server(client)) => {
                let read = |body: AnsweredBody| end_of_life::read(&body.bytes).map_err(Unreadable::Shape);
                let question = product_question(product);
                let asking = Asking {
                    client,
                    question: &question,
                    accept: "application/json",
                    fresh_for: Some(LIST_FRESH_FOR),
                    none_fresh_for: NONE_FRESH_FOR,
                };
                let found = self.answer(asking, read, now, deadline).await?;
                found.ok_or_else(|| NotFound::Unknown(client.place().to_owned()))
            }
            Some(EndOfLife::Snapshot(path, snapshot)) => snapshot
                .end_of_life
                .get(product)
                .map(fresh)
                .ok_or_else(|| NotFound::Unknown(format!("the snapshot {}", path.display()))),
            None => {
                let found = self.snapshots().find_map(|(_, snapshot)| snapshot.end_of_life.get(product));
                found.map(fresh).ok_or_else(|| NotFound::Unknown("the snapshot".to_owned()))
            }
        }
    }

    /// An answer: as it is kept, where that is fresh; else asked for; else as it was, where nothing better is to be had.
    async fn answer<T: Serialize + DeserializeOwned + Send + 'static>(
        &self,
        asking: Asking<'_>,
        read: impl FnOnce(AnsweredBody) -> Result<T, Unreadable> + Send + 'static,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Result<Option<Found<T>>, IndexError> {
        let Asking { client, question, accept, fresh_for, none_fresh_for } = asking;
        let url = client.address(question);
        // What cannot be read any more was kept by another version.
        let kept = self.kept.load(&url).await.and_then(|kept| {
            let answer = kept.answer.as_deref().map(serde_json::from_str::<T>).transpose().ok()?;
            Some((kept, answer))
        });
        let kept = match kept {
            // A clock that was wrong may have dated it ahead.
            Some((kept, answer))
                if is_fresh(
                    now.signed_duration_since(kept.asked_at).abs(),
                    answer.as_ref().map_or(Some(none_fresh_for), |_| fresh_for),
                ) =>
            {
                return Ok(answer.map(|found| Found { found, stale_since: None }));
            }
            other => other,
        };
        let before = kept.as_ref().filter(|(kept, _)| kept.answer.is_some()).map(|(kept, _)| kept);
        let before = before.map(|kept| Before { etag: kept.etag.as_deref(), last_modified: kept.last_modified });
        let asked = client.ask(question, accept, before.unwrap_or_default(), now, deadline).await;
        let (etag, last_modified, answer) = match asked {
            Ok(Answered::NotThere) => (None, None, None),
            Ok(Answered::Unchanged) => match kept {
                Some((kept, answer)) => (kept.etag, kept.last_modified, answer),
                None => (None, None, None),
            },
            Ok(Answered::Body(body)) => {
                let (etag, last_modified) = (body.etag.clone(), body.last_modified);
                // Tens of megabytes are read beside the tasks that answer reviews.
                let read = tokio::task::spawn_blocking(move || read(body)).await;
                let read = read.map_err(|error| Unreadable::Shape(error.to_string())).and_then(|read| read);
                let place = || client.place().to_owned();
                match read {
                    Ok(read) => (etag, last_modified, Some(read)),
                    Err(why) => return stale_or(kept, now, IndexError::Unreadable { place: place(), why }),
                }
            }
            Err(error) => return stale_or(kept, now, error),
        };
        if let Ok(json) = answer.as_ref().map(serde_json::to_string).transpose() {
            self.kept.save(&Kept { url, asked_at: now, etag, last_modified, answer: json }).await;
        }
        Ok(answer.map(|found| Found { found, stale_since: None }))
    }
}

/// What is asked of a server, how long its answer is taken as it was, `None` for ever, and how long that it has none.
#[derive(Clone, Copy)]
struct Asking<'a> {
    client: &'a IndexClient,
    question: &'a Question,
    accept: &'static str,
    fresh_for: Option<TimeDelta>,
    none_fresh_for: TimeDelta,
}

fn is_fresh(age: TimeDelta, fresh_for: Option<TimeDelta>) -> bool {
    fresh_for.is_none_or(|fresh_for| age < fresh_for)
}

/// What was said before, where it may stand in for an answer; else the error.
fn stale_or<T>(
    kept: Option<(Kept, Option<T>)>,
    now: DateTime<Utc>,
    error: IndexError,
) -> Result<Option<Found<T>>, IndexError> {
    match kept {
        Some((kept, Some(found)))
            if error.is_passing() && now.signed_duration_since(kept.asked_at).abs() < STALE_FOR =>
        {
            tracing::warn!(%error, asked_at = %kept.asked_at, "an index is away; what it said before stands in");
            Ok(Some(Found { found, stale_since: Some(kept.asked_at) }))
        }
        _ => Err(error),
    }
}

fn product_question(product: &str) -> Question {
    Question { path: format!("products/{product}"), head_only: false }
}

fn version_of(package: &Package) -> Result<Version, NotComparable> {
    if package.version.is_empty() {
        return Err(NotComparable::NoVersion);
    }
    Version::parse(package.name.ecosystem, &package.version)
        .ok_or_else(|| NotComparable::Version(package.version.chars().take(80).collect()))
}

async fn snapshot(path: &PathBuf) -> Result<Snapshot, OpenError> {
    let failed = |why: String| OpenError::Read { path: path.clone(), why };
    let size = tokio::fs::metadata(path).await.map_err(|error| failed(error.to_string()))?.len();
    if size > LARGEST_SNAPSHOT_BYTES {
        return Err(failed(format!("it is larger than {} MiB", LARGEST_SNAPSHOT_BYTES >> 20)));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(|error| failed(error.to_string()))?;
    Ok(Snapshot::read(&path.display().to_string(), &text)?)
}
