//! Newer tags: the ladder over all tags of the repository, each rung looked at before it is offered.
//!
//! A tag that is gone, that is the same image by another name, or that was built before what runs is no step; the next one
//! of its rung stands in. Where a registry does not answer, nothing stands in: nobody knows what the rung would be.
//!
//! A floating tag, `18.20`, that is left where it was is no reason to stay there: then its newest patch is the step.

use super::OneImage;
use crate::dependency::base::means_the_same;
use crate::dependency::finding::{Finding, Findings, Kind, Step, stable_id};
use crate::dependency::ladder::{Rung, ladder, patches};
use crate::dependency::version::Version;
use crate::dependency::workload::{oldest, unknown_in_words};
use crate::evidence::{Fact, ResolvedImage, UnknownReason};

impl OneImage<'_> {
    pub(super) async fn newer_tags(&self) -> Findings {
        let mut findings = Findings::default();
        let name = self.name();
        let Some(tag) = self.image.tag() else {
            findings.could_not(
                format!("newer tags of {}", self.used.written),
                "it is named by its digest alone; written as name:tag@digest it can be compared",
            );
            return findings;
        };
        let current = match Version::parse(tag) {
            Ok(current) => current,
            Err(why) => {
                findings.could_not(
                    format!("newer tags than {name}:{tag}"),
                    format!("the tag {tag:?} cannot be compared: {why}"),
                );
                return findings;
            }
        };
        if self.used.found.known().is_none() {
            return findings; // why is said of its date already, and its registry would say the same again
        }
        match self.tags().await {
            Ok(tags) => {
                let tags = || tags.iter().map(String::as_str);
                for rung in ladder(&current, tags()) {
                    self.add_rung(&current, &rung, &mut findings).await;
                }
                // One step of a size is enough, and the tag of the same precision is the one that was wanted.
                if findings.found.iter().all(|finding| finding.step != Step::Patch) {
                    self.add_patch_of_floating(&current, &patches(&current, tags()), &mut findings).await;
                }
            }
            Err(unknown) => findings.could_not(format!("newer tags of {name}"), unknown.detail),
        }
        findings
    }

    async fn add_rung(&self, current: &Version, rung: &Rung, findings: &mut Findings) {
        for version in &rung.tags {
            let tag = version.tag();
            let (shown, by_tag) = (format!("{}:{tag}", self.name()), format!("{}:{tag}", self.written_name()));
            let found = self.resolve(&by_tag).await;
            let image = match &found {
                Fact::Known(image) => image,
                Fact::Unknown(unknown) => {
                    let gone = unknown.reason == UnknownReason::NotFound;
                    let why = if gone { "it is listed, and not there" } else { unknown.detail.as_str() };
                    findings.could_not(shown, why);
                    if gone {
                        continue;
                    }
                    return;
                }
            };
            let is_running = |running| means_the_same(running, self.running_image(), image, None);
            if self.running().is_some_and(is_running) {
                continue;
            }
            let built_before = |built| oldest(image).is_some_and(|target| target.time < built);
            if self.running_built().is_some_and(built_before) {
                findings.could_not(shown, "it is newer by its name alone: it was built before what is used now");
                continue;
            }
            let age_days = self.age_days(image);
            if age_days.is_none()
                && let Some(why) = unknown_in_words(&found)
            {
                findings.could_not(format!("the build date of {shown}"), why);
            }
            let why = format!("{tag} {} {}, and {}.", what(rung.step), current.tag(), self.ages_in_words(age_days));
            let step = self.step(current, rung.step, (tag, image), why);
            findings.add(Finding { age_days, target: Some(by_tag.clone()), ..step });
            findings.targets.insert(by_tag, found);
            return;
        }
    }

    /// Offers the newest patch that a floating tag stands for, where the tag itself means an older build. By name alone that
    /// cannot be told: where a date is missing nothing is offered, and where the tag means that patch, or what was built
    /// since, it is up to date.
    async fn add_patch_of_floating(&self, floating: &Version, patches: &[Version], findings: &mut Findings) {
        let by_floating = format!("{}:{}", self.written_name(), floating.tag());
        if patches.is_empty() {
            return;
        }
        let Fact::Known(means) = self.resolve(&by_floating).await else {
            return; // why is said where the tag is looked at for itself
        };
        for patch in patches {
            let tag = patch.tag();
            let (shown, by_tag) = (format!("{}:{tag}", self.name()), format!("{}:{tag}", self.written_name()));
            let found = self.resolve(&by_tag).await;
            let image = match &found {
                Fact::Known(image) => image,
                Fact::Unknown(unknown) if unknown.reason == UnknownReason::NotFound => {
                    findings.could_not(shown, "it is listed, and not there");
                    continue;
                }
                Fact::Unknown(unknown) => {
                    findings.could_not(shown, unknown.detail.as_str());
                    return;
                }
            };
            let is_running = |running| means_the_same(running, self.running_image(), image, None);
            if self.running().is_some_and(is_running) || means_the_same(&means.digest, Some(&means), image, None) {
                return;
            }
            let (Some(age_days), Some(built), Some(floating_built)) =
                (self.age_days(image), oldest(image), oldest(&means))
            else {
                let without = if self.age_days(image).is_none() { tag } else { floating.tag() };
                findings.could_not(
                    format!("whether {shown} is newer than {}", floating.tag()),
                    format!("{without} has no build date that is known"),
                );
                return;
            };
            if built.time <= floating_built.time || self.running_built().is_some_and(|running| built.time <= running) {
                return;
            }
            let why = format!(
                "{tag} is the newest patch of {floating}, a tag that means an older build, and {ages}.",
                floating = floating.tag(),
                ages = self.ages_in_words(Some(age_days)),
            );
            let step = self.step(floating, Step::Patch, (tag, image), why);
            findings.add(Finding { age_days: Some(age_days), target: Some(by_tag.clone()), ..step });
            findings.targets.insert(by_tag, found);
            return;
        }
    }

    /// The step to a tag of the same repository; pinned, where what is used is.
    fn step(&self, current: &Version, step: Step, (tag, image): (&str, &ResolvedImage), why: String) -> Finding {
        let pinned = self.image.digest().map(|_| format!("@{}", image.digest)).unwrap_or_default();
        Finding {
            id: stable_id(Kind::NewerTag, &[&self.name(), current.tag(), step.as_str()]),
            kind: Kind::NewerTag,
            step,
            image: self.used.written.to_owned(),
            from: current.tag().to_owned(),
            to: tag.to_owned(),
            age_days: None,
            why,
            how: format!("image: {}:{tag}{pinned}", self.written_name()),
            refused_on: None,
            target_refused_on: None,
            target: None,
        }
    }
}

fn what(step: Step) -> &'static str {
    match step {
        Step::Rebuild | Step::Patch => "is the newest patch of",
        Step::Minor => "is the newest patch of the next minor after",
        Step::Major => "is the newest release of the next major after",
    }
}
