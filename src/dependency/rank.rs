//! Which three findings of a workload are shown: the end of a life, then what is refused soonest, then the smallest step.
//!
//! A step to what would itself be refused by now comes behind the others of its image: it is true, and no way out.

use chrono::NaiveDate;

use super::finding::{Finding, Kind};

/// Findings shown for one workload: more would be a wall.
pub const MOST_FINDINGS: usize = 3;

/// The most urgent findings as of a day (UTC), the first the most, and how many are left out.
pub fn most_urgent(mut findings: Vec<Finding>, today: NaiveDate) -> (Vec<Finding>, usize) {
    findings.sort_by_cached_key(|finding| {
        let leads_nowhere = finding.target_refused_on.is_some_and(|day| day <= today);
        (
            finding.kind != Kind::EndOfLife,
            finding.refused_on.unwrap_or(NaiveDate::MAX),
            leads_nowhere,
            finding.step,
            finding.kind,
            finding.id.clone(),
        )
    });
    // Two containers may run one image.
    findings.dedup_by(|one, other| one.id == other.id);
    let more = findings.len().saturating_sub(MOST_FINDINGS);
    findings.truncate(MOST_FINDINGS);
    (findings, more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependency::finding::Step;

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 12, day).unwrap()
    }

    fn finding(id: &str, kind: Kind, step: Step, refused: Option<u32>, target_refused: Option<u32>) -> Finding {
        Finding {
            id: id.to_owned(),
            kind,
            step,
            image: String::new(),
            from: String::new(),
            to: String::new(),
            age_days: None,
            why: String::new(),
            how: String::new(),
            refused_on: refused.map(day),
            target_refused_on: target_refused.map(day),
            target: None,
        }
    }

    #[test]
    fn the_most_urgent_three_are_shown() {
        let findings = vec![
            finding("major-of-the-later", Kind::NewerTag, Step::Major, Some(20), None),
            finding("never-refused", Kind::Rebuilt, Step::Rebuild, None, None),
            finding("minor", Kind::NewerTag, Step::Minor, Some(3), None),
            finding("patch", Kind::NewerTag, Step::Patch, Some(3), None),
            finding("patch", Kind::NewerTag, Step::Patch, Some(3), None),
            finding("leads-nowhere", Kind::NewerTag, Step::Rebuild, Some(3), Some(1)),
            finding("life-ends", Kind::EndOfLife, Step::Major, None, None),
        ];
        let (shown, more) = most_urgent(findings, day(2));
        let ids: Vec<&str> = shown.iter().map(|finding| finding.id.as_str()).collect();
        assert_eq!((ids, more), (vec!["life-ends", "patch", "minor"], 3));
    }
}
