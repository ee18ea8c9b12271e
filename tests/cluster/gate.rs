//! The gate itself, as a process.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::{Process, free_ports, listens};

/// Flags with which it registers itself with an API server on this machine, which then waits for it.
pub const REGISTERED: [&str; 6] = [
    "--webhook-configuration",
    "freshgate",
    "--webhook-url",
    "https://127.0.0.1:{port}/validate",
    "--webhook-failure-policy",
    "fail",
];

/// A running gate.
pub struct Gate {
    pub process: Process,
    pub port: u16,
    pub admin_port: u16,
    folder: PathBuf,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    own_folder: Option<TempDir>,
}

impl Gate {
    /// Starts the program with these flags, beside listeners, a store and a certificate of its own.
    pub fn start(program: &Path, args: &[&str], env: &[(&str, &Path)]) -> Self {
        let folder = tempfile::Builder::new().prefix("freshgate-gate").tempdir().unwrap();
        let path = folder.path().to_owned();
        let mut gate = Self::in_folder(program, &path, args, env);
        gate.own_folder = Some(folder);
        gate
    }

    /// The same, with its store in a folder that outlives it.
    pub fn in_folder(program: &Path, folder: &Path, args: &[&str], env: &[(&str, &Path)]) -> Self {
        Self::on_ports(program, folder, free_ports(), args, env)
    }

    /// The same, on ports that others know already. In flags, `{port}` stands for that of reviews.
    pub fn on_ports(
        program: &Path,
        folder: &Path,
        [port, admin_port]: [u16; 2],
        args: &[&str],
        env: &[(&str, &Path)],
    ) -> Self {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let env: Vec<_> = env.iter().map(|(name, path)| ((*name).to_owned(), path.display().to_string())).collect();
        let mut process = spawn(program, folder, port, admin_port, &args, &env);
        wait_until_ready(&mut process, admin_port);
        Self {
            process,
            port,
            admin_port,
            folder: folder.to_owned(),
            program: program.to_owned(),
            args,
            env,
            own_folder: None,
        }
    }

    /// `sqlite:FILE` of its store.
    pub fn store(&self) -> String {
        store(&self.folder)
    }

    /// The certificate that it made, in PEM.
    pub fn certificate(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("gate.pem")).unwrap()
    }

    /// Where reviews go.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/validate", self.port)
    }

    /// A client that trusts it.
    pub fn client(&self) -> reqwest::Client {
        let certificate = reqwest::Certificate::from_pem(&self.certificate()).unwrap();
        reqwest::Client::builder().tls_certs_only([certificate]).no_proxy().build().unwrap()
    }

    /// Ends it as a crash would, and starts it again on the same ports and store.
    pub fn crash_and_restart(&mut self) {
        self.start_again();
        wait_until_ready(&mut self.process, self.admin_port);
    }

    /// The same, and does not wait until it is ready.
    pub fn start_again(&mut self) {
        self.process.kill();
        self.process = spawn(&self.program, &self.folder, self.port, self.admin_port, &self.args, &self.env);
    }

    /// Starts it again with other flags, on the same ports and store.
    pub fn restart_with(&mut self, args: &[&str]) {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
        self.crash_and_restart();
    }

    /// A figure of its metrics, by its name with labels; none where it is not there, or nobody answers.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.admin_port);
        let output = Command::new("curl").args(["-s", "--max-time", "5", &url]).output().unwrap();
        let page = String::from_utf8(output.stdout).unwrap();
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Runs the program with other arguments, as `audit query`.
    pub fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(&self.program).args(args).env("NO_COLOR", "1").output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// The records that fit, as JSON.
    pub fn records(&self, args: &[&str]) -> Vec<serde_json::Value> {
        let store = self.store();
        let all: Vec<&str> =
            ["audit", "query", "-o", "json", "--store", &store].into_iter().chain(args.iter().copied()).collect();
        let (code, stdout, stderr) = self.run(&all);
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }
}

fn store(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("decisions.db").display())
}

fn spawn(
    program: &Path,
    folder: &Path,
    port: u16,
    admin_port: u16,
    args: &[String],
    env: &[(String, String)],
) -> Process {
    let mut command = Command::new(program);
    command
        .arg("serve")
        .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin_port}")])
        .args(args.iter().map(|arg| arg.replace("{port}", &port.to_string())))
        .envs(env.iter().map(|(name, value)| (name, value)));
    if !args.iter().any(|arg| arg == "--store") {
        command.args(["--store", &store(folder)]);
    }
    if !args.iter().any(|arg| arg == "--tls-cert" || arg == "--tls-secret") {
        command.arg("--tls-self-signed").arg("--tls-write-cert").arg(folder.join("gate.pem"));
    }
    Process::start("freshgate", folder, &mut command)
}

fn wait_until_ready(process: &mut Process, admin_port: u16) {
    process.wait_until(|| listens(admin_port) && is_ready(admin_port));
}

fn is_ready(admin_port: u16) -> bool {
    let url = format!("http://127.0.0.1:{admin_port}/readyz");
    let output = Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url]).output().unwrap();
    output.stdout == b"200"
}
