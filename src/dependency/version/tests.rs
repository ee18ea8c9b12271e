use proptest::prelude::*;

use super::*;

fn version(tag: &str) -> Version {
    Version::parse(tag).unwrap_or_else(|why| panic!("{tag}: {why}"))
}

#[test]
fn only_like_is_compared_with_like() {
    for (one, other) in [
        ("1.2.3", "1.2.4"),
        ("v1.2.3", "v1.10.0"),
        ("1.27.3-alpine3.18", "1.27.3-alpine3.20"),
        ("1.2.3-debian-10-r6", "1.2.3-debian-11-r6"),
        ("1.2.3-debian-11-r6", "1.2.3-debian-11-r16"),
        ("2023.12.1", "2024.1.0"),
        ("24.04", "24.10"),
        ("20240501", "20241102"),
        ("bookworm-20240501", "bookworm-20241102"),
        ("3.9.6-eclipse-temurin-17", "3.9.9-eclipse-temurin-17"),
        ("17.0.9_9-jdk", "17.0.10_7-jdk"),
        ("8u382-jdk", "8u392-jdk"),
        ("RELEASE.2024-05-10T01-41-38Z", "RELEASE.2024-11-07T00-52-20Z"),
        ("1.2.0-rc.2", "1.2.0-rc.10"),
        ("18", "20"),
        ("v1.29.0-gke.1234", "v1.29.0-gke.12345"),
        ("alpine3.18", "alpine3.20"),
        ("1.2.3-arm64v8", "1.2.4-arm64v8"),
        ("2019-CU15", "2019-CU27"),
        ("16.1.20240501", "16.1.20240601"),
    ] {
        let (one, other) = (version(one), version(other));
        assert!(other.is_newer_than(&one), "{one:?} {other:?}");
        assert!(!one.is_newer_than(&other) && one < other, "{one:?} {other:?}");
    }
    for (one, other) in [
        ("1.2.3", "v1.2.4"),
        ("1.2.3", "1.3"),
        ("1.2", "1.2.4"),
        ("1.2.3", "1.2.4-rc1"),
        ("1.2.3", "1.2.4-alpine"),
        ("1.2.3-alpine", "1.2.4-alpine-perl"),
        ("1.2.3-alpine", "1.2.4-alpine3.20"),
        ("1.2.3-slim", "1.2.4-slim-bookworm"),
        ("1.2.3-bookworm", "1.2.4-bullseye"),
        ("1.2.3", "20240501"),
        ("1.2.3", "3"),
        ("1.2.3", "9"),
        ("1.2.3", "2024.1.0"),
        ("23.1.0", "2024.1.0"),
        ("3.9.6-eclipse-temurin-17", "3.9.6-eclipse-temurin-21"),
        ("1.2.3-jdk17", "1.2.3-jdk21"),
        ("1.2.3-python3.11-alpine3.18", "1.2.3-python3.12-alpine3.18"),
        ("8.0-nanoserver-1809", "8.0-nanoserver-2022"),
        ("8.0-nanoserver-ltsc2019", "8.0-nanoserver-ltsc2022"),
        ("1.2.3-arm32v7", "1.2.4-arm64v8"),
        ("1.2.3-amd64", "1.2.4-arm64"),
        ("1.2.3-i386", "1.2.3-i686"),
        ("1.2.0-alpha.1", "1.2.0-beta.1"),
        ("bookworm-20240501", "trixie-20240501"),
        ("1.2.03", "1.2.3"),
        ("1.2.x", "1.2.3"),
    ] {
        let (one, other) = (version(one), version(other));
        assert!(!one.is_newer_than(&other) && !other.is_newer_than(&one), "{one:?} {other:?}");
    }
}

#[test]
fn a_tag_of_two_numbers_stands_for_patches() {
    for (floating, patch, expected) in [
        ("18.20", "18.20.8", true),
        ("18.20", "18.20.0", true),
        ("v1.29", "v1.29.4", true),
        ("2024.1", "2024.1.3", true),
        ("18.20-alpine3.18", "18.20.8-alpine3.20", true),
        ("18.20-alpine3.20", "18.20.8-alpine3.18", false),
        ("18.20", "18.20.8-alpine", false),
        ("18.20-alpine", "18.20.8", false),
        ("18.20", "18.20.8-rc1", false),
        ("18.20", "v18.20.8", false),
        ("18.20", "18.2.8", false),
        ("18.2", "18.20.8", false),
        ("18.20", "18.20", false),
        ("18.20", "18.20.8.1", false),
        ("18.20.8", "18.20.8.1", false),
        ("18.20.8", "18.20", false),
        ("18", "18.20.8", false),
        ("18", "18.20", false),
        ("1.2-jdk17", "1.2.3-jdk21", false),
        ("20240501", "20240501.1.2", false),
    ] {
        assert_eq!(version(patch).is_patch_of(&version(floating)), expected, "{floating} {patch}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_no_version() {
    for (tag, why) in [
        ("latest", NoVersion::NoNumber),
        ("stable-alpine", NoVersion::NoNumber),
        ("4f1c2d3", NoVersion::Commit),
        ("4f1c2d3e4f1c2d3e4f1c2d3e4f1c2d3e4f1c2d3e", NoVersion::Commit),
        ("1234567", NoVersion::Commit),
        ("sha-4f1c2d3", NoVersion::Commit),
        ("main-4f1c2d3", NoVersion::Commit),
        ("1.2.3-4f1c2d3", NoVersion::Commit),
        ("1.2.3-5-g4f1c2d3", NoVersion::Commit),
        ("1.2.3-1234567", NoVersion::Commit),
        ("v1.2.3-20240501-4f1c2d3", NoVersion::Commit),
        ("pr-12", NoVersion::NumberedName),
        ("build-1234", NoVersion::NumberedName),
        ("jdk17", NoVersion::NumberedName),
        ("amd64-1.2.3", NoVersion::NumberedName),
        ("99999999999999999999999999", NoVersion::TooLong),
        ("1.2.3-r99999999999999999999999999", NoVersion::TooLong),
        ("", NoVersion::NotATag),
        ("-1.2", NoVersion::NotATag),
        (".1.2", NoVersion::NotATag),
        ("1.2+3", NoVersion::NotATag),
        ("1.2 3", NoVersion::NotATag),
        ("ü1", NoVersion::NotATag),
    ] {
        assert_eq!(Version::parse(tag), Err(why), "{tag}");
    }
    assert_eq!(Version::parse(&"1".repeat(129)), Err(NoVersion::NotATag));
}

#[test]
fn a_year_and_a_day_are_told_from_a_number() {
    for (tag, scheme) in [
        ("2024.1", Scheme::Calendar),
        ("2024", Scheme::Calendar),
        ("v2024.1.3", Scheme::Calendar),
        ("20240501", Scheme::Date),
        ("20240501123000", Scheme::Date),
        ("20241301", Scheme::Numbers),
        ("24.04", Scheme::Numbers),
        ("2100.1", Scheme::Numbers),
        ("1999.1", Scheme::Numbers),
    ] {
        assert_eq!(version(tag).scheme(), scheme, "{tag}");
    }
}

/// Tags as registries have them, and tags that only look so.
pub fn tag() -> impl Strategy<Value = String> {
    let number = prop_oneof![0u64..30, 2019u64..2027, Just(20_240_501), Just(20_261_101)];
    let main = proptest::collection::vec(number, 1..4)
        .prop_map(|numbers| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join("."));
    let suffix = prop_oneof![
        4 => Just(String::new()),
        1 => (0u8..30).prop_map(|n| format!("-alpine3.{n}")),
        1 => (9u8..13, 0u8..20).prop_map(|(n, r)| format!("-debian-{n}-r{r}")),
        1 => (0u8..12).prop_map(|n| format!("-rc.{n}")),
        1 => Just("-alpine-perl".to_owned()),
        1 => Just("-4f1c2d3".to_owned()),
        1 => "[-._][a-z0-9._-]{0,8}",
    ];
    let prefix = prop_oneof![6 => Just(""), 3 => Just("v"), 1 => Just("bookworm-"), 1 => Just("pr-")];
    (prefix, main, suffix).prop_map(|(prefix, main, suffix)| format!("{prefix}{main}{suffix}"))
}

proptest! {
    #[test]
    fn no_text_breaks_it(text in "\\PC{0,40}", tagged in "[A-Za-z0-9_][A-Za-z0-9._-]{0,60}") {
        for text in [text, tagged] {
            if let Ok(version) = Version::parse(&text) {
                prop_assert_eq!(version.tag(), text);
                prop_assert!(version.is_like(&version) && !version.is_newer_than(&version));
            }
        }
    }

    #[test]
    fn the_order_is_total(tags in proptest::collection::vec(tag(), 3)) {
        let versions: Vec<Version> = tags.iter().filter_map(|tag| Version::parse(tag).ok()).collect();
        for one in &versions {
            for other in &versions {
                prop_assert_eq!(one.cmp(other), other.cmp(one).reverse());
                prop_assert_eq!(one.cmp(other) == Ordering::Equal, one.tag() == other.tag());
                if one.is_newer_than(other) {
                    prop_assert!(one > other && !other.is_newer_than(one));
                }
                for third in &versions {
                    if one <= other && other <= third {
                        prop_assert!(one <= third);
                    }
                }
            }
        }
    }

    #[test]
    fn it_agrees_with_semver(one in (0u64..40, 0u64..40, 0u64..40), other in (0u64..40, 0u64..40, 0u64..40)) {
        let written = |(x, y, z): (u64, u64, u64)| format!("{x}.{y}.{z}");
        let (one, other) = (written(one), written(other));
        let semver = semver::Version::parse(&one).unwrap() > semver::Version::parse(&other).unwrap();
        prop_assert_eq!(version(&one).is_newer_than(&version(&other)), semver);
    }
}
