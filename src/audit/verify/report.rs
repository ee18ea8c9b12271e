//! What `verify` says: how much fits, and the first record that does not, with what is wrong with it.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Records that fit, up to the first that does not.
    pub records: u64,
    /// Writers, one per start of the gate, whose chains were looked at.
    pub writers: u64,
    /// The first record that does not fit, in the order of the writers' starts and of each chain.
    pub first_bad: Option<BadRecord>,
}

impl VerifyReport {
    /// What no walk along the chains can notice, to be said beside every report.
    pub const UNNOTICED: &str = "records cut off at the very end of a chain, and a chain that is missing or made anew as a \
         whole, are not noticed without a checkpoint kept elsewhere";
}

/// A record that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// Whose chain it is in.
    pub writer_id: String,
    /// The number it stands at.
    pub seq: u64,
    /// Its decision's id, if that can still be read.
    pub decision_id: Option<String>,
    /// Its time, if that can still be read.
    pub timestamp: Option<String>,
    /// What is wrong with it.
    pub fault: Fault,
}

/// Why a record does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Its line does not have the hash that was kept with it.
    Altered,
    /// Records before it are missing.
    RemovedBefore {
        /// The first that is missing.
        first: u64,
        /// The last that is missing.
        last: u64,
    },
    /// It does not name the hash of the record before it.
    DoesNotFollow,
    /// It says another number, or another writer, than the place it stands at.
    Moved {
        /// The writer that its line names.
        writer_id: String,
        /// The number that its line names.
        seq: u64,
    },
    /// Its number is taken by another record.
    Repeated,
    /// A column of the store says something else than the line.
    Column {
        /// The column.
        name: &'static str,
    },
    /// The store and the journal hold different records in this place.
    StoreAndJournalDiffer,
    /// The journal still holds it, and the store, which has later ones of its writer, does not.
    RemovedFromStore,
    /// A checkpoint gives another hash for it: it was made anew, or one before it, and all that follow.
    NotAsCheckpointed {
        /// When the checkpoint was made.
        made_at: DateTime<Utc>,
        /// The first record that may be the changed one.
        first_suspect: u64,
    },
    /// The chain ends before it, and a checkpoint counted it.
    CutOff {
        /// The last record that is missing for certain.
        last: u64,
        /// When the checkpoint was made.
        made_at: DateTime<Utc>,
    },
    /// Records up to here are said to have been removed by retention, and nothing shows that the gate did it.
    BoundaryNotSigned {
        /// Why.
        why: String,
    },
    /// It stands where retention had removed all records.
    BeforeBoundary,
    /// The journal holds a line in this place that is no record.
    Unreadable {
        /// Why.
        detail: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered => f.write_str("altered: its line does not have the hash that was kept with it"),
            Self::RemovedBefore { first, last } if first == last => {
                write!(f, "removed before it: record {first} is missing")
            }
            Self::RemovedBefore { first, last } => {
                write!(f, "removed before it: records {first} to {last} are missing")
            }
            Self::DoesNotFollow => {
                f.write_str("does not follow the record before it: it was inserted, or the one before it was replaced")
            }
            Self::Moved { writer_id, seq } => {
                write!(f, "moved: its line says that it is record {seq} of writer {writer_id}")
            }
            Self::Repeated => f.write_str("inserted: its number is taken by another record"),
            Self::Column { name } => write!(f, "column differs: \"{name}\" is not what the line says"),
            Self::StoreAndJournalDiffer => {
                f.write_str("altered: the store and the journal hold different records in its place")
            }
            Self::RemovedFromStore => f.write_str(
                "removed from the store: the journal still holds it, and the store has later records of its writer",
            ),
            Self::NotAsCheckpointed { made_at, first_suspect } => write!(
                f,
                "made anew: the checkpoint of {} gives another hash for it; the first record that was changed is {first_suspect} or a later one",
                time(*made_at)
            ),
            Self::CutOff { last, made_at } => write!(
                f,
                "cut off at the end: it and all up to {last} are missing, and the checkpoint of {} counted them",
                time(*made_at)
            ),
            Self::BoundaryNotSigned { why } => write!(
                f,
                "removed, with all before it: the store says that retention did it, and nothing shows that: {why}"
            ),
            Self::BeforeBoundary => f.write_str("inserted: it stands where retention had removed all records"),
            Self::Unreadable { detail } => write!(f, "altered: its line in the journal cannot be read: {detail}"),
        }
    }
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = "unknown";
        write!(
            f,
            "record {} of writer {}, decision {}, made at {}: {}",
            self.seq,
            self.writer_id,
            self.decision_id.as_deref().unwrap_or(unknown),
            self.timestamp.as_deref().unwrap_or(unknown),
            self.fault
        )
    }
}

/// A time as it is shown beside records.
fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
