//! What is printed: results on stdout, everything else on stderr. Tables and colour are for a terminal.

use std::io::{self, Write as _};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Failure;
use crate::verdict::Decision;

/// Prints to stdout; colours go where there is no terminal, or nobody wants them.
///
/// A reader that closes the pipe has had enough: the rest is dropped, and the answer stands in the exit code all the
/// same. Any other error is one, or a disk that is full would pass for "all is well".
pub fn print(text: &str) -> Result<(), Failure> {
    written(write(&mut anstream::stdout(), text.as_bytes()))
}

/// Prints lines.
pub fn print_lines(lines: &[String]) -> Result<(), Failure> {
    print(&(lines.join("\n") + "\n"))
}

/// The same, for bytes that are meant as they are.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    written(write(&mut io::stdout(), bytes))
}

fn write(stdout: &mut impl io::Write, bytes: &[u8]) -> io::Result<()> {
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// What became of writing to stdout.
pub fn written(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("the result cannot be written to standard output: {error}"))
                .hint("give it a file with room, or a terminal, and ask again"))
        }
        _ => Ok(()),
    }
}

/// Prints to stdout; false where nobody reads any more, for what would else go on for ever.
pub fn print_or_stop(text: &str) -> Result<bool, Failure> {
    let done = write(&mut anstream::stdout(), text.as_bytes());
    let is_read = !matches!(&done, Err(error) if error.kind() == io::ErrorKind::BrokenPipe);
    written(done).map(|()| is_read)
}

/// Whether whoever read stdout has closed it, told without writing to it.
pub fn reader_is_gone() -> bool {
    let stdout = io::stdout();
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    // Where this cannot be told, the next write tells.
    poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok()
        && watched[0].revents().intersects(PollFlags::ERR)
}

/// Prints a value as JSON.
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        Failure::new(format!("the result cannot be written as JSON: {error}; report this as a bug"))
    })?;
    print(&(text + "\n"))
}

/// Says something beside the result, on stderr: a `note`, a `warning` or a `hint`.
pub fn say(what: &str, text: &str) {
    let _ = writeln!(anstream::stderr(), "{what}: {text}"); // nobody is left to be told
}

/// Says what went wrong, on stderr.
pub fn tell(failure: &Failure) {
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let mut stderr = anstream::stderr();
    for line in failure.what.lines() {
        let _ = writeln!(stderr, "{red}error:{red:#} {line}"); // nobody is left to be told
    }
    if let Some(hint) = &failure.hint {
        say("hint", hint);
    }
}

/// A decision in its colour.
pub fn coloured(decision: &str) -> String {
    let colour = match decision {
        _ if decision == Decision::Deny.as_str() => AnsiColor::Red,
        _ if decision == Decision::Warn.as_str() => AnsiColor::Yellow,
        _ => AnsiColor::Green,
    };
    let style = Style::new().bold().fg_color(Some(colour.into()));
    format!("{style}{decision}{style:#}")
}

/// A line that moves while something takes long, on a terminal alone; `length` is how much there is to do, where that is
/// known.
pub fn progress(length: Option<u64>, message: &'static str) -> ProgressBar {
    let template = if length.is_some() { "{spinner} {msg} {pos}/{len}" } else { "{spinner} {msg} {pos}" };
    // The style first: with a message it is drawn, and the one it comes with is a bar across the whole screen.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::no_length().with_style(style);
    if let Some(length) = length {
        bar.set_length(length);
    }
    bar.set_message(message);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Columns of text, as wide as they need to be.
pub fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(head.iter().map(|title| title.to_uppercase()));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
