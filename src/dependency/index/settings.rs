//! What an operator says about package indexes, in a small YAML file: which there are, and what is asked of none.
//!
//! Pure: text in, settings out. All that is wrong is told at once, with file, line, field and remedy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::protocol::Kind;
use crate::dependency::package::{Ecosystem, PackageName};
use crate::image::reference::glob_fits;
use crate::policy::compile::Problem;
use crate::policy::duration::PolicyDuration;
use crate::policy::file::{PolicyError, documents, located};

const DEFAULT_REQUESTS_PER_SECOND: u32 = 10;
const MOST_REQUESTS_PER_SECOND: u32 = 1_000;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    indexes: Vec<WrittenIndex>,
    #[serde(default)]
    private: Vec<String>,
    end_of_life: Option<WrittenEndpoint>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenIndex {
    kind: WrittenKind,
    #[serde(default)]
    serves: Vec<String>,
    url: Option<String>,
    path: Option<PathBuf>,
    requests_per_second: Option<u32>,
    timeout: Option<PolicyDuration>,
    ca_file: Option<PathBuf>,
    basic: Option<Basic>,
    bearer: Option<Bearer>,
}

/// The same for what is asked when support ends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenEndpoint {
    url: Option<String>,
    path: Option<PathBuf>,
    requests_per_second: Option<u32>,
    timeout: Option<PolicyDuration>,
    ca_file: Option<PathBuf>,
    basic: Option<Basic>,
    bearer: Option<Bearer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum WrittenKind {
    Cargo,
    Npm,
    PyPI,
    PyPISimple,
    Go,
    Maven,
    DepsDev,
    Snapshot,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Basic {
    username: String,
    password_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bearer {
    file: PathBuf,
}

/// Indexes, as they are to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexSettings {
    /// The indexes, in the order in which they are asked.
    pub indexes: Vec<IndexSetting>,
    /// Names, as `npm:@acme/*`, that only an index which names them in `serves` is asked about.
    pub private: Vec<String>,
    /// Where the end of support of runtimes and systems is looked up, where it is.
    pub end_of_life: Option<Location>,
}

/// One index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSetting {
    /// Its kind; `None` for a snapshot, which has all ecosystems.
    pub kind: Option<Kind>,
    /// Where it is.
    pub location: Location,
    /// The names that it is asked about, as globs over `npm:@acme/*`; empty for all that are not private.
    pub serves: Vec<String>,
}

/// Where something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Behind HTTP.
    Server(Endpoint),
    /// In a snapshot file.
    Snapshot(PathBuf),
}

/// A server, and how it may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address, without a slash at its end.
    pub url: Url,
    /// Most requests of one second.
    pub requests_per_second: u32,
    /// How long one answer may take.
    pub timeout: Duration,
    /// A PEM file with certificate authorities beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Who asks.
    pub login: Option<Login>,
}

/// Credentials, in files that are read when they are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A name, and the file with its password.
    Basic(String, PathBuf),
    /// The file with a token.
    Bearer(PathBuf),
}

impl IndexSetting {
    /// Whether it is asked about a package.
    pub fn is_asked_about(&self, name: &PackageName, private: &[String]) -> bool {
        if self.kind.is_some_and(|kind| !kind.protocol().serves(name.ecosystem)) {
            return false;
        }
        let shown = name.to_string();
        let fits = |globs: &[String]| globs.iter().any(|glob| glob_fits(glob, &shown));
        if self.serves.is_empty() { self.kind.is_none() || !fits(private) } else { fits(&self.serves) }
    }
}

/// Reads the settings in a file's text; paths in it are beside it.
pub fn read(file: &str, text: &str) -> Result<IndexSettings, Vec<PolicyError>> {
    let documents = documents(text);
    let [document] = documents.as_slice() else {
        let (message, remedy) = if documents.is_empty() {
            ("there is nothing in it", "write `indexes:` with at least one index")
        } else {
            ("there are several documents in it", "write one")
        };
        return Err(vec![crate::policy::file::error(file, None, "", message, remedy)]);
    };
    let written: Written = document.read(file).map_err(|error| vec![error])?;
    let folder = Path::new(file).parent().map(Path::to_owned).unwrap_or_default();
    compile(written, &folder).map_err(|problems| located(file, document, problems))
}

/// Tells settings from others: a few digits over their text.
pub fn mark(text: &str) -> String {
    hex::encode(Sha256::digest(text)).chars().take(16).collect()
}

fn problem(field: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { field: field.into(), message: message.into(), remedy: remedy.into() }
}

fn compile(written: Written, folder: &Path) -> Result<IndexSettings, Vec<Problem>> {
    let (mut settings, mut problems) = (IndexSettings::default(), Vec::new());
    for (index, one) in written.indexes.into_iter().enumerate() {
        let place = format!("indexes[{index}]");
        check_globs(&one.serves, &format!("{place}.serves"), &mut problems);
        let kind = kind_of(one.kind);
        let endpoint = WrittenEndpoint {
            url: one.url,
            path: one.path,
            requests_per_second: one.requests_per_second,
            timeout: one.timeout,
            ca_file: one.ca_file,
            basic: one.basic,
            bearer: one.bearer,
        };
        if let Some(location) = location(endpoint, &place, kind.is_none(), folder, &mut problems) {
            settings.indexes.push(IndexSetting { kind, location, serves: one.serves });
        }
    }
    check_globs(&written.private, "private", &mut problems);
    settings.private = written.private;
    if let Some(endpoint) = written.end_of_life {
        let is_snapshot = endpoint.path.is_some();
        settings.end_of_life = location(endpoint, "endOfLife", is_snapshot, folder, &mut problems);
    }
    if settings.indexes.is_empty() && settings.end_of_life.is_none() && problems.is_empty() {
        let remedy = "write at least one index, as `- {kind: Npm, url: \"https://npm.example\"}`, or `endOfLife`";
        problems.push(problem("indexes", "nothing is named that could be asked", remedy));
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

fn kind_of(written: WrittenKind) -> Option<Kind> {
    Some(match written {
        WrittenKind::Cargo => Kind::Cargo,
        WrittenKind::Npm => Kind::Npm,
        WrittenKind::PyPI => Kind::PyPI,
        WrittenKind::PyPISimple => Kind::PyPISimple,
        WrittenKind::Go => Kind::Go,
        WrittenKind::Maven => Kind::Maven,
        WrittenKind::DepsDev => Kind::DepsDev,
        WrittenKind::Snapshot => return None,
    })
}

/// A glob that fits nothing would leave private what is meant to be, or ask what is not.
fn check_globs(globs: &[String], field: &str, problems: &mut Vec<Problem>) {
    for glob in globs {
        let ecosystem = glob.split_once(':').map(|(ecosystem, _)| ecosystem);
        let is_known = |named: &str| named == "*" || Ecosystem::ALL.iter().any(|known| known.as_str() == named);
        if !ecosystem.is_some_and(is_known) {
            let known: Vec<&str> = Ecosystem::ALL.iter().map(|one| one.as_str()).collect();
            let remedy = format!("write ECOSYSTEM:NAME, as \"npm:@acme/*\"; the ecosystems are {}", known.join(", "));
            problems.push(problem(field, format!("{glob:?} names no ecosystem"), remedy));
        }
    }
}

fn location(
    written: WrittenEndpoint,
    place: &str,
    is_snapshot: bool,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Location> {
    let field = |name: &str| format!("{place}.{name}");
    if is_snapshot {
        if written.url.is_some() {
            problems.push(problem(field("url"), "a snapshot is a file", "write `path`, and no `url`"));
        }
        let Some(path) = written.path else {
            problems.push(problem(field("path"), "it is missing", "write the path of what `freshgate snapshot` made"));
            return None;
        };
        return Some(Location::Snapshot(folder.join(path)));
    }
    if written.path.is_some() {
        problems.push(problem(field("path"), "only a snapshot has a path", "write `url`, or `kind: Snapshot`"));
    }
    let Some(url) = written.url else {
        problems.push(problem(field("url"), "it is missing", "write the address of the index; none is built in"));
        return None;
    };
    let url = match address(&url) {
        Ok(url) => url,
        Err((message, remedy)) => {
            problems.push(problem(field("url"), message, remedy));
            return None;
        }
    };
    let login = match (written.basic, written.bearer) {
        (Some(_), Some(_)) => {
            problems.push(problem(field("bearer"), "there is `basic` too", "keep one of them"));
            None
        }
        (Some(basic), None) => Some(Login::Basic(basic.username, folder.join(basic.password_file))),
        (None, Some(bearer)) => Some(Login::Bearer(folder.join(bearer.file))),
        (None, None) => None,
    };
    if login.is_some() && url.scheme() == "http" && !is_loopback(&url) {
        let message = "over plain HTTP anybody on the way reads the credentials";
        problems.push(problem(field("url"), message, "write https://, or leave the credentials out"));
    }
    let requests_per_second = written.requests_per_second.unwrap_or(DEFAULT_REQUESTS_PER_SECOND);
    if !(1..=MOST_REQUESTS_PER_SECOND).contains(&requests_per_second) {
        let message = format!("{requests_per_second} is not from 1 to {MOST_REQUESTS_PER_SECOND}");
        problems.push(problem(
            field("requestsPerSecond"),
            message,
            format!("write {DEFAULT_REQUESTS_PER_SECOND}, or leave it out"),
        ));
    }
    let timeout = match written.timeout.map(|timeout| u64::try_from(timeout.seconds()).unwrap_or(0)) {
        None => DEFAULT_TIMEOUT,
        Some(seconds @ 1..=600) => Duration::from_secs(seconds),
        Some(_) => {
            problems.push(problem(field("timeout"), "it is not from 1s to 10m", "write 20s, or leave it out"));
            DEFAULT_TIMEOUT
        }
    };
    let ca_file = written.ca_file.map(|path| folder.join(path));
    Some(Location::Server(Endpoint { url, requests_per_second, timeout, ca_file, login }))
}

type Wrong = (String, &'static str);

/// The address of a server: http or https, a host, and no password, query or fragment.
fn address(written: &str) -> Result<Url, Wrong> {
    // As Cargo's own settings have it.
    let plain = written.strip_prefix("sparse+").unwrap_or(written);
    let url =
        Url::parse(plain).map_err(|error| (format!("{plain:?} is no address: {error}"), "write https://HOST/PATH"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err((format!("{plain:?} is none that can be asked"), "write https://HOST/PATH"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(("a password does not belong into an address".to_owned(), "write `basic` or `bearer`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(("an address here has neither ? nor #".to_owned(), "write https://HOST/PATH"));
    }
    let trimmed = url.as_str().trim_end_matches('/').to_owned();
    Url::parse(&trimmed).map_err(|error| (error.to_string(), "write https://HOST/PATH"))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
indexes:
- kind: Npm
  url: https://npm.internal.example/
  serves: ['npm:@acme/*']
  bearer: {file: npm-token}
- {kind: Npm, url: 'https://npm.example', requestsPerSecond: 5, timeout: 5s, caFile: ca.pem}
- {kind: Cargo, url: 'sparse+https://index.example/'}
- {kind: Snapshot, path: snapshot.json}
private: ['npm:@acme/*', 'maven:com.acme*']
endOfLife: {url: 'https://eol.example/api/v1'}
";

    fn asked(settings: &IndexSettings, ecosystem: Ecosystem, name: &str) -> Vec<usize> {
        let name = PackageName { ecosystem, name: name.into() };
        let fits = |(_, index): &(usize, &IndexSetting)| index.is_asked_about(&name, &settings.private);
        settings.indexes.iter().enumerate().filter(fits).map(|(index, _)| index).collect()
    }

    #[test]
    fn settings_are_read_with_paths_beside_the_file() {
        let settings = read("etc/indexes.yaml", GOOD).unwrap();
        assert_eq!(settings.indexes.len(), 4);
        let Location::Server(first) = &settings.indexes[0].location else { panic!("a server") };
        assert_eq!(first.login, Some(Login::Bearer("etc/npm-token".into())));
        assert_eq!(first.url.as_str(), "https://npm.internal.example/");
        let Location::Server(second) = &settings.indexes[1].location else { panic!("a server") };
        assert_eq!((second.requests_per_second, second.timeout), (5, Duration::from_secs(5)));
        assert_eq!(settings.indexes[3].location, Location::Snapshot("etc/snapshot.json".into()));
    }

    #[test]
    fn private_names_are_asked_only_of_those_that_serve_them() {
        let settings = read("indexes.yaml", GOOD).unwrap();
        // A snapshot asks nobody.
        assert_eq!(asked(&settings, Ecosystem::Npm, "@acme/checkout"), [0, 3]);
        assert_eq!(asked(&settings, Ecosystem::Npm, "left-pad"), [1, 3]);
        assert_eq!(asked(&settings, Ecosystem::Maven, "com.acme.shop:checkout"), [3]);
        assert_eq!(asked(&settings, Ecosystem::Cargo, "serde"), [2, 3]);
    }

    #[test]
    fn what_is_wrong_names_line_field_and_remedy() {
        for (text, expected) in [
            ("", "i.yaml: there is nothing in it; write `indexes:` with at least one index"),
            ("indexes: []", "i.yaml:1: indexes: nothing is named that could be asked; write at least one index"),
            (
                "indexes:\n- {kind: npm, url: 'https://x.example'}",
                "i.yaml:2: indexes[0].kind: \"npm\" is no value here; did you mean \"Npm\"?",
            ),
            (
                "indexes:\n- {kind: Npm, uri: x}",
                "i.yaml:2: indexes[0].uri: unknown field \"uri\"; did you mean \"url\"?",
            ),
            ("indexes:\n- kind: Npm\n  url: npm.example", "i.yaml:3: indexes[0].url: \"npm.example\" is no address"),
            (
                "indexes:\n- kind: Npm\n  url: https://a:b@npm.example",
                "i.yaml:3: indexes[0].url: a password does not belong into an address; write `basic` or `bearer`",
            ),
            (
                "indexes:\n- kind: Npm",
                "i.yaml:2: indexes[0].url: it is missing; write the address of the index; none is built in",
            ),
            ("indexes:\n- kind: Snapshot\n  url: https://x.example", "i.yaml:3: indexes[0].url: a snapshot is a file"),
            (
                "indexes:\n- {kind: Go, url: 'https://x.example'}\nprivate:\n- git.acme.example/*",
                "i.yaml:3: private: \"git.acme.example/*\" names no ecosystem; write ECOSYSTEM:NAME",
            ),
            (
                "indexes:\n- kind: Npm\n  url: http://npm.example\n  bearer: {file: t}",
                "i.yaml:3: indexes[0].url: over plain HTTP anybody on the way reads the credentials",
            ),
            (
                "indexes:\n- kind: Npm\n  url: https://npm.example\n  requestsPerSecond: 0",
                "i.yaml:4: indexes[0].requestsPerSecond: 0 is not from 1 to 1000",
            ),
        ] {
            let errors: Vec<String> = read("i.yaml", text).unwrap_err().iter().map(ToString::to_string).collect();
            assert!(errors.iter().any(|error| error.starts_with(expected)), "{text:?}: {errors:?}");
        }
    }
}
