//! What a list of releases does not say, where an index says it elsewhere: what its authors took back, and the next major
//! where that is a package of its own.

use std::cmp::Ordering;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::{Asking, Indexes, LIST_FRESH_FOR, NONE_FRESH_FOR};
use crate::dependency::index::client::{AnsweredBody, IndexClient, IndexError};
use crate::dependency::index::protocol::{Kind, Withdrawn};
use crate::dependency::index::settings::IndexSetting;
use crate::dependency::package::PackageName;
use crate::dependency::package::behind::Release;
use crate::dependency::package::version::Version;

/// How long it is believed that there is no next major: most modules never have one.
const NO_MAJOR_FRESH_FOR: TimeDelta = TimeDelta::days(3);

impl Indexes {
    /// Adds to a list what it does not say.
    pub(super) async fn complete(
        &self,
        mut releases: Vec<Release>,
        (setting, kind, client): (&IndexSetting, Kind, &IndexClient),
        name: &PackageName,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Result<Vec<Release>, IndexError> {
        let protocol = kind.protocol();
        if let Some(question) = protocol.withdrawn_question(name, &releases) {
            let read = move |body: AnsweredBody| Ok(protocol.read_withdrawn(&body.bytes));
            let asking = Asking {
                client,
                question: &question,
                accept: protocol.accept(),
                fresh_for: None,
                none_fresh_for: NONE_FRESH_FOR,
            };
            let withdrawn = self.answer(asking, read, now, deadline).await?;
            let withdrawn = withdrawn.map(|found| found.found).unwrap_or_default();
            for release in &mut releases {
                release.withdrawn |= withdrawn.iter().any(|stretch| is_within(name, &release.version, stretch));
            }
        }
        // Asked of whoever may be asked about it, which is told to nobody else by its name.
        if let Some((next, question)) = protocol.next_major(name)
            && setting.is_asked_about(&next, &self.private)
        {
            let of = next.clone();
            let read = move |body: AnsweredBody| protocol.read(&of, &body.bytes);
            let asking = Asking {
                client,
                question: &question,
                accept: protocol.accept(),
                fresh_for: Some(LIST_FRESH_FOR),
                none_fresh_for: NO_MAJOR_FRESH_FOR,
            };
            match self.answer(asking, read, now, deadline).await {
                Ok(found) => releases.extend(found.into_iter().flat_map(|found| found.found)),
                // The smaller steps are true without it, and some indexes answer with an error for what is not there.
                Err(error) => tracing::debug!(package = %next, %error, "a next major is not looked up"),
            }
        }
        Ok(releases)
    }
}

fn is_within(name: &PackageName, version: &str, stretch: &Withdrawn) -> bool {
    let parse = |text: &str| Version::parse(name.ecosystem, text);
    match (parse(version), parse(&stretch.from), parse(&stretch.to)) {
        (Some(version), Some(from), Some(to)) => {
            version.compare(&from) != Ordering::Less && version.compare(&to) != Ordering::Greater
        }
        _ => false,
    }
}
