//! `freshgate audit verify`: proves the records, by the chain and by what was kept outside the store.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::at;
use crate::args::VerifyArgs;
use crate::audit::checkpoint::{BadCheckpoint, BadCheckpoints, Checkpoints};
use crate::audit::{Fault, Proven, Question, Unproven, VerifyReport, prove};
use crate::cli::output::{print, progress, say};
use crate::cli::{Failure, NO, OK};
use crate::clock;
use crate::image::build_date::rfc3339;
use crate::signing::{NotSigned, Verifier};

/// Chains whose end is unproven that are named one by one; others are counted.
const MOST_NAMED: usize = 5;

pub async fn verify(args: VerifyArgs) -> Result<u8, Failure> {
    let now = clock::now();
    let (since, until) = (at("--since", args.since.as_deref(), now)?, at("--until", args.until.as_deref(), now)?);
    let verifier = verifier(&args)?;
    let checkpoints = match (&args.checkpoint, &verifier) {
        (None, _) => None,
        (Some(_), None) => {
            return Err(Failure::new("checkpoints are signed, and there is no key to look at them with")
                .hint("name the gate's signing key, or its public half, with --key FILE"));
        }
        (Some(file), Some(verifier)) => match read_checkpoints(file, verifier)? {
            Ok(checkpoints) => Some(checkpoints),
            Err(changed) => {
                print(&format!("{changed}\n"))?;
                return Ok(NO);
            }
        },
    };
    let question = Question {
        since,
        until,
        checkpoints: checkpoints.as_ref(),
        since_checkpoint: args.since_checkpoint,
        verifier: verifier.as_ref(),
        is_archive: args.archive,
    };
    let bar = progress(None, "records fit so far:");
    let proven = prove(&args.store, &question, &|records| bar.set_position(records)).await;
    bar.finish_and_clear();
    let proven = proven.map_err(Failure::of)?;
    if let Some(bad) = &proven.report.first_bad {
        print(&format!("the first record that does not fit is {bad}\n"))?;
        say("hint", "keep the store and its journal as they are; what follows this record was not looked at");
        if let Fault::BoundaryNotSigned { .. } = bad.fault {
            say("hint", "for a store that `freshgate audit import` made, say --archive");
        }
        return Ok(NO);
    }
    print(&words(&proven, checkpoints.as_ref()))?;
    if proven.unsigned_boundaries > 0 {
        let writers = writers(proven.unsigned_boundaries);
        say(
            "note",
            &format!(
                "the first records of {writers} are gone, as retention or an import leaves it; nothing that was looked at shows that the gate did it: --key FILE names its key"
            ),
        );
    }
    Ok(OK)
}

/// The key that is named, or else the one beside the store, where that is.
fn verifier(args: &VerifyArgs) -> Result<Option<Verifier>, Failure> {
    let beside = args.store.signing_key();
    let file: PathBuf = match &args.key {
        Some(file) => file.clone(),
        None if beside.as_ref().is_some_and(|file| file.exists()) => beside.unwrap_or_default(),
        None => return Ok(None),
    };
    let pem = std::fs::read_to_string(&file)
        .map_err(|error| Failure::new(format!("the key in {} cannot be read: {error}", file.display())))?;
    let verifier = Verifier::from_pem(&pem)
        .map_err(|error| Failure::new(format!("the key in {} cannot be used: {error}", file.display())))?;
    Ok(Some(verifier))
}

/// The checkpoints of a file. The inner error says that one was changed: an answer, and not a failure.
fn read_checkpoints(file: &Path, verifier: &Verifier) -> Result<Result<Checkpoints, String>, Failure> {
    let shown = file.display();
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::new(format!("the checkpoints in {shown} cannot be read: {error}")))?;
    match Checkpoints::read(&String::from_utf8_lossy(&bytes), verifier) {
        Ok(checkpoints) => {
            for line in checkpoints.damaged_lines() {
                say("warning", &format!("line {line} of {shown} holds only part of a checkpoint and is passed over"));
            }
            Ok(Ok(checkpoints))
        }
        Err(BadCheckpoints::Bad { line, why: BadCheckpoint::NotSigned(NotSigned::Mismatch) }) => Ok(Err(format!(
            "the checkpoint in line {line} of {shown} was changed: its signature does not fit it; the records were not looked at"
        ))),
        Err(BadCheckpoints::Bad { line, why: BadCheckpoint::NotSigned(NotSigned::UnknownKey(key)) }) => {
            Err(Failure::new(format!(
                "the checkpoint in line {line} of {shown} was made with key {key}, which is not among the keys given"
            ))
            .hint("put that key, or its public half, into the file of --key as well"))
        }
        Err(error) => Err(Failure::new(format!("{shown}: {error}"))
            .hint("name the file of --checkpoint-file, a log of the gate, or a copy of the ConfigMap's entry")),
    }
}

fn words(proven: &Proven, checkpoints: Option<&Checkpoints>) -> String {
    let VerifyReport { records, writers: chains, .. } = proven.report;
    let fit = format!("all records fit: {} of {}; ", counted(records, "record"), writers(chains));
    let Some(checkpoints) = checkpoints else {
        return format!("{fit}{}\n", VerifyReport::UNNOTICED);
    };
    let newest: Option<DateTime<Utc>> = checkpoints.newest().map(|newest| newest.made_at);
    let newest = newest.map(rfc3339).unwrap_or_default();
    let says = if checkpoints.count() == 1 { "says" } else { "say" };
    let mut said = vec![format!(
        "{fit}{} {says} the same, the newest made at {newest}",
        counted(checkpoints.count() as u64, "checkpoint")
    )];
    said.extend(proven.unproven.iter().take(MOST_NAMED).map(|Unproven { writer_id, from, to }| {
        format!("a cut at the end could not be noticed from record {from} of writer {writer_id} on, which has {to} now")
    }));
    if proven.unproven.len() > MOST_NAMED {
        let more = (proven.unproven.len() - MOST_NAMED) as u64;
        said.push(format!("nor could it in the chains of {} more", writers(more)));
    }
    if proven.unproven.is_empty() {
        said.push("a cut at the end of any of these chains would have been noticed".to_owned());
    }
    said.push(format!("a chain begun after {newest} that is missing as a whole could not be noticed\n"));
    said.join("\n")
}

fn writers(count: u64) -> String {
    counted(count, "writer")
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
