//! `freshgate simulate`: what policies would have said to recorded decisions.

use super::output::{print, print_json, progress, table};
use super::{Failure, NO, OK, time};
use crate::args::{Output, SimulateArgs};
use crate::audit::history::{self, Span};
use crate::audit::simulate::{Simulated, Simulation};
use crate::clock;
use crate::image::build_date::rfc3339;
use crate::policy_folder;

pub async fn run(args: SimulateArgs) -> Result<u8, Failure> {
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
    let simulation = history::fold(&args.store, span, begin, |simulation, record| {
        bar.inc(1);
        simulation.add(&record.line);
    })
    .await;
    bar.finish_and_clear();
    let found = simulation.map_err(Failure::of)?.finish();
    match args.output {
        Output::Json => print_json(&found)?,
        Output::Table => print(&in_words(&found))?,
    }
    Ok(if args.fail_on_new_denials && found.new_denials > 0 { NO } else { OK })
}

fn in_words(found: &Simulated) -> String {
    let noun = |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
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
    if !found.by_rule.is_empty() {
        let rows = found.by_rule.iter().map(|place| {
            vec![
                if place.namespace.is_empty() { "(none)".to_owned() } else { place.namespace.clone() },
                place.rule.clone(),
                format!("+{}", place.new_denials),
                format!("-{}", place.lifted_denials),
            ]
        });
        said.push(format!("\n{}", table(&["namespace", "rule", "more refused", "no longer"], rows.collect())));
    }
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
