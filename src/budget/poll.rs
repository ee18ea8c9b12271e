//! One poll of one source: what it needs, what it answers, and the budgets in that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use super::answer::Answer;
use super::api::SourceFormat;
use super::compile::CompiledSource;
use super::found::{self, Ask, Found, HistoryAsk, HistoryQueries, Taking};
use super::materials::{self, Materials};
use super::measure::{Budget, Measured, Reading, Unmeasured, Weighting};
use super::openslo::OpenSloProblem;
use super::prometheus::Prometheus;
use super::prometheus::error::SourceError;
use super::queried::Objective;
use super::snapshot::{History, Sampled};
use super::state::BudgetState;
use super::window::Window;
use super::{file, grafana, openslo, pyrra, queried, sloth};
use crate::cluster::budget_materials::{ClusterMaterials, DeclaredBy};

/// Questions under way at once at one source.
const QUESTIONS_AT_ONCE: usize = 4;

/// With no more than this left, a budget's history is asked for: its freeze may want to know when it lifts.
const LITTLE_LEFT: f64 = 0.30;

/// Most histories of one poll; of the rest the next polls bring some.
const MOST_HISTORIES: usize = 200;

/// How long a history is good for: it is of days, in slices of hours.
const HISTORY_LIFE: TimeDelta = TimeDelta::minutes(10);

/// What is kept from one poll of a source to the next.
#[derive(Default)]
pub struct Kept {
    /// The client, as long as what it was made from stays the same.
    client: Option<(Materials, Arc<Prometheus>)>,
    /// Histories, and when they were asked for.
    histories: HashMap<(String, String), (DateTime<Utc>, Arc<History>)>,
}

/// What a poll brought.
#[derive(Debug)]
pub struct Polled {
    /// Budgets, by service.
    pub budgets: HashMap<String, Vec<Sampled>>,
    /// Series in all answers.
    pub series: usize,
    /// What could not be read although the source answered.
    pub trouble: Option<Unmeasured>,
}

/// Polls a source at `now`; an error says that nothing came of it.
pub async fn poll(
    source: &CompiledSource,
    kept: &mut Kept,
    cluster: Option<&Arc<ClusterMaterials>>,
    now: DateTime<Utc>,
) -> Result<Polled, SourceError> {
    let seconds = u64::try_from(source.timeout_seconds()).unwrap_or(1);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let materials = tokio::time::timeout_at(deadline, materials::gather(source, cluster))
        .await
        .map_err(|_| SourceError::settings("its passwords, certificates and documents could not be read in time"))??;
    if let Some((path, text)) = &materials.snapshot {
        let found = file::read(path, text)?;
        let series = found.len();
        return Ok(polled(source, found, HashMap::new(), series, None, now));
    }
    let asking = Asking { prometheus: kept.prometheus(source, &materials)?, deadline, now };
    let taking = Taking { at: now, several: source.several() };
    let measured = measure(source, &materials, &asking, cluster, taking).await?;

    let mut histories = HashMap::new();
    if let Some(objectives) = &measured.histories {
        histories = kept.histories_of(source, &measured.found, objectives, &asking, taking).await;
    }
    Ok(polled(source, measured.found, histories, measured.series, measured.trouble, now))
}

impl Kept {
    fn prometheus(&mut self, source: &CompiledSource, materials: &Materials) -> Result<Arc<Prometheus>, SourceError> {
        let Some(settings) = &source.spec.prometheus else {
            return Err(SourceError::settings("it names no Prometheus"));
        };
        // Documents make no other client.
        let own = Materials { documents: Vec::new(), ..materials.clone() };
        if let Some((made_from, client)) = &self.client
            && *made_from == own
        {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Prometheus::new(settings, materials)?);
        self.client = Some((own, Arc::clone(&client)));
        Ok(client)
    }

    /// The histories of budgets with little left. One that cannot be had leaves the estimate out, and nothing else.
    async fn histories_of(
        &mut self,
        source: &CompiledSource,
        found: &[Found],
        objectives: &[Objective],
        asking: &Asking,
        taking: Taking,
    ) -> HashMap<(String, String), Arc<History>> {
        let mut wanted: Vec<(f64, &Found)> =
            found.iter().filter_map(|found| Some((little_left(source, found, asking.now)?, found))).collect();
        wanted.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let key = |found: &Found| (found.reading.service.clone(), found.reading.slo.clone());
        self.histories.retain(|known, _| wanted.iter().any(|(_, found)| key(found) == *known));
        let missing: Vec<&Found> = wanted
            .iter()
            .map(|(_, found)| *found)
            .filter(|found| {
                let known = self.histories.get(&key(found));
                known.is_none_or(|(asked_at, _)| asking.now.signed_duration_since(*asked_at) > HISTORY_LIFE)
            })
            .take(MOST_HISTORIES)
            .collect();
        match fetch_histories(source, &missing, objectives, asking, taking).await {
            Ok(fetched) => {
                for found in missing {
                    let history = found.id.as_ref().and_then(|id| fetched.get(id));
                    if let Some(history) = history {
                        self.histories.insert(key(found), (asking.now, Arc::clone(history)));
                    }
                }
            }
            Err(error) => {
                tracing::debug!(source = source.name, %error, "histories could not be read; lift estimates are left out");
            }
        }
        self.histories.iter().map(|(key, (_, history))| (key.clone(), Arc::clone(history))).collect()
    }
}

/// What is left of a budget that may want an estimate.
fn little_left(source: &CompiledSource, found: &Found, now: DateTime<Utc>) -> Option<f64> {
    found.id.as_ref()?;
    if matches!(found.reading.window, Window::Calendar { .. }) {
        return None; // it lifts at its end
    }
    let budget = Budget::of(&source.name, found.reading.clone(), source.max_age_seconds(), now);
    match (&budget.measured, budget.remaining()) {
        (Measured::Known(_), Some(remaining)) => (remaining <= LITTLE_LEFT).then_some(remaining),
        (Measured::Known(_), None) => Some(f64::NEG_INFINITY),
        (Measured::Unknown(_), _) => None,
    }
}

async fn fetch_histories(
    source: &CompiledSource,
    missing: &[&Found],
    objectives: &[Objective],
    asking: &Asking,
    taking: Taking,
) -> Result<HashMap<String, Arc<History>>, SourceError> {
    let asks: Vec<HistoryAsk> = match source.spec.format {
        _ if missing.is_empty() => Vec::new(),
        SourceFormat::Sloth => sloth::histories(missing)?,
        SourceFormat::Pyrra => pyrra::histories(missing)?,
        SourceFormat::GrafanaSlo => grafana::histories(missing)?,
        SourceFormat::OpenSlo | SourceFormat::PromQl => queried::histories(objectives, missing, taking)?,
        SourceFormat::File => Vec::new(),
    };
    let mut all = HashMap::new();
    for ask in asks {
        // A step back from the beginning of the window: that slice ends where the window begins.
        let start = asking.now - TimeDelta::seconds(ask.window_seconds - ask.step_seconds);
        let mut answers = Vec::new();
        let queries = match &ask.queries {
            HistoryQueries::Ratio(ratio) => vec![ratio],
            HistoryQueries::Counts { bad, total } => vec![bad, total],
        };
        for query in queries {
            let range = (start, asking.now);
            answers.push(asking.prometheus.query_range(query, range, ask.step_seconds, asking.deadline).await?);
        }
        if let Some(partial) = found::partial(&answers) {
            tracing::debug!(source = source.name, partial, "a history is not complete, and left out");
            continue;
        }
        all.extend(found::histories(&ask, &answers, asking.now).into_iter().map(|(id, one)| (id, Arc::new(one))));
    }
    Ok(all)
}

/// Whom to ask, until when, and at which time.
struct Asking {
    prometheus: Arc<Prometheus>,
    deadline: Instant,
    now: DateTime<Utc>,
}

impl Asking {
    /// Asks some questions side by side, all of the same time.
    async fn all<P: Clone>(&self, asks: Vec<Ask<P>>) -> Result<Vec<(P, Answer)>, SourceError> {
        let one = |ask: Ask<P>| async move {
            self.prometheus.query(&ask.text, self.now, self.deadline).await.map(|answer| (ask.purpose, answer))
        };
        stream::iter(asks).map(one).buffered(QUESTIONS_AT_ONCE).try_collect().await
    }
}

/// What a source's answers say.
struct Measurement {
    found: Vec<Found>,
    series: usize,
    trouble: Option<Unmeasured>,
    /// The objectives whose histories can be asked for; none for formats that have none.
    histories: Option<Vec<Objective>>,
}

async fn measure(
    source: &CompiledSource,
    materials: &Materials,
    asking: &Asking,
    cluster: Option<&Arc<ClusterMaterials>>,
    taking: Taking,
) -> Result<Measurement, SourceError> {
    let declared = |by: DeclaredBy| async move {
        match cluster {
            Some(cluster) => cluster.declared(by).await,
            None => Arc::default(),
        }
    };
    let done =
        |found: Vec<Found>, series: usize| Measurement { found, series, trouble: None, histories: Some(Vec::new()) };
    match source.spec.format {
        SourceFormat::Sloth => {
            let resources = declared(DeclaredBy::Sloth).await;
            let resources: Vec<_> = resources.iter().flat_map(sloth::declared).collect();
            let first = asking.all(sloth::first()?).await?;
            let second = asking.all(sloth::second(&first)?).await?;
            let series = count(&first) + count(&second);
            Ok(done(sloth::read(&first, &second, &resources, taking), series))
        }
        SourceFormat::Pyrra => {
            let resources = declared(DeclaredBy::Pyrra).await;
            let resources: Vec<_> = resources.iter().filter_map(pyrra::declared).collect();
            let first = asking.all(pyrra::first()?).await?;
            let second = asking.all(pyrra::second(&first, &resources)?).await?;
            let series = count(&first) + count(&second);
            Ok(done(pyrra::read(&first, &second, &resources, taking), series))
        }
        SourceFormat::GrafanaSlo => {
            let first = asking.all(grafana::first()?).await?;
            let second = asking.all(grafana::second(&first)?).await?;
            let series = count(&first) + count(&second);
            Ok(done(grafana::read(&first, &second, taking), series))
        }
        SourceFormat::OpenSlo => {
            let documents = openslo::read(&materials.documents);
            let mut measurement = by_queries(documents.objectives, asking, taking).await?;
            for problem in documents.problems {
                note_problem(&problem, &mut measurement, taking);
            }
            Ok(measurement)
        }
        SourceFormat::PromQl => by_queries(source.objectives.clone(), asking, taking).await,
        SourceFormat::File => Err(SourceError::settings("it names no file")),
    }
}

fn count<P>(answers: &[(P, Answer)]) -> usize {
    answers.iter().map(|(_, answer)| answer.series.len()).sum()
}

async fn by_queries(objectives: Vec<Objective>, asking: &Asking, taking: Taking) -> Result<Measurement, SourceError> {
    let asks: Result<Vec<Ask<usize>>, _> =
        objectives.iter().enumerate().map(|(index, one)| queried::ask(index, one, taking)).collect();
    let answers = asking.all(asks?).await?;
    let found = answers
        .iter()
        .filter_map(|(index, answer)| Some(queried::read(*index, objectives.get(*index)?, answer, taking)))
        .flatten()
        .collect();
    Ok(Measurement { found, series: count(&answers), trouble: None, histories: Some(objectives) })
}

/// A document that cannot be measured: its service's budget is invalid, and the source in trouble; the others go on.
fn note_problem(problem: &OpenSloProblem, measurement: &mut Measurement, taking: Taking) {
    let unmeasured = Unmeasured::new(BudgetState::Invalid, problem.to_string());
    if let (Some(service), Some(slo)) = (&problem.service, &problem.slo) {
        let reading = Reading {
            service: service.clone(),
            slo: slo.clone(),
            objective: f64::NAN,
            window: Window::Rolling { seconds: 30 * 86_400 },
            error_ratio: None,
            total: None,
            bad: None,
            recent: Vec::new(),
            burn_rate: None,
            weighting: Weighting::Events,
            sampled_at: taking.at,
            covered_seconds: None,
            series: 1,
            partial: None,
            note: None,
            unmeasured: Some(unmeasured.clone()),
        };
        measurement.found.push(Found { reading, id: None });
    }
    measurement.trouble.get_or_insert(unmeasured);
}

fn polled(
    source: &CompiledSource,
    found: Vec<Found>,
    mut histories: HashMap<(String, String), Arc<History>>,
    series: usize,
    trouble: Option<Unmeasured>,
    now: DateTime<Utc>,
) -> Polled {
    let mut budgets: HashMap<String, Vec<Sampled>> = HashMap::new();
    for one in found {
        let budget = Budget::of(&source.name, one.reading, source.max_age_seconds(), now);
        let history = histories.remove(&(budget.service.clone(), budget.slo.clone()));
        budgets.entry(budget.service.clone()).or_default().push(Sampled { budget, history });
    }
    for of_service in budgets.values_mut() {
        of_service.sort_by(|one, other| one.budget.slo.cmp(&other.budget.slo));
    }
    Polled { budgets, series, trouble }
}

/// What stands where a source has not answered yet.
pub fn not_asked_yet() -> Unmeasured {
    Unmeasured::new(BudgetState::NoData, "the source has not been asked yet")
}
