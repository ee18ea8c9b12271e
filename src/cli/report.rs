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
use self::input::{Inputs, Workload};
use self::trend::Trend;
use super::check::labels::UnknownLabels;
use super::output::{print, print_json, progress, say, tell};
use super::{FAILED, Failure, OK};
use crate::args::{ReportArgs, ReportOutput};
use crate::clock;
use crate::dependency::contents::{Asked, Contents, LookInto};
use crate::dependency::finding::{Findings, Report};
use crate::dependency::index::indexes::Indexes;
use crate::dependency::look_up::{LookUps, Used};
use crate::dependency::package::libyear::Libyears;
use crate::dependency::workload::{report_on, whole};
use crate::evidence::{Evidence, Fact, ResolvedImage};
use crate::exception::Exceptions;
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
        return packages::show_look_ups(&references(&inputs.workloads), &resolver, indexes, within, now).await;
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

/// What is known of each image, by reference as written.
#[derive(Default)]
struct LookedUp {
    images: BTreeMap<String, Fact<ResolvedImage>>,
    findings: BTreeMap<String, Findings>,
    libyears: BTreeMap<String, Libyears>,
}

/// The images of all workloads, each once, as written.
fn references(workloads: &[Workload]) -> BTreeSet<&str> {
    workloads.iter().flat_map(|one| &one.subject.images).map(|used| used.image.as_str()).collect()
}

async fn look_up(
    inputs: &Inputs,
    resolver: &Resolver,
    indexes: Option<&Indexes>,
    within: Duration,
    now: DateTime<Utc>,
) -> LookedUp {
    let references = references(&inputs.workloads);
    let look_ups = LookUps::new(resolver, within);
    let look_into = indexes.map(|indexes| LookInto::new(resolver, indexes, within));
    let bar = progress(Some(references.len() as u64), "images looked up:");
    let each = stream::iter(references).map(|reference| {
        let (look_ups, look_into) = (&look_ups, &look_into);
        async move {
            let request = Request { credentials: None, platforms: &[], now, deadline: Instant::now() + within };
            let found = resolver.resolve(reference, request).await;
            // Where two digests run under one name, neither is it for all.
            let running = inputs.running.get(reference).filter(|digests| digests.len() == 1).and_then(BTreeSet::first);
            let running = running.map(String::as_str);
            let used = Used { written: reference, running, found: &found, credentials: None, platforms: &[] };
            let contents = async {
                match (look_into, found.known()) {
                    (Some(look_into), Some(image)) => {
                        let asked =
                            Asked { written: reference, digest: &image.digest, credentials: None, platforms: &[] };
                        look_into.contents(asked, now).await
                    }
                    _ => Contents::default(),
                }
            };
            let (mut findings, contents) = tokio::join!(look_ups.findings(used, now), contents);
            findings.merge(contents.findings);
            (reference.to_owned(), found, findings, contents.libyears)
        }
    });
    let mut each = each.buffer_unordered(AT_ONCE);
    let mut looked_up = LookedUp::default();
    while let Some((reference, found, findings, libyears)) = each.next().await {
        bar.inc(1);
        if let Some(libyears) = libyears {
            looked_up.libyears.insert(reference.clone(), libyears);
        }
        looked_up.images.insert(reference.clone(), found);
        looked_up.findings.insert(reference, findings);
    }
    bar.finish_and_clear();
    looked_up
}

fn assemble(
    inputs: &Inputs,
    looked_up: &LookedUp,
    policies: &PolicySet,
    exceptions: &Exceptions,
    now: DateTime<Utc>,
) -> Report {
    let workloads = inputs.workloads.iter().map(|workload| {
        let subject = &workload.subject;
        let images = subject
            .images
            .iter()
            .filter_map(|used| looked_up.images.get(&used.image).map(|found| (used.image.clone(), found.clone())));
        let labels = inputs.stated.by_namespace.get(&subject.namespace).or(inputs.stated.of_others.as_ref());
        let evidence = Evidence {
            images: images.collect(),
            namespace_labels: labels.cloned(),
            exceptions: exceptions.of(&subject.namespace, &subject.kind, &subject.name),
            ..Evidence::default()
        };
        let mut report = report_on(workload.named.clone(), subject, &evidence, policies, &looked_up.findings, now);
        for image in &mut report.images {
            image.libyears = looked_up.libyears.get(&image.image).cloned();
        }
        report
    });
    let not_looked_up = looked_up.findings.values().flat_map(|findings| findings.not_looked_up.clone());
    whole(workloads.collect(), not_looked_up.collect(), now)
}

#[cfg(test)]
mod tests;
