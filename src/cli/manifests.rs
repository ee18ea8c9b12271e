//! Reads manifests as CI has them: several documents, Lists, the output of `helm template`.

use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use crate::policy::file::{PolicyError, documents};

/// Everything that was read, and what could not be.
#[derive(Debug, Default)]
pub struct Manifests {
    /// Objects, Lists taken apart.
    pub objects: Vec<Value>,
    /// Documents that could not be read, in words.
    pub unreadable: Vec<String>,
}

/// Reads files, and stdin for `-`.
pub fn read(paths: &[impl AsRef<Path>]) -> Manifests {
    let mut manifests = Manifests::default();
    for path in paths.iter().map(AsRef::as_ref) {
        let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
        match text(path) {
            Ok(text) => manifests.add(&name, &text),
            Err(error) => manifests.unreadable.push(format!("{name} cannot be read: {error}")),
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
    fn add(&mut self, name: &str, text: &str) {
        for document in documents(text) {
            match document.read::<Value>(name) {
                Ok(object) => self.add_object(name, document.line, object),
                Err(error) => self.unreadable.push(PolicyError { remedy: String::new(), ..error }.to_string()),
            }
        }
    }

    fn add_object(&mut self, name: &str, line: usize, mut object: Value) {
        if object.is_null() {
            return;
        }
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        if kind.is_empty() || object.get("apiVersion").and_then(Value::as_str).is_none_or(str::is_empty) {
            self.unreadable.push(format!("{name}:{line}: it is no Kubernetes object: apiVersion or kind is missing"));
            return;
        }
        if kind.ends_with("List")
            && let Some(Value::Array(items)) = object.get_mut("items").map(Value::take)
        {
            for item in items {
                self.add_object(name, line, item);
            }
            return;
        }
        self.objects.push(object);
    }
}
