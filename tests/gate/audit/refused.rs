//! Stores that cannot be used, each refused with what is wrong and what to do.

use super::place::Other;
use super::*;
use freshgate::audit::verify;
use sqlx::ConnectOptions as _;

async fn refusal(location: &StoreLocation) -> (String, String) {
    let serve = Store::open(location).await.expect_err("opened").to_string();
    let read = Store::open_read_only(location).await.expect_err("opened read-only").to_string();
    (serve, read)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_newer_version() {
    let place = Place::new();
    Store::open(&place.location()).await.unwrap().flush_and_close().await.unwrap();
    let mut connection = place.connect().await;
    connection.run("PRAGMA user_version = 8").await;
    connection.close().await;
    let expected = format!(
        "the store {} has schema version 8, and this freshgate knows versions up to 7: run the newer freshgate that wrote it, or name another store",
        place.file().display()
    );
    assert_eq!(refusal(&place.location()).await, (expected.clone(), expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_database() {
    let place = Place::new();
    std::fs::write(place.file(), "this is not a database\n".repeat(100)).unwrap();
    let expected = format!(
        "the store {} is corrupt: file is not a database: restore it from a copy, or move it away together with its -wal and -shm files and a new one is made",
        place.file().display()
    );
    assert_eq!(refusal(&place.location()).await, (expected.clone(), expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_program() {
    let place = Place::new();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(place.file()).create_if_missing(true);
    let mut connection = Other::Sqlite(options.connect().await.unwrap());
    connection.run("CREATE TABLE bookmarks (url TEXT)").await;
    connection.close().await;
    let expected = format!(
        "the file {} is a SQLite database of another program: name another file with --store",
        place.file().display()
    );
    assert_eq!(refusal(&place.location()).await, (expected.clone(), expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_the_files_place_and_a_folder_that_is_missing() {
    let place = Place::new();
    let folder = StoreLocation::sqlite(place.folder.path());
    let shown = place.folder.path().display();
    let (serve, read) = refusal(&folder).await;
    assert_eq!(
        serve,
        format!(
            "the store {shown} cannot be opened: unable to open database file: check that it is a file, and that it and its folder can be written"
        )
    );
    assert_eq!(
        read,
        format!(
            "the store {shown} cannot be opened: it is not a file: check that it is a file, and that it and its folder can be written"
        )
    );
    let missing = StoreLocation::sqlite(place.folder.path().join("none/gate.db"));
    let (serve, read) = refusal(&missing).await;
    assert_eq!(
        serve,
        format!("the folder {shown}/none of the store does not exist: create it, or name another with --store")
    );
    assert_eq!(read, format!("there is no store at {shown}/none/gate.db: `freshgate serve` makes one when it starts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_a_store_that_is_not_there_makes_nothing() {
    let place = Place::new();
    let expected =
        format!("there is no store at {}: `freshgate serve` makes one when it starts", place.file().display());
    assert_eq!(query(&place.location(), &QueryFilter::default()).await.unwrap_err().to_string(), expected);
    assert_eq!(verify(&place.location()).await.unwrap_err().to_string(), expected);
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_leaves_the_files_as_they_are() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    audit.record(body(1), None).await.unwrap();
    close(store, audit).await;
    let files = || {
        let mut files: Vec<_> =
            std::fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        (files, std::fs::read(place.file()).unwrap())
    };
    let before = files();
    assert_eq!(place.all().await.len(), 1);
    assert_eq!(verify(&place.location()).await.unwrap().records, 1);
    assert_eq!(files(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    let second = Audit::open(AuditSettings::default(), &store, at(1)).await.unwrap_err().to_string();
    assert_eq!(
        second,
        format!(
            "another freshgate writes to the audit journal {}: each replica has a journal of its own, and a SQLite store is for one replica; stop the other, or name another folder or store",
            place.journal().display()
        )
    );
    close(store, audit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_journals_place() {
    let place = Place::new();
    let store = Store::open(&place.location()).await.unwrap();
    std::fs::write(place.journal(), "").unwrap();
    let error = Audit::open(AuditSettings::default(), &store, at(0)).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "the audit journal's folder {} cannot be used: Not a directory (os error 20): check that it is a folder and can be written",
            place.journal().display()
        )
    );
    store.flush_and_close().await.unwrap();
}
