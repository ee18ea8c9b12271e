//! What a case says is known, and the evidence that a gate would have gathered.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use crate::budget::measure::{Budget, Figures, Measured, Unmeasured, Weighting};
use crate::budget::service::IdentityFrom;
use crate::budget::state::BudgetState;
use crate::budget::window::Window;
use crate::evidence::{
    Admission, BudgetEvidence, Cache, Evidence, Fact, History, Owner, OwnerFound, PlatformImage, ResolvedImage,
    RunningElsewhere, ServiceIdentity, SourceState, UnknownReason,
};
use crate::exception::Grant;
use crate::image::build_date::{BuildDate, Class, Source, read_date};
use crate::image::reference::ImageReference;
use crate::policy::duration::PolicyDuration;
use crate::policy::percent::Percent;
use crate::subject::Subject;

/// An instant or a day, in UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct When(pub(super) DateTime<Utc>);

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = String::deserialize(deserializer)?;
        let wrong = || format!("{written:?} is no time: write it as 2026-11-23T12:00:00Z, or as 2026-11-23");
        read_date(&written).map(Self).map_err(|_| serde::de::Error::custom(wrong()))
    }
}

/// What is known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Facts {
    /// By reference, as the manifest writes it.
    #[serde(default)]
    images: BTreeMap<String, ImageFacts>,
    /// Labels of the workload's namespace; without them only its name is known.
    #[serde(default)]
    namespace_labels: Option<BTreeMap<String, String>>,
    /// What was admitted in this workload before.
    #[serde(default)]
    admitted: Vec<Admitted>,
    /// Budgets of the services that the workload belongs to.
    #[serde(default)]
    budgets: Vec<BudgetFacts>,
    /// What was found of the object's controller: `templates`, `forged`, `unknownKind` or `notLookedUp`, as in records.
    #[serde(default)]
    owner: Option<OwnerFound>,
    /// What other workloads of the service run, as in records.
    #[serde(default)]
    running_elsewhere: Vec<RunningElsewhere>,
    /// Exceptions for the workload, as in records.
    #[serde(default)]
    exceptions: Vec<Grant>,
    /// Platforms of the cluster's nodes.
    #[serde(default)]
    node_platforms: Vec<String>,
}

/// An image: when it was built, or why nobody knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ImageFacts {
    #[serde(default)]
    built: Option<When>,
    #[serde(default)]
    age: Option<PolicyDuration>,
    #[serde(default)]
    unknown: Option<UnknownReason>,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    platform: Option<String>,
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    first_seen: Option<When>,
}

/// An image that was admitted before.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Admitted {
    image: String,
    at: When,
}

/// A budget: how much is left, or why nobody knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BudgetFacts {
    source: String,
    service: String,
    #[serde(default = "availability")]
    slo: String,
    #[serde(default)]
    format: String,
    #[serde(default)]
    objective: Option<Percent>,
    #[serde(default)]
    window: Option<PolicyDuration>,
    #[serde(default)]
    remaining: Option<Percent>,
    #[serde(default)]
    burn_rate: Option<f64>,
    #[serde(default)]
    unknown: Option<BudgetState>,
}

fn availability() -> String {
    "availability".to_owned()
}

/// The objective of a budget that names none: three nines.
const USUAL_OBJECTIVE: f64 = 0.999;
/// The window likewise: 30 days, in seconds.
const USUAL_WINDOW_SECONDS: i64 = 30 * 86_400;
/// How old a sample may be, in seconds; those of cases are of the case's own instant.
const LARGEST_SAMPLE_AGE_SECONDS: i64 = 300;

impl Facts {
    /// These and others; what both have is as the others say.
    pub(super) fn and(&self, others: &Self) -> Self {
        let mut all = self.clone();
        all.images.extend(others.images.clone());
        all.namespace_labels = others.namespace_labels.clone().or(all.namespace_labels);
        all.owner = others.owner.clone().or(all.owner);
        all.admitted.extend(others.admitted.clone());
        all.budgets.extend(others.budgets.clone());
        all.running_elsewhere.extend(others.running_elsewhere.clone());
        all.exceptions.extend(others.exceptions.clone());
        all.node_platforms.extend(others.node_platforms.clone());
        all
    }

    /// The evidence that a gate would have gathered for the subject at `now`; an error says what does not go together.
    pub(super) fn evidence(&self, subject: &Subject, now: DateTime<Utc>) -> Result<Evidence, String> {
        let mut images = BTreeMap::new();
        for (reference, facts) in &self.images {
            images.insert(reference.clone(), facts.image(reference, now)?);
        }
        let admissions = self.admitted.iter().map(|Admitted { image, at: When(at) }| Admission {
            digest: self.images.get(image).map_or_else(|| digest(image, None), |facts| facts.digest(image)),
            reference: image.clone(),
            first_admitted_at: *at,
            last_admitted_at: *at,
        });
        let services: BTreeSet<(&str, &str)> =
            self.budgets.iter().map(|facts| (facts.source.as_str(), facts.service.as_str())).collect();
        let budgets: Result<Vec<BudgetEvidence>, String> = self.budgets.iter().map(|facts| facts.budget(now)).collect();
        Ok(Evidence {
            history: History { admissions: admissions.collect(), ..History::default() },
            images,
            namespace_labels: self.namespace_labels.clone(),
            node_platforms: self.node_platforms.clone(),
            owner: subject.owner.as_ref().and_then(|claimed| {
                let found = self.owner.clone()?;
                Some(Owner { kind: claimed.kind.clone(), name: claimed.name.clone(), found })
            }),
            services: services
                .into_iter()
                .map(|(source, service)| ServiceIdentity {
                    source: source.to_owned(),
                    service: service.to_owned(),
                    from: Some(IdentityFrom::Mapping),
                    until: None,
                })
                .collect(),
            budgets: budgets?,
            sources: self
                .budgets
                .iter()
                .map(|facts| (facts.source.clone(), SourceState { format: facts.format.clone(), trouble: None }))
                .collect(),
            running_elsewhere: self.running_elsewhere.clone(),
            exceptions: self.exceptions.clone(),
            namespace_unknown: None,
        })
    }
}

impl ImageFacts {
    fn image(&self, reference: &str, now: DateTime<Utc>) -> Result<Fact<ResolvedImage>, String> {
        let wrong = |what: &str| {
            format!(
                "facts.images: image {reference:?} {what}: write `built`, `age` or `unknown`, and one of them alone"
            )
        };
        let detail = "the case says so";
        let built = match (self.built, &self.age, self.unknown) {
            (Some(When(built)), None, None) => Fact::Known(built),
            (None, Some(age), None) => Fact::Known(now - age.delta()),
            // An image without a date is there all the same; of any other unknown there is none.
            (None, None, Some(UnknownReason::NoDate)) => Fact::unknown(UnknownReason::NoDate, detail),
            (None, None, Some(reason)) => return Ok(Fact::unknown(reason, detail)),
            (None, None, None) => return Err(wrong("has no build date")),
            _ => return Err(wrong("says twice when it was built")),
        };
        let source = self.source.unwrap_or(Source::Config);
        let digest = self.digest(reference);
        Ok(Fact::Known(ResolvedImage {
            platforms: vec![PlatformImage {
                platform: self.platform.clone(),
                digest: digest.clone(),
                built: match built {
                    Fact::Known(time) => Fact::Known(BuildDate { time, source, class: Class::Claim }),
                    Fact::Unknown(unknown) => Fact::Unknown(unknown),
                },
                first_seen: self.first_seen.map(|When(seen)| seen),
                candidates: Vec::new(),
            }],
            digest,
            cache: Cache::Fetched,
            fetched_at: now,
        }))
    }

    fn digest(&self, reference: &str) -> String {
        digest(reference, self.digest.as_deref())
    }
}

/// The digest that a case gives, or that the reference names; else one that no other reference has.
fn digest(reference: &str, given: Option<&str>) -> String {
    let named = ImageReference::parse(reference).ok().and_then(|read| read.digest().map(str::to_owned));
    given.map(str::to_owned).or(named).unwrap_or_else(|| format!("sha256:{}", hex::encode(Sha256::digest(reference))))
}

impl BudgetFacts {
    fn budget(&self, now: DateTime<Utc>) -> Result<BudgetEvidence, String> {
        let objective = self.objective.as_ref().map_or(USUAL_OBJECTIVE, Percent::fraction);
        let measured = match (&self.remaining, self.unknown) {
            (Some(remaining), None) => Measured::Known(Figures {
                error_ratio: (1.0 - remaining.fraction()) * (1.0 - objective),
                events: None,
                recent: Vec::new(),
                burn_rate: self.burn_rate,
                weighting: Weighting::Events,
                note: None,
            }),
            (None, Some(state)) if !state.is_measured() => {
                Measured::Unknown(Unmeasured::new(state, "the case says so"))
            }
            _ => {
                return Err(format!(
                    "facts.budgets: the budget of service {:?}: write `remaining`, as 12.5%, or `unknown`, as NoData",
                    self.service
                ));
            }
        };
        let budget = Budget {
            source: self.source.clone(),
            service: self.service.clone(),
            slo: self.slo.clone(),
            objective: Some(objective),
            window: Window::Rolling {
                seconds: self.window.as_ref().map_or(USUAL_WINDOW_SECONDS, PolicyDuration::seconds),
            },
            measured,
            sampled_at: now,
            max_age_seconds: LARGEST_SAMPLE_AGE_SECONDS,
        };
        Ok(BudgetEvidence { budget, freezes: BTreeMap::new(), lifts: Vec::new() })
    }
}
