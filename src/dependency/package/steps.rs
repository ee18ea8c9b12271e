//! The findings of packages: of those that are behind, the three that are furthest, each with its small next step.

use chrono::{DateTime, Utc};

use super::behind::Behind;
use super::go_module;
use super::libyear::{Libyears, years};
use super::version::Version;
use super::{Ecosystem, Package};
use crate::dependency::finding::{Finding, Kind, Step, days_between, stable_id};

/// Packages of one image that become findings: never a wall.
pub const MOST_FINDINGS: usize = 3;

/// Packages of an image that are compared with their indexes.
#[derive(Clone, Debug, Default)]
pub struct Compared(pub Vec<(Package, Behind)>);

impl Compared {
    /// How far they are behind together; `None` where no dates are known.
    pub fn libyears(&self) -> Option<Libyears> {
        let dated = self.0.iter().filter_map(|(package, behind)| Some((in_words(package), behind.time()?)));
        Libyears::of(&dated.collect::<Vec<_>>())
    }

    /// How many of them have a next step.
    pub fn outdated(&self) -> usize {
        self.0.iter().filter(|(_, behind)| behind.next.is_some()).count()
    }

    /// The findings: furthest behind first. `image` is as the workload writes it, `image_name` without tag and digest.
    pub fn findings(&self, image: &str, image_name: &str, now: DateTime<Utc>) -> Vec<Finding> {
        let mut outdated: Vec<&(Package, Behind)> = self.0.iter().filter(|(_, behind)| behind.next.is_some()).collect();
        // Where dates are missing, the numbers of versions decide; the names make the order certain.
        outdated.sort_by(|(one, one_behind), (other, other_behind)| {
            let rank = |behind: &Behind| (behind.time(), behind.majors, behind.minors, behind.patches);
            rank(other_behind).cmp(&rank(one_behind)).then_with(|| one.cmp(other))
        });
        let findings = outdated.into_iter().take(MOST_FINDINGS);
        findings.filter_map(|(package, behind)| finding(package, behind, image, image_name, now)).collect()
    }
}

/// `serde 1.0.100`.
pub fn in_words(package: &Package) -> String {
    format!("{} {}", package.name.name, package.version)
}

fn finding(package: &Package, behind: &Behind, image: &str, image_name: &str, now: DateTime<Utc>) -> Option<Finding> {
    let (step, next) = behind.next.as_ref()?;
    let from = in_words(package);
    Some(Finding {
        id: stable_id(Kind::Package, &[image_name, package.name.ecosystem.as_str(), &from, step.as_str()]),
        kind: Kind::Package,
        step: *step,
        image: image.to_owned(),
        to: next.version.clone(),
        age_days: next.published.map(|published| days_between(published, now)),
        why: why(package, behind),
        how: how(package, *step, &next.version),
        refused_on: None,
        target_refused_on: None,
        target: None,
        from,
    })
}

fn why(package: &Package, behind: &Behind) -> String {
    let name = &package.name.name;
    let withdrawn = if behind.used.withdrawn {
        format!("{} was withdrawn by its authors, and ", in_words(package))
    } else {
        String::new()
    };
    let time = match behind.time().map(years) {
        Some(years) if years >= 1.0 => format!("{years:.1} years and "),
        Some(years) if years > 0.0 => format!("{:.0} days and ", (years * 365.25).max(1.0)),
        _ => String::new(),
    };
    format!("{withdrawn}{name} is {time}{} behind {}.", behind.in_words(), behind.newest.version)
}

/// The command or the line that takes the step; the image is built anew after it.
fn how(package: &Package, step: Step, to: &str) -> String {
    let name = &package.name.name;
    match package.name.ecosystem {
        Ecosystem::Cargo if step == Step::Major => format!("cargo add {name}@{to}, then build the image anew"),
        Ecosystem::Cargo => {
            format!("cargo update -p {name}@{} --precise {to}, then build the image anew", package.version)
        }
        Ecosystem::Npm => format!("npm install {name}@{to}, then build the image anew"),
        Ecosystem::PyPi => format!("write {name}=={to} where the requirements name it, then build the image anew"),
        Ecosystem::Go => go(name, to),
        Ecosystem::Maven => {
            format!("give {name} the version {to} in pom.xml or build.gradle, then build the image anew")
        }
    }
}

/// Of Go, where the path may change with the major.
fn go(name: &str, to: &str) -> String {
    let major = Version::parse(Ecosystem::Go, to).map(|version| version.line().major.1);
    let is_of_path = to.ends_with("+incompatible") || major.is_none_or(|to| to.max(1) == go_module::major(name));
    match major.and_then(|major| go_module::at_major(name, major)).filter(|_| !is_of_path) {
        Some(path) => format!("go get {path}@{to}, import it by that path, then build the image anew"),
        None => format!("go get {name}@{to}, then build the image anew"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::PackageName;
    use super::super::behind::{Release, behind};
    use super::*;

    fn compared(ecosystem: Ecosystem, name: &str, used: &str, all: &[(&str, &str)]) -> (Package, Behind) {
        let package = Package { name: PackageName { ecosystem, name: name.into() }, version: used.into() };
        let release = |(version, day): &(&str, &str)| Release {
            version: (*version).to_owned(),
            published: format!("{day}T00:00:00Z").parse().ok(),
            withdrawn: false,
        };
        let releases: Vec<Release> = all.iter().map(release).collect();
        let behind = behind(&package, &releases, now()).unwrap();
        (package, behind)
    }

    fn now() -> DateTime<Utc> {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn three_packages_become_findings_the_furthest_first() {
        let all = Compared(vec![
            compared(Ecosystem::Npm, "fresh", "1.0.0", &[("1.0.0", "2020-01-01")]),
            compared(Ecosystem::Npm, "near", "1.0.0", &[("1.0.0", "2026-01-01"), ("1.0.1", "2026-02-01")]),
            compared(Ecosystem::Cargo, "far", "1.0.0", &[("1.0.0", "2020-01-01"), ("1.0.9", "2026-10-15")]),
            compared(Ecosystem::PyPi, "middle", "1.0", &[("1.0", "2024-01-01"), ("2.0", "2026-01-01")]),
            compared(Ecosystem::Go, "undated", "v1.0.0", &[("v1.0.0", ""), ("v1.1.0", "")]),
        ]);
        let findings = all.findings("registry.example/shop/checkout:1", "registry.example/shop/checkout", now());
        let steps: Vec<_> = findings.iter().map(|finding| (finding.from.as_str(), finding.to.as_str())).collect();
        assert_eq!(steps, [("far 1.0.0", "1.0.9"), ("middle 1.0", "2.0"), ("near 1.0.0", "1.0.1")]);
        assert_eq!(findings[0].why, "far is 6.8 years and 1 patch behind 1.0.9.");
        assert_eq!(findings[0].how, "cargo update -p far@1.0.0 --precise 1.0.9, then build the image anew");
        assert_eq!(findings[0].age_days, Some(41));
        assert_eq!(findings[2].why, "near is 31 days and 1 patch behind 1.0.1.");
        assert_eq!(all.outdated(), 4);
        let libyears = all.libyears().unwrap();
        assert_eq!((libyears.packages, libyears.worst_package.as_deref()), (4, Some("far 1.0.0")));
    }

    #[test]
    fn a_major_of_go_is_got_by_its_own_path() {
        for (name, to, expected) in [
            ("example.com/x", "v1.2.0", "go get example.com/x@v1.2.0, then"),
            ("example.com/x", "v0.2.0", "go get example.com/x@v0.2.0, then"),
            ("example.com/x", "v2.2.0", "go get example.com/x/v2@v2.2.0, import it by that path, then"),
            ("example.com/x/v2", "v2.3.0", "go get example.com/x/v2@v2.3.0, then"),
            ("example.com/x/v2", "v3.0.1", "go get example.com/x/v3@v3.0.1, import it by that path, then"),
            ("example.com/x", "v2.0.0+incompatible", "go get example.com/x@v2.0.0+incompatible, then"),
            ("gopkg.in/yaml.v2", "v3.0.1", "go get gopkg.in/yaml.v3@v3.0.1, import it by that path, then"),
        ] {
            assert_eq!(go(name, to), format!("{expected} build the image anew"));
        }
    }

    #[test]
    fn an_id_stays_while_the_target_moves() {
        let id = |newest: (&str, &str)| {
            let one = compared(Ecosystem::Npm, "x", "1.0.0", &[("1.0.0", "2024-01-01"), newest]);
            Compared(vec![one]).findings("a:1", "a", now())[0].id.clone()
        };
        assert_eq!(id(("1.0.1", "2025-01-01")), id(("1.0.2", "2025-02-01")));
        assert_ne!(id(("1.0.1", "2025-01-01")), id(("2.0.0", "2025-02-01")));
    }
}
