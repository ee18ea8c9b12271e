//! The same tag, built anew upstream: another digest than what is used, for the platforms that it is used on.

use super::OneImage;
use crate::dependency::base::means_the_same;
use crate::dependency::finding::{Finding, Findings, Kind, Step, stable_id};
use crate::dependency::workload::oldest;
use crate::evidence::Fact;

impl OneImage<'_> {
    pub(super) async fn rebuilt(&self) -> Findings {
        let mut findings = Findings::default();
        // By tag alone, and without anybody who knows what runs, there is nothing to compare.
        let (Some(tag), Some(running)) = (self.image.tag(), self.used.running.or_else(|| self.image.digest())) else {
            return findings;
        };
        let by_tag = format!("{}:{tag}", self.written_name());
        let shown = format!("{}:{tag}", self.name());
        let found = self.resolve(&by_tag).await;
        let now = match &found {
            Fact::Known(image) => image,
            Fact::Unknown(unknown) => {
                findings.could_not(format!("what {shown} means now"), unknown.detail.as_str());
                return findings;
            }
        };
        let before = self.running_image();
        if means_the_same(running, before, now, None) {
            return findings;
        }
        let built = |image| oldest(image).map(|built| built.time);
        if before.and_then(built).is_some_and(|before| built(now).is_some_and(|now| now < before)) {
            findings.could_not(shown, "it means another digest by now, which was built before what is used");
            return findings;
        }
        let age_days = self.age_days(now);
        let pinned = format!("{}@{}", by_tag, now.digest);
        findings.add(Finding {
            id: stable_id(Kind::Rebuilt, &[&self.name(), tag, running]),
            kind: Kind::Rebuilt,
            step: Step::Rebuild,
            image: self.used.written.to_owned(),
            from: running.to_owned(),
            to: now.digest.clone(),
            age_days,
            why: format!("{tag} means another image by now, which {}.", self.ages_in_words(age_days)),
            how: format!("image: {pinned}"),
            refused_on: None,
            target_refused_on: None,
            target: Some(pinned.clone()),
        });
        findings.targets.insert(pinned, found);
        findings
    }
}
