//! `freshgate audit import`: an archive of what was exported.

use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::Path;

use crate::args::ImportArgs;
use crate::audit::import;
use crate::cli::output::print;
use crate::cli::{Failure, OK};
use crate::clock;

pub async fn make(args: ImportArgs) -> Result<u8, Failure> {
    let shown = args.file.display();
    let mut input: Box<dyn BufRead + Send> = if args.file == Path::new("-") {
        Box::new(BufReader::new(stdin()))
    } else {
        let file = File::open(&args.file).map_err(|error| Failure::new(format!("{shown} cannot be read: {error}")))?;
        Box::new(BufReader::new(file))
    };
    let imported = import(&mut *input, &args.store, clock::now()).await.map_err(|error| {
        let told = Failure::of(error);
        Failure { what: format!("{shown}: {}", told.what), ..told }
    })?;
    let (records, writers) = (imported.records, imported.writers);
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    print(&format!(
        "{} holds {records} record{} of {writers} writer{}; prove it with: freshgate audit verify --archive --store {}\n",
        args.store,
        plural(records),
        plural(writers),
        args.store
    ))?;
    Ok(OK)
}
