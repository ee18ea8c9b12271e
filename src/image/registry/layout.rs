//! A local OCI image layout that stands in for a registry: air-gapped clusters, CI before the push, the demo.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::error::RegistryError;
use crate::image::reference::ImageReference;

/// Where layouts note what an entry is called: OCI's annotation and containerd's.
const NAME_ANNOTATIONS: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

/// The digest of an entry of the layout's `index.json`.
///
/// An entry's name may be the whole reference, `repository:tag`, or the tag alone; the most exact wins. A tag alone is
/// taken only where the layout stands for that repository (`whole_repository`), or there would be no telling whose it is.
pub async fn find(folder: &Path, image: &ImageReference, whole_repository: bool) -> Result<String, RegistryError> {
    let tag = image.tag().unwrap_or("latest");
    let mut names = vec![
        format!("{}:{tag}", image.name()),
        format!("{}:{tag}", image.repository()),
        format!("{}:{tag}", image.repository().rsplit('/').next().unwrap_or_default()),
    ];
    if whole_repository {
        names.push(tag.to_owned());
    }
    let entries = index(folder).await?;
    let named = |name: &String| {
        entries.iter().find(|entry| {
            NAME_ANNOTATIONS.iter().any(|key| {
                entry.pointer("/annotations").and_then(|all| all.get(*key)).and_then(Value::as_str) == Some(name)
            })
        })
    };
    let only = if whole_repository && entries.len() == 1 && image.tag().is_none_or(|tag| tag == "latest") {
        entries.first()
    } else {
        None
    };
    names.iter().find_map(named).or(only).and_then(|entry| entry.get("digest")?.as_str()).map(str::to_owned).ok_or_else(
        || {
            RegistryError::NotFound(format!(
                "the image layout {} has no {}:{tag}",
                folder.display(),
                image.repository()
            ))
        },
    )
}

/// The tags of an image's repository among the layout's entries, sorted.
pub async fn tags(folder: &Path, image: &ImageReference, whole_repository: bool) -> Result<Vec<String>, RegistryError> {
    let entries = index(folder).await?;
    let repositories = [
        image.name(),
        image.repository().to_owned(),
        image.repository().rsplit('/').next().unwrap_or_default().to_owned(),
    ];
    let mut tags: Vec<String> = names(&entries)
        .filter_map(|name| match name.rsplit_once(':') {
            Some((repository, tag)) if repositories.iter().any(|known| known == repository) => Some(tag.to_owned()),
            None if whole_repository => Some(name.to_owned()),
            _ => None,
        })
        .collect();
    tags.sort_unstable();
    tags.dedup();
    Ok(tags)
}

/// What the layout calls its entries, and the digests of those without a name.
pub async fn entries(folder: &Path) -> Result<Vec<LayoutEntry>, RegistryError> {
    let entries = index(folder).await?;
    let named = |entry: &Value| NAME_ANNOTATIONS.iter().find_map(|key| name_of(entry, key).map(str::to_owned));
    let digest = |entry: &Value| entry.get("digest").and_then(Value::as_str).map(str::to_owned);
    Ok(entries.iter().filter_map(|entry| Some(LayoutEntry { name: named(entry), digest: digest(entry)? })).collect())
}

/// An entry of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutEntry {
    /// A tag, `repository:tag`, or a whole reference.
    pub name: Option<String>,
    /// Its digest.
    pub digest: String,
}

fn names(entries: &[Value]) -> impl Iterator<Item = &str> {
    entries.iter().flat_map(|entry| NAME_ANNOTATIONS.iter().filter_map(|key| name_of(entry, key)))
}

fn name_of<'a>(entry: &'a Value, key: &str) -> Option<&'a str> {
    entry.pointer("/annotations").and_then(|all| all.get(key)).and_then(Value::as_str)
}

async fn index(folder: &Path) -> Result<Vec<Value>, RegistryError> {
    let body = read(&folder.join("index.json"), 4 << 20).await.map_err(|error| {
        RegistryError::Unreachable(format!("the image layout {} cannot be read: index.json {error}", folder.display()))
    })?;
    let index: Value = serde_json::from_slice(&body).map_err(|_| {
        RegistryError::Unreachable(format!(
            "the image layout {} cannot be read: index.json is not JSON",
            folder.display()
        ))
    })?;
    Ok(index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// The blob of a digest (which the caller compares), up to `most_bytes`.
pub async fn blob(folder: &Path, digest: &str, most_bytes: u64) -> Result<Vec<u8>, RegistryError> {
    let path = match digest.split_once(':') {
        Some((algorithm, hex))
            if [algorithm, hex].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_alphanumeric())) =>
        {
            folder.join("blobs").join(algorithm).join(hex)
        }
        _ => return Err(RegistryError::NotFound(format!("{digest:?} is no digest"))),
    };
    read(&path, most_bytes).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            RegistryError::NotFound(format!("the image layout {} has no {digest}", folder.display()))
        }
        _ => RegistryError::Unreachable(format!(
            "the image layout {} cannot be read: {digest} {error}",
            folder.display()
        )),
    })
}

async fn read(path: &Path, most_bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let read = tokio::fs::File::open(path).await?.take(most_bytes + 1).read_to_end(&mut body).await?;
    if read as u64 > most_bytes {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, format!("is larger than {most_bytes} bytes")));
    }
    Ok(body)
}
