//! Reads the journal's segments: by the filler, and by questions that must not miss what is not in the store yet.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

/// A record as it was written: its line, byte for byte, and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// The line that was hashed.
    pub line: String,
    /// Its hash, in hex.
    pub hash: String,
}

#[derive(Deserialize)]
struct JournalLine<'a> {
    #[serde(borrow)]
    hash: &'a str,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// The segments of a journal, the oldest first.
pub fn segments(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Complete records of a segment from an offset on.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The records.
    pub records: Vec<StoredRecord>,
    /// Where the next one begins.
    pub next_offset: u64,
    /// Lines that are complete and yet no record: somebody wrote into the file.
    pub unreadable: Vec<u64>,
    /// Whether the end of the file was reached.
    pub at_end: bool,
}

/// Reads records from an offset on, up to about `most_bytes`. A last line without its end is not read: it is being
/// written, or was never answered.
pub fn read(path: &Path, offset: u64, most_bytes: u64) -> io::Result<Chunk> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let mut chunk = Chunk { next_offset: offset, ..Chunk::default() };
    let mut text = Vec::new();
    loop {
        text.clear();
        let length = reader.read_until(b'\n', &mut text)?;
        if length == 0 || text.last() != Some(&b'\n') {
            chunk.at_end = true;
            return Ok(chunk);
        }
        match serde_json::from_slice::<JournalLine<'_>>(&text) {
            Ok(line) => {
                chunk.records.push(StoredRecord { line: line.record.get().to_owned(), hash: line.hash.to_owned() });
            }
            Err(_) => chunk.unreadable.push(chunk.next_offset),
        }
        chunk.next_offset += length as u64;
        if chunk.next_offset - offset >= most_bytes {
            return Ok(chunk);
        }
    }
}

/// All records of a journal. A segment that goes while it is read has gone to the store.
pub fn read_all(folder: &Path) -> io::Result<Vec<StoredRecord>> {
    let mut records = Vec::new();
    for path in segments(folder)? {
        match read(&path, 0, u64::MAX) {
            Ok(chunk) => records.extend(chunk.records),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}
