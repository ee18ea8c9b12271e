//! A value that nobody typed comes from the environment. clap names the flag alone, and whoever reads a Pod's log at
//! night looks for the variable.

use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory as _};

use crate::args::Cli;
use crate::store::without_password;

/// Takes the password out of an address that was refused: what is told of it goes to a terminal, or into a Pod's log.
pub fn hide_passwords(error: &mut clap::Error) {
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(text)) = error.get(kind) {
            let shown = without_password(text);
            error.insert(kind, ContextValue::String(shown));
        }
    }
}

/// The environment variable that a refused value comes from, where it comes from one.
pub fn behind(error: &clap::Error) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (flag, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    let long = flag.split([' ', '=']).next()?;
    // What is typed comes before what is set.
    if std::env::args().any(|typed| typed.split('=').next() == Some(long)) {
        return None;
    }
    variable(&Cli::command(), long.strip_prefix("--")?, value)
}

fn variable(command: &Command, long: &str, value: &str) -> Option<String> {
    let here = command.get_arguments().filter(|argument| argument.get_long() == Some(long)).find_map(|argument| {
        let name = argument.get_env()?.to_str()?;
        // A list is refused for one of its entries.
        std::env::var(name).ok()?.contains(value).then(|| name.to_owned())
    });
    here.or_else(|| command.get_subcommands().find_map(|below| variable(below, long, value)))
}
