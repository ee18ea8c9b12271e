//! When support of a runtime or a system ends, in the terms of endoflife.date (version 1 of its API). Pure: what an SBOM
//! names, what was answered, and the present time go in, findings come out.

pub mod named;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use self::named::Named;
use crate::dependency::finding::{Finding, Kind, Step, stable_id};

/// How long before the end a finding begins.
const WARN_DAYS_BEFORE: i64 = 180;

/// A product, and how long each of its cycles is supported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Product {
    /// As people call it: `Node.js`.
    pub label: String,
    /// Its cycles, in whatever order.
    pub cycles: Vec<Cycle>,
}

/// A cycle: the versions that are supported together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cycle {
    /// The beginning of its versions, as `18` or `3.11`.
    pub name: String,
    /// When it was released, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<NaiveDate>,
    /// When support ends, or has ended, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<NaiveDate>,
    /// Whether it was over when that was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_over: bool,
    /// Its newest version, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    result: ProductAnswer,
}

#[derive(Deserialize)]
struct ProductAnswer {
    name: String,
    label: Option<String>,
    releases: Vec<ReleaseAnswer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReleaseAnswer {
    name: String,
    release_date: Option<NaiveDate>,
    is_eol: Option<bool>,
    eol_from: Option<NaiveDate>,
    latest: Option<LatestAnswer>,
}

#[derive(Deserialize)]
struct LatestAnswer {
    name: Option<String>,
}

/// Reads what version 1 of the API answers for a product; an error says what is wrong.
pub fn read(body: &[u8]) -> Result<Product, String> {
    let Answer { result } = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let cycle = |release: ReleaseAnswer| Cycle {
        name: release.name,
        released: release.release_date,
        ends: release.eol_from,
        is_over: release.is_eol == Some(true),
        latest: release.latest.and_then(|latest| latest.name),
    };
    Ok(Product {
        label: result.label.unwrap_or(result.name),
        cycles: result.releases.into_iter().take(1_000).map(cycle).collect(),
    })
}

impl Cycle {
    /// Whether a version belongs to it: `18.20.4` to `18`, and not to `1`.
    fn has(&self, version: &str) -> bool {
        version.strip_prefix(self.name.as_str()).is_some_and(|rest| {
            rest.is_empty() || !rest.starts_with(|character: char| character.is_ascii_alphanumeric())
        })
    }

    fn is_over(&self, today: NaiveDate) -> bool {
        self.ends.map_or(self.is_over, |ends| ends <= today)
    }
}

impl Product {
    /// The cycle of a version, the most exact one.
    fn cycle_of(&self, version: &str) -> Option<&Cycle> {
        self.cycles.iter().filter(|cycle| cycle.has(version)).max_by_key(|cycle| cycle.name.len())
    }

    /// The next cycle that is supported longer, by the numbers of their names.
    fn next_after(&self, here: &Cycle, today: NaiveDate) -> Option<&Cycle> {
        let lasts = |cycle: &&Cycle| {
            !cycle.is_over(today)
                && cycle.released.is_none_or(|released| released <= today)
                && numbers(&cycle.name) > numbers(&here.name)
                // A step that is over before the winter is none.
                && cycle.ends.is_none_or(|ends| (ends - today).num_days() > WARN_DAYS_BEFORE)
        };
        self.cycles.iter().filter(lasts).min_by_key(|cycle| numbers(&cycle.name))
    }
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// What an end of support leaves to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Support ends soon, or has ended.
    Ending(Box<Finding>),
    /// It does not end soon.
    Supported,
    /// Nothing is known of this version.
    UnknownVersion,
}

/// What there is to say of something that an image holds. `image` is as the workload writes it, `image_name` without tag
/// and digest.
pub fn outlook(named: &Named, product: &Product, image: &str, image_name: &str, now: DateTime<Utc>) -> Outlook {
    let today = now.date_naive();
    let Some(cycle) = product.cycle_of(&named.version) else { return Outlook::UnknownVersion };
    let days_left = cycle.ends.map(|ends| (ends - today).num_days());
    if !cycle.is_over(today) && days_left.is_none_or(|days| days > WARN_DAYS_BEFORE) {
        return Outlook::Supported;
    }
    let label = &product.label;
    let why = match (cycle.ends, days_left) {
        (Some(ends), Some(days)) if days > 0 => {
            format!(
                "{label} {} is supported until {ends}, for {days} more days; after that nobody mends it.",
                cycle.name
            )
        }
        (Some(ends), _) => format!("{label} {} has had no support since {ends}: nobody mends it any more.", cycle.name),
        (None, _) => format!("{label} {} has no support any more: nobody mends it.", cycle.name),
    };
    let from = format!("{label} {}", named.version);
    let (to, how, step, age_days) = match product.next_after(cycle, today) {
        Some(next) => {
            let latest = next.latest.as_deref().unwrap_or(&next.name);
            let is_minor = numbers(&next.name).first() == numbers(&cycle.name).first() && numbers(&next.name).len() > 1;
            let age = next.released.map(|released| (today - released).num_days());
            let how = if named.is_system {
                format!("build on a base of {label} {}", next.name)
            } else {
                format!("build with {label} {} (newest {latest})", next.name)
            };
            (next.name.clone(), how, if is_minor { Step::Minor } else { Step::Major }, age)
        }
        None => {
            let to = "another product".to_owned();
            (
                to,
                format!("{label} has no supported version after {}: look for its successor", cycle.name),
                Step::Major,
                None,
            )
        }
    };
    Outlook::Ending(Box::new(Finding {
        id: stable_id(Kind::EndOfLife, &[image_name, named.product, &cycle.name]),
        kind: Kind::EndOfLife,
        step,
        image: image.to_owned(),
        from,
        to,
        age_days,
        why,
        how,
        refused_on: None,
        target_refused_on: None,
        target: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = r#"{"schema_version":"1.2.0","result":{"name":"nodejs","label":"Node.js","releases":[
        {"name":"26","releaseDate":"2026-04-22","isEol":false,"eolFrom":"2029-04-30","latest":{"name":"26.2.0","date":"2026-10-01","link":null}},
        {"name":"24","releaseDate":"2025-05-06","isLts":true,"isEol":false,"eolFrom":"2028-04-30","isMaintained":true,"latest":{"name":"24.11.0"}},
        {"name":"23","releaseDate":"2024-10-16","isEol":true,"eolFrom":"2025-06-01","latest":null},
        {"name":"22","releaseDate":"2024-04-24","isEol":false,"eolFrom":"2027-04-30","latest":{"name":"22.21.0"}},
        {"name":"2","releaseDate":"2015-05-04","isEol":true,"eolFrom":null},
        {"name":"20","releaseDate":"2023-04-18","isEol":true,"eolFrom":"2026-04-30","latest":{"name":"20.20.2"}}]}}"#;

    fn of(version: &str, at: &str) -> Outlook {
        let named = Named { product: "nodejs", version: version.into(), is_system: false };
        let now = format!("{at}T12:00:00Z").parse().unwrap();
        outlook(&named, &read(NODE.as_bytes()).unwrap(), "registry.example/shop:1", "registry.example/shop", now)
    }

    fn finding(version: &str, at: &str) -> Finding {
        match of(version, at) {
            Outlook::Ending(finding) => *finding,
            other => panic!("{version}: {other:?}"),
        }
    }

    #[test]
    fn what_has_ended_names_the_next_that_lasts() {
        let node = finding("20.20.2", "2026-11-25");
        assert_eq!((node.from.as_str(), node.to.as_str(), node.step), ("Node.js 20.20.2", "24", Step::Major));
        assert_eq!(node.why, "Node.js 20 has had no support since 2026-04-30: nobody mends it any more.");
        assert_eq!(node.how, "build with Node.js 24 (newest 24.11.0)");
        assert_eq!(node.age_days, Some(568));
        // Half a year earlier 22 still lasted long enough.
        assert_eq!(finding("20.1.0", "2026-05-01").to, "22");
    }

    #[test]
    fn what_ends_soon_says_when() {
        let node = finding("22.21.0", "2026-11-25");
        assert_eq!(
            node.why,
            "Node.js 22 is supported until 2027-04-30, for 156 more days; after that nobody mends it."
        );
        assert_eq!(of("22.21.0", "2026-01-01"), Outlook::Supported);
        assert_eq!(of("24.0.0", "2026-11-25"), Outlook::Supported);
    }

    #[test]
    fn a_version_belongs_to_the_most_exact_cycle() {
        assert_eq!(finding("2.5.0", "2026-11-25").why, "Node.js 2 has no support any more: nobody mends it.");
        assert_eq!(of("205.1", "2026-11-25"), Outlook::UnknownVersion);
        assert_eq!(of("21.0.0", "2026-11-25"), Outlook::UnknownVersion);
    }

    #[test]
    fn the_last_cycle_of_a_product_has_no_step() {
        let product = Product {
            label: "CentOS".into(),
            cycles: vec![Cycle {
                name: "7".into(),
                released: None,
                ends: "2024-06-30".parse().ok(),
                is_over: true,
                latest: None,
            }],
        };
        let named = Named { product: "centos", version: "7".into(), is_system: true };
        let Outlook::Ending(finding) = outlook(&named, &product, "a:1", "a", "2026-11-25T00:00:00Z".parse().unwrap())
        else {
            panic!("it has ended")
        };
        assert_eq!(finding.how, "CentOS has no supported version after 7: look for its successor");
    }

    #[test]
    fn what_is_no_answer_says_so() {
        assert!(read(b"<html>").is_err());
        assert!(read(br#"{"result": {"name": "x"}}"#).unwrap_err().contains("releases"));
    }
}
