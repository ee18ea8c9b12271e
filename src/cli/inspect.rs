//! `freshgate inspect`: every date that an image carries, and which one counts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::Instant;

use super::output::{print_json, print_lines, progress, table};
use super::{Failure, NO, OK};
use crate::args::{InspectArgs, Output};
use crate::clock;
use crate::evidence::{Fact, PlatformImage, ResolvedImage, Unknown};
use crate::image::build_date::{BuildDate, Candidate, rfc3339};
use crate::image::registry::settings::{Mirror, MirrorLocation};
use crate::image::resolver::Request;
use crate::image::resolver::facts::NoStore;
use crate::policy::duration;

/// The registry that a layout given by path goes by inside.
const LAYOUT_REGISTRY: &str = "image.layout";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspected {
    reference: String,
    digest: Option<String>,
    #[serde(flatten)]
    date: DateReport,
    platforms: Vec<PlatformReport>,
    candidates: Vec<Candidate>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlatformReport {
    platform: Option<String>,
    digest: String,
    #[serde(flatten)]
    date: DateReport,
    candidates: Vec<Candidate>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct DateReport {
    state: &'static str,
    reason: Option<&'static str>,
    detail: Option<String>,
    build_time: Option<String>,
    source: Option<&'static str>,
    class: Option<&'static str>,
    age_seconds: Option<i64>,
}

impl DateReport {
    fn known(built: &BuildDate, now: DateTime<Utc>) -> Self {
        Self {
            state: "known",
            build_time: Some(rfc3339(built.time)),
            source: Some(built.source.as_str()),
            class: Some(built.class.as_str()),
            age_seconds: Some(now.signed_duration_since(built.time).num_seconds()),
            ..Self::default()
        }
    }

    fn unknown(unknown: &Unknown) -> Self {
        Self {
            state: "unknown",
            reason: Some(unknown.reason.as_str()),
            detail: Some(unknown.detail.clone()),
            ..Self::default()
        }
    }

    fn of(built: &Fact<BuildDate>, now: DateTime<Utc>) -> Self {
        match built {
            Fact::Known(built) => Self::known(built, now),
            Fact::Unknown(unknown) => Self::unknown(unknown),
        }
    }
}

pub async fn inspect(args: InspectArgs) -> Result<u8, Failure> {
    let mut registries = args.registries.clone();
    let reference = match args.image.strip_prefix("oci:") {
        None => args.image.clone(),
        Some(path) => {
            let (mirror, reference) = layout(path);
            registries.mirror.push(mirror);
            reference
        }
    };
    let resolver = crate::run::resolver(&registries, Arc::new(NoStore)).map_err(Failure::of)?;
    let now = clock::now();
    let deadline = Instant::now() + Duration::from_secs(args.timeout_seconds);
    let bar = progress(Some(1), "asking the registry");
    let found = resolver.resolve(&reference, Request { credentials: None, platforms: &[], now, deadline }).await;
    bar.finish_and_clear();
    let resolved = found.known().is_some();
    let inspected = report(&args.image, found, now);
    match args.output {
        Output::Json => print_json(&inspected)?,
        Output::Table => print_lines(&in_words(&inspected))?,
    }
    Ok(if resolved { OK } else { NO })
}

/// The layout of `DIR`, `DIR:NAME` or `DIR@sha256:…`, and the reference within. A name is what the layout calls its
/// entry: a tag, `repository:tag`, or a whole reference.
fn layout(path: &str) -> (Mirror, String) {
    let (folder, name) = match path.split_once('@') {
        Some((folder, digest)) => (folder, format!("image@{digest}")),
        None => {
            let colons = path.rmatch_indices(':').map(|(at, _)| at);
            let named = colons.map(|at| (&path[..at], &path[at + 1..])).rfind(|(folder, _)| Path::new(folder).is_dir());
            match named {
                Some((folder, name)) if name.contains([':', '/']) => (folder, name.to_owned()),
                Some((folder, tag)) => (folder, format!("image:{tag}")),
                None => (path, "image".to_owned()),
            }
        }
    };
    // A bare tag is the layout's own only where the layout stands for one repository.
    let prefix =
        if name.starts_with("image") { format!("{LAYOUT_REGISTRY}/image") } else { LAYOUT_REGISTRY.to_owned() };
    let mirror = Mirror { prefix, location: MirrorLocation::Layout(folder.into()) };
    (mirror, format!("{LAYOUT_REGISTRY}/{name}"))
}

fn report(reference: &str, found: Fact<ResolvedImage>, now: DateTime<Utc>) -> Inspected {
    let image = match found {
        Fact::Known(image) => image,
        Fact::Unknown(unknown) => {
            let date = DateReport::unknown(&unknown);
            return Inspected {
                reference: reference.to_owned(),
                digest: None,
                date,
                platforms: Vec::new(),
                candidates: Vec::new(),
            };
        }
    };
    let date = whole(&image.platforms, now);
    let deciding = image
        .platforms
        .iter()
        .min_by_key(|platform| platform.built.known().map_or(DateTime::<Utc>::MAX_UTC, |built| built.time));
    Inspected {
        reference: reference.to_owned(),
        digest: Some(image.digest),
        date,
        candidates: deciding.map(|platform| platform.candidates.clone()).unwrap_or_default(),
        platforms: image
            .platforms
            .iter()
            .map(|platform| PlatformReport {
                platform: platform.platform.clone(),
                digest: platform.digest.clone(),
                date: DateReport::of(&platform.built, now),
                candidates: platform.candidates.clone(),
            })
            .collect(),
    }
}

/// The oldest platform counts; one that is unknown makes the whole unknown, with the oldest date that is known beside it.
fn whole(platforms: &[PlatformImage], now: DateTime<Utc>) -> DateReport {
    let oldest = platforms.iter().filter_map(|platform| platform.built.known()).min_by_key(|built| built.time);
    let known = oldest.map(|built| DateReport::known(built, now));
    let unknown = platforms.iter().find_map(|platform| match &platform.built {
        Fact::Unknown(unknown) => Some(DateReport::unknown(unknown)),
        Fact::Known(_) => None,
    });
    match (unknown, known) {
        (Some(unknown), Some(known)) => {
            DateReport { state: unknown.state, reason: unknown.reason, detail: unknown.detail, ..known }
        }
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => DateReport { state: "unknown", reason: Some("NoDate"), ..DateReport::default() },
    }
}

fn in_words(inspected: &Inspected) -> Vec<String> {
    let mut said = vec![inspected.reference.clone()];
    if let Some(digest) = &inspected.digest {
        said.push(format!("  digest   {digest}"));
    }
    let date = &inspected.date;
    if let (Some(time), Some(source), Some(age)) = (&date.build_time, date.source, date.age_seconds) {
        said.push(format!("  built    {time} ({source}), {} ago", duration::in_words(age)));
    }
    if let Some(reason) = date.reason {
        said.push(format!("  unknown  {reason}: {}", date.detail.as_deref().unwrap_or_default()));
    }
    for platform in &inspected.platforms {
        said.push(String::new());
        said.push(format!("  {} {}", platform.platform.as_deref().unwrap_or("no platform named"), platform.digest));
        let rows = platform.candidates.iter().map(|candidate| {
            vec![
                if candidate.used { "→" } else { "" }.to_owned(),
                candidate.source.as_str().to_owned(),
                candidate.class.as_str().to_owned(),
                candidate.value.clone(),
                candidate.why.clone(),
            ]
        });
        for line in table(&["", "source", "class", "value", "why"], rows.collect()).lines() {
            said.push(format!("    {line}"));
        }
        if let Some(detail) = platform.date.detail.as_deref().filter(|_| platform.candidates.is_empty()) {
            said.push(format!("    {detail}"));
        }
    }
    said
}
