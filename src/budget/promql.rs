//! Objectives by queries of one's own: what is written becomes what is asked.

use super::api::{PromQlObjective, PromQlSettings};
use super::figures::is_objective;
use super::queried::{Bare, Counted, Figure, Indicator, Method, Objective, ServiceName, WindowRule};
use super::query::QueryError;
use super::window::CalendarPeriods;
use crate::policy::compile::Problem;

/// Reads all objectives, or says everything that is wrong with them.
pub fn compile(settings: &PromQlSettings) -> Result<Vec<Objective>, Vec<Problem>> {
    let (mut objectives, mut problems) = (Vec::new(), Vec::new());
    if settings.objectives.is_empty() {
        problems.push(Problem::new(
            "spec.promql.objectives",
            "there is none",
            "write one with slo, objective and window",
        ));
    }
    for (index, written) in settings.objectives.iter().enumerate() {
        let mut own = Vec::new();
        objectives.extend(one(index, written, &mut own));
        if settings.objectives[..index].iter().any(|other| other.slo == written.slo) {
            own.push(Problem::new(
                &format!("spec.promql.objectives[{index}].slo"),
                format!("there is an objective {:?} already", written.slo),
                "give it another name",
            ));
        }
        problems.append(&mut own);
    }
    if problems.is_empty() { Ok(objectives) } else { Err(problems) }
}

fn one(index: usize, written: &PromQlObjective, problems: &mut Vec<Problem>) -> Option<Objective> {
    let field = |name: &str| format!("spec.promql.objectives[{index}].{name}");
    if written.slo.is_empty() {
        problems.push(Problem::new(&field("slo"), "it is empty", "name the objective"));
    }
    if !is_objective(written.objective) {
        problems.push(Problem::new(
            &field("objective"),
            format!("{} is not above 0 and at most 1", written.objective),
            "write a fraction, as 0.999 for 99.9 %",
        ));
    }
    let window = match (&written.window, &written.calendar) {
        (Some(window), None) => Some(WindowRule::Rolling(window.seconds())),
        (None, Some(calendar)) => {
            let zone = calendar.time_zone.as_deref().unwrap_or("UTC");
            match CalendarPeriods::parse(&calendar.length, &calendar.start, zone) {
                Ok(periods) => Some(WindowRule::Calendar(periods)),
                Err(error) => {
                    problems.push(Problem::new(&field("calendar"), error.to_string(), "correct it"));
                    None
                }
            }
        }
        (both, _) => {
            let what = if both.is_some() { "window and calendar contradict each other" } else { "it has no window" };
            problems.push(Problem::new(&field("window"), what, "write window, as 30d, or calendar"));
            None
        }
    };
    let label = written.service_label.clone().unwrap_or_else(|| "service".to_owned());
    let is_label = label
        .bytes()
        .enumerate()
        .all(|(at, byte)| byte == b'_' || byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit());
    if label.is_empty() || !is_label {
        problems.push(Problem::new(
            &field("serviceLabel"),
            format!("{label:?} can be no label's name"),
            "write letters, digits and underscores",
        ));
        return None;
    }
    let mut figure = |name: &str, text: &str| -> Option<Figure> {
        match Figure::parse(text, Bare::Whole) {
            Ok(figure) => {
                if window.as_ref().is_some_and(|window| matches!(window, WindowRule::Calendar(_)))
                    && !figure.is_flexible()
                {
                    problems.push(Problem::new(
                        &field(name),
                        "a period of the calendar is not always equally long, but the query's range is",
                        "write [$window] in place of the range",
                    ));
                    return None;
                }
                Some(figure)
            }
            Err(error) => {
                problems.push(Problem::new(&field(name), error.to_string(), remedy(&error)));
                None
            }
        }
    };
    let indicator = match (&written.good, &written.total, &written.error_ratio) {
        (Some(good), Some(total), None) => {
            let (good, total) = (figure("good", good), figure("total", total));
            Indicator::Events { counted: good?, counts: Counted::Good, total: total?, method: Method::Occurrences }
        }
        (None, None, Some(ratio)) => {
            Indicator::Ratio { ratio: figure("errorRatio", ratio)?, counts: Counted::Bad, method: Method::Occurrences }
        }
        _ => {
            problems.push(Problem::new(
                &field("good"),
                "it is not clear what is measured",
                "write good and total, or errorRatio alone",
            ));
            return None;
        }
    };
    Some(Objective {
        slo: written.slo.clone(),
        service: ServiceName::Label(label),
        objective: written.objective,
        window: window?,
        indicator,
    })
}

fn remedy(error: &QueryError) -> &'static str {
    match error {
        QueryError::NoSeries => "name the series that it is measured from",
        QueryError::TooLong => "",
        QueryError::Grammar(_) | QueryError::Ambiguous(_) => {
            "try it in Prometheus first, with a length such as 30d for $window"
        }
    }
}
