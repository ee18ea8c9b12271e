//! Writes JSON as `serde_json` does, to the byte, a whole text at a time: `serde_json` looks at one byte after the other,
//! of every name as well. What is seldom in a record, escapes and fractions, is written by `serde_json` all the same.

use std::fmt;
use std::io::Write as _;

use serde::Serialize;
use serde::ser::{self, Impossible, Serializer};
use wide::u8x16;

use super::skip::is_escaped;

/// Writes a value behind what is there.
pub(crate) fn write(value: &(impl Serialize + ?Sized), to: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let start = to.len();
    if value.serialize(Writer { to }).is_ok() {
        return Ok(());
    }
    // What cannot be written here: it writes it, or says why nobody can.
    to.truncate(start);
    serde_json::to_writer(to, value)
}

/// The value is none that is written here.
#[derive(Debug)]
struct Unwritable;

impl fmt::Display for Unwritable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not written here")
    }
}

impl std::error::Error for Unwritable {}

impl ser::Error for Unwritable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

struct Writer<'a> {
    to: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    #[allow(clippy::unnecessary_wraps)] // What those return who end with it.
    fn plain(self, text: impl AsRef<[u8]>) -> Result<(), Unwritable> {
        self.to.extend_from_slice(text.as_ref());
        Ok(())
    }

    fn by_serde_json(self, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        serde_json::to_writer(self.to, value).map_err(|_| Unwritable)
    }

    fn open(self, bracket: u8, close: &'static str) -> Container<'a> {
        self.to.push(bracket);
        Container { to: self.to, is_first: true, close }
    }

    /// The member whose name is a variant's, up to its value.
    fn variant(self, variant: &str) -> Result<Self, Unwritable> {
        self.to.push(b'{');
        Writer { to: self.to }.serialize_str(variant)?;
        self.to.push(b':');
        Ok(self)
    }
}

/// Bytes that are looked at together.
const PART: usize = 16;

/// Whether JSON writes one of the bytes from `start` as an escape. They are looked at sixteen at a time, for which the last
/// of them are filled up for as long as that takes.
fn has_escapes(text: &mut Vec<u8>, start: usize) -> bool {
    let end = text.len();
    text.extend_from_slice(&[b' '; PART]);
    let (parts, _) = text[start..].as_chunks::<PART>();
    let escaped = parts.iter().fold(u8x16::ZERO, |escaped, part| escaped | is_escaped(u8x16::from(*part)));
    text.truncate(end);
    escaped.any()
}

macro_rules! numbers {
    ($($method:ident: $number:ty,)*) => {$(
        fn $method(self, value: $number) -> Result<(), Unwritable> {
            self.plain(itoa::Buffer::new().format(value))
        }
    )*};
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = Unwritable;
    type SerializeSeq = Container<'a>;
    type SerializeTuple = Container<'a>;
    type SerializeTupleStruct = Container<'a>;
    type SerializeTupleVariant = Impossible<(), Unwritable>;
    type SerializeMap = Container<'a>;
    type SerializeStruct = Container<'a>;
    type SerializeStructVariant = Container<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Unwritable> {
        self.plain(if value { "true" } else { "false" })
    }

    numbers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
    }

    fn serialize_f32(self, value: f32) -> Result<(), Unwritable> {
        self.by_serde_json(&value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Unwritable> {
        self.by_serde_json(&value)
    }

    fn serialize_char(self, value: char) -> Result<(), Unwritable> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), Unwritable> {
        let start = self.to.len();
        self.to.reserve(text.len() + 2 + PART);
        self.to.push(b'"');
        self.to.extend_from_slice(text.as_bytes());
        if has_escapes(self.to, start + 1) {
            self.to.truncate(start);
            return self.by_serde_json(text);
        }
        self.to.push(b'"');
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        let start = self.to.len();
        write!(self.to, "\"{value}").map_err(|_| Unwritable)?;
        if has_escapes(self.to, start + 1) {
            self.to.truncate(start);
            return self.by_serde_json(&value.to_string());
        }
        self.plain("\"")
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Unwritable> {
        Err(Unwritable)
    }

    fn serialize_none(self) -> Result<(), Unwritable> {
        self.plain("null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unwritable> {
        self.plain("null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unwritable> {
        self.plain("null")
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Unwritable> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        let of_value = self.variant(variant)?;
        value.serialize(Writer { to: of_value.to })?;
        of_value.plain("}")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Container<'a>, Unwritable> {
        Ok(self.open(b'[', "]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Container<'a>, Unwritable> {
        Ok(self.open(b'[', "]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Container<'a>, Unwritable> {
        Ok(self.open(b'[', "]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unwritable> {
        Err(Unwritable)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Container<'a>, Unwritable> {
        Ok(self.open(b'{', "}"))
    }

    /// What `serde_json` marks with a name is written by itself alone: text that is JSON already.
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Container<'a>, Unwritable> {
        if name.starts_with('$') { Err(Unwritable) } else { Ok(self.open(b'{', "}")) }
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Container<'a>, Unwritable> {
        Ok(self.variant(variant)?.open(b'{', "}}"))
    }
}

/// An object or array that was begun.
struct Container<'a> {
    to: &'a mut Vec<u8>,
    is_first: bool,
    close: &'static str,
}

impl Container<'_> {
    fn next(&mut self) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.to.push(b',');
        }
    }

    fn key(&mut self, key: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        self.next();
        let start = self.to.len();
        key.serialize(Writer { to: self.to })?;
        // Other keys than texts `serde_json` makes into texts, or refuses.
        if self.to.get(start) != Some(&b'"') {
            return Err(Unwritable);
        }
        self.to.push(b':');
        Ok(())
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        value.serialize(Writer { to: self.to })
    }

    /// A struct's member. Its name is the program's own, and the program gives none that JSON would escape.
    fn member(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        debug_assert!(!has_escapes(&mut name.into(), 0), "{name:?} cannot be a member's name");
        self.to.extend_from_slice(if std::mem::replace(&mut self.is_first, false) { b"\"" } else { b",\"" });
        self.to.extend_from_slice(name.as_bytes());
        self.to.extend_from_slice(b"\":");
        self.value(value)
    }

    fn element(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        self.next();
        self.value(value)
    }

    fn close(self) -> Result<(), Unwritable> {
        Writer { to: self.to }.plain(self.close)
    }
}

macro_rules! container {
    ($($of:ident: $add:ident($($key:ident)?) by $by:ident,)*) => {$(
        impl ser::$of for Container<'_> {
            type Ok = ();
            type Error = Unwritable;

            fn $add<T: Serialize + ?Sized>(&mut self, $($key: &'static str,)? value: &T) -> Result<(), Unwritable> {
                self.$by($($key,)? value)
            }

            fn end(self) -> Result<(), Unwritable> {
                self.close()
            }
        }
    )*};
}

container! {
    SerializeSeq: serialize_element() by element,
    SerializeTuple: serialize_element() by element,
    SerializeTupleStruct: serialize_field() by element,
    SerializeStruct: serialize_field(key) by member,
    SerializeStructVariant: serialize_field(key) by member,
}

impl ser::SerializeMap for Container<'_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unwritable> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.value(value)
    }

    fn end(self) -> Result<(), Unwritable> {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;

    fn written(value: &impl Serialize) -> Result<String, String> {
        let mut to = b"before".to_vec();
        write(value, &mut to).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(to).unwrap().strip_prefix("before").unwrap().to_owned())
    }

    /// Whether it is written here, without `serde_json`.
    fn is_written_here(value: &impl Serialize) -> bool {
        value.serialize(Writer { to: &mut Vec::new() }).is_ok()
    }

    fn by_serde_json(value: &impl Serialize) -> Result<String, String> {
        serde_json::to_string(value).map_err(|error| error.to_string())
    }

    #[derive(Serialize)]
    enum Shape {
        Unit,
        One(i8),
        Two(u8, &'static str),
        Named { a: bool, b: Option<()> },
    }

    #[derive(Serialize)]
    struct Pair(u64, char);

    #[derive(Serialize)]
    struct Nothing;

    #[derive(Serialize)]
    struct Wrapped(&'static str);

    #[derive(Serialize)]
    struct Flat {
        first: i64,
        #[serde(rename = "a name, é")]
        named: f32,
        #[serde(flatten)]
        rest: BTreeMap<&'static str, Value>,
    }

    struct Shown(&'static str);

    impl Serialize for Shown {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self.0)
        }
    }

    struct Refusing;

    impl Serialize for Refusing {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(ser::Error::custom("it will not"))
        }
    }

    #[test]
    fn every_shape_is_written_as_serde_json_writes_it() {
        macro_rules! alike {
            ($($here:literal: $value:expr,)*) => {$(
                let value = $value;
                assert_eq!(written(&value), by_serde_json(&value));
                assert_eq!(is_written_here(&value), $here, "{}", stringify!($value));
            )*};
        }
        let flat = Flat { first: i64::MIN, named: 0.1, rest: BTreeMap::from([("x", json!([])), ("y", json!({}))]) };
        alike! {
            true: (1_u8, 2_u16, u32::MAX, u64::MAX, i8::MIN, i16::MIN, i32::MIN, true, "é", '"', ()),
            true: (f64::NAN, f32::INFINITY, 1.5_f64, 1e300_f64, -0.0_f64, f32::MIN_POSITIVE),
            true: [Shape::Unit, Shape::One(-3), Shape::Named { a: true, b: Some(()) }],
            true: (Pair(7, '\u{7f}'), Nothing, Wrapped("\u{1f}"), None::<u8>, Some(3)),
            true: (flat, Vec::<u8>::new(), BTreeMap::<String, u8>::new()),
            true: (Shown("plain"), Shown(""), Shown("a\"b\\\n")),
            true: BTreeMap::from([(Shape::Unit.name(), 1)]),
            false: Shape::Two(1, "x"),
            false: BTreeMap::from([(1, "a number for a key"), (2, "and another")]),
            false: BTreeMap::from([(false, 1)]),
            false: BTreeMap::from([(vec![1], "no key at all")]),
            false: RawValue::from_string("{ \"spaces\" :1 }".to_owned()).unwrap(),
            false: [i128::MAX],
            false: (1, Refusing),
        }
        assert_eq!(written(&Refusing), Err("it will not".to_owned()));
    }

    impl Shape {
        fn name(&self) -> &'static str {
            match self {
                Self::Unit => "Unit",
                Self::One(_) => "One",
                Self::Two(..) => "Two",
                Self::Named { .. } => "Named",
            }
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|value| json!(value)),
            any::<i64>().prop_map(|value| json!(value)),
            any::<f64>().prop_map(|value| json!(value)),
            any::<String>().prop_map(|value| json!(value)),
            "[ -~]{0,80}".prop_map(|value| json!(value)),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|list| json!(list)),
                prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_is_written_as_serde_json_writes_it(value in any_value()) {
            prop_assert!(is_written_here(&value));
            prop_assert_eq!(written(&value), by_serde_json(&value));
        }
    }
}
