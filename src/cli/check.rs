//! `freshgate check`: what admission would say to these manifests. The same code decides; nothing is recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::manifests::{self, Manifests};
use super::{FAILED, Failure, NO, OK, coloured, print, print_json, progress};
use crate::admission::decode::decode;
use crate::args::{CheckArgs, Output};
use crate::clock;
use crate::evidence::Evidence;
use crate::evidence::gather::{Budgets, Gatherer, StatedLabels};
use crate::image::resolver::facts::NoStore;
use crate::policy::compile::{NamespaceLabels, PolicySet, needs_namespace_labels};
use crate::policy::evaluate::{evaluate, passes_unjudged};
use crate::policy_folder;
use crate::subject::kinds::WorkloadKinds;
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
    let bad_folder = |error| Failure::new(error).hint("freshgate policy lint DIR says more");
    let policies = policy_folder::set(policy_folder::read(&args.policies).map_err(bad_folder)?);
    let stated = labels(&args.namespace_labels)?;
    let Manifests { objects, unreadable } = manifests::read(&args.files);
    let by_namespace = namespaces(&objects);
    warn_of_unknown_labels(&policies, &by_namespace, stated.as_ref());
    let texts = policy_folder::texts(&args.policies).map_err(bad_folder)?;
    let labels_of = |namespace: &str| {
        let labels = by_namespace.get(namespace).or(stated.as_ref());
        labels.map_or(NamespaceLabels::Unknown, NamespaceLabels::Known)
    };
    let exceptions = policy_folder::exceptions(&texts, &policies, labels_of, clock::now()).map_err(bad_folder)?;
    let gatherer = Gatherer {
        resolver: crate::run::resolver(&args.registries, Arc::new(NoStore)).map_err(Failure::new)?,
        ledger: None,
        cluster: None,
        stated: StatedLabels { by_namespace, of_others: stated },
        budgets: Budgets::default(),
        exceptions: Arc::new(ArcSwap::from_pointee(exceptions)),
    };

    let kinds = WorkloadKinds::default();
    let mut unreadable = unreadable;
    let mut checked = Vec::new();
    let bar = progress(objects.len() as u64, "checking");
    for object in &objects {
        match check_one(object, &args, &kinds, &gatherer, &policies).await {
            Ok(one) => checked.extend(one),
            Err(problem) => unreadable.push(problem),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    match args.output {
        Output::Json => print_json(&checked),
        Output::Table => print_table(&checked),
    }
    for problem in &unreadable {
        super::tell(&Failure::new(problem));
    }
    Ok(if checked.iter().any(|one| one.decision == Decision::Deny) {
        NO
    } else if unreadable.is_empty() {
        OK
    } else {
        FAILED
    })
}

async fn check_one(
    object: &Value,
    args: &CheckArgs,
    kinds: &WorkloadKinds,
    gatherer: &Gatherer,
    policies: &PolicySet,
) -> Result<Option<Checked>, String> {
    let body = as_review(object, &args.namespace).to_string();
    let review = decode(body.as_bytes(), kinds).map_err(|error| {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name");
        format!("{} {name}: {error}", object["kind"].as_str().unwrap_or_default())
    })?;
    let Some(subject) = review.subject else {
        return Ok(None);
    };
    let now = clock::now();
    let evidence = if passes_unjudged(&subject).is_some() {
        Evidence::default()
    } else {
        let deadline = Instant::now() + Duration::from_secs(args.timeout_seconds);
        gatherer.gather(&subject, policies, now, deadline).await
    };
    let verdict = evaluate(&subject, &evidence, policies, now);
    let context =
        words::Context { decision_id: "", dry_run: true, public_url: None, contact: None, subject: Some(&subject) };
    let denial = words::denial(&verdict, &context);
    let messages = denial.into_iter().chain(words::warnings(&verdict, &context)).collect();
    Ok(Some(Checked {
        kind: subject.kind,
        namespace: subject.namespace,
        name: subject.name,
        decision: verdict.decision,
        messages,
    }))
}

/// The review that an API server would send of a new object.
fn as_review(object: &Value, default_namespace: &str) -> Value {
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

/// Labels of the Namespace objects among the manifests.
fn namespaces(objects: &[Value]) -> BTreeMap<String, BTreeMap<String, String>> {
    let namespaces = objects.iter().filter(|object| object["kind"] == "Namespace" && object["apiVersion"] == "v1");
    namespaces
        .filter_map(|object| {
            let name = object.pointer("/metadata/name")?.as_str()?.to_owned();
            let labels = object.pointer("/metadata/labels").cloned().unwrap_or_default();
            Some((name, serde_json::from_value(labels).unwrap_or_default()))
        })
        .collect()
}

fn labels(written: &[String]) -> Result<Option<BTreeMap<String, String>>, Failure> {
    let pairs = written.iter().map(|pair| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::new(format!("--namespace-labels {pair:?} is not KEY=VALUE"))),
    });
    let labels: BTreeMap<_, _> = pairs.collect::<Result<_, _>>()?;
    Ok((!labels.is_empty()).then_some(labels))
}

/// A policy that selects by labels nobody stated would silently be for nothing.
fn warn_of_unknown_labels(
    policies: &PolicySet,
    known: &BTreeMap<String, BTreeMap<String, String>>,
    stated: Option<&BTreeMap<String, String>>,
) {
    if stated.is_some() || !known.is_empty() {
        return;
    }
    for policy in policies.iter().filter(|policy| needs_namespace_labels(&policy.spec)) {
        let _ = std::io::Write::write_fmt(
            &mut anstream::stderr(),
            format_args!(
                "warning: policy {:?} selects namespaces by labels that are not known here; give --namespace-labels, or a Namespace among the manifests\n",
                policy.name
            ),
        );
    }
}

fn print_table(checked: &[Checked]) {
    for one in checked {
        print(&format!("{} {} {}/{}\n", coloured(one.decision.as_str()), one.kind, one.namespace, one.name));
        for line in one.messages.iter().flat_map(|message| message.lines()) {
            print(&format!("  {line}\n"));
        }
    }
    let count = |decision| checked.iter().filter(|one| one.decision == decision).count();
    print(&format!(
        "{} allowed, {} with warnings, {} refused\n",
        count(Decision::Allow),
        count(Decision::Warn),
        count(Decision::Deny)
    ));
}
