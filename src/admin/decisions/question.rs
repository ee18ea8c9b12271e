//! What a request asks for, read strictly: a parameter that is misspelt would else widen the answer without a word.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::audit::{Cursor, NotACursor, QueryFilter};

/// Most decisions in one page: some megabytes.
const MOST: usize = 500;

/// Decisions in a page where no number is given.
const USUAL: usize = 100;

/// Every parameter.
const KNOWN: &str = "since, until, namespace, kind, name, user, decision, rule, policy, service, digest, repository, exception, cursor and limit";

/// Why a request cannot be answered.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum BadQuestion {
    /// A parameter that there is not.
    #[error("there is no parameter {name:?}: there are {KNOWN}")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// A parameter that is there twice.
    #[error("the parameter {name:?} is given twice: give it once, and ask once for each value")]
    Twice {
        /// Its name.
        name: String,
    },
    /// A time that is none.
    #[error("{name} {value:?} is no time: write it as 2026-11-23T12:00:00Z, with %2B for a plus")]
    Time {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
    },
    /// A number that is none, or too large.
    #[error("limit {value:?} is no number from 1 to {MOST}")]
    Limit {
        /// What was given.
        value: String,
    },
    /// A decision that is none.
    #[error("decision {value:?} is none: write allow, warn or deny")]
    Decision {
        /// What was given.
        value: String,
    },
    /// A cursor that is none.
    #[error(transparent)]
    Cursor(#[from] NotACursor),
}

/// The filter that a query string asks for; its limit is always set.
pub fn read(query: &str) -> Result<QueryFilter, BadQuestion> {
    let mut filter = QueryFilter { limit: Some(USUAL), ..QueryFilter::default() };
    let mut given = BTreeSet::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if !given.insert(name.to_string()) {
            return Err(BadQuestion::Twice { name: name.into_owned() });
        }
        let value = value.into_owned();
        match name.as_ref() {
            "since" => filter.since = Some(time("since", value)?),
            "until" => filter.until = Some(time("until", value)?),
            "namespace" => filter.namespace = Some(value),
            "kind" => filter.kind = Some(value),
            "name" => filter.name = Some(value),
            "user" => filter.user = Some(value),
            "decision" if ["allow", "warn", "deny"].contains(&value.as_str()) => filter.decision = Some(value),
            "decision" => return Err(BadQuestion::Decision { value }),
            "rule" => filter.rule = Some(value),
            "policy" => filter.policy = Some(value),
            "service" => filter.service = Some(value),
            "digest" => filter.digest = Some(value),
            "repository" => filter.repository = Some(value),
            "exception" => filter.exception = Some(value),
            "cursor" => filter.after = Some(value.parse::<Cursor>()?),
            "limit" => match value.parse() {
                Ok(limit @ 1..=MOST) => filter.limit = Some(limit),
                _ => return Err(BadQuestion::Limit { value }),
            },
            _ => return Err(BadQuestion::Unknown { name: name.into_owned() }),
        }
    }
    Ok(filter)
}

fn time(name: &'static str, value: String) -> Result<DateTime<Utc>, BadQuestion> {
    match DateTime::parse_from_rfc3339(&value) {
        Ok(time) => Ok(time.to_utc()),
        Err(_) => Err(BadQuestion::Time { name, value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_and_whatever_else_is_there_is_refused() {
        let asked = read("namespace=shop&name=checkout&decision=deny&since=2026-11-23T12:00:00Z&user=a%26b&limit=5");
        let expected = QueryFilter {
            namespace: Some("shop".to_owned()),
            name: Some("checkout".to_owned()),
            decision: Some("deny".to_owned()),
            since: Some("2026-11-23T12:00:00Z".parse().unwrap()),
            user: Some("a&b".to_owned()),
            limit: Some(5),
            ..QueryFilter::default()
        };
        assert_eq!(asked, Ok(expected));
        assert_eq!(read(""), Ok(QueryFilter { limit: Some(100), ..QueryFilter::default() }));
        for (query, told) in [
            (
                "namespac=shop",
                "there is no parameter \"namespac\": there are since, until, namespace, kind, name, user, decision, rule, policy, service, digest, repository, exception, cursor and limit",
            ),
            (
                "namespace=a&namespace=b",
                "the parameter \"namespace\" is given twice: give it once, and ask once for each value",
            ),
            ("since=2h", "since \"2h\" is no time: write it as 2026-11-23T12:00:00Z, with %2B for a plus"),
            ("limit=0", "limit \"0\" is no number from 1 to 500"),
            ("limit=501", "limit \"501\" is no number from 1 to 500"),
            ("decision=no", "decision \"no\" is none: write allow, warn or deny"),
            ("cursor=x", "the cursor is none that was given out: leave it out to begin with the newest decision"),
        ] {
            assert_eq!(read(query).unwrap_err().to_string(), told);
        }
    }
}
