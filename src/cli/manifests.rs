//! Reads manifests as CI has them: several documents, Lists, the output of `helm template`.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::policy::file::place::{Step, written};
use crate::policy::file::{Document, documents};

/// Everything that was read, and what could not be.
#[derive(Debug, Default)]
pub struct Manifests {
    /// Objects, Lists taken apart.
    pub objects: Vec<Manifest>,
    /// What could not be read, in words.
    pub unreadable: Vec<String>,
    /// Files (or stdin) with nothing in them.
    pub empty: Vec<String>,
}

/// An object and where it stands.
#[derive(Debug)]
pub struct Manifest {
    /// The object.
    pub object: Value,
    place: Place,
}

/// A place in a document.
#[derive(Clone, Debug)]
struct Place {
    source: Arc<Source>,
    way: Vec<Step>,
}

/// One document of a file.
#[derive(Debug)]
struct Source {
    file: String,
    text: String,
    line: usize,
}

/// What the items of a typed list (`DeploymentList`) are, where they do not say so themselves.
#[derive(Clone, Copy)]
struct ItemType<'a> {
    api_version: &'a str,
    kind: &'a str,
}

/// Reads files, and stdin for `-`.
pub fn read(paths: &[impl AsRef<Path>]) -> Manifests {
    let mut manifests = Manifests::default();
    for path in paths.iter().map(AsRef::as_ref) {
        let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
        match text(path) {
            Ok(text) => manifests.add_text(&name, &text),
            Err(error) => manifests
                .unreadable
                .push(format!("{name} cannot be read: {error}; name a file of manifests, or - for stdin")),
        }
    }
    manifests
}

fn text(path: &Path) -> std::io::Result<String> {
    if path != Path::new("-") {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

impl Manifests {
    fn add_text(&mut self, name: &str, text: &str) {
        let before = self.objects.len() + self.unreadable.len();
        for document in documents(text) {
            match document.read::<Value>(name) {
                Ok(Value::Null) => {}
                Ok(object) => {
                    let source = Source { file: name.to_owned(), text: document.text.to_owned(), line: document.line };
                    self.add(Place { source: Arc::new(source), way: Vec::new() }, object, None);
                }
                Err(error) => self.unreadable.push(error.to_string()),
            }
        }
        if self.objects.len() + self.unreadable.len() == before {
            self.empty.push(name.to_owned());
        }
    }

    fn add(&mut self, place: Place, object: Value, item_of: Option<ItemType<'_>>) {
        let Value::Object(mut members) = object else {
            self.unreadable.push(format!("{place}: it is no Kubernetes object but {}", in_words(&object)));
            return;
        };
        if let Some(of) = item_of {
            members.entry("apiVersion").or_insert_with(|| of.api_version.into());
            members.entry("kind").or_insert_with(|| of.kind.into());
        }
        let (api_version, kind) = (text_of(&members, "apiVersion"), text_of(&members, "kind"));
        if api_version.is_empty() || kind.is_empty() {
            self.unreadable.push(format!("{place}: it is no Kubernetes object: apiVersion or kind is missing"));
            return;
        }
        if let Some(item_kind) = kind.strip_suffix("List") {
            let items = members.remove("items");
            let typed = ItemType { api_version: &api_version, kind: item_kind };
            match items {
                Some(Value::Array(items)) => {
                    for (index, item) in items.into_iter().enumerate() {
                        let place = place.at([Step::Key("items".to_owned()), Step::Entry(index)]);
                        self.add(place, item, (!item_kind.is_empty()).then_some(typed));
                    }
                    return;
                }
                // How Go writes a list of nothing.
                Some(Value::Null) => return,
                Some(other) => {
                    let place = place.at([Step::Key("items".to_owned())]);
                    self.unreadable
                        .push(format!("{place}: the items of a {kind} are a list, not {}", in_words(&other)));
                    return;
                }
                None if item_kind.is_empty() => {
                    self.unreadable.push(format!("{place}: a List without items; add `items: []` if it is meant"));
                    return;
                }
                // A kind of its own that merely ends like this.
                None => {}
            }
        }
        self.objects.push(Manifest { object: Value::Object(members), place });
    }
}

impl Place {
    fn at(&self, more: impl IntoIterator<Item = Step>) -> Self {
        Self { source: Arc::clone(&self.source), way: self.way.iter().cloned().chain(more).collect() }
    }
}

/// `FILE:LINE`.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source { file, text, line } = &*self.source;
        write!(formatter, "{file}:{}", Document { text, line: *line }.line_at(&self.way))
    }
}

impl Manifest {
    /// What is wrong with a field of it: file, line, object, field and `what`.
    pub fn wrong(&self, field: &[Step], what: impl fmt::Display) -> String {
        let text = |pointer: &str| self.object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let name = text("/metadata/name").or(text("/metadata/generateName")).unwrap_or("without a name");
        let namespace = text("/metadata/namespace").map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let object = format!("{} {namespace}{name}", text("/kind").unwrap_or_default());
        let place = self.place.at(field.iter().cloned());
        match written(field) {
            field if field.is_empty() => format!("{place}: {object}: {what}"),
            field => format!("{place}: {object}: {field}: {what}"),
        }
    }
}

fn text_of(members: &Map<String, Value>, key: &str) -> String {
    members.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What a value is, and short ones whole.
pub fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("the text {:?}", text.chars().take(64).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}
