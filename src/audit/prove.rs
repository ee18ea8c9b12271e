//! Proving the records by what is kept outside the store as well: checkpoints show what the chain alone cannot, that its
//! end was cut off or that it was made anew, and signatures show that what is missing at its beginning was removed by the
//! gate.

use chrono::{DateTime, Utc};

use super::boundary::{Boundary, Reason};
use super::checkpoint::Checkpoints;
use super::query::ReadError;
use super::verify::stretch::{self, Stretch};
use super::verify::{self, BadRecord, Fault, Tail, VerifyReport, Walk};
use crate::signing::Verifier;
use crate::store::{ReadOnlyStore, Store, StoreLocation, boundaries};

/// What a question that fails was for.
const ACT: &str = "reading the records";

/// What is to be proven, and by what.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question<'a> {
    /// Only records made at this time or later; what comes before is taken as it is.
    pub since: Option<DateTime<Utc>>,
    /// Only records made before this time.
    pub until: Option<DateTime<Utc>>,
    /// Checkpoints that were kept elsewhere.
    pub checkpoints: Option<&'a Checkpoints>,
    /// Begins where the newest of them was made.
    pub since_checkpoint: bool,
    /// The gate's keys, by which boundaries are looked at.
    pub verifier: Option<&'a Verifier>,
    /// The store was made by an import: what it begins with is taken as it is.
    pub is_archive: bool,
}

/// From where on a cut of one writer's chain could not be noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unproven {
    /// The writer.
    pub writer_id: String,
    /// The first record that no checkpoint counted.
    pub from: u64,
    /// The last record there is.
    pub to: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// How much fits, and the first record that does not.
    pub report: VerifyReport,
    /// Chains whose end no checkpoint counted, by the writers' starts.
    pub unproven: Vec<Unproven>,
    /// Writers whose first records were removed, and nothing was there to show that the gate did it: no key, or it is
    /// an archive.
    pub unsigned_boundaries: u64,
}

/// Walks the chains that are asked for. Changes nothing, and may run beside a server; tells `watch` now and then how many
/// records fitted so far.
pub async fn prove(
    location: &StoreLocation,
    question: &Question<'_>,
    watch: &(dyn Fn(u64) + Sync),
) -> Result<Proven, ReadError> {
    loop {
        let store = Store::open_read_only(location).await?;
        let proven = walk(location, &store, question, watch).await;
        if store.close_undisturbed().await {
            return proven;
        }
    }
}

async fn walk(
    location: &StoreLocation,
    store: &ReadOnlyStore,
    question: &Question<'_>,
    watch: &(dyn Fn(u64) + Sync),
) -> Result<Proven, ReadError> {
    let tail = Tail::list(location)?;
    let mut writers = verify::writers(store, &tail).await?;
    let boundaries = boundaries::all(store.pool()).await.map_err(store.failed(ACT))?;
    writers.extend(boundaries.keys().cloned());
    writers.extend(question.checkpoints.into_iter().flat_map(Checkpoints::writers).map(str::to_owned));
    let within = match (question.since, question.until) {
        (None, None) => None,
        (since, until) => Some(stretch::within(store, &tail, &boundaries, since, until).await?),
    };
    let mut proven = Proven {
        report: VerifyReport { records: 0, writers: 0, first_bad: None },
        unproven: Vec::new(),
        unsigned_boundaries: 0,
    };
    for writer_id in &writers {
        let boundary = boundaries.get(writer_id);
        let whole = within.is_none().then(Stretch::default);
        let stretch = match within.as_ref().and_then(|within| within.get(writer_id).copied()).or(whole) {
            Some(stretch) => match question.checkpointed(writer_id) {
                // The record itself is walked as well: only so is it compared.
                Some(seq) if seq > 1 => {
                    Stretch { anchor: Some(stretch::before(store, &tail, boundary, writer_id, seq).await?), ..stretch }
                }
                _ => stretch,
            },
            None if question.until.is_some() || question.checkpoints.is_none() => continue,
            // None of its records is asked for, but it may have lost some that would be.
            None => stretch::end(store, &tail, boundary, writer_id).await?,
        };
        if let Some(boundary) = boundary
            && stretch.anchor.is_none_or(|(before, _)| before <= boundary.seq)
        {
            match question.doubt(boundary) {
                Doubt::None => {}
                Doubt::Unknown => proven.unsigned_boundaries += 1,
                Doubt::Forged(why) => {
                    proven.report.first_bad = Some(BadRecord {
                        writer_id: writer_id.clone(),
                        seq: boundary.seq,
                        decision_id: None,
                        timestamp: None,
                        fault: Fault::BoundaryNotSigned { why },
                    });
                    break;
                }
            }
        }
        let marks = question.checkpoints.map(|checkpoints| checkpoints.of(writer_id)).unwrap_or_default();
        let mut walk = Walk::along(store, tail.of(writer_id), writer_id, stretch, boundary, marks);
        let before = proven.report.records;
        proven.report.first_bad = walk.run(&|records| watch(before + records)).await?;
        proven.report.records += walk.fitted();
        proven.report.writers += u64::from(walk.fitted() > 0 || proven.report.first_bad.is_some());
        if proven.report.first_bad.is_some() {
            break;
        }
        let from = walk.proven_up_to() + 1;
        if stretch.last.is_none() && from <= walk.seq() {
            proven.unproven.push(Unproven { writer_id: writer_id.clone(), from, to: walk.seq() });
        }
    }
    Ok(proven)
}

/// Whether a boundary is the gate's.
enum Doubt {
    None,
    Unknown,
    Forged(String),
}

impl Question<'_> {
    /// The record of this writer that the newest checkpoint names, where the walk is to begin there.
    fn checkpointed(&self, writer_id: &str) -> Option<u64> {
        let newest = self.checkpoints.filter(|_| self.since_checkpoint).and_then(Checkpoints::newest)?;
        newest.heads.iter().find(|head| head.writer_id == writer_id).map(|head| head.seq)
    }

    fn doubt(&self, boundary: &Boundary) -> Doubt {
        let checkpointed = self.checkpoints.is_some_and(|checkpoints| {
            checkpoints
                .of(&boundary.writer_id)
                .iter()
                .any(|mark| (mark.seq, mark.hash) == (boundary.seq, boundary.hash))
        });
        let is_imported = self.is_archive && boundary.reason == Reason::Import.as_str();
        match self.verifier.map(|verifier| boundary.verify(verifier)) {
            Some(Some(Ok(()))) => Doubt::None,
            // That the record was there is shown; only that it may be gone is not.
            Some(None) if is_imported && checkpointed => Doubt::None,
            None => Doubt::Unknown,
            Some(None) if is_imported => Doubt::Unknown,
            Some(None) => Doubt::Forged("it has no signature".to_owned()),
            Some(Some(Err(why))) => Doubt::Forged(why.to_string()),
        }
    }
}
