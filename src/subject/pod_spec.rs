//! Reads a Pod spec only as far as a decision needs it: its images, in every place, and its pull secrets.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::template::{ImageUse, Place};
use super::{PullHints, labels};
use crate::json::Text;

/// A Pod template, as `spec.template` has it.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a Pod template")]
pub struct TemplateView<'a> {
    #[serde(default)]
    metadata: Option<TemplateMetadata>,
    /// Its Pod spec.
    #[serde(borrow)]
    pub spec: PodSpecView<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct TemplateMetadata {
    #[serde(default, deserialize_with = "labels::lenient")]
    labels: BTreeMap<String, String>,
}

impl TemplateView<'_> {
    /// Its labels.
    pub fn take_labels(&mut self) -> BTreeMap<String, String> {
        self.metadata.take().unwrap_or_default().labels
    }
}

/// A Pod spec, borrowed from the review's bytes where its text allows.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "a Pod spec")]
pub struct PodSpecView<'a> {
    #[serde(borrow, deserialize_with = "null_as_empty")]
    containers: Vec<ContainerView<'a>>,
    #[serde(borrow, deserialize_with = "null_as_empty")]
    init_containers: Vec<ContainerView<'a>>,
    #[serde(borrow, deserialize_with = "null_as_empty")]
    ephemeral_containers: Vec<ContainerView<'a>>,
    #[serde(borrow, deserialize_with = "null_as_empty")]
    volumes: Vec<VolumeView<'a>>,
    #[serde(borrow, deserialize_with = "null_as_empty")]
    image_pull_secrets: Vec<SecretView<'a>>,
    #[serde(borrow)]
    service_account_name: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "a container")]
struct ContainerView<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    image: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "a volume")]
struct VolumeView<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    image: Option<ImageVolumeView<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "an image volume")]
struct ImageVolumeView<'a> {
    #[serde(borrow)]
    reference: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "the name of a Secret")]
struct SecretView<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// The API server writes `null` for an empty list that has no `omitempty`.
fn null_as_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

impl PodSpecView<'_> {
    /// Every image that the spec names, in every place. A container without an image has none to judge (templates may
    /// leave it to a webhook or a tool to fill in, as Helm's and Knative's do).
    pub fn images(&self) -> Vec<ImageUse> {
        let containers = [
            (Place::Container, &self.containers),
            (Place::InitContainer, &self.init_containers),
            (Place::EphemeralContainer, &self.ephemeral_containers),
        ];
        let in_containers = containers.into_iter().flat_map(|(place, list)| {
            list.iter().filter_map(move |container| Some((place, &container.name, container.image.as_ref()?)))
        });
        let in_volumes = self
            .volumes
            .iter()
            .filter_map(|volume| Some((Place::ImageVolume, &volume.name, volume.image.as_ref()?.reference.as_ref()?)));
        in_containers
            .chain(in_volumes)
            .filter(|(_, _, image)| !image.0.is_empty())
            .map(|(place, name, image)| ImageUse { place, name: name.to_string(), image: image.0.to_string() })
            .collect()
    }

    /// Where its registry credentials are.
    pub fn pull_hints(&self) -> PullHints {
        PullHints {
            secrets: self
                .image_pull_secrets
                .iter()
                .map(|secret| secret.name.to_string())
                .filter(|name| !name.is_empty())
                .collect(),
            service_account: match self.service_account_name.as_ref().map(|name| &*name.0) {
                None | Some("") => "default".to_owned(),
                Some(name) => name.to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_in_every_place() {
        let spec: PodSpecView<'_> = serde_json::from_str(
            r#"{"containers":[{"name":"app","image":"a:1"},{"name":"filled-in-later"}],
                "initContainers":[{"name":"migrate","image":"b:1","env":[{"name":"X","value":"image"}]}],
                "ephemeralContainers":null,
                "volumes":[{"name":"models","image":{"reference":"c:1","pullPolicy":"Always"}},{"name":"tmp","emptyDir":{}}],
                "imagePullSecrets":[{"name":"pull"}]}"#,
        )
        .unwrap();
        let found: Vec<_> = spec
            .images()
            .into_iter()
            .map(|used| format!("{} {:?} {}", used.place.in_words(), used.name, used.image))
            .collect();
        assert_eq!(
            found,
            [r#"container "app" a:1"#, r#"init container "migrate" b:1"#, r#"image volume "models" c:1"#]
        );
        assert_eq!(spec.pull_hints(), PullHints { secrets: vec!["pull".into()], service_account: "default".into() });
    }
}
