//! The ladder: of all tags of one shape the next three steps that can be taken, the smallest first.
//!
//! Patch is the newest in this X.Y, minor the newest patch of the next minor that there is, major the newest release of
//! the next major that there is. Days and instants (`20240501`) have no X.Y: their newest is a patch.

use super::finding::Step;
use super::version::{Scheme, Version};

/// Tags kept for each rung: the first may turn out to be gone, or to lie.
pub const MOST_TRIED: usize = 5;

/// A step and the tags that would be it, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// How large the step is.
    pub step: Step,
    /// The newest tag of the rung, and a few that stand in for it where it cannot be used.
    pub tags: Vec<Version>,
}

/// The rungs above a version, the smallest step first; those that lead nowhere are left out.
pub fn ladder<'a>(current: &Version, tags: impl IntoIterator<Item = &'a str>) -> Vec<Rung> {
    let newer: Vec<Version> = tags
        .into_iter()
        .filter_map(|tag| Version::parse(tag).ok())
        .filter(|version| version.is_newer_than(current))
        .collect();
    let is_patch = |version: &Version| {
        version.scheme() == Scheme::Date || (version.major() == current.major() && version.minor() == current.minor())
    };
    let (patches, beyond): (Vec<Version>, Vec<Version>) = newer.into_iter().partition(is_patch);
    let (minors, majors): (Vec<Version>, Vec<Version>) =
        beyond.into_iter().partition(|version| version.major() == current.major());
    let next_minor = minors.iter().filter_map(Version::minor).min();
    let next_major = majors.iter().map(Version::major).min();
    [
        (Step::Patch, patches),
        (Step::Minor, minors.into_iter().filter(|version| version.minor() == next_minor).collect()),
        (Step::Major, majors.into_iter().filter(|version| Some(version.major()) == next_major).collect()),
    ]
    .into_iter()
    .map(|(step, tags)| Rung { step, tags: newest(tags) })
    .filter(|rung| !rung.tags.is_empty())
    .collect()
}

/// The patches that a floating tag of two numbers stands for, the newest first: `18.20.8` of `18.20`. Which of them it means
/// only their build dates can tell, so whoever offers one has to look.
pub fn patches<'a>(floating: &Version, tags: impl IntoIterator<Item = &'a str>) -> Vec<Version> {
    let parsed = tags.into_iter().filter_map(|tag| Version::parse(tag).ok());
    newest(parsed.filter(|version| version.is_patch_of(floating)).collect())
}

fn newest(mut tags: Vec<Version>) -> Vec<Version> {
    tags.sort_unstable_by(|one, other| other.cmp(one));
    tags.dedup();
    tags.truncate(MOST_TRIED);
    tags
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::version::tests::tag;
    use super::*;

    fn steps(current: &str, tags: &[&str]) -> Vec<(Step, String)> {
        let rungs = ladder(&Version::parse(current).unwrap(), tags.iter().copied());
        rungs.iter().map(|rung| (rung.step, rung.tags[0].tag().to_owned())).collect()
    }

    #[test]
    fn each_rung_is_the_smallest_of_its_kind() {
        use Step::{Major, Minor, Patch};
        let all = [
            "1.27.3",
            "1.27.5",
            "1.27.10",
            "1.27.4",
            "1.29.0",
            "1.29.7",
            "1.30.1",
            "3.0.0",
            "3.4.1",
            "4.0.0",
            "1.26.9",
            "0.9.9",
            "latest",
            "1.27",
            "1",
            "3",
            "v9.9.9",
            "1.27.11-rc1",
            "1.27.11-alpine",
            "4f1c2d3",
            "2024.1.1",
            "20240501",
        ];
        assert_eq!(
            steps("1.27.3", &all),
            [(Patch, "1.27.10".to_owned()), (Minor, "1.29.7".to_owned()), (Major, "3.4.1".to_owned())]
        );
        assert_eq!(steps("1.30.1", &all), [(Major, "3.4.1".to_owned())]);
        assert_eq!(steps("4.0.0", &all), []);
        assert_eq!(steps("1", &all), [(Major, "3".to_owned())]);
        assert_eq!(steps("1.27", &["1.27", "1.28", "1.29", "2.0"]), [(Minor, "1.28".into()), (Major, "2.0".into())]);
    }

    #[test]
    fn suffixes_calendars_and_days_have_ladders_of_their_own() {
        use Step::{Major, Minor, Patch};
        let alpine = ["1.27.3-alpine3.18", "1.27.5-alpine3.18", "1.27.5-alpine3.20", "1.28.0-alpine3.19", "1.29.0"];
        assert_eq!(
            steps("1.27.3-alpine3.18", &alpine),
            [(Patch, "1.27.5-alpine3.20".into()), (Minor, "1.28.0-alpine3.19".into())]
        );
        assert_eq!(steps("1.27.5-alpine3.18", &alpine)[0], (Patch, "1.27.5-alpine3.20".into()));
        let calendar = ["2024.1.0", "2024.1.2", "2024.3.0", "2025.2.0", "2025.2.1", "2026.1.0", "30.0.0"];
        assert_eq!(
            steps("2024.1.0", &calendar),
            [(Patch, "2024.1.2".into()), (Minor, "2024.3.0".into()), (Major, "2025.2.1".into())]
        );
        let days = ["bookworm-20240501", "bookworm-20240612", "bookworm-20261101", "trixie-20261101"];
        assert_eq!(steps("bookworm-20240501", &days), [(Patch, "bookworm-20261101".into())]);
        let releases = ["1.2.0-rc.1", "1.2.0-rc.10", "1.2.0-rc.9", "1.2.0", "1.3.0"];
        assert_eq!(steps("1.2.0-rc.1", &releases), [(Patch, "1.2.0-rc.10".into())]);
    }

    #[test]
    fn a_floating_tag_has_its_patches_beside_its_ladder() {
        let all = ["18.20", "18.20.4", "18.20.10", "18.20.8", "18.20.11-alpine", "18.21", "18.21.3", "20.1.0", "18"];
        let of = |floating: &str| {
            let found = patches(&Version::parse(floating).unwrap(), all);
            found.iter().map(|version| version.tag().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of("18.20"), ["18.20.10", "18.20.8", "18.20.4"]);
        for without in ["18", "18.20.4", "18.22", "18.20-alpine3.20"] {
            assert_eq!(of(without), [""; 0], "{without}");
        }
        assert_eq!(steps("18.20", &all), [(Step::Minor, "18.21".to_owned())]);
    }

    #[test]
    fn the_order_of_pages_does_not_matter() {
        let mut tags: Vec<String> = (0..400).map(|patch| format!("1.2.{patch}")).collect();
        tags.sort(); // as registries list them
        let current = Version::parse("1.2.17").unwrap();
        let rungs = ladder(&current, tags.iter().map(String::as_str));
        assert_eq!(
            rungs[0].tags.iter().map(Version::tag).collect::<Vec<_>>(),
            ["1.2.399", "1.2.398", "1.2.397", "1.2.396", "1.2.395"]
        );
    }

    proptest! {
        #[test]
        fn no_step_leads_to_something_older_or_of_another_shape(
            current in tag(), tags in proptest::collection::vec(tag(), 0..60)
        ) {
            let Ok(current) = Version::parse(&current) else { return Ok(()) };
            let rungs = ladder(&current, tags.iter().map(String::as_str));
            for rung in &rungs {
                for version in &rung.tags {
                    prop_assert!(version.is_newer_than(&current));
                    prop_assert!(!current.is_newer_than(version));
                    prop_assert_eq!(version.shape(), current.shape());
                    prop_assert!(tags.iter().any(|tag| tag == version.tag()));
                }
                prop_assert!(rung.tags.is_sorted_by(|one, other| one > other));
            }
            prop_assert!(rungs.is_sorted_by_key(|rung| rung.step));
            // Nothing newer is overlooked: without a rung there is nothing newer.
            let newer = tags.iter().filter_map(|tag| Version::parse(tag).ok()).any(|other| other.is_newer_than(&current));
            prop_assert_eq!(newer, !rungs.is_empty());
            // Its patches are what it stands for, and never on its ladder too.
            let of_it = patches(&current, tags.iter().map(String::as_str));
            for patch in &of_it {
                prop_assert!((patch.major(), patch.minor()) == (current.major(), current.minor()));
                prop_assert!(!patch.is_like(&current) && !patch.is_newer_than(&current) && !current.is_newer_than(patch));
                prop_assert!(rungs.iter().all(|rung| !rung.tags.contains(patch)));
            }
            prop_assert!(of_it.is_sorted_by(|one, other| one > other));
        }
    }
}
