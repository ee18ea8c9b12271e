//! A real PostgreSQL server for the tests of one program, a database for each test. It has TLS, roles with a password and
//! one without, and keeps what it says safe on the disk.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::process::{READY_WITHIN, free_ports, listens};
use super::programs;

/// The password of the role `freshgate`.
pub const PASSWORD: &str = "s3cret-of-the-store";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    pub port: u16,
    /// The authority that signed its certificate, for 127.0.0.1.
    pub ca: PathBuf,
    folder: PathBuf,
    programs: PathBuf,
    /// Its input ends when this process does, however that happens, and with it the server.
    _keeper: Child,
}

/// A database of a test's own.
#[derive(Clone, Debug)]
pub struct Database {
    pub name: String,
    pub port: u16,
}

/// What starts the server and ends it. As root that is not allowed, so it is another user then.
const KEEPER: &str = r#"
    set -eu
    folder=$1 programs=$2 port=$3
    as() { "$@"; }
    if [ "$(id -u)" = 0 ]; then
      chown -R postgres "$folder"
      as() { runuser -u postgres -- "$@"; }
    fi
    as "$programs/initdb" -D "$folder/data" -U admin --auth=trust -E UTF8 --locale=C.UTF-8 > "$folder/initdb.log" 2>&1
    cat "$folder/postgresql.conf" >> "$folder/data/postgresql.conf"
    cat "$folder/pg_hba.conf" > "$folder/data/pg_hba.conf"
    as "$programs/postgres" -D "$folder/data" < /dev/null > "$folder/postgres.log" 2>&1 &
    read -r _ || true
    kill -INT "$(head -1 "$folder/data/postmaster.pid")" || true
    wait
    rm -rf "$folder"
"#;

impl Postgres {
    /// The server of this test program; started where it does not run yet.
    pub fn shared() -> &'static Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(&["127.0.0.1"]))
    }

    /// A server on these addresses, 127.0.0.1 among them.
    pub fn start(addresses: &[&str]) -> Self {
        let link = programs().join("postgresql");
        let programs = std::fs::read_link(&link).unwrap_or_else(|error| {
            panic!(
                "{} does not say where PostgreSQL's programs are: {error}; install the Debian package postgresql",
                link.display()
            )
        });
        let folder = tempfile::Builder::new().prefix("freshgate-postgres").tempdir().unwrap().keep();
        let [port] = free_ports();
        let ca = write_certificates(&folder);
        let shown = folder.display();
        let addresses = addresses.join(",");
        let mut configuration =
            format!("listen_addresses = '{addresses}'\nport = {port}\nunix_socket_directories = '{shown}'\n");
        writeln!(configuration, "ssl = on\nssl_cert_file = '{shown}/server.pem'\nssl_key_file = '{shown}/server.key'")
            .unwrap();
        writeln!(
            configuration,
            "max_connections = 400\nfsync = on\nsynchronous_commit = on\nlog_line_prefix = '%m [%p] %u@%d '"
        )
        .unwrap();
        std::fs::write(folder.join("postgresql.conf"), configuration).unwrap();
        std::fs::write(
            folder.join("pg_hba.conf"),
            "local all admin trust\nhost all admin 127.0.0.1/32 trust\nhost all all all scram-sha-256\n",
        )
        .unwrap();
        let keeper = Command::new("bash")
            .args(["-c", KEEPER, "keeper"])
            .arg(&folder)
            .arg(&programs)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let server = Self { port, ca, folder, programs, _keeper: keeper };
        let give_up = Instant::now() + READY_WITHIN;
        while !(listens(port) && server.psql("postgres", "SELECT 1").is_ok()) {
            assert!(Instant::now() < give_up, "PostgreSQL was not ready in time:\n{}", server.log());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        server.psql("postgres", &format!("CREATE ROLE freshgate LOGIN PASSWORD '{PASSWORD}'")).unwrap();
        server
    }

    /// A new, empty database that the role owns.
    pub fn database(&self) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name} OWNER freshgate")).unwrap();
        Database { name, port: self.port }
    }

    /// Runs SQL as the one who may do everything; what it prints.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "admin"])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", sql])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        format!("{}{}", read("initdb.log"), read("postgres.log"))
    }
}

impl Database {
    /// Its address, as `--store` takes it.
    pub fn url(&self) -> String {
        self.url_through(self.port)
    }

    /// The same through a proxy at this port.
    pub fn url_through(&self, port: u16) -> String {
        self.url_at("127.0.0.1", port)
    }

    /// The same for those who know the server by another address.
    pub fn url_from(&self, address: &str) -> String {
        self.url_at(address, self.port)
    }

    fn url_at(&self, address: &str, port: u16) -> String {
        format!("postgres://freshgate:{PASSWORD}@{address}:{port}/{}?sslmode=disable", self.name)
    }
}

/// An authority, and a certificate of the server's that it signed; the authority's file.
fn write_certificates(folder: &Path) -> PathBuf {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    std::fs::write(folder.join("server.pem"), certificate.pem()).unwrap();
    let file = folder.join("server.key");
    std::fs::write(&file, key.serialize_pem()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).unwrap();
    let file = folder.join("ca.pem");
    std::fs::write(&file, ca.pem()).unwrap();
    file
}
