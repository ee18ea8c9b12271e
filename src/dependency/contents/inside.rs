//! What was found in an image, whatever name it goes by, and what that says of one of its names.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::dependency::end_of_life::named::Named;
use crate::dependency::end_of_life::{Outlook, Product, outlook};
use crate::dependency::finding::Findings;
use crate::dependency::package::libyear::Libyears;
use crate::dependency::package::steps::Compared;

/// Names of packages that are told one by one.
const MOST_NAMES_TOLD: usize = 3;

/// What was found in an image.
#[derive(Clone, Debug, Default)]
pub struct Inside {
    /// Why its packages, or some of them, are not known.
    pub unread: Vec<String>,
    /// Packages that could not be compared, and why.
    pub not_compared: Findings,
    /// Its packages, compared with their indexes.
    pub compared: Compared,
    /// Its runtimes and systems, and what is known of their support, or why nothing is.
    pub products: Vec<(Named, Result<Told, String>)>,
    /// Whether somebody who was away may answer before long.
    pub is_passing: bool,
}

/// What somebody said of a product's support.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The product, with its versions.
    pub product: Product,
    /// When whoever is away now said so, in UTC; `None` where it is fresh.
    pub stale_since: Option<DateTime<Utc>>,
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

impl Inside {
    /// What there is to say of it under a name, as workloads write it, as of `now` (UTC).
    pub fn contents(&self, written: &str, now: DateTime<Utc>) -> Contents {
        let mut findings = unread(&self.unread, written);
        findings.merge(self.not_compared.clone());
        let name = name_of(written);
        for finding in self.compared.findings(written, &name, now) {
            findings.add(finding);
        }
        for (named, known) in &self.products {
            let what = format!("end of life of {} {}", named.product, named.version);
            match known {
                Ok(Told { product, stale_since }) => {
                    if let Some(since) = stale_since {
                        let why = format!("whoever says so is away; what was said on {} was used", since.date_naive());
                        findings.could_not(what.clone(), why);
                    }
                    match outlook(named, product, written, &name, now) {
                        Outlook::Ending(finding) => findings.add(*finding),
                        Outlook::Supported => {}
                        Outlook::UnknownVersion => findings.could_not(what, "nothing is said of this version"),
                    }
                }
                Err(why) => findings.could_not(what, why.clone()),
            }
        }
        Contents {
            findings,
            libyears: self.compared.libyears(),
            compared: self.compared.0.len(),
            outdated: self.compared.outdated(),
        }
    }
}

/// Why the packages of an image are not known, under one of its names.
pub fn unread(reasons: &[String], written: &str) -> Findings {
    let mut findings = Findings::default();
    for why in reasons {
        findings.could_not(format!("packages of {written}"), why.as_str());
    }
    findings
}

/// Tells what could not be looked up: each reason once, with a few of the packages that it is of.
pub fn tell(reasons: BTreeMap<String, Vec<String>>, findings: &mut Findings) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependency::package::behind::{Release, behind};
    use crate::dependency::package::{Ecosystem, Package, PackageName};

    #[test]
    fn the_same_image_is_told_under_each_of_its_names() {
        let now = "2026-11-25T12:00:00Z".parse().unwrap();
        let name = PackageName { ecosystem: Ecosystem::Npm, name: "left-pad".into() };
        let package = Package { name, version: "1.1.0".into() };
        let release = |version: &str, day: &str| Release {
            version: version.to_owned(),
            published: format!("{day}T00:00:00Z").parse().ok(),
            withdrawn: false,
        };
        let releases = [release("1.1.0", "2024-01-01"), release("1.1.3", "2025-01-01")];
        let found = behind(&package, &releases, now).unwrap();
        let named = Named { product: "nodejs", version: "20.1.0".into(), is_system: false };
        let inside = Inside {
            unread: vec!["one bill is broken".into()],
            compared: Compared(vec![(package, found)]),
            products: vec![(named, Err("it is away".into()))],
            ..Inside::default()
        };
        let told = |written: &str| {
            let contents = inside.contents(written, now);
            let missing = contents.findings.not_looked_up.into_iter().map(|one| one.what).collect::<Vec<_>>();
            (contents.findings.found.into_iter().map(|one| (one.id, one.image)).collect::<Vec<_>>(), missing)
        };
        let (mirror, elsewhere) = (told("mirror.example:5000/shop:1"), told("registry.example/shop:1@sha256:a"));
        assert_eq!(mirror.0[0].1, "mirror.example:5000/shop:1");
        assert_eq!(mirror.1, ["packages of mirror.example:5000/shop:1", "end of life of nodejs 20.1.0"]);
        assert_ne!(mirror.0[0].0, elsewhere.0[0].0, "an id is of an image's name");
        assert_eq!(mirror.0[0].0, told("mirror.example:5000/shop:2").0[0].0, "and not of its tag");
    }
}
