//! `freshgate budgets explain`: every place that can name a workload's service, which one counts, and what is left.

use serde::Serialize;

use crate::admission::decode::{Review, decode};
use crate::args::{ExplainArgs, Output};
use crate::budget::poller;
use crate::budget::service::{Candidate, IdentityFrom};
use crate::budget::snapshot::Snapshot;
use crate::cli::check::{as_review, labels};
use crate::cli::manifests::{self, Manifests};
use crate::cli::output::{print_json, print_lines, tell};
use crate::cli::{FAILED, Failure, OK};
use crate::clock;
use crate::policy::percent;
use crate::policy_folder;
use crate::subject::Subject;
use crate::subject::kinds::WorkloadKinds;

#[derive(Serialize)]
struct Explained {
    kind: String,
    namespace: String,
    name: String,
    sources: Vec<OfSource>,
}

#[derive(Serialize)]
struct OfSource {
    source: String,
    service: Option<String>,
    places: Vec<Place>,
    budgets: Vec<Left>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    from: IdentityFrom,
    /// What stands there.
    service: Option<String>,
    /// Whether the source looks there at all.
    allowed: bool,
    used: bool,
    why: String,
}

#[derive(Serialize)]
struct Left {
    slo: String,
    state: &'static str,
    remaining: Option<f64>,
}

pub async fn explain(args: ExplainArgs) -> Result<u8, Failure> {
    let written = policy_folder::read(&args.policies).map_err(Failure::of)?;
    let sources = policy_folder::sources(&written);
    if sources.is_empty() {
        let folder = args.policies.display();
        return Err(Failure::new(format!("there is no BudgetSource in {folder}; write one beside the policies")));
    }
    let stated = labels::of_flags(&args.namespace_labels)?;
    let Manifests { objects, mut unreadable, .. } = manifests::read(&args.files);
    let (by_namespace, bad_labels) = labels::of_manifests(&objects);
    unreadable.extend(bad_labels);
    let snapshots = poller::poll_once(&sources, None).await;
    let mut all: Vec<&Snapshot> = snapshots.iter().collect();
    all.sort_by(|one, other| one.source.cmp(&other.source));
    let kinds = WorkloadKinds::default();
    let mut explained = Vec::new();
    for manifest in &objects {
        let body = as_review(&manifest.object, &args.namespace).to_string();
        match decode(body.as_bytes(), &kinds) {
            Ok(Review { subject: Some(subject), .. }) => {
                let of_namespace = by_namespace.get(&subject.namespace).or(stated.as_ref());
                let sources = all.iter().map(|source| of_source(source, &subject, of_namespace)).collect();
                let Subject { kind, namespace, name, .. } = subject;
                explained.push(Explained { kind, namespace, name, sources });
            }
            Ok(_) => {}
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    match args.output {
        Output::Json => print_json(&explained)?,
        Output::Table => print_lines(&in_words(&explained))?,
    }
    for problem in unreadable.iter().cloned() {
        tell(&Failure::new(problem));
    }
    Ok(if unreadable.is_empty() { OK } else { FAILED })
}

fn of_source(
    source: &Snapshot,
    subject: &Subject,
    of_namespace: Option<&std::collections::BTreeMap<String, String>>,
) -> OfSource {
    let candidate = Candidate {
        namespace: &subject.namespace,
        kind: &subject.kind,
        name: &subject.name,
        namespace_labels: of_namespace,
        labels: &subject.labels.own,
        template_labels: &subject.labels.template,
    };
    let rules = &source.rules;
    let counting = rules.service_of(candidate);
    let place = |from: IdentityFrom| {
        let service = rules.named_by(from, candidate);
        let allowed = rules.from.contains(&from);
        let used = counting.as_ref().is_some_and(|(_, counts)| *counts == from);
        let why = match (from, &service, allowed) {
            _ if used => "it counts",
            (_, Some(_), false) => "the source does not look there (service.from)",
            (_, Some(_), true) => "an earlier place counts",
            (IdentityFrom::NamespaceLabel, None, _) if of_namespace.is_none() => {
                "the namespace's labels are not known here: give --namespace-labels, or a Namespace among the manifests"
            }
            (_, None, _) => "nothing stands there",
        };
        Place { from, service, allowed, used, why: why.to_owned() }
    };
    let places = [IdentityFrom::Mapping, IdentityFrom::NamespaceLabel, IdentityFrom::WorkloadLabel].map(place).into();
    let service = counting.map(|(service, _)| service);
    let now = clock::now();
    let left = |sampled: &crate::budget::snapshot::Sampled| Left {
        slo: sampled.budget.slo.clone(),
        state: sampled.budget.state(&crate::budget::state::Thresholds::default(), now).state.as_str(),
        remaining: sampled.budget.remaining(),
    };
    let budgets = service.as_deref().map(|service| source.of(service).iter().map(left).collect()).unwrap_or_default();
    OfSource { source: source.source.clone(), service, places, budgets }
}

fn in_words(explained: &[Explained]) -> Vec<String> {
    let mut said = Vec::new();
    for one in explained {
        said.push(format!("{} {}/{}", one.kind, one.namespace, one.name));
        for source in &one.sources {
            let service = source.service.as_deref().map_or_else(
                || "no service, so its error budget is Unmapped".to_owned(),
                |service| format!("service {service:?}"),
            );
            said.push(format!("  source {}: {service}", source.source));
            for place in &source.places {
                let mark = if place.used { "→" } else { " " };
                let named = place.service.as_deref().map_or_else(|| "–".to_owned(), |service| format!("{service:?}"));
                said.push(format!("    {mark} {} {named}: {}", place.from.as_str(), place.why));
            }
            for left in &source.budgets {
                let remaining =
                    left.remaining.map_or_else(String::new, |left| format!(", {} left", percent::in_words(left)));
                said.push(format!("      {} {}{remaining}", left.slo, left.state));
            }
            if source.service.is_some() && source.budgets.is_empty() {
                said.push("      the source knows no objective of it, so its error budget is NoData".to_owned());
            }
        }
    }
    said
}
