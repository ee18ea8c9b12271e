//! Where a PostgreSQL server is, as `--store` names it. What is shown of it never holds the password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use url::Url;

use super::error::PostgresError;

/// What an address may say beside user, host and database.
const PARAMETERS: [&str; 6] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "application_name", "host"];

/// `postgres://USER@HOST:PORT/DATABASE`, and how it is reached. What it does not say comes from libpq's variables, and the
/// password from `PGPASSWORD` or a passfile.
#[derive(Clone)]
pub struct PostgresAddress {
    options: Box<PgConnectOptions>,
    /// Files that it names, and by which parameter.
    files: Vec<(String, PathBuf)>,
}

impl PostgresAddress {
    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// That the files it names can be read: what TLS says of them later names none.
    pub(super) fn check_files(&self) -> Result<(), PostgresError> {
        for (parameter, file) in &self.files {
            std::fs::File::open(file).map_err(|source| PostgresError::File {
                parameter: parameter.clone(),
                file: file.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

impl FromStr for PostgresAddress {
    type Err = PostgresError;

    fn from_str(given: &str) -> Result<Self, PostgresError> {
        let wrong = |why: String| PostgresError::Address { why };
        let url = Url::parse(given).map_err(|error| wrong(error.to_string()))?;
        let mut files = Vec::new();
        for (parameter, value) in url.query_pairs() {
            if !PARAMETERS.contains(&&*parameter) {
                return Err(wrong(format!("the parameter {parameter:?} is not among {}", PARAMETERS.join(", "))));
            }
            if parameter.starts_with("ssl") && parameter != "sslmode" {
                files.push((parameter.into_owned(), PathBuf::from(&*value)));
            }
        }
        if url.path().trim_start_matches('/').is_empty() {
            return Err(wrong("it names no database".to_owned()));
        }
        let mut options = PgConnectOptions::from_str(given).map_err(|error| {
            let why = error.to_string();
            wrong(why.trim_start_matches("error with configuration: ").to_owned())
        })?;
        if options.get_application_name().is_none() {
            options = options.application_name("freshgate");
        }
        Ok(Self { options: Box::new(options), files })
    }
}

impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        write!(f, "postgres://{}@", options.get_username())?;
        match options.get_socket() {
            Some(socket) => write!(f, "{}", socket.display())?,
            None => write!(f, "{}:{}", options.get_host(), options.get_port())?,
        }
        write!(f, "/{}", options.get_database().unwrap_or_default())
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for PostgresAddress {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for PostgresAddress {}

/// The text without the password that an address in it holds: for whatever repeats what was typed.
pub fn without_password(text: &str) -> String {
    let Some((before, address)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = address.find(char::is_whitespace).unwrap_or(address.len());
    let (address, after) = address.split_at(end);
    // A password may hold an @ that should have been escaped.
    match address.rsplit_once('@') {
        Some((login, place)) if login.contains(':') => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{before}://{user}:***@{place}{}", without_password(after))
        }
        _ => format!("{before}://{address}{}", without_password(after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_an_address_holds_no_password() {
        let address: PostgresAddress =
            "postgres://gate:s3cret@db.example:5433/audit?sslmode=verify-full&sslrootcert=/etc/ca.pem".parse().unwrap();
        assert_eq!(address.to_string(), "postgres://gate@db.example:5433/audit");
        assert_eq!(format!("{address:?}"), "postgres://gate@db.example:5433/audit");
        assert_eq!(address.files, [("sslrootcert".to_owned(), PathBuf::from("/etc/ca.pem"))]);
        for (text, shown) in [
            ("postgres://gate:s3cret@db/audit", "postgres://gate:***@db/audit"),
            ("postgres://gate:s3:cr@t@db/audit x", "postgres://gate:***@db/audit x"),
            ("postgres://gate@db/audit", "postgres://gate@db/audit"),
            ("sqlite:gate.db", "sqlite:gate.db"),
            ("a postgres://u:p@h/d and postgres://u:p@h/d", "a postgres://u:***@h/d and postgres://u:***@h/d"),
        ] {
            assert_eq!(without_password(text), shown);
        }
    }

    #[test]
    fn what_is_not_understood_is_said_without_the_password() {
        let form = ": write postgres://USER@HOST:PORT/DATABASE, as in postgres://freshgate@db.example:5432/freshgate?sslmode=verify-full";
        for (given, why) in [
            ("postgres://gate:s3cret@db", "it names no database"),
            ("postgres://gate:s3cret@db:x/audit", "invalid port number"),
            (
                "postgres://gate:s3cret@db/audit?sslmod=require",
                "the parameter \"sslmod\" is not among sslmode, sslrootcert, sslcert, sslkey, application_name, host",
            ),
            ("postgres://gate:s3cret@db/audit?sslmode=full", "unknown value \"full\" for `ssl_mode`"),
        ] {
            let error = given.parse::<PostgresAddress>().unwrap_err().to_string();
            assert_eq!(error, format!("the address of the store is not understood: {why}{form}"));
        }
    }
}
