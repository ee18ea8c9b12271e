//! `report --cluster`: what runs, with the digests that Pods run, and the policies that are in force there.

mod exceptions;

use std::collections::BTreeSet;

use super::input::{Inputs, Workload};
use crate::args::ReportArgs;
use crate::cli::Failure;
use crate::cli::output::say;
use crate::cluster::error::ReadError;
use crate::cluster::{namespaces, policies};
use crate::dependency::workload::Named;
use crate::run;
use crate::scanner::fleet::Fleet;
use crate::subject::Subject;
use crate::subject::kinds::WorkloadKinds;

/// Adds what runs in the cluster that the kubeconfig names.
pub async fn add(inputs: &mut Inputs, args: &ReportArgs) -> Result<(), Failure> {
    let client = run::client().await.map_err(Failure::of)?;
    let kinds = WorkloadKinds::with(args.workload_kind.clone());
    // What the cluster says of a namespace counts, whatever a manifest does.
    inputs.stated.by_namespace.extend(namespaces::list(&client).await.map_err(Failure::of)?);
    if args.policies.is_none() {
        inputs.in_force = match policies::list(&client).await {
            Ok((good, wrong)) => {
                for problem in wrong {
                    say("warning", &format!("passed over, because it cannot be used: {problem}"));
                }
                Some(good)
            }
            Err(ReadError::NotFound { what }) => {
                say("warning", &format!("the cluster has no {what}: nothing is said of when images are refused"));
                None
            }
            Err(error) => return Err(Failure::of(error)),
        };
    }
    inputs.exceptions = exceptions::list(&client, args.key.as_deref()).await?;
    let fleet = Fleet::list(&client, &kinds, &BTreeSet::new()).await.map_err(Failure::of)?;
    for subject in fleet.workloads.iter().map(|one| &one.subject).filter(|subject| !subject.images.is_empty()) {
        let team = team(subject, inputs, &args.team_label);
        let digests = |image: &str| fleet.digests(&subject.namespace, image).map(str::to_owned).collect();
        let running = subject.images.iter().map(|used| (used.image.clone(), digests(&used.image))).collect();
        inputs.workloads.push(Workload { named: Named::of(subject, team), subject: subject.clone(), running });
    }
    Ok(())
}

/// The team by the workload's own label, its template's, or its namespace's.
fn team(subject: &Subject, inputs: &Inputs, label: &str) -> Option<String> {
    let labels = &subject.labels;
    let of_namespace = inputs.stated.by_namespace.get(&subject.namespace);
    let found = [Some(&labels.own), Some(&labels.template), of_namespace].into_iter().flatten();
    found.filter_map(|labels| labels.get(label)).find(|team| !team.is_empty()).cloned()
}
