//! What would be asked of package indexes, shown before anything is.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::super::output::{print_lines, progress, say};
use super::super::snapshot::shown;
use super::super::{Failure, OK};
use super::input::UsedImage;
use crate::dependency::contents::{Asked, LookInto};
use crate::dependency::index::indexes::Indexes;
use crate::image::resolver::{Request, Resolver};

/// Prints the questions, each once; the images' registries alone are asked.
pub async fn show_look_ups(
    images: &BTreeSet<UsedImage>,
    resolver: &Resolver,
    indexes: &Indexes,
    within: Duration,
    now: DateTime<Utc>,
) -> Result<u8, Failure> {
    let look_into = LookInto::new(resolver, indexes, within);
    let (mut all, mut missing) = (BTreeSet::new(), BTreeSet::new());
    let bar = progress(Some(images.len() as u64), "images looked into:");
    for UsedImage { written: reference, running } in images {
        let request = Request { credentials: None, platforms: &[], now, deadline: Instant::now() + within };
        let found = resolver.resolve(reference, request).await;
        match found.known() {
            None => {
                missing.insert(format!("packages of {reference} not looked up: the image could not be read"));
            }
            Some(image) => {
                let digest = running.as_deref().unwrap_or(&image.digest);
                let asked = Asked { written: reference, digest, credentials: None, platforms: &[] };
                let (look_ups, findings) = look_into.look_ups(asked, now).await;
                all.extend(look_ups);
                let notes =
                    findings.not_looked_up.into_iter().map(|one| format!("{} not looked up: {}", one.what, one.why));
                missing.extend(notes);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    for note in &missing {
        say("note", note);
    }
    print_lines(&shown(&all.into_iter().collect::<Vec<_>>()))?;
    Ok(OK)
}
