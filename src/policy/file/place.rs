//! Where in a document a field stands, found by walking there: a place that is named is one that can be gone to.

use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::Document;

/// One step on the way to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an entry of a list, from 0.
    Entry(usize),
}

/// The way to a field as it is written: `spec.containers[0].image`. No key of it may hold a dot.
pub fn steps(field: &str) -> Vec<Step> {
    field
        .split(['.', '['])
        .filter(|part| !part.is_empty())
        .map(|part| match part.strip_suffix(']').and_then(|index| index.parse().ok()) {
            Some(index) => Step::Entry(index),
            None => Step::Key(part.to_owned()),
        })
        .collect()
}

/// The way as it is written.
pub fn written(steps: &[Step]) -> String {
    let parts = steps.iter().enumerate().map(|(index, step)| match step {
        Step::Entry(entry) => format!("[{entry}]"),
        // A label's key has dots of its own.
        Step::Key(key) if key.contains('.') => format!("[{key:?}]"),
        Step::Key(key) if index == 0 => key.clone(),
        Step::Key(key) => format!(".{key}"),
    });
    parts.collect()
}

impl Document<'_> {
    /// The line, in the whole file, on which the value at the end of the way begins; the document's first line where
    /// there is none.
    pub fn line_at(&self, way: &[Step]) -> usize {
        let walked = serde_saphyr::with_deserializer_from_str(self.text, |reader| Way(way).deserialize(reader));
        walked.ok().flatten().map_or(self.line, |line| self.line + line.saturating_sub(1))
    }
}

/// Walks the way and gives the line at its end, counted from 1.
struct Way<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Way<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            let found = Spanned::<IgnoredAny>::deserialize(reader)?;
            return Ok(usize::try_from(found.referenced.line()).ok());
        }
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Way<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "something with {}", written(self.0))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if self.0.first() == Some(&Step::Key(key)) {
                found = map.next_value_seed(Way(&self.0[1..]))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        for index in 0.. {
            if self.0.first() == Some(&Step::Entry(index)) {
                match seq.next_element_seed(Way(&self.0[1..]))? {
                    Some(line) => found = line,
                    None => break,
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::file::documents;

    #[test]
    fn a_field_is_found_on_its_line_and_written_as_it_was() {
        let text = "# head\n---\nkind: List\nitems:\n- kind: Pod\n- metadata:\n    labels:\n      a.example/b: x\n      n: 3\n  spec: {containers: [\n    {image: 1}]}\n";
        let document = documents(text).remove(0);
        let label = [steps("items[1].metadata.labels"), vec![Step::Key("a.example/b".to_owned())]].concat();
        for (way, field, line) in [
            (steps("kind"), "kind", 3),
            (steps("items"), "items", 5),
            (steps("items[0]"), "items[0]", 5),
            (label, "items[1].metadata.labels[\"a.example/b\"]", 8),
            (steps("items[1].metadata.labels.n"), "items[1].metadata.labels.n", 9),
            (steps("items[1].spec.containers[0].image"), "items[1].spec.containers[0].image", 11),
            (steps("items[7]"), "items[7]", 3),
            (steps("kind.none"), "kind.none", 3),
            (Vec::new(), "", 3),
        ] {
            assert_eq!(written(&way), field);
            assert_eq!(document.line_at(&way), line, "{field}");
        }
    }
}
