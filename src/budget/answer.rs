//! What Prometheus answered: series and their samples, read within bounds.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Most series of one answer.
pub const MOST_SERIES: usize = 100_000;

/// Labels of a series.
pub type SeriesLabels = BTreeMap<String, String>;

/// An answer that can be used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Its series.
    pub series: Vec<Series>,
    /// What Prometheus said is missing from it.
    pub partial: Option<String>,
}

/// One series and its sample, or its samples.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Series {
    /// Its labels.
    #[serde(default)]
    pub metric: SeriesLabels,
    /// The sample of an instant.
    #[serde(default)]
    value: Option<Sample>,
    /// The samples of a range.
    #[serde(default)]
    pub values: Vec<Sample>,
}

impl Series {
    /// A series with one sample.
    pub fn new(metric: SeriesLabels, value: f64) -> Self {
        Self { metric, value: Some(Sample { time_seconds: 0.0, value }), values: Vec::new() }
    }

    /// Its value; what is no number (a histogram, say) is none.
    pub fn value(&self) -> f64 {
        self.value.map_or(f64::NAN, |sample| sample.value)
    }

    /// A label's value; empty where it has none.
    pub fn label(&self, name: &str) -> &str {
        self.metric.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The metric's name; empty where an operation took it.
    pub fn name(&self) -> &str {
        self.label("__name__")
    }
}

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Seconds since 1970.
    pub time_seconds: f64,
    /// Any number, infinite ones and NaN among them.
    pub value: f64,
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (time_seconds, value): (f64, std::borrow::Cow<'de, str>) = Deserialize::deserialize(deserializer)?;
        // Prometheus writes NaN, +Inf and -Inf, all of which Rust reads.
        let value = value.parse().map_err(|_| D::Error::custom("a sample's value is no number"))?;
        Ok(Self { time_seconds, value })
    }
}

/// What `/api/v1/query` answers with.
#[derive(Debug, Deserialize)]
struct Body<'a> {
    status: String,
    #[serde(default, borrow)]
    data: Option<Data<'a>>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
}

#[derive(Debug, Deserialize)]
struct Data<'a> {
    #[serde(rename = "resultType")]
    result_type: String,
    /// Read once its type is known.
    #[serde(borrow)]
    result: &'a RawValue,
}

/// Series, as many as may be.
struct Bounded(Vec<Series>);

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Bounded;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of series")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(series) = sequence.next_element()? {
                    if all.len() >= MOST_SERIES {
                        return Err(A::Error::custom(TOO_MANY));
                    }
                    all.push(series);
                }
                Ok(Bounded(all))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

/// How the bound on series is told from other errors of the reader.
const TOO_MANY: &str = "more series than may be";

/// Why a body is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It has more than [`MOST_SERIES`].
    TooManySeries,
    /// Prometheus says what it did not like.
    Said {
        /// Its word for it, as `bad_data`.
        kind: String,
        /// Its sentence.
        message: String,
    },
    /// It is no JSON, or not all of it.
    NotJson(String),
    /// It is an answer to another kind of question.
    Kind(String),
}

/// Reads a body.
pub fn read(body: &[u8]) -> Result<Answer, Unusable> {
    let read: Body<'_> = serde_json::from_slice(body).map_err(|error| Unusable::NotJson(error.to_string()))?;
    if read.status != "success" {
        return Err(Unusable::Said { kind: read.error_type, message: read.error });
    }
    let Some(data) = read.data else {
        return Err(Unusable::NotJson("it has no data".to_owned()));
    };
    if data.result_type != "vector" && data.result_type != "matrix" {
        return Err(Unusable::Kind(data.result_type));
    }
    let Bounded(series) = serde_json::from_str(data.result.get()).map_err(|error| {
        if error.to_string().contains(TOO_MANY) {
            Unusable::TooManySeries
        } else {
            Unusable::NotJson(error.to_string())
        }
    })?;
    let partial = (!read.warnings.is_empty()).then(|| {
        let first: String = read.warnings[0].chars().take(200).collect();
        match read.warnings.len() {
            1 => format!("the source warned: {first}"),
            count => format!("the source warned {count} times, first: {first}"),
        }
    });
    Ok(Answer { series, partial })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn samples_are_strings_and_may_be_no_numbers() {
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"__name__":"a","x":"y"},"value":[1.5,"NaN"]},{"metric":{},"value":[2,"+Inf"]},
            {"metric":{},"value":[2,"-Inf"]},{"metric":{},"value":[2,"1e-3"]},{"metric":{},"histogram":[2,{}]}]}}"#;
        let answer = read(body).unwrap();
        let values: Vec<f64> = answer.series.iter().map(Series::value).collect();
        assert!(values[0].is_nan() && values[4].is_nan());
        assert_eq!(values[1..4], [f64::INFINITY, f64::NEG_INFINITY, 0.001]);
        assert_eq!((answer.series[0].name(), answer.series[0].label("x")), ("a", "y"));
        assert_eq!(answer.partial, None);
    }

    #[test]
    fn what_is_no_answer_has_a_name() {
        let said = |body: &str| read(body.as_bytes()).unwrap_err();
        assert!(matches!(said("<html>"), Unusable::NotJson(_)));
        assert!(matches!(
            said(r#"{"status":"success","data":{"resultType":"vector","result":["#),
            Unusable::NotJson(_)
        ));
        assert!(matches!(said(r#"{"status":"success"}"#), Unusable::NotJson(_)));
        assert_eq!(
            said(r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#),
            Unusable::Kind("scalar".into())
        );
        assert_eq!(
            said(r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#),
            Unusable::Said { kind: "bad_data".into(), message: "parse error".into() }
        );
        let many = vec![r#"{"metric":{},"value":[1,"1"]}"#; MOST_SERIES + 1].join(",");
        let many = format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{many}]}}}}"#);
        assert_eq!(said(&many), Unusable::TooManySeries);
    }

    #[test]
    fn warnings_mean_that_something_is_missing() {
        let body =
            br#"{"status":"success","warnings":["store 3 is away","b"],"data":{"resultType":"vector","result":[]}}"#;
        assert_eq!(read(body).unwrap().partial.as_deref(), Some("the source warned 2 times, first: store 3 is away"));
    }

    proptest! {
        #[test]
        fn reading_never_panics(body in any::<Vec<u8>>(), text in "[\\[\\]{}\":,a-z0-9.]{0,60}") {
            let _ = read(&body);
            let _ = read(text.as_bytes());
        }
    }
}
