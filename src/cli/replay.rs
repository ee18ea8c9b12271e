//! `freshgate audit replay`: recorded decisions, decided again.

use std::collections::BTreeSet;

use serde::Serialize;

use super::output::{print_json, print_lines, progress, say};
use super::{FAILED, Failure, NO, OK, time};
use crate::args::{Output, ReplayArgs};
use crate::audit;
use crate::audit::history::{self, Span};
use crate::audit::replay::{self, Difference, Missing, Recorded, Revisions};
use crate::clock;
use crate::store::StoreLocation;

/// What became of the decisions.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replayed {
    /// Decided again, to the same verdict byte for byte.
    identical: u64,
    /// Short records that point to one of these.
    repeats: u64,
    /// Records of exceptions, which no policy judges.
    exceptions: u64,
    /// Decided otherwise.
    different: Vec<Different>,
    /// What could not be decided again.
    missing: Vec<NotReplayed>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Different {
    decision_id: String,
    workload: String,
    differences: Vec<Difference>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NotReplayed {
    decision_id: String,
    why: String,
}

pub async fn run(args: ReplayArgs) -> Result<u8, Failure> {
    let mut revisions = history::revisions(&args.store).await.map_err(Failure::of)?;
    let replayed = match &args.id {
        Some(id) => one(&args.store, id, &mut revisions).await?,
        None => all(&args, &revisions).await?,
    };
    match args.output {
        Output::Json => print_json(&replayed)?,
        Output::Table => print_lines(&replayed.in_words())?,
    }
    Ok(if !replayed.missing.is_empty() {
        FAILED
    } else if replayed.different.is_empty() {
        OK
    } else {
        NO
    })
}

/// One decision; a short record is followed to the one that it repeats.
async fn one(store: &StoreLocation, id: &str, revisions: &mut Revisions) -> Result<Replayed, Failure> {
    let mut replayed = Replayed::default();
    let Some(record) = audit::show(store, id).await.map_err(Failure::of)? else {
        return Err(Failure::new(format!("no decision {id} is recorded in {store}"))
            .hint("dry runs are not recorded, and what passes unjudged only with --audit-level=all"));
    };
    let Ok(Recorded::Repeat { repeat_of, .. }) = replay::read(&record.line) else {
        replayed.add(id, &record.line, revisions);
        return Ok(replayed);
    };
    say("note", &format!("{id} repeats {repeat_of}, whose record has the inputs; that one is replayed"));
    replayed.repeats = 1;
    match audit::show(store, &repeat_of).await.map_err(Failure::of)? {
        Some(first) => replayed.add(&repeat_of, &first.line, revisions),
        None => replayed.lacks(id, &Missing::First { repeat_of }),
    }
    Ok(replayed)
}

/// All of a span. What a repeat points to may lie before the span, and is then looked up.
async fn all(args: &ReplayArgs, revisions: &Revisions) -> Result<Replayed, Failure> {
    let now = clock::now();
    let at = |flag: &str, written: Option<&str>| {
        let read = written.map(|written| time::read(written, now)).transpose();
        read.map_err(|error| Failure::new(format!("{flag} {error}")))
    };
    let span = Span { since: at("--since", args.since.as_deref())?, until: at("--until", args.until.as_deref())? };
    let bar = progress(None, "decided again:");
    let begin = || {
        bar.set_position(0);
        (Replayed::default(), revisions.clone(), BTreeSet::new(), BTreeSet::new())
    };
    let folded = history::fold(&args.store, span, begin, |(replayed, revisions, seen, pointed), record| {
        bar.inc(1);
        match replay::read(&record.line) {
            Ok(Recorded::Repeat { repeat_of, .. }) => {
                replayed.repeats += 1;
                pointed.insert(repeat_of);
            }
            Ok(Recorded::OfAnException { .. }) => replayed.exceptions += 1,
            read => {
                let id = match &read {
                    Ok(Recorded::Whole(inputs)) => inputs.decision_id.clone(),
                    // What cannot be read is found again by its place.
                    _ => format!("record {} of writer {}", record.seq, record.writer_id),
                };
                replayed.add_read(&id, &record.line, read, revisions);
                seen.insert(id);
            }
        }
    })
    .await;
    bar.finish_and_clear();
    let (mut replayed, mut revisions, seen, pointed): (Replayed, Revisions, BTreeSet<String>, BTreeSet<String>) =
        folded.map_err(Failure::of)?;
    for repeat_of in pointed.difference(&seen) {
        match audit::show(&args.store, repeat_of).await.map_err(Failure::of)? {
            Some(first) => replayed.add(repeat_of, &first.line, &mut revisions),
            None => replayed.lacks(repeat_of, &Missing::First { repeat_of: repeat_of.clone() }),
        }
    }
    Ok(replayed)
}

impl Replayed {
    fn add(&mut self, id: &str, line: &str, revisions: &mut Revisions) {
        self.add_read(id, line, replay::read(line), revisions);
    }

    fn add_read(&mut self, id: &str, line: &str, read: Result<Recorded, Missing>, revisions: &mut Revisions) {
        let replayed = read.and_then(|recorded| match recorded {
            Recorded::Whole(inputs) => {
                replay::replay(line, &inputs, revisions).map(|differences| (inputs.subject.in_words(), differences))
            }
            Recorded::Repeat { repeat_of, .. } => Err(Missing::First { repeat_of }),
            Recorded::OfAnException { .. } => Err(Missing::OfAnException),
        });
        match replayed {
            Ok((_, differences)) if differences.is_empty() => self.identical += 1,
            Ok((workload, differences)) => {
                self.different.push(Different { decision_id: id.to_owned(), workload, differences });
            }
            Err(missing) => self.lacks(id, &missing),
        }
    }

    fn lacks(&mut self, id: &str, missing: &Missing) {
        self.missing.push(NotReplayed { decision_id: id.to_owned(), why: missing.to_string() });
    }

    fn in_words(&self) -> Vec<String> {
        let mut said = Vec::new();
        for one in &self.different {
            said.push(format!("different {} {}", one.decision_id, one.workload));
            for Difference { field, recorded, today } in &one.differences {
                let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
                said.push(format!("  {field}: recorded {}, now {}", text(recorded), text(today)));
            }
        }
        for one in &self.missing {
            said.push(format!("missing {}: {}", one.decision_id, one.why));
        }
        let mut counts = vec![
            format!("{} as recorded, byte for byte", self.identical),
            format!("{} different", self.different.len()),
            format!("{} not replayed because something is missing", self.missing.len()),
        ];
        if self.repeats > 0 {
            counts.push(format!("{} repeats of these", self.repeats));
        }
        if self.exceptions > 0 {
            counts.push(format!("{} about exceptions, which no policy judges", self.exceptions));
        }
        said.push(counts.join("; "));
        said
    }
}
