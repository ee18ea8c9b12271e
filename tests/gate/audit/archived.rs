//! Records taken out and into an archive: the bytes are the same, so the archive is proven as the store was.

use super::checkpoints::{Ended, Marked};
use super::*;

use crate::command_line::{closed_pipe, full, run, run_into};

/// Ten records of one writer and two of another, and the store as `--store` names it.
async fn recorded() -> (Ended, String) {
    let first = Marked::begin().await;
    first.record(1..=10).await.unwrap();
    let Ended { place, pem, .. } = first.end().await;
    let second = Marked::in_place(place, pem).await;
    second.record(11..=12).await.unwrap();
    let ended = second.end().await;
    let store = ended.place.url();
    (ended, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_everything_is_the_store_again() {
    let (ended, store) = recorded().await;
    let (code, exported, stderr) = run(&["audit", "export", "--store", &store], "");
    assert_eq!((code, stderr.as_str()), (0, "note: 12 records were exported\n"));
    let archive = format!("sqlite:{}", ended.place.folder.path().join("archive.db").display());
    let (code, stdout, stderr) = run(&["audit", "import", "-", "--store", &archive], &exported);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let told = format!(
        "{archive} holds 12 records of 2 writers; prove it with: freshgate audit verify --archive --store {archive}\n"
    );
    assert_eq!(stdout, told);
    let (key, file) = (ended.place.folder.path().join("key.pem"), ended.file.display().to_string());
    std::fs::write(&key, &ended.pem).unwrap();
    let key = key.display().to_string();
    let proof = ["audit", "verify", "--archive", "--store", &archive, "--checkpoint", &file, "--key", &key];
    let (code, stdout, stderr) = run(&proof, "");
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.starts_with("all records fit: 12 records of 2 writers; 2 checkpoints say the same"), "{stdout}");
    let asked = |store: &str| run(&["audit", "query", "--store", store, "-o", "json"], "").1;
    assert_eq!(asked(&archive), asked(&store));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_a_time_begins_where_it_says_and_hides_nothing_in_between() {
    let (ended, store) = recorded().await;
    let time = |second: i64| at(second).to_rfc3339();
    let (since, until) = (time(4), time(12));
    let export = ["audit", "export", "--store", &store, "--since", &since, "--until", &until];
    let (code, exported, _) = run(&export, "");
    assert_eq!((code, exported.lines().count()), (0, 8), "4 to 10, and 11");
    let archive = StoreLocation::sqlite(ended.place.folder.path().join("archive.db"));
    let named = archive.to_string();
    assert_eq!(run(&["audit", "import", "-", "--store", &named], &exported).0, 0);
    let (code, stdout, stderr) = run(&["audit", "verify", "--archive", "--store", &named], "");
    assert_eq!(code, 0);
    assert!(stdout.starts_with("all records fit: 8 records of 2 writers; "), "{stdout}");
    assert!(
        stderr.starts_with("note: the first records of 1 writer are gone, as retention or an import leaves it; "),
        "{stderr}"
    );
    // In a store that is no archive the same would be somebody's doing.
    let key = ended.place.folder.path().join("key.pem");
    std::fs::write(&key, &ended.pem).unwrap();
    let (code, stdout, stderr) = run(&["audit", "verify", "--store", &named, "--key", &key.display().to_string()], "");
    assert_eq!(code, 1);
    assert!(stdout.contains("and nothing shows that: it has no signature"), "{stdout}");
    assert!(stderr.contains("for a store that `freshgate audit import` made, say --archive"), "{stderr}");
    // One that was taken out of the export is missed.
    let holed: Vec<&str> = exported.lines().filter(|line| !line.contains(&id(6))).collect();
    let other = format!("sqlite:{}", ended.place.folder.path().join("other.db").display());
    assert_eq!(run(&["audit", "import", "-", "--store", &other], &holed.join("\n")).0, 0);
    let (code, stdout, _) = run(&["audit", "verify", "--archive", "--store", &other], "");
    assert_eq!(code, 1);
    assert!(stdout.ends_with(": removed before it: record 6 is missing\n"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_journal_holds_is_exported_too() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    let mut lock = place.connect().await;
    lock.hold().await;
    for number in 1..=3 {
        audit.record(body(number), None).await.unwrap();
    }
    assert_eq!(audit.flush_and_close(BRIEFLY).await.unstored_records, 3);
    drop((store, lock));
    let (named, journal) = (place.url(), place.journal().display().to_string());
    let (code, exported, _) = run(&["audit", "export", "--store", &named, "--audit-journal", &journal], "");
    assert_eq!((code, exported.lines().count()), (0, 3));
    let segment = std::fs::read_to_string(place.segments().remove(0)).unwrap();
    assert_eq!(exported, segment, "the journal's own lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_for_a_spreadsheet() {
    let (_ended, store) = recorded().await;
    let (code, stdout, _) = run(&["audit", "export", "--store", &store, "--format", "csv"], "");
    let lines: Vec<&str> = stdout.split("\r\n").collect();
    assert_eq!((code, lines.len()), (0, 14));
    assert_eq!(
        lines[0],
        "decision_id,timestamp,decision,namespace,kind,name,operation,username,rules,images,repeat_of,writer_id,seq,hash"
    );
    let time = at(1).to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let begins = format!("{},{time},deny,shop,Deployment,checkout,UPDATE,jane,imageAge,", id(1));
    assert!(lines.iter().any(|line| line.starts_with(&begins)), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_exported_or_imported_says_why_and_leaves_nothing_behind() {
    let (ended, store) = recorded().await;
    assert_eq!(run_into(closed_pipe(), &["audit", "export", "--store", &store]).0, 0);
    assert_eq!(run_into(full(), &["audit", "export", "--store", &store]).0, 2);
    let (code, _, stderr) = run(&["audit", "import", "-", "--store", &store], "");
    assert_eq!(code, 2);
    let there = ended.place.location();
    assert_eq!(
        stderr,
        format!(
            "error: -: there is a store at {there} already: an archive is made anew, so name another with --store\n"
        )
    );
    let archive = ended.place.folder.path().join("archive.db");
    let named = format!("sqlite:{}", archive.display());
    let (_, exported, _) = run(&["audit", "export", "--store", &store], "");
    let (code, _, stderr) = run(&["audit", "import", "-", "--store", &named], &format!("{exported}some,thing,else\n"));
    assert_eq!(code, 2);
    let told = "error: -: line 13 is no exported record: expected value at line 1 column 1; give a file that `freshgate audit export --format jsonl` wrote\n";
    assert_eq!(stderr, told);
    assert!(!archive.exists(), "half an archive would pass for a whole one");
}
