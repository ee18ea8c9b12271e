//! The command line: what was typed becomes what is done, and what went wrong becomes words and an exit code.

mod audit;
mod budgets;
mod check;
mod environment;
mod exception;
mod inspect;
mod manifests;
mod output;
mod policy;
mod policy_test;
mod replay;
mod report;
mod simulate;
mod snapshot;
mod time;
mod webhook;

use std::error::Error;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tracing_subscriber::EnvFilter;

use self::output::{print, print_bytes, say, tell, written};
use crate::args::{Cli, Command, ExceptionCommand, ServeArgs, WebhookCommand};
use crate::policy::crd;

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
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    /// An error with the causes that it does not tell itself.
    fn of(error: impl Error) -> Self {
        let mut what = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let why = inner.to_string();
            if !what.contains(&why) {
                what = format!("{what}: {why}");
            }
            cause = inner.source();
        }
        Self::new(what)
    }

    fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

/// Does what was typed.
pub fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Ok(cli) => run(cli),
        // Help is a result, and what was typed wrong is told; which of both goes where is clap's to know.
        Err(mut said) => {
            let variable = environment::behind(&said);
            environment::hide_passwords(&mut said);
            written(said.print()).map(|()| {
                if let Some(variable) = variable {
                    say("hint", &format!("the value comes from the environment variable {variable}"));
                }
                if said.use_stderr() { FAILED } else { OK }
            })
        }
    };
    ExitCode::from(done.unwrap_or_else(|failure| {
        tell(&failure);
        FAILED
    }))
}

fn run(cli: Cli) -> Result<u8, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    // Everything that speaks TLS in this process uses the one provider.
    if CryptoProvider::install_default((*provider).clone()).is_err() {
        return Err(Failure::new("TLS was set up already by something else in this process; report this as a bug"));
    }
    match cli.command {
        Command::Serve(args) => {
            args.check().map_err(|error| Failure::of(error).hint("freshgate serve --help says more"))?;
            serve(*args, provider)
        }
        Command::Check(args) => {
            log_to_stderr("error", false);
            block_on(check::check(args))
        }
        Command::Inspect(args) => {
            log_to_stderr("error", false);
            block_on(inspect::inspect(args))
        }
        Command::Budgets(args) => {
            log_to_stderr("error", false);
            block_on(budgets::run(args))
        }
        Command::Audit(command) => {
            log_to_stderr("error", false);
            block_on(audit::run(command))
        }
        Command::Simulate(args) => {
            log_to_stderr("error", false);
            block_on(simulate::run(*args))
        }
        Command::Snapshot(args) => {
            log_to_stderr("error", false);
            block_on(snapshot::snapshot(*args))
        }
        Command::Report(args) => {
            log_to_stderr("error", false);
            block_on(report::run(*args))
        }
        Command::Policy(command) => policy::run(&command),
        Command::Exception(ExceptionCommand::New(args)) => exception::new(*args),
        Command::Webhook(WebhookCommand::Test(args)) => {
            log_to_stderr("error", false);
            block_on(webhook::test(args))
        }
        Command::Crds => {
            print(&crd::yaml().map_err(|error| {
                Failure::new(format!("the definitions cannot be written: {error}; report this as a bug"))
            })?)?;
            Ok(OK)
        }
        Command::Completions { shell } => {
            // Into memory first: the generator panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "freshgate", &mut script);
            print_bytes(&script)?;
            Ok(OK)
        }
    }
}

fn serve(args: ServeArgs, provider: Arc<CryptoProvider>) -> Result<u8, Failure> {
    log_to_stderr("info", args.log_json);
    block_on(async {
        crate::run::serve(args, provider).await.map_err(Failure::of)?;
        Ok(OK)
    })
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // What has one core to itself need not share it out among threads: that costs a few hundredths of what it does.
    let mut builder = match std::thread::available_parallelism() {
        Ok(cores) if cores.get() == 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().map_err(|error| {
        Failure::new(format!(
            "the threads to work on cannot be started: {error}; look at the limits on processes and threads"
        ))
    })?;
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
        // It would say so on stderr, and panic there: a disk that is full may hold the log too, and no review may fail by it.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    if json {
        logs.json().init();
    } else {
        logs.init();
    }
}
