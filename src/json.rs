//! JSON on the way of a review, where `serde_json` would be a large part of it: read as far as somebody asks, and written
//! text by text instead of byte by byte. Both take and give what `serde_json` does, which has the last word.

mod reader;
mod skip;
mod writer;

use std::borrow::Cow;
use std::ops::Deref;

use serde::Deserialize;

pub use self::reader::Unread;
pub(crate) use self::reader::read;
pub(crate) use self::writer::write;

/// A text, borrowed where it has no escapes; serde borrows no `Option` of a `Cow`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(
    /// The text.
    #[serde(borrow)]
    pub Cow<'a, str>,
);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}
