//! When was it built? Weighs every date that an image carries against what nobody can refresh.
//!
//! `build_time = min(best claim, every trusted upper bound)`: copying or re-pushing can only make an image look newer,
//! so the earliest counts. A sentinel, a missing or a future date is unknown, never old and never fresh.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::evidence::{Fact, UnknownReason};

/// Where a date was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// `created` of the image config.
    Config,
    /// `metadata.buildFinishedOn` or `runDetails.metadata.finishedOn` of a SLSA provenance.
    Provenance,
    /// `org.opencontainers.image.created` on the manifest.
    ManifestAnnotation,
    /// The same on the index, or on the index's entry.
    IndexAnnotation,
    /// The same, or `org.label-schema.build-date`, among the config's labels.
    Label,
    /// The last history entry that made a layer; for schema 1, the newest entry.
    History,
    /// The gate's own ledger: when it first met the digest.
    FirstSeen,
}

impl Source {
    /// The name as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Provenance => "provenance",
            Self::ManifestAnnotation => "manifest-annotation",
            Self::IndexAnnotation => "index-annotation",
            Self::Label => "label",
            Self::History => "history",
            Self::FirstSeen => "first-seen",
        }
    }

    /// The words for a message: "built 112 days ago, on 2026-08-03 (image config)".
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Config => "image config",
            Self::Provenance => "build provenance",
            Self::ManifestAnnotation => "manifest annotation",
            Self::IndexAnnotation => "index annotation",
            Self::Label => "image label",
            Self::History => "image history",
            Self::FirstSeen => "first seen here",
        }
    }
}

/// How far a date can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Whoever built the image wrote it.
    Claim,
    /// The image cannot be younger than this, whoever says so.
    UpperBound,
}

impl Class {
    /// The name as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::UpperBound => "upper-bound",
        }
    }
}

/// A date as it was found on an image: kept for ever beside the digest, judged afresh each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Where it was found.
    pub source: Source,
    /// The text as it stood there.
    pub value: String,
    /// Why it must not count, where that is known from the place it was found in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<String>,
}

impl Claim {
    /// A date that may count.
    pub fn new(source: Source, value: impl Into<String>) -> Self {
        Self { source, value: value.into(), passed_over: None }
    }

    /// A date that is shown but must not count.
    pub fn passed_over(source: Source, value: impl Into<String>, why: impl Into<String>) -> Self {
        Self { source, value: value.into(), passed_over: Some(why.into()) }
    }
}

/// The date that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDate {
    /// When the image was built, or could at the latest have been, in UTC.
    #[serde(serialize_with = "crate::instant::serialize")]
    pub time: DateTime<Utc>,
    /// Where that was found.
    pub source: Source,
    /// How far it can be trusted.
    pub class: Class,
}

/// One date that was looked at, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Where it was found.
    pub source: Source,
    /// How far it can be trusted.
    pub class: Class,
    /// RFC 3339 in UTC where it is a date; else the text as found.
    pub value: String,
    /// Whether it is the one that counts.
    pub used: bool,
    /// Why it counts, or why not.
    pub why: String,
}

/// A clock may be this far ahead of ours before its dates are called future.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// The order in which claims are believed; a later one counts only where no earlier one is usable.
const PRECEDENCE: [Source; 6] = [
    Source::Config,
    Source::Provenance,
    Source::ManifestAnnotation,
    Source::IndexAnnotation,
    Source::Label,
    Source::History,
];

/// Weighs the dates found on an image, and the time it was first seen here, as of `now`.
///
/// Gives the date that counts and every candidate with its reason, in the order of belief, bounds last. Without a
/// usable claim the date is unknown, whatever the bound: that one can prove an image too old, never fresh.
pub fn weigh(
    claims: &[Claim],
    first_seen: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> (Fact<BuildDate>, Vec<Candidate>) {
    let mut ordered: Vec<&Claim> = claims.iter().collect();
    ordered.sort_by_key(|claim| PRECEDENCE.iter().position(|source| *source == claim.source));

    let mut best: Option<(usize, DateTime<Utc>)> = None;
    let mut candidates: Vec<Candidate> = Vec::with_capacity(ordered.len() + 1);
    for claim in ordered {
        let (value, verdict) = match read_date(&claim.value) {
            Ok(time) => (rfc3339(time), usable(time, now).map(|()| time)),
            Err(why) => (claim.value.chars().take(64).collect(), Err(why)),
        };
        let verdict = match &claim.passed_over {
            Some(why) => Err(why.clone()),
            None => verdict,
        };
        let why = match (verdict, best) {
            (Err(why), _) => why,
            (Ok(time), None) => {
                best = Some((candidates.len(), time));
                String::new()
            }
            (Ok(_), Some((winner, _))) => {
                let winner: &Candidate = &candidates[winner];
                if winner.source == claim.source {
                    format!("an earlier {} counts", claim.source.in_words())
                } else {
                    format!("{} comes before {}", winner.source.in_words(), claim.source.in_words())
                }
            }
        };
        candidates.push(Candidate { source: claim.source, class: Class::Claim, value, used: false, why });
    }

    let bound = first_seen.filter(|seen| usable(*seen, now).is_ok());
    let (built, used, why_used) = match (best, bound) {
        (Some((_, claimed)), Some(seen)) if seen < claimed => (
            Fact::Known(BuildDate { time: seen, source: Source::FirstSeen, class: Class::UpperBound }),
            Some(candidates.len()),
            "it was here before the date that it claims",
        ),
        (Some((winner, claimed)), _) => (
            Fact::Known(BuildDate { time: claimed, source: candidates[winner].source, class: Class::Claim }),
            Some(winner),
            "the first usable claim in the order of belief",
        ),
        (None, _) => (Fact::unknown(UnknownReason::NoDate, no_date_in_words(&candidates)), None, ""),
    };
    if let Some((winner, _)) = best
        && used != Some(winner)
    {
        candidates[winner].why = "it was seen here before this date".to_owned();
    }
    if let Some(seen) = first_seen {
        candidates.push(Candidate {
            source: Source::FirstSeen,
            class: Class::UpperBound,
            value: rfc3339(seen),
            used: false,
            why: if best.is_some() {
                "a bound, later than the claim".to_owned()
            } else {
                "a bound alone can prove an image too old, never fresh".to_owned()
            },
        });
    }
    if let Some(candidate) = used.and_then(|index| candidates.get_mut(index)) {
        candidate.used = true;
        why_used.clone_into(&mut candidate.why);
    }
    (built, candidates)
}

/// Whether any of the claims of these sources can count as of `now`: then no further evidence need be fetched.
pub fn is_settled_by(claims: &[Claim], sources: &[Source], now: DateTime<Utc>) -> bool {
    claims.iter().any(|claim| {
        sources.contains(&claim.source)
            && claim.passed_over.is_none()
            && read_date(&claim.value).is_ok_and(|time| usable(time, now).is_ok())
    })
}

/// Why an image has no date, as a person would ask: which were found, and what is wrong with the first.
fn no_date_in_words(candidates: &[Candidate]) -> String {
    match candidates.first() {
        None => "it carries no date at all".to_owned(),
        Some(first) if first.value.is_empty() => {
            format!("the {} has an empty date", first.source.in_words())
        }
        Some(first) => format!("the {} says {}: {}", first.source.in_words(), first.value, first.why),
    }
}

/// A point in time as records and messages have it: RFC 3339, UTC, whole seconds, `Z`.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Reads a date as build tools write it: RFC 3339, with a space for `T`, with or without a zone, or a day alone.
pub fn read_date(text: &str) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.with_timezone(&Utc));
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f %z", "%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%:z"] {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Ok(time.with_timezone(&Utc));
        }
    }
    let zoneless = text.strip_suffix(" UTC").or_else(|| text.strip_suffix('Z')).unwrap_or(text).trim_end();
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(zoneless, format) {
            return Ok(time.and_utc());
        }
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .and_then(|day| day.and_hms_opt(0, 0, 0))
        .map(|time| time.and_utc())
        .ok_or_else(|| "it is not a date".to_owned())
}

/// Whether a date can be when an image was built: no sentinel, nothing before images were, nothing in the future.
fn usable(time: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), String> {
    let year = chrono::Datelike::year(&time);
    if year <= 1 {
        return Err("year 1 is the zero of Go's clock, not a build date".to_owned());
    }
    if year <= 1970 {
        return Err("1970 is what reproducible builds write in place of a date".to_owned());
    }
    if year == 1980 {
        return Err("1980 is what buildpacks write in place of a date".to_owned());
    }
    if year < 2013 {
        return Err("before 2013 there were no such images".to_owned());
    }
    if time > now + CLOCK_SKEW {
        return Err("it lies in the future".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        read_date(text).unwrap()
    }

    fn now() -> DateTime<Utc> {
        at("2026-11-23T12:00:00Z")
    }

    fn claim(source: Source, value: &str) -> Claim {
        Claim::new(source, value)
    }

    #[test]
    fn the_first_usable_claim_in_the_order_of_belief_counts() {
        use Source::*;
        for (claims, counts) in [
            (vec![claim(Config, "2026-08-03T00:00:00Z"), claim(Label, "2026-10-01")], Config),
            (vec![claim(Label, "2026-10-01"), claim(Config, "1970-01-01T00:00:00Z")], Label),
            (vec![claim(Config, "1970-01-01T00:00:00Z"), claim(Provenance, "2026-09-01T00:00:00Z")], Provenance),
            (vec![claim(Config, "2026-08-03T00:00:00Z"), claim(Provenance, "2026-09-01T00:00:00Z")], Config),
            (
                vec![claim(History, "2026-08-03T00:00:00Z"), claim(IndexAnnotation, "2026-08-04T00:00:00Z")],
                IndexAnnotation,
            ),
            (
                vec![claim(IndexAnnotation, "2026-08-03T00:00:00Z"), claim(ManifestAnnotation, "2026-08-04T00:00:00Z")],
                ManifestAnnotation,
            ),
            (vec![claim(Config, ""), claim(History, "2026-08-03T00:00:00Z")], History),
        ] {
            let (built, candidates) = weigh(&claims, None, now());
            assert_eq!(built.known().unwrap().source, counts, "{claims:?}");
            assert_eq!(candidates.iter().filter(|c| c.used).count(), 1);
            assert!(candidates.iter().all(|c| !c.why.is_empty()), "{candidates:?}");
        }
    }

    #[test]
    fn a_date_that_cannot_be_is_unknown_and_says_why() {
        for (value, detail) in [
            (
                "0001-01-01T00:00:00Z",
                "the image config says 0001-01-01T00:00:00Z: year 1 is the zero of Go's clock, not a build date",
            ),
            (
                "1970-01-01T00:00:00Z",
                "the image config says 1970-01-01T00:00:00Z: 1970 is what reproducible builds write in place of a date",
            ),
            (
                "1970-01-01T00:00:01Z",
                "the image config says 1970-01-01T00:00:01Z: 1970 is what reproducible builds write in place of a date",
            ),
            (
                "1980-01-01T00:00:01Z",
                "the image config says 1980-01-01T00:00:01Z: 1980 is what buildpacks write in place of a date",
            ),
            (
                "2012-12-31T23:59:59Z",
                "the image config says 2012-12-31T23:59:59Z: before 2013 there were no such images",
            ),
            ("2026-11-23T12:06:00Z", "the image config says 2026-11-23T12:06:00Z: it lies in the future"),
            ("", "the image config has an empty date"),
            ("yesterday", "the image config says yesterday: it is not a date"),
        ] {
            let (built, _) = weigh(&[claim(Source::Config, value)], None, now());
            assert_eq!(built, Fact::unknown(UnknownReason::NoDate, detail));
        }
        assert_eq!(weigh(&[], None, now()).0, Fact::unknown(UnknownReason::NoDate, "it carries no date at all"));
    }

    #[test]
    fn dates_are_read_as_build_tools_write_them() {
        for (written, means) in [
            ("2026-08-03T10:00:00.123456789Z", "2026-08-03T10:00:00Z"),
            ("2026-08-03 10:00:00Z", "2026-08-03T10:00:00Z"),
            ("2026-08-03 10:00:00+02:00", "2026-08-03T08:00:00Z"),
            ("2026-08-03 10:00:00 +0200", "2026-08-03T08:00:00Z"),
            ("2026-08-03T10:00:00+0200", "2026-08-03T08:00:00Z"),
            ("2026-08-03T10:00:00-11:30", "2026-08-03T21:30:00Z"),
            ("2026-08-03 10:00:00 UTC", "2026-08-03T10:00:00Z"),
            ("2026-08-03T10:00:00", "2026-08-03T10:00:00Z"),
            ("2026-08-03", "2026-08-03T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(read_date(written).unwrap()), means, "{written}");
        }
    }

    #[test]
    fn what_was_here_before_its_date_is_as_old_as_that() {
        let seen = at("2026-05-01T00:00:00Z");
        let (built, candidates) = weigh(&[claim(Source::Config, "2026-11-20T00:00:00Z")], Some(seen), now());
        assert_eq!(built.known(), Some(&BuildDate { time: seen, source: Source::FirstSeen, class: Class::UpperBound }));
        assert_eq!(candidates[0].why, "it was seen here before this date");
        assert!(candidates[1].used);
    }

    #[test]
    fn a_bound_alone_is_no_date() {
        let (built, candidates) = weigh(&[], Some(at("2026-11-20T00:00:00Z")), now());
        assert!(built.known().is_none());
        assert_eq!(candidates[0].why, "a bound alone can prove an image too old, never fresh");
    }

    #[test]
    fn a_claim_may_be_barred_where_it_was_found() {
        let barred = Claim::passed_over(Source::Label, "2026-11-01", "the base image has the same label");
        let (built, candidates) = weigh(&[barred], None, now());
        assert!(built.known().is_none());
        assert_eq!(candidates[0].why, "the base image has the same label");
    }

    proptest! {
        #[test]
        fn a_bound_never_makes_an_image_younger(claimed in 1_400_000_000_i64..1_795_000_000, seen in 1_400_000_000_i64..1_795_000_000) {
            let claims = [claim(Source::Config, &rfc3339(DateTime::from_timestamp(claimed, 0).unwrap()))];
            let alone = weigh(&claims, None, now()).0;
            let bound = weigh(&claims, DateTime::from_timestamp(seen, 0), now()).0;
            prop_assert!(bound.known().unwrap().time <= alone.known().unwrap().time);
        }

        #[test]
        fn any_text_is_a_date_or_an_error(text in "\\PC{0,40}") {
            let _ = weigh(&[claim(Source::Label, &text)], None, now());
        }
    }
}
