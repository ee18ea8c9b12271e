//! Segment files of the journal: `<writer_id>-<first seq>.jsonl`, one line `{"hash":"…","record":<line>}` per record.
//! A segment ends where its writer's next one begins: whatever number its name gives is void in the one before,
//! which is how a failed write that could not be taken back stays out of the chain.
//!
//! The open segment is longer than what was written: room is made ahead, as zeros. Making a line durable then changes
//! no more than the file's own blocks, where appending would make the file system commit its journal, and wait for
//! what others (the store) have written since. JSON holds no zero byte, so the first one says where writing had come.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// Room made ahead: enough for some hundred records.
static ROOM: [u8; 1024 * 1024] = [0; 1024 * 1024];

/// Makes the journal's folder, if it is missing, so that a crash does not take it back. Its parent is not made: where that
/// is gone, so is the disk.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => {
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The segment that a writer appends to.
#[derive(Debug)]
pub(super) struct OpenSegment {
    file: File,
    path: PathBuf,
    /// What is durable; everything beyond it is of no account.
    length: u64,
    /// Up to where there is room.
    room_until: u64,
}

impl OpenSegment {
    /// Makes the segment whose first record will be `first_seq`. An older file of that name holds no record that anybody
    /// was told of, or the writer would be past it.
    pub(super) fn create(folder: &Path, writer_id: Uuid, first_seq: u64) -> io::Result<Self> {
        make_folder(folder)?;
        let path = folder.join(format!("{writer_id}-{first_seq:020}.jsonl"));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        // Else a crash could take the name, and every record in it.
        File::open(folder)?.sync_all()?;
        Ok(Self { file, path, length: 0, room_until: 0 })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// False when the file was removed or its folder moved: writing would succeed where nobody finds it.
    pub(super) fn is_in_place(&self) -> bool {
        let (Ok(open), Ok(named)) = (self.file.metadata(), fs::metadata(&self.path)) else {
            return false;
        };
        open.dev() == named.dev() && open.ino() == named.ino()
    }

    /// Appends and makes durable. After an error the segment is not to be written to again ([`Self::abandon`]): once
    /// fdatasync has failed, the kernel may have thrown the data away and report success the next time.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all_at(lines, self.length)?;
        let end = self.length + lines.len() as u64;
        // Where there is no room for room, the lines are kept all the same.
        if end > self.room_until && self.file.write_all_at(&ROOM, end).is_ok() {
            self.room_until = end + ROOM.len() as u64;
        }
        self.file.sync_data()?;
        self.length = end;
        Ok(())
    }

    /// Gives back what room is left, when nothing more is written.
    pub(super) fn finish(self) -> io::Result<PathBuf> {
        self.file.set_len(self.length)?;
        Ok(self.path)
    }

    /// Takes a failed write back as far as the disk lets us. If it does not, the next segment's name voids it.
    pub(super) fn abandon(self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_data()
    }
}

/// A segment found in the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    pub(crate) writer_id: String,
    pub(crate) first_seq: u64,
    /// Where the writer's next segment begins: this one holds nothing from there on.
    pub(crate) end_seq: Option<u64>,
    pub(crate) path: PathBuf,
}

/// The segments in the folder, by writer and number; none when there is no folder.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut segments = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let Some((writer_id, first_seq)) = path.file_name().and_then(|name| parse_name(name.to_str()?)) else {
            continue;
        };
        segments.push(Segment { writer_id, first_seq, end_seq: None, path });
    }
    segments.sort();
    for index in 1..segments.len() {
        if segments[index].writer_id == segments[index - 1].writer_id {
            segments[index - 1].end_seq = Some(segments[index].first_seq);
        }
    }
    Ok(segments)
}

fn parse_name(name: &str) -> Option<(String, u64)> {
    let (writer_id, first_seq) = name.strip_suffix(".jsonl")?.rsplit_once('-')?;
    Uuid::try_parse(writer_id).ok()?;
    Some((writer_id.to_owned(), first_seq.parse().ok()?))
}

/// A record as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalRecord {
    pub(crate) writer_id: String,
    pub(crate) seq: u64,
    pub(crate) hash: String,
    pub(crate) line: String,
}

/// What stands at one place of a segment.
#[derive(Debug)]
pub(crate) enum Entry {
    Record(JournalRecord),
    /// A whole line, but not one of the journal's, and the number that its record would have.
    Damaged {
        seq: u64,
        detail: String,
    },
}

impl Entry {
    /// The number of the record that stands there, or should.
    pub(crate) fn seq(&self) -> u64 {
        match self {
            Self::Record(record) => record.seq,
            Self::Damaged { seq, .. } => *seq,
        }
    }
}

#[derive(Deserialize)]
struct JournalLine<'a> {
    #[serde(borrow)]
    hash: &'a str,
    #[serde(borrow)]
    record: &'a RawValue,
}

#[derive(Deserialize)]
struct Place<'a> {
    #[serde(borrow)]
    writer_id: &'a str,
    seq: u64,
}

/// Reads a segment from its beginning, record by record, also while it is being written to.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    segment: Segment,
    input: BufReader<File>,
    buffer: Vec<u8>,
    /// Where the line after the last whole one begins.
    offset: u64,
    lines_read: u64,
    next_seq: Option<u64>,
    torn_bytes: usize,
}

impl SegmentReader {
    /// `None` when the file is gone: the store has all of it then.
    pub(crate) fn open(segment: Segment) -> io::Result<Option<Self>> {
        match File::open(&segment.path) {
            Ok(file) => Ok(Some(Self {
                segment,
                input: BufReader::with_capacity(256 * 1024, file),
                buffer: Vec::new(),
                offset: 0,
                lines_read: 0,
                next_seq: None,
                torn_bytes: 0,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it reads this segment.
    pub(crate) fn is_of(&self, segment: &Segment) -> bool {
        self.segment.path == segment.path
    }

    /// The number after the last record read.
    pub(crate) fn next_seq(&self) -> Option<u64> {
        self.next_seq
    }

    /// The writer has begun its next segment since this one was opened.
    pub(crate) fn set_end(&mut self, end_seq: Option<u64>) {
        self.segment.end_seq = end_seq;
    }

    /// Passes over the records up to this number without reading them.
    pub(crate) fn skip_to(&mut self, last_seq: u64) -> io::Result<()> {
        while self.segment.first_seq + self.lines_read <= last_seq {
            if !self.read_line()? {
                break;
            }
        }
        Ok(())
    }

    /// Reads the next whole line, without its end, into the buffer. Where there is none (yet), whether the file ends or
    /// only zeros follow, what there is of it is in the buffer, and the next call tries again from the same place.
    fn read_line(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        loop {
            let available = self.input.fill_buf()?;
            let end = memchr::memchr2(b'\n', 0, available);
            self.buffer.extend_from_slice(&available[..end.unwrap_or(available.len())]);
            let (read, whole) = match end {
                Some(at) => (at + 1, available[at] == b'\n'),
                None => (available.len(), false),
            };
            self.input.consume(read);
            if whole {
                self.offset += self.buffer.len() as u64 + 1;
                self.lines_read += 1;
                return Ok(true);
            }
            if end.is_some() || read == 0 {
                // Zeros that were read ahead may have become lines since.
                self.input.seek(SeekFrom::Start(self.offset))?;
                return Ok(false);
            }
        }
    }

    /// Bytes after the last whole line, once the end was reached.
    pub(crate) fn torn_bytes(&self) -> usize {
        self.torn_bytes
    }

    /// The next entry, `None` at the end. What follows the last line end was cut off by a crash, or is being written:
    /// nobody was told that it is kept.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        let seq = self.segment.first_seq + self.lines_read;
        // The second attempt is for what was read ahead before it was written.
        if !self.read_line()? && !self.read_line()? {
            self.torn_bytes = self.buffer.len();
            return Ok(None);
        }
        let entry = parse(&self.buffer).unwrap_or_else(|detail| Entry::Damaged { seq, detail });
        if let (Entry::Record(record), Some(end)) = (&entry, self.segment.end_seq)
            && record.seq >= end
        {
            return Ok(None);
        }
        if let Entry::Record(record) = &entry {
            self.next_seq = Some(record.seq + 1);
        }
        Ok(Some(entry))
    }
}

/// Reads a line of the journal, without its end.
pub(crate) fn parse(line: &[u8]) -> Result<Entry, String> {
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let line: JournalLine<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let place: Place<'_> = serde_json::from_str(line.record.get()).map_err(|error| error.to_string())?;
    Ok(Entry::Record(JournalRecord {
        writer_id: place.writer_id.to_owned(),
        seq: place.seq,
        hash: line.hash.to_owned(),
        line: line.record.get().to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITER: Uuid = Uuid::from_u128(0x0193_5e2a_0000_7000_8000_0000_0000_0001);

    fn line(seq: u64) -> Vec<u8> {
        format!("{{\"hash\":\"h{seq}\",\"record\":{{\"a\":{seq},\"writer_id\":\"{WRITER}\",\"seq\":{seq}}}}}\n")
            .into_bytes()
    }

    fn lines(seqs: std::ops::RangeInclusive<u64>) -> Vec<u8> {
        seqs.flat_map(line).collect()
    }

    fn read(folder: &Path) -> Vec<(u64, String)> {
        let mut read = Vec::new();
        for segment in list(folder).unwrap() {
            let mut reader = SegmentReader::open(segment).unwrap().unwrap();
            while let Some(entry) = reader.next().unwrap() {
                match entry {
                    Entry::Record(record) => read.push((record.seq, record.hash)),
                    Entry::Damaged { seq, detail } => read.push((seq, detail)),
                }
            }
        }
        read
    }

    fn hashes(seqs: std::ops::RangeInclusive<u64>) -> Vec<(u64, String)> {
        seqs.map(|seq| (seq, format!("h{seq}"))).collect()
    }

    #[test]
    fn a_torn_last_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut segment = OpenSegment::create(folder.path(), WRITER, 1).unwrap();
        segment.append(&lines(1..=3)).unwrap();
        let path = segment.finish().unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole, lines(1..=3), "no room is left behind");
        for cut in 0..line(3).len() {
            let kept = &whole[..whole.len() - 1 - cut];
            fs::write(&path, kept).unwrap();
            assert_eq!(read(folder.path()), hashes(1..=2), "{cut} bytes cut off");
            // As a crash leaves it where room had been made; a later block may have reached the disk before an earlier.
            fs::write(&path, [kept, &[0; 100], &line(5)].concat()).unwrap();
            assert_eq!(read(folder.path()), hashes(1..=2), "{cut} bytes cut off, before zeros");
        }
    }

    #[test]
    fn a_reader_that_read_ahead_sees_what_was_written_since() {
        let folder = tempfile::tempdir().unwrap();
        let mut segment = OpenSegment::create(folder.path(), WRITER, 1).unwrap();
        let mut reader = None;
        for seq in 1..=3 {
            segment.append(&line(seq)).unwrap();
            let open = reader
                .get_or_insert_with(|| SegmentReader::open(list(folder.path()).unwrap().remove(0)).unwrap().unwrap());
            assert!(matches!(open.next().unwrap(), Some(Entry::Record(record)) if record.seq == seq));
            if seq == 2 {
                assert!(open.next().unwrap().is_none(), "the end, for now");
            }
        }
        assert_eq!(
            fs::metadata(segment.path()).unwrap().len(),
            (line(1).len() + ROOM.len()) as u64,
            "room is made once"
        );
    }

    #[test]
    fn a_whole_line_that_is_not_the_journals_is_damage_and_what_follows_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut segment = OpenSegment::create(folder.path(), WRITER, 1).unwrap();
        segment.append(&[line(1), b"{\"hash\":1}\n".to_vec(), line(3)].concat()).unwrap();
        let mut expected = hashes(1..=1);
        expected.push((2, "invalid type: integer `1`, expected a borrowed string at line 1 column 9".to_owned()));
        expected.extend(hashes(3..=3));
        assert_eq!(read(folder.path()), expected);
    }

    #[test]
    fn a_later_segment_voids_what_a_failed_write_left_in_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = OpenSegment::create(folder.path(), WRITER, 1).unwrap();
        first.append(&lines(1..=5)).unwrap();
        let mut second = OpenSegment::create(folder.path(), WRITER, 4).unwrap();
        second.append(&lines(4..=6)).unwrap();
        assert_eq!(read(folder.path()), hashes(1..=6));
    }

    #[test]
    fn an_abandoned_segment_keeps_what_was_durable() {
        let folder = tempfile::tempdir().unwrap();
        let mut segment = OpenSegment::create(folder.path(), WRITER, 1).unwrap();
        segment.append(&lines(1..=2)).unwrap();
        segment.file.write_all_at(&lines(3..=4), segment.length).unwrap();
        segment.abandon().unwrap();
        assert_eq!(read(folder.path()), hashes(1..=2));
    }

    #[test]
    fn a_segment_that_was_moved_or_removed_is_not_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        let segment = OpenSegment::create(&journal, WRITER, 1).unwrap();
        assert!(segment.is_in_place());
        fs::rename(&journal, folder.path().join("elsewhere")).unwrap();
        assert!(!segment.is_in_place());
        fs::create_dir(&journal).unwrap();
        fs::write(segment.path(), "").unwrap();
        assert!(!segment.is_in_place(), "another file of its name");
    }

    #[test]
    fn other_files_in_the_folder_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "writer.lock",
            "x-1.jsonl",
            "notes.txt",
            &format!("{WRITER}-x.jsonl"),
            &format!("{WRITER}-1.jsonl.damaged"),
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(list(folder.path()).unwrap(), []);
        assert_eq!(list(&folder.path().join("none")).unwrap(), []);
    }
}
