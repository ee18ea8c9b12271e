//! `freshgate check`: what admission would say to these manifests. The same code decides; nothing is recorded.

pub(super) mod labels;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::labels::UnknownLabels;
use super::manifests::{self, Manifests};
use super::output::{coloured, print_json, print_lines, progress, say, tell};
use super::{FAILED, Failure, NO, OK};
use crate::admission::decode::{Review, decode};
use crate::args::{CheckArgs, Output};
use crate::budget::poller;
use crate::clock;
use crate::evidence::Evidence;
use crate::evidence::gather::{Budgets, Gatherer, StatedLabels};
use crate::image::resolver::facts::NoStore;
use crate::policy::compile::{NamespaceLabels, PolicySet};
use crate::policy::evaluate::{evaluate, passes_unjudged};
use crate::policy::file::place;
use crate::policy_folder;
use crate::subject::Subject;
use crate::subject::kinds::WorkloadKinds;
use crate::telemetry::Traces;
use crate::verdict::{Decision, words};

#[derive(Serialize)]
struct Checked {
    kind: String,
    namespace: String,
    name: String,
    decision: Decision,
    messages: Vec<String>,
}

pub async fn check(args: CheckArgs) -> Result<u8, Failure> {
    let written = policy_folder::read(&args.policies).map_err(Failure::of)?;
    let sources = policy_folder::sources(&written);
    let policies = policy_folder::set(written.policies);
    let stated = labels::of_flags(&args.namespace_labels)?;
    let Manifests { objects, mut unreadable, empty } = manifests::read(&args.files);
    for source in &empty {
        say(
            "warning",
            &format!("there is nothing in {source}, so nothing of it was checked; did what should write it fail?"),
        );
    }
    let (by_namespace, bad_labels) = labels::of_manifests(&objects);
    unreadable.extend(bad_labels);
    super::budgets::warn_of_missing_sources(&policies, &sources);
    // What admission would read from a snapshot is asked now.
    let snapshots = poller::poll_once(&sources, None).await;
    let texts = policy_folder::texts(&args.policies).map_err(Failure::of)?;
    let labels_of = |namespace: &str| {
        let labels = by_namespace.get(namespace).or(stated.as_ref());
        labels.map_or(NamespaceLabels::Unknown, NamespaceLabels::Known)
    };
    let exceptions = policy_folder::exceptions(&texts, &policies, labels_of, clock::now()).map_err(Failure::of)?;
    let gatherer = Gatherer {
        resolver: crate::run::resolver(&args.registries, Arc::new(NoStore)).map_err(Failure::of)?,
        ledger: None,
        cluster: None,
        stated: StatedLabels { by_namespace, of_others: stated },
        budgets: Budgets { snapshots: Arc::new(ArcSwap::from_pointee(snapshots)), ..Budgets::default() },
        traces: Traces::default(),
        exceptions: Arc::new(ArcSwap::from_pointee(exceptions)),
    };

    let kinds = WorkloadKinds::with(args.workload_kind.clone());
    let mut unknown_labels = UnknownLabels::new(&policies);
    let mut checked = Vec::new();
    let bar = progress(Some(objects.len() as u64), "checking");
    for manifest in &objects {
        bar.inc(1);
        // Taken for none, it would be judged in another namespace.
        if let Some(other) =
            manifest.object.pointer("/metadata/namespace").filter(|name| !name.is_string() && !name.is_null())
        {
            let found = manifests::in_words(other);
            let told = format!("a namespace's name is a text, not {found}; write it in quotes");
            unreadable.push(manifest.wrong(&place::steps("metadata.namespace"), told));
            continue;
        }
        let body = as_review(&manifest.object, &args.namespace).to_string();
        match decode(body.as_bytes(), &kinds) {
            Ok(Review { subject: Some(subject), .. }) => {
                unknown_labels.look_at(&subject, &gatherer.stated);
                let deadline = Instant::now() + Duration::from_secs(args.timeout_seconds);
                checked.push(check_one(subject, &gatherer, &policies, deadline).await);
            }
            Ok(_) => {}
            Err(error) => {
                let field = error.place.strip_prefix("request.object").unwrap_or(&error.place);
                unreadable.push(manifest.wrong(&place::steps(field), &error.problem));
            }
        }
    }
    bar.finish_and_clear();

    unknown_labels.warn();
    match args.output {
        Output::Json => print_json(&checked)?,
        Output::Table => print_lines(&in_words(&checked))?,
    }
    for problem in unreadable.iter().cloned() {
        tell(&Failure::new(problem));
    }
    Ok(if checked.iter().any(|one| one.decision == Decision::Deny) {
        NO
    } else if unreadable.is_empty() {
        OK
    } else {
        FAILED
    })
}

async fn check_one(subject: Subject, gatherer: &Gatherer, policies: &PolicySet, deadline: Instant) -> Checked {
    let now = clock::now();
    let evidence = if passes_unjudged(&subject).is_some() {
        Evidence::default()
    } else {
        gatherer.gather(&subject, policies, now, deadline).await
    };
    let verdict = evaluate(&subject, &evidence, policies, now);
    let context =
        words::Context { decision_id: "", dry_run: true, public_url: None, contact: None, subject: Some(&subject) };
    let denial = words::denial(&verdict, &context);
    let messages = denial.into_iter().chain(words::warnings(&verdict, &context)).collect();
    Checked {
        kind: subject.kind,
        namespace: subject.namespace,
        name: subject.name,
        decision: verdict.decision,
        messages,
    }
}

/// The review that an API server would send of a new object.
pub(super) fn as_review(object: &Value, default_namespace: &str) -> Value {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let namespace = match text("/metadata/namespace") {
        "" => default_namespace,
        named => named,
    };
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "check",
            "kind": { "group": group, "version": version, "kind": object["kind"] },
            "name": text("/metadata/name"),
            "namespace": namespace,
            "operation": "CREATE",
            "object": object,
            "dryRun": true,
        },
    })
}

fn in_words(checked: &[Checked]) -> Vec<String> {
    let mut said = Vec::new();
    for one in checked {
        said.push(format!("{} {} {}/{}", coloured(one.decision.as_str()), one.kind, one.namespace, one.name));
        for line in one.messages.iter().flat_map(|message| message.lines()) {
            said.push(format!("  {line}"));
        }
    }
    let count = |decision| checked.iter().filter(|one| one.decision == decision).count();
    said.push(format!(
        "{} allowed, {} with warnings, {} refused",
        count(Decision::Allow),
        count(Decision::Warn),
        count(Decision::Deny)
    ));
    said
}
