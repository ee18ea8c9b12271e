//! Servers and databases that cannot be used, each refused with what is wrong, where, and what to do.

use super::*;
use freshgate::audit::{Durability, verify};

use crate::cluster::between::{Between, Way};
use crate::cluster::install_tls;
use crate::cluster::postgres::{PASSWORD, Postgres as Server};
use crate::cluster::process::free_ports;

async fn refusal(store: &str) -> (String, String) {
    let location: StoreLocation = store.parse().unwrap();
    let serve = Store::open(&location).await.expect_err("opened").to_string();
    let read = Store::open_read_only(&location).await.expect_err("opened read-only").to_string();
    assert!(!serve.contains(PASSWORD) && !read.contains(PASSWORD), "{serve}");
    (serve, read)
}

/// What both say.
async fn refused_alike(store: &str) -> String {
    let (serve, read) = refusal(store).await;
    assert_eq!(serve, read);
    serve
}

/// The store without its password, as errors name it.
fn shown(place: &Place) -> String {
    place.location().to_string()
}

async fn emptied(statements: &str) -> Place {
    let place = Place::new();
    Store::open(&place.location()).await.unwrap().flush_and_close().await.unwrap();
    let mut connection = place.connect().await;
    connection.run(statements).await;
    connection.close().await;
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_newer_version() {
    let place = emptied("UPDATE about SET version = 8").await;
    let expected = format!(
        "the store {} has schema version 8, and this freshgate knows versions up to 7: run the newer freshgate that wrote it, or name another store",
        shown(&place)
    );
    assert_eq!(refused_alike(&place.url()).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_before_signatures_is_brought_to_the_present_one() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    audit.record(body(1), None).await.unwrap();
    close(store, audit).await;
    let mut connection = place.connect().await;
    connection
        .run("ALTER TABLE decisions DROP COLUMN signature; DROP TABLE image_findings; DROP TABLE index_answers; UPDATE about SET version = 4")
        .await;
    connection.close().await;
    let (store, audit) = place.open().await;
    audit.record(body(2), None).await.unwrap();
    close(store, audit).await;
    let report = verify(&place.location()).await.unwrap();
    assert_eq!((report.records, report.first_bad), (2, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_an_older_version_is_for_the_server_to_bring_up_to_date() {
    let place = emptied("UPDATE about SET version = 3").await;
    let read = Store::open_read_only(&place.location()).await.expect_err("opened read-only").to_string();
    assert_eq!(
        read,
        format!(
            "the store {} has schema version 3, and this freshgate reads version 7: start this version's `freshgate serve` once, which brings it there",
            shown(&place)
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_another_program() {
    for statements in [
        "DROP TABLE about",
        "DELETE FROM about",
        "UPDATE about SET program = 'bookmarks'",
        "DROP TABLE about; CREATE TABLE about (url TEXT)",
    ] {
        let place = emptied(statements).await;
        let expected = format!(
            "the schema freshgate of {} is of another program: name another database with --store",
            shown(&place)
        );
        assert_eq!(refused_alike(&place.url()).await, expected, "{statements}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_somebody_changed() {
    for (statements, detail) in [
        ("DROP TABLE decisions", "relation \"decisions\" does not exist"),
        ("ALTER TABLE decisions RENAME COLUMN line TO text", "column d.line does not exist"),
    ] {
        let place = emptied(statements).await;
        let expected = |act: &str| {
            format!(
                "{act} failed in the store {}: {detail}: somebody changed its tables, so restore them from a copy, or name another store",
                shown(&place)
            )
        };
        let error = query(&place.location(), &QueryFilter::default()).await.unwrap_err();
        assert_eq!(error.to_string(), expected("looking for records"));
        if statements.starts_with("DROP") {
            let error = verify(&place.location()).await.unwrap_err();
            assert_eq!(error.to_string(), expected("reading the records"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_a_store_that_is_not_there_makes_nothing() {
    let place = Place::new();
    let expected = format!("there is no store at {}: `freshgate serve` makes one when it starts", shown(&place));
    assert_eq!(query(&place.location(), &QueryFilter::default()).await.unwrap_err().to_string(), expected);
    assert_eq!(verify(&place.location()).await.unwrap_err().to_string(), expected);
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'freshgate'";
    assert_eq!(Server::shared().psql(&place.database.as_ref().unwrap().name, schemas).unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_missing_and_a_password_that_is_wrong() {
    let server = Server::shared();
    let port = server.port;
    let missing = format!("postgres://freshgate:{PASSWORD}@127.0.0.1:{port}/nowhere?sslmode=disable");
    assert_eq!(
        refused_alike(&missing).await,
        format!(
            "the store postgres://freshgate@127.0.0.1:{port}/nowhere is not there: database \"nowhere\" does not exist: make the database, as docs/postgresql.md says, or name another"
        )
    );
    let place = Place::new();
    let refused = format!(
        "the store {} does not let us in: password authentication failed for user \"freshgate\": give the role's password in PGPASSWORD or in the file that PGPASSFILE names, and check pg_hba.conf",
        shown(&place)
    );
    assert_eq!(refused_alike(&place.url().replace(PASSWORD, "guessed")).await, refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_or_says_nothing() {
    let [port] = free_ports();
    let nobody = format!("postgres://freshgate@127.0.0.1:{port}/audit?sslmode=disable");
    assert_eq!(
        refused_alike(&nobody).await,
        format!(
            "the store postgres://freshgate@127.0.0.1:{port}/audit cannot be reached: Connection refused (os error 111): check that the server runs there, and that the network lets us through"
        )
    );
    let between = Between::start(Server::shared().port).await;
    between.set(Way::Hole);
    let silent = format!("postgres://freshgate@127.0.0.1:{}/audit?sslmode=disable", between.port);
    assert_eq!(
        refused_alike(&silent).await,
        format!(
            "the store postgres://freshgate@127.0.0.1:{}/audit cannot be reached: it did not answer within 10 seconds: check that the server runs there, and that the network lets us through",
            between.port
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_make_no_schema_needs_one_made_for_it() {
    let place = Place::new();
    let (server, database) = (Server::shared(), place.database.clone().unwrap().name);
    server.psql("postgres", &format!("ALTER DATABASE {database} OWNER TO admin")).unwrap();
    let serve = Store::open(&place.location()).await.expect_err("opened").to_string();
    assert_eq!(
        serve,
        format!(
            "bringing the schema to the present version is not allowed in the store {}: permission denied for database {database}: grant it, as docs/postgresql.md says",
            shown(&place)
        )
    );
    server.psql(&database, "CREATE SCHEMA freshgate AUTHORIZATION freshgate").unwrap();
    let (store, audit) = place.open().await;
    audit.record(body(1), None).await.unwrap();
    close(store, audit).await;
    assert_eq!(place.all().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_verified_and_others_are_refused() {
    install_tls();
    let place = Place::new();
    let server = Server::shared();
    let plain = place.url();
    let with = |host: &str, parameters: &str| plain.replace("127.0.0.1", host).replace("sslmode=disable", parameters);
    let ca = server.ca.display().to_string();
    // The folder is the server's alone; what it signs with is for everybody.
    let copy = place.folder.path().join("ca.pem");
    std::fs::copy(&ca, &copy).unwrap();
    let ca = copy.display().to_string();
    let verified = with("127.0.0.1", &format!("sslmode=verify-full&sslrootcert={ca}"));
    let location = verified.parse::<StoreLocation>().unwrap().with_journal(Some(place.journal()));
    let store = Store::open(&location).await.unwrap();
    let audit = Audit::open(AuditSettings::default(), &store, at(0)).await.unwrap();
    audit.record(body(1), None).await.unwrap();
    close(store, audit).await;
    assert_eq!(query(&location, &QueryFilter::default()).await.unwrap().len(), 1);

    let remedy = "check sslmode and sslrootcert, and the server's certificate";
    // Of an authority that nobody named, and for another name.
    let error = refused_alike(&with("127.0.0.1", "sslmode=verify-full")).await;
    assert_eq!(
        error,
        format!("the store {} is not reached by TLS: invalid peer certificate: UnknownIssuer: {remedy}", shown(&place))
    );
    let error = refused_alike(&with("localhost", &format!("sslmode=verify-full&sslrootcert={ca}"))).await;
    assert!(
        error.contains(" is not reached by TLS: invalid peer certificate: certificate not valid for name"),
        "{error}"
    );
    assert!(error.ends_with(remedy), "{error}");
    let missing = refused_alike(&with("127.0.0.1", "sslmode=verify-full&sslrootcert=/nowhere/ca.pem")).await;
    assert_eq!(
        missing,
        "the file /nowhere/ca.pem that sslrootcert of the store names cannot be read: No such file or directory (os error 2)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_without_a_folder_and_answers_that_wait_for_a_file() {
    let place = Place::new();
    let location: StoreLocation = place.url().parse().unwrap();
    let store = Store::open(&location).await.unwrap();
    let error = Audit::open(AuditSettings::default(), &store, at(0)).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "the store {} has no journal beside it: name a folder for it with --audit-journal (FRESHGATE_AUDIT_JOURNAL), or let answers wait for the store with --audit-durability store",
            shown(&place)
        )
    );
    store.flush_and_close().await.unwrap();
    let file = StoreLocation::sqlite(place.file());
    let store = Store::open(&file).await.unwrap();
    let settings = AuditSettings { durability: Durability::Store, ..AuditSettings::default() };
    let error = Audit::open(settings, &store, at(0)).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "--audit-durability store is for PostgreSQL: with SQLite it is the journal that makes a record durable, so leave it at journal"
    );
    store.flush_and_close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_at_once_on_an_empty_database_make_one_store() {
    let place = Place::new();
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let location = place.location();
            tokio::spawn(async move { Store::open(&location).await.unwrap().flush_and_close().await.unwrap() })
        })
        .collect();
    for start in starts {
        start.await.unwrap();
    }
    assert_eq!(place.all().await, []);
}
