//! A snapshot of budgets in JSON, for CI and for places without a Prometheus. Text in, readings out.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use thiserror::Error;

use super::figures::is_objective;
use super::found::Found;
use super::measure::{Reading, Weighting};
use super::window::Window;
use crate::policy::duration::PolicyDuration;

/// Why a snapshot cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{file}: {place}: {message}; {remedy}")]
pub struct SnapshotError {
    /// The file.
    pub file: String,
    /// The entry and its field, as `budgets[3].objective`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    time: DateTime<Utc>,
    budgets: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    service: String,
    slo: String,
    objective: f64,
    window: PolicyDuration,
    #[serde(default)]
    total: Option<f64>,
    #[serde(default)]
    bad: Option<f64>,
    #[serde(default)]
    error_ratio: Option<f64>,
    #[serde(default)]
    burn_rate: Option<f64>,
}

/// Reads a snapshot. All of it must make sense: whoever writes a file can correct it.
pub fn read(file: &str, text: &str) -> Result<Vec<Found>, SnapshotError> {
    let error = |place: String, message: String, remedy: &str| SnapshotError {
        file: file.to_owned(),
        place,
        message,
        remedy: remedy.to_owned(),
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let written: Written = serde_path_to_error::deserialize(&mut deserializer).map_err(|failed| {
        let place = failed.path().to_string();
        let place = if place == "." { format!("line {}", failed.inner().line()) } else { place };
        let message = failed.inner().to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message).to_owned();
        error(place, message, "write {\"time\": RFC 3339, \"budgets\": [{service, slo, objective, window, total and bad or errorRatio, burnRate}]}")
    })?;
    deserializer.end().map_err(|failed| {
        error(format!("line {}", failed.line()), "there is something after the snapshot".to_owned(), "remove it")
    })?;
    let (mut all, mut names) = (Vec::new(), HashSet::new());
    for (index, entry) in written.budgets.into_iter().enumerate() {
        let reading = entry
            .reading(written.time)
            .map_err(|(field, message, remedy)| error(format!("budgets[{index}].{field}"), message, remedy))?;
        if !names.insert((reading.service.clone(), reading.slo.clone())) {
            let message = format!("there is a budget {:?} of {:?} already", reading.slo, reading.service);
            return Err(error(format!("budgets[{index}].slo"), message, "remove one, or give it another name"));
        }
        all.push(Found { reading, id: None });
    }
    Ok(all)
}

type Nonsense = (&'static str, String, &'static str);

impl Entry {
    fn reading(self, sampled_at: DateTime<Utc>) -> Result<Reading, Nonsense> {
        for (field, text) in [("service", &self.service), ("slo", &self.slo)] {
            if text.is_empty() {
                return Err((field, "it is empty".to_owned(), "name it"));
            }
        }
        if !is_objective(self.objective) {
            let message = format!("{} is not above 0 and at most 1", self.objective);
            return Err(("objective", message, "write a fraction, as 0.999 for 99.9 %"));
        }
        for (field, figure) in [("total", self.total), ("bad", self.bad), ("burnRate", self.burn_rate)] {
            if let Some(figure) = figure.filter(|figure| *figure < 0.0) {
                return Err((field, format!("{figure} is below 0"), "write what was counted"));
            }
        }
        match (self.total, self.bad, self.error_ratio) {
            (Some(total), Some(bad), None) if bad > total => {
                return Err((
                    "bad",
                    format!("{bad} of {total} events are more than there are"),
                    "write what was counted",
                ));
            }
            (Some(_), Some(_), None) => {}
            (None, None, Some(ratio)) if (0.0..=1.0).contains(&ratio) => {}
            (None, None, Some(ratio)) => {
                return Err(("errorRatio", format!("{ratio} is no part of all"), "write bad ÷ total, from 0 to 1"));
            }
            _ => {
                let message = "it is not clear what was measured".to_owned();
                return Err(("total", message, "write total and bad, or errorRatio alone"));
            }
        }
        Ok(Reading {
            service: self.service,
            slo: self.slo,
            objective: self.objective,
            window: Window::Rolling { seconds: self.window.seconds() },
            error_ratio: self.error_ratio,
            total: self.total,
            bad: self.bad,
            recent: Vec::new(),
            burn_rate: self.burn_rate,
            weighting: if self.total.is_some() { Weighting::Events } else { Weighting::MeanOfRatios },
            sampled_at,
            covered_seconds: None,
            series: 1,
            partial: None,
            note: None,
            unmeasured: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::measure::Budget;
    use super::*;

    fn of(entry: &str) -> String {
        format!(r#"{{"time":"2026-11-25T12:00:00Z","budgets":[{entry}]}}"#)
    }

    const COUNTS: &str =
        r#"{"service":"checkout","slo":"availability","objective":0.999,"window":"30d","total":1000000,"bad":400}"#;

    #[test]
    fn counts_and_ratios_are_read() {
        let ratio =
            r#"{"service":"cart","slo":"latency","objective":0.995,"window":"28d","errorRatio":0.0028,"burnRate":2.5}"#;
        let all = read("b.json", &of(&format!("{COUNTS},{ratio}"))).unwrap();
        let now = "2026-11-25T12:01:00Z".parse().unwrap();
        let budgets: Vec<Budget> = all.into_iter().map(|found| Budget::of("file", found.reading, 300, now)).collect();
        assert!((budgets[0].remaining().unwrap() - 0.6).abs() < 1e-9);
        assert!((budgets[1].remaining().unwrap() - 0.44).abs() < 1e-9);
        assert_eq!(budgets[1].burn_rate(), Some(2.5));
        assert_eq!(budgets[0].sampled_at.to_rfc3339(), "2026-11-25T12:00:00+00:00");
    }

    #[test]
    fn nonsense_names_file_entry_and_remedy() {
        let with = |from: &str, to: &str| of(&COUNTS.replace(from, to));
        for (text, said) in [
            (
                with("0.999", "99.9"),
                "b.json: budgets[0].objective: 99.9 is not above 0 and at most 1; write a fraction, as 0.999 for 99.9 %",
            ),
            (with("400", "-1"), "b.json: budgets[0].bad: -1 is below 0; write what was counted"),
            (
                with("400", "2000000"),
                "b.json: budgets[0].bad: 2000000 of 1000000 events are more than there are; write what was counted",
            ),
            (
                with(r#","bad":400"#, ""),
                "b.json: budgets[0].total: it is not clear what was measured; write total and bad, or errorRatio alone",
            ),
            (
                with(r#""bad":400"#, r#""bad":400,"errorRatio":0.1"#),
                "b.json: budgets[0].total: it is not clear what was measured; write total and bad, or errorRatio alone",
            ),
            (
                with(r#""total":1000000,"bad":400"#, r#""errorRatio":1.5"#),
                "b.json: budgets[0].errorRatio: 1.5 is no part of all; write bad ÷ total, from 0 to 1",
            ),
            (with("checkout", ""), "b.json: budgets[0].service: it is empty; name it"),
            (
                of(&format!("{COUNTS},{COUNTS}")),
                "b.json: budgets[1].slo: there is a budget \"availability\" of \"checkout\" already; remove one, or give it another name",
            ),
        ] {
            assert_eq!(read("b.json", &text).unwrap_err().to_string(), said);
        }
        for (text, said) in [
            (with("slo", "sl0"), "b.json: budgets[0].sl0: unknown field `sl0`"),
            (with("\"30d\"", "\"a month\""), "b.json: budgets[0].window: \"a month\" is not a duration"),
            (with("2026-11-25T12:00:00Z", "noon"), "b.json: "),
            (of(COUNTS).replace("2026-11-25T12:00:00Z", "noon"), "b.json: time: "),
            (format!("{} x", of(COUNTS)), "b.json: line 1: there is something after the snapshot; remove it"),
            ("<html>".to_owned(), "b.json: line 1: expected value"),
            (of(COUNTS)[..40].to_owned(), "b.json: "),
        ] {
            match read("b.json", &text) {
                Err(error) => assert!(error.to_string().starts_with(said), "{said}: {error}"),
                Ok(_) => assert!(said == "b.json: ", "{text}"),
            }
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC{0,60}") {
            let _ = read("b.json", &text);
        }
    }
}
