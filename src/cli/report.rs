//! `freshgate report`: which images will be refused when, and for each the one small next step.

mod cluster;
mod grouped;
mod html;
mod input;
mod markdown;
mod packages;
mod table;
mod trend;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use serde::Serialize;
use tokio::time::Instant;

use self::grouped::{Summary, View};
use self::input::{Inputs, UsedImage, Workload};
use self::trend::Trend;
use super::check::labels::UnknownLabels;
use super::output::{print, print_json, progress, say, tell};
use super::{FAILED, Failure, OK};
use crate::args::{ReportArgs, ReportOutput};
use crate::clock;
use crate::dependency::base::means_the_same;
use crate::dependency::contents::{Asked, Contents, LookInto};
use crate::dependency::finding::{Findings, Report};
use crate::dependency::index::indexes::Indexes;
use crate::dependency::look_up::{LookUps, Used};
use crate::dependency::package::libyear::Libyears;
use crate::dependency::workload::{oldest, report_on, whole};
use crate::evidence::{Evidence, Fact, ResolvedImage};
use crate::exception::Exceptions;
use crate::image::reference::ImageReference;
use crate::image::resolver::facts::NoStore;
use crate::image::resolver::{Request, Resolver};
use crate::policy::compile::{NamespaceLabels, PolicySet};
use crate::policy_folder;

/// Images that are looked up at once.
const AT_ONCE: usize = 8;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Printed<'a> {
    #[serde(flatten)]
    report: &'a Report,
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<&'a Trend>,
}

pub async fn run(args: ReportArgs) -> Result<u8, Failure> {
    let earlier = args.since.as_deref().map(trend::read).transpose()?;
    let mut inputs = input::read(&args).await?;
    let (policies, exceptions) = in_force(&args, &mut inputs)?;
    let mut registries = args.registries.clone();
    registries.mirror.append(&mut inputs.mirrors);
    let resolver = crate::run::resolver(&registries, Arc::new(NoStore)).map_err(Failure::of)?;
    let now = clock::now();
    let mut unknown_labels = UnknownLabels::new(&policies);
    for workload in &inputs.workloads {
        unknown_labels.look_at(&workload.subject, &inputs.stated);
    }

    let indexes = crate::run::indexes::indexes(&args.indexes).await.map_err(Failure::of)?;
    let within = Duration::from_secs(args.timeout_seconds);
    if let Some(indexes) = indexes.as_ref().filter(|_| args.indexes.show_lookups) {
        return packages::show_look_ups(&used_images(&inputs.workloads), &resolver, indexes, within, now).await;
    }
    let looked_up = look_up(&inputs, &resolver, indexes.as_ref(), within, now).await;
    let report = assemble(&inputs, &looked_up, &policies, &exceptions, now);

    unknown_labels.warn();
    for source in &inputs.empty {
        say("warning", &format!("there is nothing in {source}, so nothing of it is reported"));
    }
    let trend = earlier.map(|earlier| Trend::between(&earlier, &report));
    let view = View::new(&report, args.group_by, trend.as_ref());
    match args.output {
        ReportOutput::Json => {
            print_json(&Printed { report: &report, summary: Summary::of(&report), since: trend.as_ref() })?;
        }
        ReportOutput::Table => print(&table::render(&view))?,
        ReportOutput::Markdown => print(&markdown::render(&view))?,
        ReportOutput::Html => print(&html::render(&view))?,
    }
    for problem in &inputs.unreadable {
        tell(&Failure::new(problem.clone()));
    }
    Ok(if inputs.unreadable.is_empty() { OK } else { FAILED })
}

/// The policies and the exceptions that the forecast asks; none, where none are named.
fn in_force(args: &ReportArgs, inputs: &mut Inputs) -> Result<(PolicySet, Exceptions), Failure> {
    let Some(folder) = &args.policies else {
        return Ok((inputs.in_force.take().unwrap_or_default(), Exceptions::default()));
    };
    let stated = &inputs.stated;
    let policies = policy_folder::set(policy_folder::read(folder).map_err(Failure::of)?.policies);
    let texts = policy_folder::texts(folder).map_err(Failure::of)?;
    let labels_of = |namespace: &str| {
        let labels = stated.by_namespace.get(namespace).or(stated.of_others.as_ref());
        labels.map_or(NamespaceLabels::Unknown, NamespaceLabels::Known)
    };
    let exceptions = policy_folder::exceptions(&texts, &policies, labels_of, clock::now()).map_err(Failure::of)?;
    Ok((policies, exceptions))
}

/// What is known of an image.
struct LookedUp {
    /// What runs, or else what the reference means.
    image: Fact<ResolvedImage>,
    findings: Findings,
    libyears: Option<Libyears>,
}

/// The images of all workloads, each once.
fn used_images(workloads: &[Workload]) -> BTreeSet<UsedImage> {
    let images = |workload: &Workload| -> Vec<UsedImage> {
        workload.subject.images.iter().flat_map(|used| workload.used(&used.image)).collect()
    };
    workloads.iter().flat_map(images).collect()
}

async fn look_up(
    inputs: &Inputs,
    resolver: &Resolver,
    indexes: Option<&Indexes>,
    within: Duration,
    now: DateTime<Utc>,
) -> BTreeMap<UsedImage, LookedUp> {
    let images = used_images(&inputs.workloads);
    let look_ups = LookUps::new(resolver, within);
    let look_into = indexes.map(|indexes| LookInto::new(resolver, indexes, within));
    let bar = progress(Some(images.len() as u64), "images looked up:");
    let each = stream::iter(images).map(|used| {
        let (look_ups, look_into) = (&look_ups, &look_into);
        async move {
            let written = used.written.as_str();
            let request = || Request { credentials: None, platforms: &[], now, deadline: Instant::now() + within };
            let found = resolver.resolve(written, request()).await;
            let image = match runs_instead(&used, &found) {
                Some(pinned) => resolver.resolve(&pinned, request()).await,
                None => found.clone(),
            };
            let contents = async {
                match (look_into, image.known()) {
                    (Some(look_into), Some(image)) => {
                        let asked = Asked { written, digest: &image.digest, credentials: None, platforms: &[] };
                        look_into.contents(asked, now).await
                    }
                    _ => Contents::default(),
                }
            };
            let running = used.running.as_deref();
            let asked = Used { written, running, found: &found, credentials: None, platforms: &[] };
            let (mut findings, contents) = tokio::join!(look_ups.findings(asked, now), contents);
            findings.merge(contents.findings);
            (used, LookedUp { image, findings, libyears: contents.libyears })
        }
    });
    let mut each = each.buffer_unordered(AT_ONCE);
    let mut looked_up = BTreeMap::new();
    while let Some((used, found)) = each.next().await {
        bar.inc(1);
        looked_up.insert(used, found);
    }
    bar.finish_and_clear();
    looked_up
}

/// What runs, by digest, where that is something else than what the reference means by now.
fn runs_instead(used: &UsedImage, means: &Fact<ResolvedImage>) -> Option<String> {
    let running = used.running.as_deref()?;
    // A kubelet may tell the digest of the index, or that of its own platform.
    if means.known().is_some_and(|image| means_the_same(running, None, image, None)) {
        return None;
    }
    ImageReference::parse(&used.written).ok().map(|image| image.pinned(running))
}

fn assemble(
    inputs: &Inputs,
    looked_up: &BTreeMap<UsedImage, LookedUp>,
    policies: &PolicySet,
    exceptions: &Exceptions,
    now: DateTime<Utc>,
) -> Report {
    let workloads = inputs.workloads.iter().map(|workload| {
        let subject = &workload.subject;
        let (mut images, mut libyears) = (BTreeMap::new(), BTreeMap::new());
        let mut findings: BTreeMap<String, Findings> = BTreeMap::new();
        for used in &subject.images {
            if images.contains_key(&used.image) {
                continue;
            }
            let found: Vec<&LookedUp> =
                workload.used(&used.image).iter().filter_map(|used| looked_up.get(used)).collect();
            for one in &found {
                findings.entry(used.image.clone()).or_default().merge(one.findings.clone());
            }
            // Of several digests under one reference, as in a roll-out, the oldest counts.
            if let Some(oldest) = found.into_iter().min_by_key(|one| {
                let built = one.image.known().and_then(oldest).map(|built| built.time);
                (built.is_none(), built)
            }) {
                images.insert(used.image.clone(), oldest.image.clone());
                libyears.extend(oldest.libyears.clone().map(|libyears| (used.image.clone(), libyears)));
            }
        }
        let labels = inputs.stated.by_namespace.get(&subject.namespace).or(inputs.stated.of_others.as_ref());
        let of_workload = |exceptions: &Exceptions| exceptions.of(&subject.namespace, &subject.kind, &subject.name);
        let evidence = Evidence {
            images,
            namespace_labels: labels.cloned(),
            exceptions: [of_workload(exceptions), of_workload(&inputs.exceptions)].concat(),
            ..Evidence::default()
        };
        let mut report = report_on(workload.named.clone(), subject, &evidence, policies, &findings, now);
        for image in &mut report.images {
            image.libyears = libyears.remove(&image.image);
        }
        report
    });
    let not_looked_up = looked_up.values().flat_map(|found| found.findings.not_looked_up.clone());
    whole(workloads.collect(), not_looked_up.collect(), now)
}

#[cfg(test)]
mod tests;
