//! Where a JSON value ends that nobody reads: brackets and quotes are found sixty-four bytes at a time, and nothing else
//! is looked at. Most bytes of a review are such values, managed fields before all.

use wide::u8x16;

const BLOCK: usize = 64;

/// Where the object or array ends whose bracket stands at `start`: behind the bracket that closes it.
pub(super) fn end_of_container(text: &[u8], start: usize) -> Option<usize> {
    let mut strings = Strings::default();
    let mut depth = 0_u32;
    let mut at = start;
    loop {
        let block = Block::at(text, at)?;
        let inside = strings.inside(&block);
        // Braces and square brackets differ in one bit, and lie so that no other byte is taken for one of them.
        let opening = block.places(|bytes| (bytes | splat(0x20)).simd_eq(splat(b'{'))) & !inside;
        let closing = block.places(|bytes| (bytes | splat(0x20)).simd_eq(splat(b'}'))) & !inside;
        if depth <= closing.count_ones()
            && let Some(end) = end_in_block(opening, closing, depth)
        {
            return Some(at + end);
        }
        depth = (depth + opening.count_ones()).checked_sub(closing.count_ones())?;
        at += BLOCK;
    }
}

/// Where the string ends whose text begins at `start`: at the quote that closes it.
pub(super) fn end_of_string(text: &[u8], start: usize) -> Option<usize> {
    let mut escapes = Escapes::default();
    let mut at = start;
    loop {
        let block = Block::at(text, at)?;
        let quotes = block.places(|bytes| bytes.simd_eq(splat(b'"'))) & !escapes.escaped(&block);
        if quotes != 0 {
            return Some(at + quotes.trailing_zeros() as usize);
        }
        at += BLOCK;
    }
}

/// Where the first byte from `start` is that ends the plain text of a string: its quote, or what is escaped or should be.
pub(super) fn end_of_plain_text(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let mut last = [b'"'; 16];
        let part = rest.first_chunk::<16>().unwrap_or_else(|| {
            last[..rest.len()].copy_from_slice(rest);
            &last
        });
        let found = is_escaped(u8x16::from(*part)).to_bitmask();
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize).filter(|end| *end < text.len());
        }
        at += 16;
    }
}

/// Ones for each byte that stands in no string as it is: quotes, backslashes and control characters.
pub(super) fn is_escaped(bytes: u8x16) -> u8x16 {
    // Control characters are what stays as it is where all above them is made the highest of them.
    let control = bytes.min(splat(0x1f)).simd_eq(bytes);
    bytes.simd_eq(splat(b'"')) | bytes.simd_eq(splat(b'\\')) | control
}

/// Behind the bracket in this block with which as many are closed as were opened, `depth` of them before it.
fn end_in_block(opening: u64, mut closing: u64, depth: u32) -> Option<usize> {
    let mut closed = 0;
    while closing != 0 {
        let place = closing.trailing_zeros();
        closed += 1;
        if depth + (opening & ((1 << place) - 1)).count_ones() <= closed {
            return Some(place as usize + 1);
        }
        closing &= closing - 1;
    }
    None
}

fn splat(byte: u8) -> u8x16 {
    u8x16::splat(byte)
}

/// Sixty-four bytes of a text; spaces behind its end.
struct Block([u8x16; 4]);

impl Block {
    fn at(text: &[u8], at: usize) -> Option<Self> {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let mut last = [b' '; BLOCK];
        let whole = rest.first_chunk::<BLOCK>().unwrap_or_else(|| {
            last[..rest.len()].copy_from_slice(rest);
            &last
        });
        let (parts, _) = whole.as_chunks::<16>();
        Some(Self(std::array::from_fn(|part| u8x16::from(parts[part]))))
    }

    /// A bit for each byte that `is` answers with ones.
    #[inline]
    fn places(&self, is: impl Fn(u8x16) -> u8x16) -> u64 {
        let [a, b, c, d] = self.0.map(|bytes| u64::from(is(bytes).to_bitmask()));
        a | b << 16 | c << 32 | d << 48
    }
}

/// Which bytes follow a backslash that counts, from block to block.
#[derive(Default)]
struct Escapes {
    /// Whether the first byte of the next block does: 1 or 0.
    next: u64,
}

impl Escapes {
    fn escaped(&mut self, block: &Block) -> u64 {
        const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
        let backslashes = block.places(|bytes| bytes.simd_eq(splat(b'\\')));
        if backslashes == 0 {
            return std::mem::take(&mut self.next);
        }
        // Of a row of backslashes each second one is escaped. Subtracting carries through the rows that begin at an even
        // place and leaves those at an odd one, which tells both apart (as simdjson does it).
        let beginning = backslashes & !self.next;
        let alternating = ((beginning << 1) | ODD).wrapping_sub(beginning) ^ ODD;
        let escaped = alternating ^ (backslashes | self.next);
        self.next = (alternating & backslashes) >> 63;
        escaped
    }
}

/// Which bytes are inside of strings, from block to block.
#[derive(Default)]
struct Strings {
    escapes: Escapes,
    /// All ones where the next block begins inside of one.
    open: u64,
}

impl Strings {
    /// A bit for each byte inside, the opening quote included.
    fn inside(&mut self, block: &Block) -> u64 {
        let mut inside = block.places(|bytes| bytes.simd_eq(splat(b'"'))) & !self.escapes.escaped(block);
        // Each bit becomes the parity of the quotes up to it.
        for distance in [1, 2, 4, 8, 16, 32] {
            inside ^= inside << distance;
        }
        inside ^= self.open;
        self.open = if inside >> 63 == 1 { u64::MAX } else { 0 };
        inside
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn container(text: &str) -> Option<&str> {
        end_of_container(text.as_bytes(), 0).map(|end| &text[..end])
    }

    #[test]
    fn a_container_ends_with_its_own_bracket() {
        for (text, found) in [
            ("{}", Some("{}")),
            ("{},", Some("{}")),
            ("[] ]", Some("[]")),
            (r#"{"a":[{"b":{}}]}}"#, Some(r#"{"a":[{"b":{}}]}"#)),
            (r#"{"}":"{"}]"#, Some(r#"{"}":"{"}"#)),
            (r#"{"a":"\"}"}}"#, Some(r#"{"a":"\"}"}"#)),
            (r#"{"a":"\\"}}"#, Some(r#"{"a":"\\"}"#)),
            ("", None),
            ("{", None),
            (r#"{"a":"}"#, None),
            (r#"{"a":"\"}"#, None),
        ] {
            assert_eq!(container(text), found, "{text}");
        }
    }

    /// Wherever quotes, backslashes and brackets fall on the border of two blocks.
    #[test]
    fn a_border_between_blocks_changes_nothing() {
        for tricky in [r#"\"}{"#, r"\\", r#"\\\"]["#, r#"\\\\\"{"#, "}", "{", "\u{e9}\\\"}"] {
            for before in 0..200 {
                let text = format!(r#"{{"{}{tricky}":["{tricky}"]}}"#, "x".repeat(before));
                assert_eq!(container(&format!("{text}]}}")), Some(&*text));
                let string = format!("{}{tricky}", "x".repeat(before));
                assert_eq!(end_of_string(format!("{string}\"}}").as_bytes(), 0), Some(string.len()));
            }
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = r#"[{}\[\]"\\a:, é]{0,90}"#;
        let leaf = prop_oneof![Just(json!(null)), any::<i64>().prop_map(|n| json!(n)), text.prop_map(|t| json!(t))];
        leaf.prop_recursive(6, 60, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|list| json!(list)),
                prop::collection::hash_map(text, inner, 0..6).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_container_is_skipped_whole(value in any_json(), pretty: bool, behind in r#"[{}\[\]"\\a]{0,80}"#) {
            let value = json!([value]);
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let with_more = format!("{text}{behind}");
            prop_assert_eq!(container(&with_more), Some(&*text));
        }

        #[test]
        fn any_string_is_skipped_whole(string in r#"["\\a-z{}é]{0,200}"#, behind in r#"["\\a]{0,80}"#) {
            let text = serde_json::to_string(&string).unwrap();
            let end = end_of_string(format!("{text}{behind}").as_bytes(), 1);
            prop_assert_eq!(end, Some(text.len() - 1));
        }
    }
}
