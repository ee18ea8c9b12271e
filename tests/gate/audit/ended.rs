//! A gate that ended, and what its last checkpoint proves.

use super::place::Other;
use super::*;
use std::path::Path;

use freshgate::signing::Keys;
use sqlx::ConnectOptions as _;

use crate::cluster::gate::Gate;
use crate::cluster::install_tls;
use crate::command_line::run;
use crate::reviews::{POLICY, PROGRAM, policies, review};

/// The program itself, from the first review to a record that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_ends_in_order_leaves_a_checkpoint_that_proves_its_records() {
    install_tls();
    let (rules, outside) = (policies(POLICY), tempfile::tempdir().unwrap());
    let (rules, file) = (rules.path().display().to_string(), outside.path().join("checkpoints.jsonl"));
    let shown = file.display().to_string();
    let mut gate = Gate::start(Path::new(PROGRAM), &["--policies", &rules, "--checkpoint-file", &shown], &[]);
    for number in 0..3 {
        let review = review(&format!("app-{number}"), "169.254.169.254/x:1").to_string();
        let call = gate.client().post(gate.url()).header("content-type", "application/json").body(review);
        assert!(call.send().await.unwrap().status().is_success());
    }
    gate.process.signal("TERM");
    assert!(gate.process.wait().success());
    let store = gate.store();
    let verify = ["audit", "verify", "--store", &store, "--checkpoint", &shown];
    let (code, stdout, stderr) = run(&verify, "");
    assert_eq!((code, stderr.as_str()), (0, ""));
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(
        lines[0].starts_with("all records fit: 3 records of 1 writer; 1 checkpoint says the same, the newest made at "),
        "{stdout}"
    );
    assert_eq!(lines[1], "a cut at the end of any of these chains would have been noticed");
    assert!(lines[2].ends_with(" that is missing as a whole could not be noticed"), "{stdout}");

    let kept = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, kept.replace("\"seq\":3", "\"seq\":2")).unwrap();
    let (code, stdout, _) = run(&verify, "");
    assert_eq!(code, 1);
    assert_eq!(
        stdout,
        format!(
            "the checkpoint in line 1 of {shown} was changed: its signature does not fit it; the records were not looked at\n"
        )
    );
    std::fs::write(&file, kept).unwrap();
    let other = outside.path().join("other.pem");
    std::fs::write(&other, Keys::generate_pem().unwrap()).unwrap();
    let (code, _, stderr) = run(&[&verify[..], &["--key", &other.display().to_string()]].concat(), "");
    assert_eq!(code, 2);
    assert!(stderr.contains(", which is not among the keys given\nhint: put that key, "), "{stderr}");

    let location: StoreLocation = store.parse().unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(location.file().unwrap());
    let mut connection = Other::Sqlite(options.connect().await.unwrap());
    connection.run("DELETE FROM decisions WHERE seq = 3").await;
    connection.close().await;
    let (code, stdout, _) = run(&verify, "");
    assert_eq!(code, 1);
    assert!(stdout.contains("cut off at the end: it and all up to 3 are missing, and the checkpoint of "), "{stdout}");
    assert_eq!(run(&["audit", "verify", "--store", &store], "").0, 0, "without the checkpoint it goes unnoticed");
}
