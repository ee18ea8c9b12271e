//! A real Prometheus with a past: samples and recorded series of thirty days, made by promtool.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::process::{Process, free_ports, listens};

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    pub process: Process,
    port: u16,
    folder: TempDir,
}

/// A series and its samples: Unix seconds and value, oldest first.
#[derive(Clone, Debug)]
pub struct Samples {
    /// `name{label="value"}`.
    pub series: String,
    pub samples: Vec<(i64, f64)>,
}

/// Rules to record a short past by, as `promtool` and Prometheus read them, and from when to when.
#[derive(Clone, Debug)]
pub struct Rules<'a> {
    pub yaml: &'a str,
    pub from_seconds: i64,
    pub until_seconds: i64,
}

impl Prometheus {
    /// Starts one that has these samples.
    pub fn with(samples: &[Samples]) -> Self {
        let folder = tempfile::Builder::new().prefix("freshgate-prometheus").tempdir().unwrap();
        write_blocks(folder.path(), samples);
        let [port] = free_ports();
        std::fs::write(folder.path().join("prometheus.yml"), "global: {scrape_interval: 1h}\n").unwrap();
        let process = spawn(folder.path(), port);
        Self { process, port, folder }
    }

    /// Starts one that scrapes a target each second.
    pub fn scraping(host: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("freshgate-prometheus").tempdir().unwrap();
        let [port] = free_ports();
        let configuration = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- {{job_name: test, static_configs: [{{targets: ['{host}']}}]}}\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), configuration).unwrap();
        let process = spawn(folder.path(), port);
        Self { process, port, folder }
    }

    /// Adds samples, and starts anew to have them.
    pub fn add(&mut self, samples: &[Samples]) {
        self.process.kill();
        write_blocks(self.folder.path(), samples);
        self.process = spawn(self.folder.path(), self.port);
    }

    /// Records the past by rules: promtool asks the server for each two hours and rule, so this is for short times.
    pub fn record(&mut self, rules: &Rules<'_>) {
        // The time of an evaluation depends on the file's name: always the same.
        let made = tempfile::tempdir_in(self.folder.path()).unwrap();
        std::fs::write(made.path().join("rules.yml"), rules.yaml).unwrap();
        run(Command::new("promtool")
            .current_dir(made.path())
            .args(["tsdb", "create-blocks-from", "rules", "--url", &self.url()])
            .args(["--start", &rules.from_seconds.to_string(), "--end", &rules.until_seconds.to_string()])
            .args(["--output-dir", "made", "rules.yml"]));
        self.process.kill();
        for block in std::fs::read_dir(made.path().join("made")).unwrap().map(|entry| entry.unwrap()) {
            if block.path().join("meta.json").exists() {
                std::fs::rename(block.path(), self.folder.path().join("data").join(block.file_name())).unwrap();
            }
        }
        self.process = spawn(self.folder.path(), self.port);
    }

    /// What a query gives over a range of times.
    pub fn range(&self, query: &str, (from, until): (i64, i64), step_seconds: i64) -> Vec<serde_json::Value> {
        let output = Command::new("curl")
            .args(["-sS", &format!("{}/api/v1/query_range", self.url()), "--data-urlencode", &format!("query={query}")])
            .args([
                "-d",
                &format!("start={from}"),
                "-d",
                &format!("end={until}"),
                "-d",
                &format!("step={step_seconds}"),
            ])
            .output()
            .unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// What a rule would have recorded over a long time, by the server's own evaluation.
    pub fn recorded(&self, name: &str, query: &str, range: (i64, i64), step_seconds: i64) -> Vec<Samples> {
        let as_samples = |series: serde_json::Value| {
            let labels: Vec<String> =
                series["metric"].as_object().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
            let samples = series["values"].as_array().unwrap().iter();
            let sample = |one: &serde_json::Value| {
                #[allow(clippy::cast_possible_truncation)]
                let seconds = one[0].as_f64().unwrap() as i64;
                (seconds, one[1].as_str().unwrap().parse().unwrap())
            };
            Samples { series: format!("{name}{{{}}}", labels.join(",")), samples: samples.map(sample).collect() }
        };
        self.range(query, range, step_seconds).into_iter().map(as_samples).collect()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn spawn(folder: &Path, port: u16) -> Process {
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(["--storage.tsdb.retention.time=10y", "--log.level=warn"]);
    let mut process = Process::start("prometheus", folder, &mut command);
    process.wait_until(|| listens(port) && is_ready(port));
    process
}

fn is_ready(port: u16) -> bool {
    let url = format!("http://127.0.0.1:{port}/-/ready");
    let output = Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url]).output().unwrap();
    output.stdout == b"200"
}

fn write_blocks(folder: &Path, samples: &[Samples]) {
    let mut text = String::new();
    for series in samples {
        for (seconds, value) in &series.samples {
            let value = if value.is_nan() { "NaN".to_owned() } else { value.to_string() };
            writeln!(text, "{} {value} {seconds}", series.series).unwrap();
        }
    }
    text.push_str("# EOF\n");
    let file = folder.join("samples.openmetrics");
    std::fs::write(&file, text).unwrap();
    run(Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=64h"])
        .arg(&file)
        .arg(folder.join("data")));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("promtool cannot be started: {error}"));
    assert!(
        output.status.success(),
        "promtool failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
