//! The two formats of bills of materials, read in one pass: each entry is handed on as it comes, and nothing is kept.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::UnreadableSbom;

/// An entry of either format.
#[derive(Debug, Default)]
pub struct Entry {
    /// Its name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its package URLs.
    pub purls: Vec<String>,
    /// Whether it is the operating system.
    pub is_system: bool,
}

/// Takes an entry; false where no more are wanted.
type Take<'a> = &'a mut dyn FnMut(Entry) -> bool;

/// Reads a document and hands on its entries.
pub fn read(bytes: &[u8], take: Take<'_>) -> Result<(), UnreadableSbom> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut wants_more = true;
    let format = Document { take, wants_more: &mut wants_more };
    let format = format.deserialize(&mut deserializer).map_err(|error| UnreadableSbom::Json(error.to_string()))?;
    if format.is_known() { Ok(()) } else { Err(UnreadableSbom::Format) }
}

/// What the document says that it is.
#[derive(Default)]
struct Format {
    spdx: Option<String>,
    cyclonedx: bool,
}

impl Format {
    fn is_known(&self) -> bool {
        self.cyclonedx || self.spdx.as_ref().is_some_and(|version| version.starts_with("SPDX-2"))
    }
}

struct Document<'a> {
    take: Take<'a>,
    wants_more: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = Format;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Format, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Format;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a bill of materials")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Format, A::Error> {
        let mut format = Format::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "spdxVersion" => format.spdx = map.next_value()?,
                "bomFormat" => {
                    format.cyclonedx = map.next_value::<Option<String>>()?.as_deref() == Some("CycloneDX");
                }
                "packages" => map.next_value_seed(List::<SpdxPackage> {
                    take: self.take,
                    wants_more: self.wants_more,
                    of: PhantomData,
                })?,
                "components" => map.next_value_seed(List::<Component> {
                    take: self.take,
                    wants_more: self.wants_more,
                    of: PhantomData,
                })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(format)
    }
}

/// A list whose items are handed on one by one.
struct List<'a, T> {
    take: Take<'a>,
    wants_more: &'a mut bool,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de> + Entries> DeserializeSeed<'de> for List<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de> + Entries> Visitor<'de> for List<'_, T> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of packages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while *self.wants_more {
            match list.next_element::<T>()? {
                Some(item) => *self.wants_more = item.hand_on(self.take),
                None => return Ok(()),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

trait Entries {
    /// Hands on what it is, and what is in it; false where no more is wanted.
    fn hand_on(self, take: Take<'_>) -> bool;
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpdxPackage {
    name: Option<String>,
    version_info: Option<String>,
    #[serde(default)]
    external_refs: Vec<ExternalReference>,
    primary_package_purpose: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExternalReference {
    reference_type: Option<String>,
    reference_locator: Option<String>,
}

impl Entries for SpdxPackage {
    fn hand_on(self, take: Take<'_>) -> bool {
        let is_purl = |reference: &ExternalReference| reference.reference_type.as_deref() == Some("purl");
        let purls = self.external_refs.into_iter().filter(is_purl).filter_map(|one| one.reference_locator);
        take(Entry {
            name: self.name,
            version: self.version_info,
            purls: purls.collect(),
            is_system: self.primary_package_purpose.as_deref() == Some("OPERATING-SYSTEM"),
        })
    }
}

#[derive(Deserialize)]
struct Component {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
    version: Option<String>,
    purl: Option<String>,
    #[serde(default)]
    components: Vec<Component>,
}

impl Entries for Component {
    fn hand_on(self, take: Take<'_>) -> bool {
        let entry = Entry {
            name: self.name,
            version: self.version,
            purls: self.purl.into_iter().collect(),
            is_system: self.kind.as_deref() == Some("operating-system"),
        };
        // No deeper than the reader of JSON goes.
        take(entry) && self.components.into_iter().all(|component| component.hand_on(take))
    }
}
