//! What an image holds, by the bills of materials that are attached to it; and what there is to say of that: packages
//! behind, runtimes and systems whose support ends.

mod inside;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use self::inside::{Contents, Inside};
use self::inside::{Told, tell, unread};
use super::end_of_life::named::{Named, named};
use super::finding::Findings;
use super::index::indexes::{Found, Indexes, LookUp, NotFound};
use super::package::Package;
use super::package::behind::Behind;
use super::sbom::{self, Sbom, attestation};
use crate::evidence::{Unknown, UnknownReason};
use crate::image::reference::ImageReference;
use crate::image::registry::credentials::Credentials;
use crate::image::resolver::attached::{AttachedDocument, Wanted};
use crate::image::resolver::{Request, Resolver};

/// Most bytes of one bill of materials.
pub const LARGEST_SBOM_BYTES: u64 = 64 << 20;
/// Packages that are looked up side by side; each index has its own pace beside that.
const LOOK_UPS_AT_ONCE: usize = 16;

/// An image whose contents are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The reference, as the workload writes it.
    pub written: &'a str,
    /// The digest that runs.
    pub digest: &'a str,
    /// Credentials that come with the workload.
    pub credentials: Option<&'a Credentials>,
    /// Platforms that matter, as `linux/amd64`; empty for all.
    pub platforms: &'a [String],
}

/// What an image lists, and why some of it is not known.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// What its bills of materials list together; `None` where it has none.
    pub sbom: Option<Sbom>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
    /// Whether a registry that was away may answer before long.
    pub is_passing: bool,
}

impl Listed {
    fn could_not_read(&mut self, why: impl Into<String>) {
        self.unread.push(why.into());
    }

    /// The packages that have indexes; those of another origin are told as such.
    fn packages(&self, findings: &mut Findings) -> BTreeSet<Package> {
        let (mut packages, mut elsewhere) = (BTreeSet::new(), BTreeMap::new());
        for purl in self.sbom.iter().flat_map(|sbom| &sbom.purls) {
            match (purl.package(), &purl.origin) {
                (Some(package), None) => {
                    packages.insert(package);
                }
                (Some(package), Some(origin)) => {
                    let origin = origin.split(['?', '#']).next().unwrap_or_default();
                    let why = format!("it comes from {}, and not from an index", without_login(origin));
                    elsewhere.entry(why).or_insert_with(Vec::new).push(package.name.to_string());
                }
                (None, _) => {}
            }
        }
        tell(elsewhere, findings);
        packages
    }
}

/// Looks into images.
pub struct LookInto<'a> {
    resolver: &'a Resolver,
    indexes: &'a Indexes,
    /// How long all look-ups of one image may take.
    within: Duration,
    /// Bills of materials are large: one is read at a time.
    reading: Semaphore,
}

/// Which documents are bills of materials.
const BILLS: Wanted = Wanted { predicate: attestation::is_bill, media_type: is_bill_media_type };

fn is_bill_media_type(media_type: &str) -> bool {
    matches!(
        media_type.split(';').next().unwrap_or_default().trim(),
        "application/spdx+json" | "text/spdx+json" | "application/vnd.cyclonedx+json"
    )
}

impl<'a> LookInto<'a> {
    /// Looks into images through a resolver, and asks these indexes; of one image it may take so long.
    pub fn new(resolver: &'a Resolver, indexes: &'a Indexes, within: Duration) -> Self {
        Self { resolver, indexes, within, reading: Semaphore::new(1) }
    }

    /// What there is to say of an image's contents, as of `now` (UTC).
    pub async fn contents(&self, asked: Asked<'_>, now: DateTime<Utc>) -> Contents {
        self.inside(asked, now).await.contents(asked.written, now)
    }

    /// What is in an image, whatever name it goes by.
    pub async fn inside(&self, asked: Asked<'_>, now: DateTime<Utc>) -> Inside {
        let deadline = Instant::now() + self.within;
        let listed = self.listed(asked, now, deadline).await;
        let mut inside = Inside { unread: listed.unread.clone(), is_passing: listed.is_passing, ..Inside::default() };
        let Some(sbom) = &listed.sbom else { return inside };
        let packages = listed.packages(&mut inside.not_compared);
        self.compare(&packages, &mut inside, now, deadline).await;
        self.products(sbom, &mut inside, now, deadline).await;
        inside
    }

    /// What would be asked about an image's contents; nothing is asked but its registry.
    pub async fn look_ups(&self, asked: Asked<'_>, now: DateTime<Utc>) -> (Vec<LookUp>, Findings) {
        let listed = self.listed(asked, now, Instant::now() + self.within).await;
        let mut findings = unread(&listed.unread, asked.written);
        let packages = listed.packages(&mut findings);
        let products = listed.sbom.as_ref().map(named).unwrap_or_default();
        let products = products.iter().map(|named| named.product).collect();
        let (look_ups, not_asked) = self.indexes.look_ups(&packages, &products);
        let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, why) in not_asked {
            reasons.entry(why.to_string()).or_default().push(name.to_string());
        }
        tell(reasons, &mut findings);
        (look_ups, findings)
    }

    /// The packages and products that an image lists, to be kept in a snapshot.
    pub async fn inventory(
        &self,
        asked: Asked<'_>,
        now: DateTime<Utc>,
    ) -> (BTreeSet<Package>, BTreeSet<Named>, Findings) {
        let listed = self.listed(asked, now, Instant::now() + self.within).await;
        let mut findings = unread(&listed.unread, asked.written);
        let packages = listed.packages(&mut findings);
        (packages, listed.sbom.as_ref().map(named).unwrap_or_default(), findings)
    }

    /// What the bills of materials of an image list.
    async fn listed(&self, asked: Asked<'_>, now: DateTime<Utc>, deadline: Instant) -> Listed {
        let mut listed = Listed::default();
        let Ok(image) = ImageReference::parse(asked.written) else {
            return listed; // its date is unknown for that reason, and so it is said
        };
        let request = Request { credentials: asked.credentials, platforms: asked.platforms, now, deadline };
        let attached = match self.resolver.attached(&image, (asked.digest, asked.platforms), BILLS, request).await {
            Ok(attached) => attached,
            Err(unknown) => {
                listed.is_passing = is_passing(&unknown);
                listed.could_not_read(unknown.detail);
                return listed;
            }
        };
        let subjects: Vec<String> = attached.subjects.iter().cloned().collect();
        for document in &attached.documents {
            match self.read(&image, document, &subjects, request).await {
                Ok(sbom) => match &mut listed.sbom {
                    Some(known) => known.merge(sbom),
                    None => listed.sbom = Some(sbom),
                },
                Err(NotRead { why, is_passing }) => {
                    listed.is_passing |= is_passing;
                    listed.could_not_read(format!("a bill of materials cannot be used: {why}"));
                }
            }
        }
        for foreign in &attached.foreign {
            listed.could_not_read(format!(
                "a bill of materials that is attached to it speaks of {foreign} and not of this image"
            ));
        }
        let mut missing = Vec::new();
        match &listed.sbom {
            None if listed.unread.is_empty() => {
                missing.push("no bill of materials (SPDX or CycloneDX) is attached to it".to_owned());
            }
            Some(sbom) => {
                if sbom.is_cut {
                    missing.push(format!("its bill of materials has more than {} packages", sbom::MOST_PACKAGES));
                }
                if let Some(wrong) = &sbom.wrong_purl {
                    missing.push(format!("{} entries name no package: {wrong}", sbom.wrong_purls));
                }
            }
            None => {}
        }
        listed.unread.extend(missing);
        listed
    }

    async fn read(
        &self,
        image: &ImageReference,
        document: &AttachedDocument,
        subjects: &[String],
        request: Request<'_>,
    ) -> Result<Sbom, NotRead> {
        let for_good = |why: String| NotRead { why, is_passing: false };
        if document.bytes > LARGEST_SBOM_BYTES {
            return Err(for_good(format!("it is larger than {} MiB", LARGEST_SBOM_BYTES >> 20)));
        }
        // Never closed.
        let _one_at_a_time = self.reading.acquire().await.map_err(|error| for_good(error.to_string()))?;
        let bytes = self.resolver.document(image, document, LARGEST_SBOM_BYTES, request).await;
        let bytes = bytes.map_err(|unknown| NotRead { is_passing: is_passing(&unknown), why: unknown.detail })?;
        let (is_attestation, subjects) = (document.is_attestation, subjects.to_vec());
        let read = tokio::task::spawn_blocking(move || {
            if is_attestation {
                let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
                attestation::read(&bytes, &subjects).map_err(|error| error.to_string())
            } else {
                sbom::read(&bytes).map_err(|error| error.to_string())
            }
        });
        read.await.map_err(|error| for_good(error.to_string()))?.map_err(for_good)
    }

    async fn compare_one<'p>(
        &self,
        package: &'p Package,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> (&'p Package, Result<Found<Behind>, NotFound>) {
        (package, self.indexes.compare(package, now, deadline).await)
    }

    async fn compare(&self, packages: &BTreeSet<Package>, inside: &mut Inside, now: DateTime<Utc>, deadline: Instant) {
        // Boxed: the compiler cannot tell that these are `Send` for every lifetime.
        let look_ups: Vec<_> =
            packages.iter().map(|package| self.compare_one(package, now, deadline).boxed()).collect();
        let mut answers: Vec<_> = stream::iter(look_ups).buffer_unordered(LOOK_UPS_AT_ONCE).collect().await;
        answers.sort_by_key(|(package, _)| *package);
        let mut reasons = BTreeMap::<String, Vec<String>>::new();
        for (package, answer) in answers {
            match answer {
                Ok(Found { found, stale_since }) => {
                    if let Some(since) = stale_since {
                        inside.is_passing = true;
                        let why = format!("its index is away; what it said on {} was used", since.date_naive());
                        reasons.entry(why).or_default().push(package.name.to_string());
                    }
                    inside.compared.0.push((package.clone(), found));
                }
                Err(why @ NotFound::NotComparable(_)) => {
                    reasons.entry(why.to_string()).or_default().push(package.to_string());
                }
                Err(why) => {
                    inside.is_passing |= may_pass(&why);
                    reasons.entry(why.to_string()).or_default().push(package.name.to_string());
                }
            }
        }
        tell(reasons, &mut inside.not_compared);
    }

    async fn products(&self, sbom: &Sbom, inside: &mut Inside, now: DateTime<Utc>, deadline: Instant) {
        if !self.indexes.knows_ends() {
            return;
        }
        for one in named(sbom) {
            let known = self.indexes.product(one.product, now, deadline).await;
            inside.is_passing |= match &known {
                Ok(found) => found.stale_since.is_some(),
                Err(why) => may_pass(why),
            };
            let known = known.map(|Found { found, stale_since }| Told { product: found, stale_since });
            inside.products.push((one, known.map_err(|why| why.to_string())));
        }
    }
}

/// Why a bill of materials cannot be used.
struct NotRead {
    why: String,
    is_passing: bool,
}

/// Whether a registry may answer before long.
fn is_passing(unknown: &Unknown) -> bool {
    matches!(unknown.reason, UnknownReason::Unreachable | UnknownReason::RateLimited)
}

/// Whether an index may answer before long.
fn may_pass(why: &NotFound) -> bool {
    matches!(why, NotFound::Index(error) if error.is_passing())
}

/// An address without the name and the password that may stand in it.
fn without_login(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) =
                rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
        }
        None => address.to_owned(),
    }
}
