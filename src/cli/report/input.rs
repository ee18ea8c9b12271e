//! What a report is about: workloads of manifests, images of a list, images of a layout.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::admission::decode::{Review, decode};
use crate::args::ReportArgs;
use crate::cli::Failure;
use crate::cli::check::{as_review, labels};
use crate::cli::manifests::{self, Manifests};
use crate::dependency::workload::Named;
use crate::evidence::gather::StatedLabels;
use crate::exception::Exceptions;
use crate::image::reference::ImageReference;
use crate::image::registry::layout;
use crate::image::registry::settings::{Mirror, MirrorLocation};
use crate::policy::compile::PolicySet;
use crate::policy::file::place;
use crate::subject::Subject;
use crate::subject::kinds::WorkloadKinds;

/// The kind under which an image goes that no workload names.
const IMAGE_ALONE: &str = "Image";

/// A workload, and under which name it is reported.
pub struct Workload {
    pub subject: Subject,
    pub named: Named,
    /// The digests that its namespace's Pods run, by reference as written; where nobody tells, what a reference means counts.
    pub running: BTreeMap<String, BTreeSet<String>>,
}

impl Workload {
    fn new(subject: Subject, named: Named) -> Self {
        Self { subject, named, running: BTreeMap::new() }
    }

    /// An image of it, once for each digest that is known to run under its reference.
    pub fn used(&self, written: &str) -> Vec<UsedImage> {
        let used = |running: Option<&String>| UsedImage { written: written.to_owned(), running: running.cloned() };
        match self.running.get(written).filter(|digests| !digests.is_empty()) {
            Some(digests) => digests.iter().map(|digest| used(Some(digest))).collect(),
            None => vec![used(None)],
        }
    }
}

/// An image as it is used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsedImage {
    /// The reference, as it is written.
    pub written: String,
    /// The digest that Pods run under it, where they tell.
    pub running: Option<String>,
}

/// Everything that was read, and what could not be.
#[derive(Default)]
pub struct Inputs {
    pub workloads: Vec<Workload>,
    pub stated: StatedLabels,
    /// Layouts that stand in for the registries of their images.
    pub mirrors: Vec<Mirror>,
    pub unreadable: Vec<String>,
    /// Files with nothing in them.
    pub empty: Vec<String>,
    /// The policies that are in force where the workloads run.
    pub in_force: Option<PolicySet>,
    /// The exceptions that have an effect there.
    pub exceptions: Exceptions,
}

/// Reads what the flags name.
pub async fn read(args: &ReportArgs) -> Result<Inputs, Failure> {
    let mut inputs = Inputs::default();
    inputs.stated.of_others = labels::of_flags(&args.namespace_labels)?;
    inputs.add_manifests(args);
    if let Some(file) = &args.images {
        inputs.add_list(file, args);
    }
    if let Some(folder) = &args.layout {
        inputs.add_layout(folder, args).await;
    }
    if args.cluster {
        super::cluster::add(&mut inputs, args).await?;
    }
    Ok(inputs)
}

impl Inputs {
    fn add_manifests(&mut self, args: &ReportArgs) {
        let (files, unreadable) = files_of(&args.files);
        self.unreadable.extend(unreadable);
        let Manifests { objects, unreadable, empty } = manifests::read(&files);
        self.unreadable.extend(unreadable);
        self.empty.extend(empty);
        let (by_namespace, bad_labels) = labels::of_manifests(&objects);
        self.unreadable.extend(bad_labels);
        self.stated.by_namespace = by_namespace;
        let kinds = WorkloadKinds::with(args.workload_kind.clone());
        for manifest in &objects {
            let namespace = manifest.object.pointer("/metadata/namespace");
            if let Some(other) = namespace.filter(|name| !name.is_string() && !name.is_null()) {
                let told =
                    format!("a namespace's name is a text, not {}; write it in quotes", manifests::in_words(other));
                self.unreadable.push(manifest.wrong(&place::steps("metadata.namespace"), told));
                continue;
            }
            match decode(as_review(&manifest.object, &args.namespace).to_string().as_bytes(), &kinds) {
                Ok(Review { subject: Some(subject), .. }) if !subject.images.is_empty() => {
                    let team = self.team(&manifest.object, &subject, &args.team_label);
                    self.workloads.push(Workload::new(subject.clone(), Named::of(&subject, team)));
                }
                Ok(_) => {}
                Err(error) => {
                    let field = error.place.strip_prefix("request.object").unwrap_or(&error.place);
                    self.unreadable.push(manifest.wrong(&place::steps(field), &error.problem));
                }
            }
        }
    }

    /// The team by the workload's own label, its template's, or its namespace's.
    fn team(&self, object: &Value, subject: &Subject, label: &str) -> Option<String> {
        let own = ["/metadata/labels", "/spec/template/metadata/labels"]
            .into_iter()
            .find_map(|labels| object.pointer(labels)?.get(label)?.as_str());
        let of_namespace = || {
            let labels = self.stated.by_namespace.get(&subject.namespace).or(self.stated.of_others.as_ref())?;
            labels.get(label).map(String::as_str)
        };
        own.or_else(of_namespace).filter(|team| !team.is_empty()).map(str::to_owned)
    }

    fn add_list(&mut self, file: &Path, args: &ReportArgs) {
        let name = if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() };
        let text = match text(file) {
            Ok(text) => text,
            Err(error) => {
                self.unreadable
                    .push(format!("{name} cannot be read: {error}; name a file with one image a line, or - for stdin"));
                return;
            }
        };
        let before = self.workloads.len() + self.unreadable.len();
        for (index, line) in text.lines().enumerate() {
            let written = line.split('#').next().unwrap_or_default().trim();
            if written.is_empty() {
                continue;
            }
            match ImageReference::parse(written) {
                Ok(_) => self.add_image(written, args),
                Err(error) => self.unreadable.push(format!("{name}:{}: {error}", index + 1)),
            }
        }
        if self.workloads.len() + self.unreadable.len() == before {
            self.empty.push(name);
        }
    }

    async fn add_layout(&mut self, folder: &Path, args: &ReportArgs) {
        let entries = match layout::entries(folder).await {
            Ok(entries) => entries,
            Err(error) => {
                self.unreadable.push(format!("{error}; write oci:DIR with the folder of an OCI image layout"));
                return;
            }
        };
        if entries.is_empty() {
            self.empty.push(format!("oci:{}", folder.display()));
        }
        for entry in entries {
            // A whole name is the image's own; a bare tag, or none, is of the one repository that the layout stands for.
            let (reference, prefix) = match entry.name.as_deref() {
                Some(name) if name.contains([':', '/']) => match ImageReference::parse(name) {
                    Ok(image) => (name.to_owned(), image.registry().to_owned()),
                    Err(error) => {
                        self.unreadable.push(format!("oci:{}: {error}", folder.display()));
                        continue;
                    }
                },
                Some(tag) => (format!("{}:{tag}", of_folder(folder)), of_folder(folder)),
                None => (format!("{}@{}", of_folder(folder), entry.digest), of_folder(folder)),
            };
            let mirror = Mirror { prefix, location: MirrorLocation::Layout(folder.to_owned()) };
            if !self.mirrors.contains(&mirror) {
                self.mirrors.push(mirror);
            }
            self.add_image(&reference, args);
        }
    }

    /// An image that no workload names: policies are asked as about a Pod that runs it.
    fn add_image(&mut self, written: &str, args: &ReportArgs) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": written},
            "spec": {"containers": [{"name": "image", "image": written}]},
        });
        let review = as_review(&pod, &args.namespace).to_string();
        if let Ok(Review { subject: Some(subject), .. }) = decode(review.as_bytes(), &WorkloadKinds::default()) {
            let named =
                Named { namespace: String::new(), kind: IMAGE_ALONE.to_owned(), name: written.to_owned(), team: None };
            if !self.workloads.iter().any(|known| known.named == named) {
                self.workloads.push(Workload::new(subject, named));
            }
        }
    }
}

/// `localhost/NAME`, by which the one repository of a layout goes.
fn of_folder(folder: &Path) -> String {
    let name = folder.file_name().and_then(|name| name.to_str()).map(str::to_ascii_lowercase);
    let usable = name.filter(|name| {
        ImageReference::parse(&format!("localhost/{name}"))
            .is_ok_and(|image| image.digest().is_none() && image.repository() == name.as_str())
    });
    format!("localhost/{}", usable.as_deref().unwrap_or("image"))
}

/// Files as they are named, folders as their top-level YAML and JSON, in the order of their names.
fn files_of(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<String>) {
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let listed = std::fs::read_dir(path).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<PathBuf>>>()
        });
        let is_manifest = |file: &PathBuf| {
            let extension = file.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("yaml" | "yml" | "json")) && file.is_file()
        };
        match listed {
            Ok(mut listed) => {
                listed.retain(is_manifest);
                listed.sort();
                if listed.is_empty() {
                    unreadable.push(format!(
                        "{} has no *.yaml, *.yml or *.json at its top; name the folder that has them",
                        path.display()
                    ));
                }
                files.extend(listed);
            }
            Err(error) => unreadable.push(format!("{} cannot be read: {error}", path.display())),
        }
    }
    (files, unreadable)
}

fn text(path: &Path) -> std::io::Result<String> {
    if path != Path::new("-") {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}
