//! The journal: makes a record durable before its answer leaves, and carries the chain.
//!
//! One thread owns the files. It takes whatever waits, writes it at one go, syncs the disk once, and only then says so
//! to all who wait. What could not be written leaves no trace in the chain.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::chain::{self, Hash};

/// Records waiting for the journal; more wait in their own requests.
const QUEUE: usize = 8_192;
/// Records written at one go.
const LARGEST_GROUP: usize = 1_024;

/// When a record's answer may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the disk has the record.
    #[default]
    Journal,
    /// At once; a crash can lose the last moments.
    Async,
}

/// Why a record is not durable.
#[derive(Clone, Debug, Error)]
pub enum JournalError {
    /// The disk did not take it.
    #[error("the audit journal in {folder} could not be written: {why}")]
    Write {
        /// The journal's folder.
        folder: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The journal's thread has ended.
    #[error("the audit journal is closed")]
    Closed,
}

/// Where the journal has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The segment that is written. Segments sort in the order of time, and every older one is finished. Before the
    /// first record it names what would come before this writer's first segment.
    pub segment: PathBuf,
    /// Number of the last record on the disk.
    pub seq: u64,
}

/// How the journal fares, for metrics.
#[derive(Debug, Default)]
pub struct JournalCounters {
    /// Records on the disk.
    pub records: AtomicU64,
    /// Syncs of the disk.
    pub syncs: AtomicU64,
    /// Records that could not be written.
    pub failures: AtomicU64,
}

struct Entry {
    body: Vec<u8>,
    done: Option<oneshot::Sender<Result<u64, JournalError>>>,
}

/// A handle on the journal.
#[derive(Debug)]
pub struct Journal {
    entries: mpsc::Sender<Entry>,
    durability: Durability,
    position: watch::Receiver<Position>,
    counters: Arc<JournalCounters>,
    thread: std::thread::JoinHandle<()>,
}

/// Where lines go.
enum Sink {
    Files { folder: PathBuf, segment_bytes: u64, open: Option<Segment> },
    Stdout,
}

struct Segment {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Journal {
    /// Starts a journal in a folder, which is made where it is missing.
    pub fn in_folder(folder: &Path, segment_bytes: u64, durability: Durability) -> Result<Self, JournalError> {
        let wrong = |error: io::Error| JournalError::Write { folder: folder.to_owned(), why: error.to_string() };
        std::fs::create_dir_all(folder).map_err(wrong)?;
        Self::start(Sink::Files { folder: folder.to_owned(), segment_bytes, open: None }, durability).map_err(wrong)
    }

    /// Starts a journal that only prints its lines.
    pub fn on_stdout() -> io::Result<Self> {
        Self::start(Sink::Stdout, Durability::Journal)
    }

    fn start(sink: Sink, durability: Durability) -> io::Result<Self> {
        let (entries, waiting) = mpsc::channel(QUEUE);
        let mut writer = Writer::new(sink);
        let (moved, position) = watch::channel(writer.position());
        let counters = Arc::new(JournalCounters::default());
        let counted = Arc::clone(&counters);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(waiting, &moved, &counted))?;
        Ok(Self { entries, durability, position, counters, thread })
    }

    /// Appends a record body (a JSON object). Gives its number once it is as durable as was asked for.
    pub async fn append(&self, body: Vec<u8>) -> Result<u64, JournalError> {
        if self.durability == Durability::Async {
            self.entries.send(Entry { body, done: None }).await.map_err(|_| JournalError::Closed)?;
            return Ok(0);
        }
        let (done, written) = oneshot::channel();
        self.entries.send(Entry { body, done: Some(done) }).await.map_err(|_| JournalError::Closed)?;
        written.await.unwrap_or(Err(JournalError::Closed))
    }

    /// Follows where the journal has come to.
    pub fn position(&self) -> watch::Receiver<Position> {
        self.position.clone()
    }

    /// How it fares.
    pub fn counters(&self) -> &Arc<JournalCounters> {
        &self.counters
    }

    /// Writes what still waits, and ends.
    pub async fn close(self) {
        drop(self.entries);
        let thread = self.thread;
        if tokio::task::spawn_blocking(move || thread.join()).await.is_err() {
            tracing::error!("the audit journal did not end well");
        }
    }
}

struct Writer {
    sink: Sink,
    writer_id: String,
    seq: u64,
    previous: Hash,
}

impl Writer {
    fn new(sink: Sink) -> Self {
        Self { sink, writer_id: uuid::Uuid::now_v7().to_string(), seq: 0, previous: chain::START }
    }

    fn position(&self) -> Position {
        let segment = match &self.sink {
            Sink::Files { open: Some(segment), .. } => segment.path.clone(),
            Sink::Files { folder, open: None, .. } => folder.join(&self.writer_id),
            Sink::Stdout => PathBuf::new(),
        };
        Position { segment, seq: self.seq }
    }

    fn run(&mut self, mut waiting: mpsc::Receiver<Entry>, moved: &watch::Sender<Position>, counters: &JournalCounters) {
        let mut group = Vec::with_capacity(LARGEST_GROUP);
        let mut text = Vec::new();
        while let Some(first) = waiting.blocking_recv() {
            group.push(first);
            while group.len() < LARGEST_GROUP
                && let Ok(next) = waiting.try_recv()
            {
                group.push(next);
            }
            text.clear();
            let (mut seq, mut previous) = (self.seq, self.previous);
            for entry in &group {
                seq += 1;
                let line = chain::line(&entry.body, &self.writer_id, seq, &previous);
                previous = chain::link(&previous, seq, &line);
                text.extend_from_slice(br#"{"hash":""#);
                text.extend_from_slice(hex::encode(previous).as_bytes());
                text.extend_from_slice(br#"","record":"#);
                text.extend_from_slice(&line);
                text.extend_from_slice(b"}\n");
            }
            let count = group.len() as u64;
            match self.sink.write(&text, &self.writer_id, self.seq + 1) {
                Ok(()) => {
                    let first = self.seq + 1;
                    (self.seq, self.previous) = (seq, previous);
                    counters.records.fetch_add(count, Ordering::Relaxed);
                    counters.syncs.fetch_add(1, Ordering::Relaxed);
                    for (number, entry) in (first..).zip(group.drain(..)) {
                        let _ = entry.done.map(|done| done.send(Ok(number))); // whoever gave up needs no word
                    }
                    moved.send_replace(self.position());
                }
                Err(error) => {
                    counters.failures.fetch_add(count, Ordering::Relaxed);
                    let error = JournalError::Write { folder: self.sink.folder(), why: error.to_string() };
                    for entry in group.drain(..) {
                        let _ = entry.done.map(|done| done.send(Err(error.clone())));
                    }
                    if self.sink.is_broken() {
                        // What of the group reached the disk cannot be told, so those numbers must not come again.
                        (self.writer_id, self.seq, self.previous) = (uuid::Uuid::now_v7().to_string(), 0, chain::START);
                    }
                }
            }
        }
    }
}

impl Sink {
    fn write(&mut self, text: &[u8], writer_id: &str, first_seq: u64) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text)?;
                stdout.flush()
            }
            Self::Files { folder, segment_bytes, open } => {
                if open.as_ref().is_some_and(|segment| segment.length >= *segment_bytes) {
                    *open = None;
                }
                if open.is_none() {
                    *open = Some(Segment::create(folder, writer_id, first_seq)?);
                }
                let Some(segment) = open else { return Ok(()) };
                let written = segment.file.write_all(text).and_then(|()| segment.file.sync_data());
                match written {
                    Ok(()) => {
                        segment.length += text.len() as u64;
                        Ok(())
                    }
                    Err(error) => {
                        // Back to the last good end; where that fails too, the segment is given up.
                        let back = segment.file.set_len(segment.length).and_then(|()| segment.file.sync_data());
                        if back.is_err() {
                            *open = None;
                        }
                        Err(error)
                    }
                }
            }
        }
    }

    /// Whether a failed write left an end that cannot be trusted.
    fn is_broken(&self) -> bool {
        matches!(self, Self::Files { open: None, .. })
    }

    fn folder(&self) -> PathBuf {
        match self {
            Self::Files { folder, .. } => folder.clone(),
            Self::Stdout => PathBuf::from("stdout"),
        }
    }
}

impl Segment {
    /// Makes `<writer>-<first number>.jsonl`, and makes sure that the folder knows it. Names sort in the order of time.
    fn create(folder: &Path, writer_id: &str, first_seq: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{writer_id}-{first_seq:012}.jsonl"));
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(0)?; // a failed attempt under this name was never answered
        File::open(folder)?.sync_all()?;
        Ok(Self { path, file, length: 0 })
    }
}
