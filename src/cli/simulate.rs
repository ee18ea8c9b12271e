//! `freshgate simulate`: what policies would have said to recorded decisions, or say to what runs.

mod running;

use super::output::{print, print_json, progress, table};
use super::{Failure, NO, OK, time};
use crate::args::{Output, SimulateArgs};
use crate::audit::history::{self, Span};
use crate::audit::simulate::{Simulated, Simulation};
use crate::clock;
use crate::image::build_date::rfc3339;
use crate::policy_folder;
use crate::store::StoreLocation;

pub async fn run(args: SimulateArgs) -> Result<u8, Failure> {
    let (found, said) = match &args.store {
        Some(store) if !args.cluster => {
            let found = recorded(&args, &store.clone().with_journal(args.audit_journal.clone())).await?;
            let said = in_words(&found);
            (found, said)
        }
        _ => {
            let found = running::simulate(&args).await?;
            let said = of_what_runs(&found);
            (found, said)
        }
    };
    match args.output {
        Output::Json => print_json(&found)?,
        Output::Table => print(&said)?,
    }
    Ok(if args.fail_on_new_denials && found.new_denials > 0 { NO } else { OK })
}

/// Asks the policies of the folder about what was recorded.
async fn recorded(args: &SimulateArgs, store: &StoreLocation) -> Result<Simulated, Failure> {
    let now = clock::now();
    let at =
        |flag: &str, written: &str| time::read(written, now).map_err(|error| Failure::new(format!("{flag} {error}")));
    let since = at("--since", &args.since)?;
    let until = args.until.as_deref().map(|written| at("--until", written)).transpose()?;
    let policies = policy_folder::set(policy_folder::read(&args.policies).map_err(Failure::of)?.policies);
    let bar = progress(None, "decisions tried:");
    let span = Span { since: Some(since), until };
    let begin = || {
        bar.set_position(0);
        Simulation::new(&policies)
    };
    let simulation = history::fold(store, span, begin, |simulation, record| {
        bar.inc(1);
        simulation.add(&record.line);
    })
    .await;
    bar.finish_and_clear();
    Ok(simulation.map_err(Failure::of)?.finish())
}

fn noun(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn in_words(found: &Simulated) -> String {
    let mut said = vec![
        format!(
            "{}: {} then, {} with these policies; {} then, {} with these policies\n",
            noun(found.decisions, "decision", "decisions"),
            noun(found.denied_then, "refusal", "refusals"),
            found.denied_now,
            noun(found.warned_then, "warning", "warnings"),
            found.warned_now,
        ),
        format!("{} more refused, {} no longer refused\n", found.new_denials, found.lifted_denials),
    ];
    if found.unknown > 0 {
        let decisions = noun(found.unknown, "decision", "decisions");
        said.push(format!("of {decisions} nobody can say: these policies ask for what was not looked up then\n"));
    }
    if found.passed_over > 0 {
        let records = noun(found.passed_over, "record was", "records were");
        said.push(format!(
            "{records} passed over: about an exception, a repeat of what lies before --since, or unreadable\n"
        ));
    }
    said.push(by_rule(found));
    if !found.first_hit.is_empty() {
        let rows = found.first_hit.iter().map(|hit| {
            let times = noun(hit.new_denials, "time", "times");
            vec![rfc3339(hit.first_at), hit.workload.clone(), times, hit.decision_id.clone(), hit.why.clone()]
        });
        let head = ["refused first", "workload", "in all", "decision", "why"];
        said.push(format!("\n{}", table(&head, rows.collect())));
    }
    said.concat()
}

fn of_what_runs(found: &Simulated) -> String {
    let mut said = vec![
        format!(
            "{} that run: {} by the policies in force, {} by these; {} by those in force, {} by these\n",
            noun(found.decisions, "workload", "workloads"),
            noun(found.denied_then, "refusal", "refusals"),
            found.denied_now,
            noun(found.warned_then, "warning", "warnings"),
            found.warned_now,
        ),
        format!(
            "{} more refused, {} no longer refused, if each were made today\n",
            found.new_denials, found.lifted_denials
        ),
    ];
    for (reason, workloads) in &found.not_looked_up {
        let workloads = noun(*workloads, "workload", "workloads");
        said.push(format!(
            "of {workloads} an image could not be looked up from here ({reason}), and onUnknown was applied\n"
        ));
    }
    said.push(by_rule(found));
    if !found.first_hit.is_empty() {
        let rows = found.first_hit.iter().map(|hit| vec![hit.workload.clone(), hit.why.clone()]);
        said.push(format!("\n{}", table(&["workload", "why"], rows.collect())));
    }
    said.concat()
}

fn by_rule(found: &Simulated) -> String {
    if found.by_rule.is_empty() {
        return String::new();
    }
    let rows = found.by_rule.iter().map(|place| {
        vec![
            if place.namespace.is_empty() { "(none)".to_owned() } else { place.namespace.clone() },
            place.rule.clone(),
            format!("+{}", place.new_denials),
            format!("-{}", place.lifted_denials),
        ]
    });
    format!("\n{}", table(&["namespace", "rule", "more refused", "no longer"], rows.collect()))
}
