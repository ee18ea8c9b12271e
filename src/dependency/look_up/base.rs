//! Base drift: what the image was built on is named by its annotations, else by its provenance, and looked up again.

use std::collections::BTreeMap;

use super::{OneImage, ago};
use crate::dependency::base::{BuiltOn, MOST_BASES, materials, means_the_same};
use crate::dependency::finding::{Finding, Findings, Kind, Step, short, stable_id};
use crate::evidence::{Fact, Unknown, UnknownReason};
use crate::image::reference::ImageReference;

impl OneImage<'_> {
    pub(super) async fn base_drift(&self) -> Findings {
        let mut findings = Findings::default();
        let Some(running) = self.running().filter(|_| self.used.found.known().is_some()) else {
            return findings;
        };
        match self.built_on(running, &mut findings).await {
            Ok(bases) => {
                for (base, platforms) in bases.into_iter().take(MOST_BASES) {
                    self.add_drift(&base, &platforms, &mut findings).await;
                }
            }
            Err(unknown) => findings.could_not(format!("what {} was built on", self.used.written), unknown.detail),
        }
        findings
    }

    /// What the image was built on, and on which platforms.
    async fn built_on(
        &self,
        digest: &str,
        findings: &mut Findings,
    ) -> Result<BTreeMap<BuiltOn, Vec<Option<String>>>, Unknown> {
        let mut found: BTreeMap<BuiltOn, Vec<Option<String>>> = BTreeMap::new();
        let resolver = self.look_ups.resolver;
        for one in resolver.bases(&self.image, digest, self.request()).await? {
            match BuiltOn::of_annotations(&one.base) {
                Ok(base) => found.entry(base).or_default().push(one.platform),
                Err(why) => findings.could_not(format!("the base of {}", self.used.written), why),
            }
        }
        if found.is_empty() {
            for statement in resolver.statements(&self.image, digest, self.request()).await? {
                for base in materials(&statement.body, &statement.subject) {
                    found.entry(base).or_default().push(statement.platform.clone());
                }
            }
        }
        Ok(found)
    }

    async fn add_drift(&self, base: &BuiltOn, platforms: &[Option<String>], findings: &mut Findings) {
        let found = self.resolve(&base.name).await;
        let now = match &found {
            Fact::Known(now) => now,
            Fact::Unknown(unknown) => {
                findings.could_not(
                    format!("what {}, the base of {}, means now", base.name, self.used.written),
                    unknown.detail.as_str(),
                );
                return;
            }
        };
        // One platform's base is compared on that platform; the base of several as a whole.
        let platform = match platforms {
            [one] => one.as_deref(),
            _ => None,
        };
        if means_the_same(&base.digest, None, now, platform) {
            return;
        }
        let before = match ImageReference::parse(&base.name) {
            Ok(image) => self.resolve(&image.pinned(&base.digest)).await,
            Err(_) => return, // it was read before
        };
        if let Fact::Unknown(unknown) = &before
            && unknown.reason != UnknownReason::NotFound
        {
            findings.could_not(
                format!("what {}, the base of {}, was", base.pinned(), self.used.written),
                unknown.detail.as_str(),
            );
            return;
        }
        if means_the_same(&base.digest, before.known(), now, platform) {
            return;
        }
        let age_days = self.age_days(now);
        let built = age_days.map(|days| format!(", built {}", ago(days))).unwrap_or_default();
        findings.add(Finding {
            id: stable_id(Kind::BaseDrift, &[&self.name(), &base.name, &base.digest]),
            kind: Kind::BaseDrift,
            step: Step::Rebuild,
            image: self.used.written.to_owned(),
            from: base.pinned(),
            to: format!("{}@{}", base.name, now.digest),
            age_days,
            why: format!(
                "It was built on {} ({}), and {} is another image by now{built}.",
                short(&base.pinned()),
                base.origin.in_words(),
                base.name
            ),
            how: format!("rebuild it with `docker build --pull`, so that FROM {} takes what is new", base.name),
            refused_on: None,
            target_refused_on: None,
            target: None,
        });
    }
}
