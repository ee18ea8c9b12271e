//! Reads JSON as far as somebody asks, in one pass and borrowing. What nobody asks for is skipped from bracket to
//! bracket (`skip.rs`); numbers and what has escapes are `serde_json`'s.
//!
//! It is for what an API server wrote, or this program: it takes well-formed text as `serde_json` does, asks less of what
//! it skips, and says of anything else only that it is not that. Then `serde_json` reads again, and its word and its error
//! count.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::value::RawValue;

use super::skip::{end_of_container, end_of_plain_text, end_of_string};

/// Reads `text` as what `wanted` is.
pub(crate) fn read<'de, S>(text: &'de str, wanted: S) -> Result<S::Value, serde_json::Error>
where
    S: DeserializeSeed<'de> + Copy,
{
    let mut reader = Reader { text, at: 0, depth: 0 };
    if let Ok(value) = wanted.deserialize(&mut reader)
        && reader.next().is_none()
    {
        return Ok(value);
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    wanted.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value))
}

/// A value that stays as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread<'a>(&'a str);

impl<'a> Unread<'a> {
    /// Its JSON.
    pub fn text(self) -> &'a str {
        self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Unread<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Unread<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Unread(text))
            }

            /// Of other deserializers than [`Reader`].
            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                <&RawValue>::deserialize(deserializer).map(|raw| Unread(raw.get()))
            }
        }

        deserializer.deserialize_newtype_struct(UNREAD, Text)
    }
}

/// By which name [`Reader`] knows that a value is to stay as it was written.
const UNREAD: &str = "$freshgate::Unread";

/// The text is not what is wanted, or not JSON.
#[derive(Debug)]
struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not as expected")
    }
}

impl std::error::Error for Unreadable {}

impl de::Error for Unreadable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Containers within each other that are read; `serde_json` reads as many.
const DEEPEST: u8 = 127;

struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: u8,
}

impl<'de> Reader<'de> {
    /// The next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Into a container, whose bracket is the next byte.
    fn descend(&mut self) -> Result<(), Unreadable> {
        if self.depth == DEEPEST {
            return Err(Unreadable);
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unreadable> {
        if self.next() != Some(byte) {
            return Err(Unreadable);
        }
        self.at += 1;
        Ok(())
    }

    /// Whether another member or element follows, past the comma before it; if none does, past the bracket.
    fn follows(&mut self, is_first: &mut bool, bracket: u8) -> Result<bool, Unreadable> {
        if self.next() == Some(bracket) {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        if !std::mem::replace(is_first, false) {
            self.expect(b',')?;
        }
        Ok(true)
    }

    fn string(&mut self) -> Result<Cow<'de, str>, Unreadable> {
        self.expect(b'"')?;
        let (text, start) = (self.text, self.at);
        let end = end_of_plain_text(text.as_bytes(), start).ok_or(Unreadable)?;
        if text.as_bytes()[end] == b'"' {
            self.at = end + 1;
            return Ok(Cow::Borrowed(&text[start..end]));
        }
        let end = end_of_string(text.as_bytes(), start).ok_or(Unreadable)?;
        self.at = end + 1;
        serde_json::from_str(&text[start - 1..=end]).map(Cow::Owned).map_err(|_| Unreadable)
    }

    /// The text of the next value.
    fn skip(&mut self) -> Result<&'de str, Unreadable> {
        let (first, start) = (self.next(), self.at);
        let bytes = self.text.as_bytes();
        self.at = match first {
            Some(b'{' | b'[') => end_of_container(bytes, start).ok_or(Unreadable)?,
            Some(b'"') => end_of_string(bytes, start + 1).ok_or(Unreadable)? + 1,
            _ => {
                serde_json::from_str::<de::IgnoredAny>(self.scalar()).map_err(|_| Unreadable)?;
                self.at
            }
        };
        Ok(&self.text[start..self.at])
    }

    /// What should be a number, `true`, `false` or `null`, up to what cannot be of it.
    fn scalar(&mut self) -> &'de str {
        let rest = &self.text[self.at..];
        let ends = |byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
        let length = rest.bytes().position(ends).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.next() {
            Some(b'{') => {
                self.descend()?;
                let mut members = Members { reader: self, is_first: true, is_done: false };
                let value = visitor.visit_map(&mut members)?;
                if members.is_done { Ok(value) } else { Err(Unreadable) }
            }
            Some(b'[') => {
                self.descend()?;
                let mut elements = Elements { reader: self, is_first: true, is_done: false };
                let value = visitor.visit_seq(&mut elements)?;
                if elements.is_done { Ok(value) } else { Err(Unreadable) }
            }
            Some(b'"') => match self.string()? {
                Cow::Borrowed(string) => visitor.visit_borrowed_str(string),
                Cow::Owned(string) => visitor.visit_string(string),
            },
            _ => {
                let mut scalar = serde_json::Deserializer::from_str(self.scalar());
                let value = scalar.deserialize_any(visitor).map_err(|_| Unreadable)?;
                scalar.end().map(|()| value).map_err(|_| Unreadable)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        if self.next() == Some(b'n') {
            return if self.scalar() == "null" { visitor.visit_none() } else { Err(Unreadable) };
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        if name == UNREAD { visitor.visit_borrowed_str(self.skip()?) } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.skip()?;
        visitor.visit_unit()
    }

    /// None is read of a review; `serde_json` reads them.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Unreadable> {
        Err(Unreadable)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

struct Members<'r, 'de> {
    reader: &'r mut Reader<'de>,
    is_first: bool,
    is_done: bool,
}

impl<'de> MapAccess<'de> for &mut Members<'_, 'de> {
    type Error = Unreadable;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Unreadable> {
        if !self.reader.follows(&mut self.is_first, b'}')? {
            self.is_done = true;
            return Ok(None);
        }
        self.reader.next();
        seed.deserialize(Key(self.reader.string()?)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Unreadable> {
        self.reader.expect(b':')?;
        seed.deserialize(&mut *self.reader)
    }
}

/// A member's name, whatever wraps it.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.0 {
            Cow::Borrowed(key) => visitor.visit_borrowed_str(key),
            Cow::Owned(key) => visitor.visit_string(key),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Elements<'r, 'de> {
    reader: &'r mut Reader<'de>,
    is_first: bool,
    is_done: bool,
}

impl<'de> SeqAccess<'de> for &mut Elements<'_, 'de> {
    type Error = Unreadable;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Unreadable> {
        if !self.reader.follows(&mut self.is_first, b']')? {
            self.is_done = true;
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

#[cfg(test)]
mod tests;
