//! What an image holds, by the bills of materials that are attached to it; and what there is to say of that: packages
//! behind, runtimes and systems whose support ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::end_of_life::named::{Named, named};
use super::end_of_life::{Outlook, outlook};
use super::finding::{Finding, Findings};
use super::index::indexes::{Found, Indexes, LookUp, NotFound};
use super::package::Package;
use super::package::libyear::Libyears;
use super::package::steps::Compared;
use super::sbom::{self, Sbom, attestation};
use crate::evidence::Unknown;
use crate::image::reference::ImageReference;
use crate::image::registry::credentials::Credentials;
use crate::image::resolver::attached::{AttachedDocument, Wanted};
use crate::image::resolver::{Request, Resolver};

/// Most bytes of one bill of materials.
pub const LARGEST_SBOM_BYTES: u64 = 64 << 20;
/// Packages that are looked up side by side; each index has its own pace beside that.
const LOOK_UPS_AT_ONCE: usize = 16;
/// Names of packages that are told one by one.
const MOST_NAMES_TOLD: usize = 3;

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

/// What there is to say of an image's contents.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The next steps: at most three packages, and whatever ends.
    pub findings: Findings,
    /// How far its packages are behind; `None` where no dates are known.
    pub libyears: Option<Libyears>,
    /// How many of its packages were compared with an index.
    pub compared: usize,
    /// How many of those have a newer version.
    pub outdated: usize,
}

/// What an image lists, and why some of it is not known.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// What its bills of materials list together; `None` where it has none.
    pub sbom: Option<Sbom>,
    /// What could not be read.
    pub findings: Findings,
}

impl Listed {
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
        let deadline = Instant::now() + self.within;
        let listed = self.listed(asked, now, deadline).await;
        let mut contents = Contents { findings: listed.findings.clone(), ..Contents::default() };
        let Some(sbom) = &listed.sbom else { return contents };
        let name = name_of(asked.written);
        let packages = listed.packages(&mut contents.findings);
        let compared = self.compare(&packages, &mut contents.findings, now, deadline).await;
        contents.compared = compared.0.len();
        contents.outdated = compared.outdated();
        contents.libyears = compared.libyears();
        for finding in compared.findings(asked.written, &name, now) {
            contents.findings.add(finding);
        }
        for finding in self.ends(sbom, asked.written, &name, &mut contents.findings, now, deadline).await {
            contents.findings.add(finding);
        }
        contents
    }

    /// What would be asked about an image's contents; nothing is asked but its registry.
    pub async fn look_ups(&self, asked: Asked<'_>, now: DateTime<Utc>) -> (Vec<LookUp>, Findings) {
        let listed = self.listed(asked, now, Instant::now() + self.within).await;
        let mut findings = listed.findings.clone();
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
        let mut findings = listed.findings.clone();
        let packages = listed.packages(&mut findings);
        (packages, listed.sbom.as_ref().map(named).unwrap_or_default(), findings)
    }

    /// What the bills of materials of an image list.
    async fn listed(&self, asked: Asked<'_>, now: DateTime<Utc>, deadline: Instant) -> Listed {
        let mut listed = Listed::default();
        let what = format!("packages of {}", asked.written);
        let Ok(image) = ImageReference::parse(asked.written) else {
            return listed; // its date is unknown for that reason, and so it is said
        };
        let request = Request { credentials: asked.credentials, platforms: asked.platforms, now, deadline };
        let attached = match self.resolver.attached(&image, (asked.digest, asked.platforms), BILLS, request).await {
            Ok(attached) => attached,
            Err(unknown) => {
                listed.findings.could_not(what, unknown.detail);
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
                Err(why) => {
                    listed.findings.could_not(what.clone(), format!("a bill of materials cannot be used: {why}"));
                }
            }
        }
        for foreign in &attached.foreign {
            let why = format!("a bill of materials that is attached to it speaks of {foreign} and not of this image");
            listed.findings.could_not(what.clone(), why);
        }
        match &listed.sbom {
            None if listed.findings.not_looked_up.is_empty() => {
                listed.findings.could_not(what, "no bill of materials (SPDX or CycloneDX) is attached to it");
            }
            Some(sbom) => {
                if sbom.is_cut {
                    let why = format!("its bill of materials has more than {} packages", sbom::MOST_PACKAGES);
                    listed.findings.could_not(what.clone(), why);
                }
                if let Some(wrong) = &sbom.wrong_purl {
                    let why = format!("{} entries name no package: {wrong}", sbom.wrong_purls);
                    listed.findings.could_not(what, why);
                }
            }
            None => {}
        }
        listed
    }

    async fn read(
        &self,
        image: &ImageReference,
        document: &AttachedDocument,
        subjects: &[String],
        request: Request<'_>,
    ) -> Result<Sbom, String> {
        if document.bytes > LARGEST_SBOM_BYTES {
            return Err(format!("it is larger than {} MiB", LARGEST_SBOM_BYTES >> 20));
        }
        // Never closed.
        let _one_at_a_time = self.reading.acquire().await.map_err(|error| error.to_string())?;
        let bytes = self.resolver.document(image, document, LARGEST_SBOM_BYTES, request).await;
        let bytes = bytes.map_err(|Unknown { detail, .. }| detail)?;
        let (is_attestation, subjects) = (document.is_attestation, subjects.to_vec());
        let read = tokio::task::spawn_blocking(move || {
            if is_attestation {
                let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
                attestation::read(&bytes, &subjects).map_err(|error| error.to_string())
            } else {
                sbom::read(&bytes).map_err(|error| error.to_string())
            }
        });
        read.await.map_err(|error| error.to_string())?
    }

    async fn compare(
        &self,
        packages: &BTreeSet<Package>,
        findings: &mut Findings,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Compared {
        let look_ups =
            packages.iter().map(|package| async move { (package, self.indexes.compare(package, now, deadline).await) });
        let mut answers: Vec<_> = stream::iter(look_ups).buffer_unordered(LOOK_UPS_AT_ONCE).collect().await;
        answers.sort_by_key(|(package, _)| *package);
        let (mut compared, mut reasons) = (Compared::default(), BTreeMap::<String, Vec<String>>::new());
        for (package, answer) in answers {
            match answer {
                Ok(Found { found, stale_since }) => {
                    if let Some(since) = stale_since {
                        let why = format!("its index is away; what it said on {} was used", since.date_naive());
                        reasons.entry(why).or_default().push(package.name.to_string());
                    }
                    compared.0.push((package.clone(), found));
                }
                Err(why @ NotFound::NotComparable(_)) => {
                    reasons.entry(why.to_string()).or_default().push(package.to_string());
                }
                Err(why) => reasons.entry(why.to_string()).or_default().push(package.name.to_string()),
            }
        }
        tell(reasons, findings);
        compared
    }

    async fn ends(
        &self,
        sbom: &Sbom,
        image: &str,
        image_name: &str,
        findings: &mut Findings,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Vec<Finding> {
        let mut ending = Vec::new();
        if !self.indexes.knows_ends() {
            return ending;
        }
        for one in named(sbom) {
            let what = format!("end of life of {} {}", one.product, one.version);
            match self.indexes.product(one.product, now, deadline).await {
                Ok(Found { found, stale_since }) => {
                    if let Some(since) = stale_since {
                        let why = format!("whoever says so is away; what was said on {} was used", since.date_naive());
                        findings.could_not(what.clone(), why);
                    }
                    match outlook(&one, &found, image, image_name, now) {
                        Outlook::Ending(finding) => ending.push(*finding),
                        Outlook::Supported => {}
                        Outlook::UnknownVersion => findings.could_not(what, "nothing is said of this version"),
                    }
                }
                Err(why) => findings.could_not(what, why.to_string()),
            }
        }
        ending
    }
}

/// Tells what could not be looked up: each reason once, with a few of the packages that it is of.
fn tell(reasons: BTreeMap<String, Vec<String>>, findings: &mut Findings) {
    for (why, mut names) in reasons {
        names.dedup();
        let more = names.len().saturating_sub(MOST_NAMES_TOLD);
        names.truncate(MOST_NAMES_TOLD);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        findings.could_not(format!("newer versions of {}{more}", names.join(", ")), why);
    }
}

/// An image's name as the workload writes it, without tag and digest.
fn name_of(written: &str) -> String {
    let without_digest = written.split('@').next().unwrap_or_default();
    match without_digest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name.to_owned(),
        _ => without_digest.to_owned(),
    }
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
