//! The same questions through the program itself, as people and scripts ask them.

use super::*;
use crate::command_line::{closed_pipe, full, run, run_into};
use sqlx::Connection;

/// Records in the store, and the store as `--store` names it.
async fn recorded(count: u64) -> (Place, String) {
    let place = Place::new();
    let (store, audit) = place.open().await;
    for number in 1..=count {
        audit.record(body(number), None).await.unwrap();
    }
    close(store, audit).await;
    let named = place.location().to_string();
    (place, named)
}

async fn change(place: &Place, statement: &str) {
    let mut connection = place.connect().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_exits_1_at_the_first_record_that_does_not_fit_wherever_its_words_go() {
    let (place, store) = recorded(4).await;
    let verify = ["audit", "verify", "--store", &store];
    let (code, stdout, stderr) = run(&verify, "");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("4 records of 1 writers fit; "), "{stdout}");
    assert_eq!(run_into(closed_pipe(), &verify).0, 0);

    change(&place, "UPDATE decisions SET line = replace(line, '112 days', '12 days') WHERE seq = 3").await;
    let (code, stdout, _) = run(&verify, "");
    assert_eq!(code, 1);
    let named = format!("the first record that does not fit is record 3 of writer {}", place.all().await[0].writer_id);
    assert!(stdout.starts_with(&named), "{stdout}");
    assert!(stdout.ends_with(": altered: its line does not have the hash that was kept with it\n"), "{stdout}");
    assert_eq!(run_into(closed_pipe(), &verify).0, 1, "nobody reads it, and it is tampered with all the same");
    let (code, stderr) = run_into(full(), &verify);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("error: the result cannot be written to standard output: "), "{stderr}");
    for question in [&["audit", "query", "--store", &store][..], &["audit", "show", &id(1), "--store", &store]] {
        assert_eq!(run_into(full(), question).0, 2);
        assert_eq!(run_into(closed_pipe(), question).0, 0);
    }
}
