//! The command line: what was typed becomes what is done, and what went wrong becomes words and an exit code.

mod audit;
mod check;
mod exception;
mod inspect;
mod manifests;
mod policy;
mod time;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::{CommandFactory as _, Parser as _};
use indicatif::ProgressBar;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command, ExceptionCommand, ServeArgs};
use crate::policy::crd;
use crate::verdict::Decision;

/// It was done, and the answer is yes.
const OK: u8 = 0;
/// It was done, and the answer is no.
const NO: u8 = 1;
/// It could not be done.
const FAILED: u8 = 2;

/// What went wrong, in the words of whatever it was, and what may help.
struct Failure {
    what: String,
    hint: Option<&'static str>,
}

impl Failure {
    fn new(what: impl ToString) -> Self {
        Self { what: what.to_string(), hint: None }
    }

    fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

/// Does what was typed.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            tell(&failure);
            ExitCode::from(FAILED)
        }
    }
}

fn tell(failure: &Failure) {
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let mut stderr = anstream::stderr();
    for line in failure.what.lines() {
        let _ = writeln!(stderr, "{red}error:{red:#} {line}"); // nobody is left to be told
    }
    if let Some(hint) = failure.hint {
        let _ = writeln!(stderr, "hint: {hint}");
    }
}

fn run(cli: Cli) -> Result<u8, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    // Everything that speaks TLS in this process uses the one provider.
    if CryptoProvider::install_default((*provider).clone()).is_err() {
        return Err(Failure::new("TLS was set up already by something else in this process"));
    }
    match cli.command {
        Command::Serve(args) => serve(*args, provider),
        Command::Check(args) => {
            log_to_stderr("error", false);
            block_on(check::check(args))
        }
        Command::Inspect(args) => {
            log_to_stderr("error", false);
            block_on(inspect::inspect(args))
        }
        Command::Audit(command) => {
            log_to_stderr("error", false);
            block_on(audit::run(command))
        }
        Command::Policy(command) => policy::run(&command),
        Command::Exception(ExceptionCommand::New(args)) => exception::new(*args),
        Command::Crds => {
            print(&crd::yaml().map_err(|error| Failure::new(format!("the definitions cannot be written: {error}")))?);
            Ok(OK)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "freshgate", &mut io::stdout());
            Ok(OK)
        }
    }
}

fn serve(args: ServeArgs, provider: Arc<CryptoProvider>) -> Result<u8, Failure> {
    log_to_stderr("info", args.log_json);
    block_on(async {
        crate::run::serve(args, provider).await.map_err(Failure::new)?;
        Ok(OK)
    })
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("the runtime cannot be started: {error}")))?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Logs go to stderr, so that stdout is what was asked for.
fn log_to_stderr(default: &str, json: bool) {
    let filter = EnvFilter::try_from_env("FRESHGATE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    if json {
        logs.json().init();
    } else {
        logs.init();
    }
}

/// Prints to stdout; colours go where there is no terminal, or nobody wants them. A reader that closes the pipe has had
/// enough.
fn print(text: &str) {
    let mut stdout = anstream::stdout();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(i32::from(OK));
    }
}

fn print_json(value: &impl serde::Serialize) {
    // What is printed has string keys alone, so it can be written.
    print(&(serde_json::to_string_pretty(value).unwrap_or_default() + "\n"));
}

/// A decision in its colour.
fn coloured(decision: &str) -> String {
    let colour = match decision {
        _ if decision == Decision::Deny.as_str() => AnsiColor::Red,
        _ if decision == Decision::Warn.as_str() => AnsiColor::Yellow,
        _ => AnsiColor::Green,
    };
    let style = Style::new().bold().fg_color(Some(colour.into()));
    format!("{style}{decision}{style:#}")
}

/// A line that moves while something takes long; on a terminal alone.
fn progress(length: u64, message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    bar.set_message(message);
    if let Ok(style) = indicatif::ProgressStyle::with_template("{spinner} {msg} {pos}/{len}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Columns of text, as wide as they need to be.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(head.iter().map(|title| title.to_uppercase()));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
