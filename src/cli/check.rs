//! `freshgate check`: what admission would say to these manifests. The same code decides; nothing is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::manifests::{self, Manifest, Manifests};
use super::output::{coloured, print_json, print_lines, progress, say, tell};
use super::{FAILED, Failure, NO, OK};
use crate::admission::decode::{Review, decode};
use crate::args::{CheckArgs, Output};
use crate::clock;
use crate::evidence::Evidence;
use crate::evidence::gather::{Budgets, Gatherer, StatedLabels};
use crate::image::resolver::facts::NoStore;
use crate::policy::api::Match;
use crate::policy::compile::{CompiledPolicy, NamespaceLabels, PolicySet, needs_namespace_labels};
use crate::policy::evaluate::{evaluate, passes_unjudged};
use crate::policy::file::place::{self, Step};
use crate::policy_folder;
use crate::subject::Subject;
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
    let policies = policy_folder::set(policy_folder::read(&args.policies).map_err(Failure::of)?);
    let stated = labels(&args.namespace_labels)?;
    let Manifests { objects, mut unreadable, empty } = manifests::read(&args.files);
    for source in &empty {
        say(
            "warning",
            &format!("there is nothing in {source}, so nothing of it was checked; did what should write it fail?"),
        );
    }
    let (by_namespace, bad_labels) = namespaces(&objects);
    unreadable.extend(bad_labels);
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
        budgets: Budgets::default(),
        exceptions: Arc::new(ArcSwap::from_pointee(exceptions)),
    };

    let kinds = WorkloadKinds::with(args.workload_kind.clone());
    let mut unknown_labels = UnknownLabels::new(&policies);
    let mut checked = Vec::new();
    let bar = progress(Some(objects.len() as u64), "checking");
    for manifest in &objects {
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
        bar.inc(1);
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

/// Labels by namespace.
type Labels = BTreeMap<String, BTreeMap<String, String>>;

/// Labels of the Namespace objects among the manifests, and what is wrong with some.
fn namespaces(objects: &[Manifest]) -> (Labels, Vec<String>) {
    let (mut known, mut wrong) = (Labels::new(), Vec::new());
    for manifest in objects.iter().filter(|one| one.object["kind"] == "Namespace" && one.object["apiVersion"] == "v1") {
        let Some(name) = manifest.object.pointer("/metadata/name").and_then(Value::as_str) else {
            continue;
        };
        let labels = known.entry(name.to_owned()).or_default();
        let field = place::steps("metadata.labels");
        match manifest.object.pointer("/metadata/labels") {
            None | Some(Value::Null) => {}
            Some(Value::Object(written)) => {
                for (label, value) in written {
                    if let Value::String(value) = value {
                        labels.insert(label.clone(), value.clone());
                        continue;
                    }
                    let field = [field.as_slice(), &[Step::Key(label.clone())]].concat();
                    let found = manifests::in_words(value);
                    wrong.push(manifest.wrong(&field, format!("a label is a text, not {found}; write it in quotes")));
                }
            }
            Some(other) => {
                let found = manifests::in_words(other);
                wrong.push(manifest.wrong(&field, format!("labels are a map of texts, not {found}")));
            }
        }
    }
    (known, wrong)
}

fn labels(written: &[String]) -> Result<Option<BTreeMap<String, String>>, Failure> {
    let pairs = written.iter().map(|pair| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::new(format!(
            "--namespace-labels {pair:?} is not KEY=VALUE, as in --namespace-labels environment=production"
        ))),
    });
    let labels: BTreeMap<_, _> = pairs.collect::<Result<_, _>>()?;
    Ok((!labels.is_empty()).then_some(labels))
}

/// Namespaces whose labels nobody stated, and the policies that would want to know them: silently such a policy would be
/// for nothing there.
struct UnknownLabels {
    /// Policies that select by labels, without their selectors: what else they say of whom they are for.
    selecting: Vec<CompiledPolicy>,
    found: BTreeMap<String, BTreeSet<String>>,
}

impl UnknownLabels {
    fn new(policies: &PolicySet) -> Self {
        let selecting = policies.iter().filter(|policy| needs_namespace_labels(&policy.spec)).map(|policy| {
            let mut without = policy.clone();
            without.spec.matches = without.spec.matches.map(|matches| Match { namespace_selector: None, ..matches });
            without
        });
        Self { selecting: selecting.collect(), found: BTreeMap::new() }
    }

    fn look_at(&mut self, subject: &Subject, stated: &StatedLabels) {
        let namespace = &subject.namespace;
        if stated.of_others.is_some() || stated.by_namespace.contains_key(namespace) || subject.images.is_empty() {
            return;
        }
        for policy in self.selecting.iter().filter(|policy| policy.is_for(namespace, &BTreeMap::new(), &subject.kind)) {
            self.found.entry(namespace.clone()).or_default().insert(format!("{:?}", policy.name));
        }
    }

    fn warn(&self) {
        for (namespace, policies) in &self.found {
            let noun = if policies.len() == 1 { "policy" } else { "policies" };
            let names = policies.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            say(
                "warning",
                &format!(
                    "the labels of namespace {namespace:?} are not known here, and {noun} {names} may be for it by them; \
                     give --namespace-labels, or its Namespace object among the manifests"
                ),
            );
        }
    }
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
