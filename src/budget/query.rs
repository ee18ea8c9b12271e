//! Queries that say what is meant and nothing else.
//!
//! A query is a template of our own whose holes are filled in the syntax tree, never in the text: a label's value that
//! came from a cluster stays a value, whatever stands in it. What is sent was parsed again and compared first.

use std::time::Duration;

use promql_parser::label::{MatchOp, Matcher, Matchers};
use promql_parser::parser::token::{T_EQL_REGEX, TokenId};
use promql_parser::parser::{self, Expr, ParenExpr, VectorSelector};
use thiserror::Error;

/// Longest query that an operator may write, in bytes; also a bound on how deep one can be nested.
const LONGEST_WRITTEN_BYTES: usize = 4_096;

/// Why a query is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum QueryError {
    /// It is too long.
    #[error("the query is longer than {LONGEST_WRITTEN_BYTES} bytes; record a part of it by a rule, and ask for that")]
    TooLong,
    /// It does not follow the grammar.
    #[error("the query is no PromQL: {0}")]
    Grammar(String),
    /// What would be sent is read as something else.
    #[error("the query reads differently once it is written down, so it is not sent: {0}")]
    Ambiguous(String),
    /// It names no series, so it measures nothing.
    #[error("the query names no series, so it measures nothing")]
    NoSeries,
}

/// Which series are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match<'a> {
    /// A label has this value.
    Is(&'a str, &'a str),
    /// A label is there.
    There(&'a str),
    /// A label has one of these values.
    OneOf(&'a str, &'a [String]),
    /// A label's whole value follows a pattern of our own: never one with what came from elsewhere.
    Follows(&'a str, &'a str),
}

/// A selector of a metric, where one is named, and of labels.
pub fn selector(metric: Option<&str>, matches: &[Match<'_>]) -> Result<Expr, QueryError> {
    let matchers: Result<Vec<Matcher>, QueryError> = matches
        .iter()
        .map(|one| match one {
            Match::Is(name, value) => Ok(Matcher::new(MatchOp::Equal, name, value)),
            Match::There(name) => Ok(Matcher::new(MatchOp::NotEqual, name, "")),
            Match::OneOf(name, values) => {
                let alternatives: Vec<String> = values.iter().map(|value| literally(value)).collect();
                pattern(name, &alternatives.join("|"))
            }
            Match::Follows(name, written) => pattern(name, written),
        })
        .collect();
    Ok(Expr::VectorSelector(VectorSelector::new(metric.map(str::to_owned), Matchers::new(matchers?))))
}

fn pattern(name: &str, written: &str) -> Result<Matcher, QueryError> {
    let operator: TokenId = T_EQL_REGEX;
    Matcher::new_matcher(operator, name.to_owned(), written.to_owned()).map_err(QueryError::Grammar)
}

/// A text as a pattern that only this text follows, in Go's dialect as in Rust's.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if "\\.+*?()|[]{}^$".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// Parses a query that an operator wrote. Never panics, whatever it is.
pub fn parse(written: &str) -> Result<Expr, QueryError> {
    if written.len() > LONGEST_WRITTEN_BYTES {
        return Err(QueryError::TooLong);
    }
    // The parser cuts a string after a backslash by bytes, which within a character would panic.
    let mut previous = ' ';
    for character in written.chars() {
        if previous == '\\' && !character.is_ascii() {
            return Err(QueryError::Grammar(format!("there is no escape \\{character}")));
        }
        previous = if previous == '\\' { ' ' } else { character };
    }
    parser::parse(written).map_err(|error| QueryError::Grammar(error.lines().collect::<Vec<_>>().join(" ")))
}

/// A template of our own, each selector that is named as a hole replaced by what fills it.
pub fn fill(template: &str, holes: &[(&str, &Expr)]) -> Result<Expr, QueryError> {
    let mut expression = parser::parse(template).map_err(QueryError::Grammar)?;
    fill_in(&mut expression, holes);
    Ok(expression)
}

fn fill_in(expression: &mut Expr, holes: &[(&str, &Expr)]) {
    let filling = |name: Option<&String>| {
        holes.iter().find(|(hole, _)| name.is_some_and(|name| name == hole)).map(|(_, filling)| (*filling).clone())
    };
    match expression {
        Expr::VectorSelector(selector) => {
            if let Some(filling) = filling(selector.name.as_ref()) {
                *expression = in_parentheses(filling);
            }
        }
        Expr::MatrixSelector(matrix) => {
            if let Some(Expr::VectorSelector(selector)) = filling(matrix.vs.name.as_ref()) {
                matrix.vs = selector;
            }
        }
        other => for_each_child(other, &mut |child| fill_in(child, holes)),
    }
}

/// What could come apart beside an operator is held together.
fn in_parentheses(expression: Expr) -> Expr {
    match expression {
        Expr::Binary(_) | Expr::Unary(_) => Expr::Paren(ParenExpr { expr: Box::new(expression) }),
        other => other,
    }
}

fn for_each_child(expression: &mut Expr, change: &mut dyn FnMut(&mut Expr)) {
    match expression {
        Expr::Aggregate(aggregate) => {
            change(&mut aggregate.expr);
            if let Some(parameter) = &mut aggregate.param {
                change(parameter);
            }
        }
        Expr::Unary(unary) => change(&mut unary.expr),
        Expr::Binary(binary) => {
            change(&mut binary.lhs);
            change(&mut binary.rhs);
        }
        Expr::Paren(paren) => change(&mut paren.expr),
        Expr::Subquery(subquery) => change(&mut subquery.expr),
        Expr::Call(call) => call.args.args.iter_mut().for_each(|argument| change(argument)),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => {}
    }
}

/// Each selector of counters without a range becomes its increase over a window: `sum(x)` asks for `sum(increase(x[30d]))`.
pub fn increases(expression: &Expr, window_seconds: i64) -> Result<Expr, QueryError> {
    let template = format!("increase(x[{window_seconds}s])");
    let mut changed = expression.clone();
    let mut failed = None;
    change_selectors(&mut changed, &mut |selector| match fill(&template, &[("x", selector)]) {
        Ok(increase) => *selector = increase,
        Err(error) => failed = Some(error),
    });
    failed.map_or(Ok(changed), Err)
}

fn change_selectors(expression: &mut Expr, change: &mut dyn FnMut(&mut Expr)) {
    if let Expr::VectorSelector(_) = expression {
        change(expression);
    } else {
        for_each_child(expression, &mut |child| change_selectors(child, change));
    }
}

/// The first selector of a query, without its range: the series whose samples say how fresh an answer is.
pub fn first_selector(expression: &Expr) -> Result<Expr, QueryError> {
    let mut found = None;
    let mut walked = expression.clone();
    find_selector(&mut walked, &mut found);
    found.map(Expr::VectorSelector).ok_or(QueryError::NoSeries)
}

fn find_selector(expression: &mut Expr, found: &mut Option<VectorSelector>) {
    let selector = match expression {
        Expr::VectorSelector(selector) => selector.clone(),
        Expr::MatrixSelector(matrix) => matrix.vs.clone(),
        other => return for_each_child(other, &mut |child| find_selector(child, found)),
    };
    if found.is_none() {
        *found = Some(VectorSelector { offset: None, at: None, ..selector });
    }
}

/// Whether a query says over which time it looks by itself.
pub fn has_range(expression: &Expr) -> bool {
    let mut has = false;
    let mut walked = expression.clone();
    find_range(&mut walked, &mut has);
    has
}

fn find_range(expression: &mut Expr, has: &mut bool) {
    *has |= matches!(expression, Expr::MatrixSelector(_) | Expr::Subquery(_));
    for_each_child(expression, &mut |child| find_range(child, has));
}

/// The text of a query: parsed again, and the same.
pub fn text(expression: &Expr) -> Result<String, QueryError> {
    let written = expression.to_string();
    let read = parser::parse(&written).map_err(QueryError::Grammar)?;
    if in_order(&read) == in_order(expression) {
        Ok(written)
    } else {
        Err(QueryError::Ambiguous(written.chars().take(200).collect()))
    }
}

/// A query with the matchers of each selector in one order: writing sorts them, and their order means nothing.
fn in_order(expression: &Expr) -> Expr {
    let mut ordered = expression.clone();
    order(&mut ordered);
    ordered
}

fn order(expression: &mut Expr) {
    match expression {
        Expr::VectorSelector(selector) => selector.matchers.matchers.sort_by_key(ToString::to_string),
        Expr::MatrixSelector(matrix) => matrix.vs.matchers.matchers.sort_by_key(ToString::to_string),
        other => for_each_child(other, &mut order),
    }
}

/// Steps in which a window is looked through: so many at most, and none shorter than a minute.
pub fn step_seconds(window_seconds: i64, most_steps: i64) -> i64 {
    let step = (window_seconds + most_steps - 1) / most_steps.max(1);
    (step.max(60) + 59) / 60 * 60
}

/// A span as Prometheus takes it.
pub fn span(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matchers_of(sent: &str) -> Vec<(String, String, String)> {
        let Expr::VectorSelector(selector) = parser::parse(sent).unwrap() else { panic!("{sent} is no selector") };
        assert!(selector.matchers.or_matchers.is_empty());
        let of = |one: &Matcher| (one.name.clone(), one.op.to_string(), one.value.clone());
        selector.matchers.matchers.iter().map(of).collect()
    }

    #[test]
    fn holes_are_filled_in_the_tree() {
        let selector = selector(Some("up"), &[Match::Is("job", "a\"} or vector(1) #")]).unwrap();
        let filled = fill("sum by (job) (increase(x[30d])) / x", &[("x", &selector)]).unwrap();
        assert_eq!(
            text(&filled).unwrap(),
            r#"sum by (job) (increase(up{job="a\"} or vector(1) #"}[30d])) / up{job="a\"} or vector(1) #"}"#
        );
        let sum = parser::parse("a + b").unwrap();
        assert_eq!(text(&fill("x / 2", &[("x", &sum)]).unwrap()).unwrap(), "(a + b) / 2");
    }

    #[test]
    fn counters_become_their_increase() {
        let query = parse(r#"sum(a{code!~"5.."}) - sum(b)"#).unwrap();
        let unsorted = parse(r#"sum(a{z="1",b="2"})"#).unwrap();
        assert_eq!(text(&unsorted).unwrap(), r#"sum(a{b="2",z="1"})"#);
        let increases = increases(&query, 2_592_000).unwrap();
        assert_eq!(text(&increases).unwrap(), r#"sum(increase(a{code!~"5.."}[30d])) - sum(increase(b[30d]))"#);
        assert!(!has_range(&query) && has_range(&increases));
        assert_eq!(text(&first_selector(&increases).unwrap()).unwrap(), r#"a{code!~"5.."}"#);
        assert_eq!(first_selector(&parse("1 + 1").unwrap()), Err(QueryError::NoSeries));
    }

    #[test]
    fn what_is_no_query_says_so() {
        for written in ["", "sum(", "a{b=}", "\"\\é\"", "a{b=\"\\é\"}", "a[5m", "}{", "a offset", "sum by (", "🦀"]
        {
            let error = parse(written).unwrap_err();
            assert!(error.to_string().starts_with("the query is no PromQL: "), "{written}: {error}");
        }
        assert_eq!(parse(&"a+".repeat(4_000)), Err(QueryError::TooLong));
        // As deep as one can be nested.
        let deep = parse(&format!("{}a{}", "(".repeat(2_000), ")".repeat(2_000))).unwrap();
        assert!(text(&increases(&deep, 3_600).unwrap()).unwrap().contains("increase(a[1h])"));
    }

    #[test]
    fn windows_are_looked_through_in_whole_minutes() {
        assert_eq!(step_seconds(30 * 86_400, 360), 7_200);
        assert_eq!(step_seconds(3_600, 360), 60);
        assert_eq!(step_seconds(100_000, 360), 300);
    }

    proptest! {
        #[test]
        fn a_value_stays_the_value_whatever_stands_in_it(value in any::<String>(), other in "[\"'`{}\\\\|.*+?$^()\\[\\]\n\r\t ,=~!#é🦀\u{0}-\u{1f}]{0,12}") {
            for value in [&value, &other] {
                let sent = text(&selector(Some("m"), &[Match::Is("service", value), Match::There("slo")]).unwrap()).unwrap();
                let expected = vec![
                    ("service".to_owned(), "=".to_owned(), value.clone()),
                    ("slo".to_owned(), "!=".to_owned(), String::new()),
                ];
                prop_assert_eq!(matchers_of(&sent), expected);
            }
        }

        #[test]
        fn a_choice_of_values_matches_these_and_no_other(values in prop::collection::vec("\\PC{1,10}", 1..4), other in "\\PC{0,10}") {
            let sent = text(&selector(Some("m"), &[Match::OneOf("service", &values)]).unwrap()).unwrap();
            let Expr::VectorSelector(read) = parser::parse(&sent).unwrap() else { panic!("no selector") };
            let [matcher] = read.matchers.matchers.as_slice() else { panic!("one matcher was meant") };
            prop_assert_eq!(&matcher.name, "service");
            for value in &values {
                prop_assert!(matcher.is_match(value), "{} does not match {}", sent, value);
            }
            prop_assert_eq!(matcher.is_match(&other), values.contains(&other));
        }

        #[test]
        fn parsing_never_panics(written in "\\PC{0,40}", odd in "[a-z{}()\\[\\]\"'`\\\\=~!,0-9é:@ ]{0,40}") {
            let _ = parse(&written).map(|query| text(&query));
            let _ = parse(&odd).map(|query| text(&query));
        }
    }
}
