use std::collections::BTreeMap;
use std::marker::PhantomData;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json::Text;

/// A bit of everything that is read of a review, and the rest skipped.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(default)]
struct Wanted<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    list: Option<Vec<Inner>>,
    map: BTreeMap<String, Option<i64>>,
    #[serde(borrow)]
    unread: Option<Unread<'a>>,
    flag: bool,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { text: None, list: None, map: BTreeMap::new(), unread: None, flag: true }
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct Inner {
    name: String,
    weight: Option<f64>,
}

/// What [`Reader`] makes of it by itself.
fn alone(text: &str) -> Option<Wanted<'_>> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let wanted = Wanted::deserialize(&mut reader).ok()?;
    (reader.next().is_none() && reader.depth == 0).then_some(wanted)
}

#[test]
fn what_is_wanted_is_read_and_all_else_skipped() {
    let text = r#" { "x" : [ { "text" : "]}" } ] , "text" : "a\"b\u00e9" , "list" : [ { "name" : "n" , "weight" : 1.5e0 },
        {"weight":null,"name":"","more":[[]]} ] , "map" : {"a":1,"b":null} , "unread" : {"k" : "\"}"} , "flag":false } "#;
    let read = alone(text).unwrap();
    assert_eq!(read, serde_json::from_str(text).unwrap());
    assert_eq!(read.unread.unwrap().text(), r#"{"k" : "\"}"}"#);
    assert_eq!(read.text.unwrap().0, "a\"b\u{e9}");
    assert!(matches!(alone(r#"{"text":"plain"}"#).unwrap().text, Some(Text(Cow::Borrowed("plain")))));
}

#[test]
fn what_is_not_well_formed_where_it_is_read_is_left_to_serde_json() {
    for text in [
        "",
        "{",
        "}",
        "{}}",
        "{,}",
        r#"{"text"}"#,
        r#"{"text":}"#,
        r#"{"text":"a",}"#,
        r#"{"text":"a" "flag":true}"#,
        r#"{"text":"a"]"#,
        r#"{"text":"a
b"}"#,
        r#"{"text":"\x"}"#,
        r#"{text:"a"}"#,
        r#"{"text":1}"#,
        r#"{"flag":tru}"#,
        r#"{"flag":null}"#,
        r#"{"unread":nul}"#,
        r#"{"x":nonsense}"#,
        r#"{"x":"open}"#,
        r#"{"x":[}"#,
        r#"{"list":[{"name":"a"},]}"#,
        r#"{"list":[{"name":"a"}}"#,
        r#"{"map":{"a":1,"a":}}"#,
        r#"{"text":"a","text":"b"}"#,
    ] {
        assert_eq!(alone(text), None, "{text}");
        let error = read(text, PhantomData::<Wanted<'_>>).unwrap_err();
        assert_eq!(error.to_string(), serde_json::from_str::<Wanted<'_>>(text).unwrap_err().to_string(), "{text}");
    }
}

#[derive(Deserialize)]
struct Nested(#[allow(dead_code)] Vec<Nested>);

#[test]
fn what_nests_itself_ends_where_serde_json_does() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(read(&nested(127), PhantomData::<Nested>).is_ok());
    let error = read(&nested(100_000), PhantomData::<Nested>).err().unwrap();
    assert!(error.to_string().starts_with("recursion limit exceeded"), "{error}");
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = r#"[{}\[\]"\\a:, \né\u{1f600}]{0,80}"#;
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        text.prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|list| json!(list)),
            prop::collection::hash_map(text, inner, 0..5).prop_map(|map| json!(map)),
        ]
    })
}

fn any_wanted() -> impl Strategy<Value = Value> {
    let inner = ("[\"\\\\a]{0,20}", any::<Option<f64>>(), any_value())
        .prop_map(|(name, weight, more)| json!({"name": name, "weight": weight, "more": more}));
    let text = prop::option::of(r#"[{}\[\]"\\a:,]{0,80}"#);
    let map = prop::collection::hash_map("[\"\\\\a-c]{0,4}", any::<Option<i64>>(), 0..4);
    (text, prop::collection::vec(inner, 0..3), map, any_value(), any::<bool>(), any_value()).prop_map(
        |(text, list, map, unread, flag, more)| {
            json!({"text": text, "list": list, "map": map, "unread": unread, "flag": flag, "zz": more, "a a": more})
        },
    )
}

proptest! {
    #[test]
    fn well_formed_text_is_read_as_serde_json_reads_it(value in any_wanted(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(alone(&text), Some(serde_json::from_str::<Wanted<'_>>(&text).unwrap()));
        let mut reader = Reader { text: &text, at: 0, depth: 0 };
        let whole = serde_json_borrow::Value::deserialize(&mut reader).ok();
        prop_assert_eq!(whole, Some(serde_json::from_str(&text).unwrap()));
    }

    /// Whatever is damaged: what `serde_json` takes, it takes too, and makes the same of it.
    #[test]
    fn what_serde_json_takes_is_taken_alike(
        value in any_wanted(), at: prop::sample::Index, by in r#"[{}\[\]",:\\ 0n]{0,2}"#, gone in 0_usize..3
    ) {
        let text: Vec<char> = serde_json::to_string(&value).unwrap().chars().collect();
        let at = at.index(text.len());
        let end = (at + gone).min(text.len());
        let damaged: String = text[..at].iter().copied().chain(by.chars()).chain(text[end..].iter().copied()).collect();
        if let Ok(wanted) = serde_json::from_str::<Wanted<'_>>(&damaged) {
            prop_assert_eq!(alone(&damaged), Some(wanted));
        }
    }
}
