//! Rows of one writer, many in one text, and lent from there: what a proof reads a million of. `SQLite` puts them together
//! itself: value by value, row by row, handing them over would take longer than all that is then done with them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::SELECT;
use crate::audit::columns::Columns;
use crate::store::database::{Connection, Dialect, Query, Row, Value};

/// Rows in one text: so many that asking for the next costs little beside them. Written in the questions' texts: `SQLite`
/// makes one with another limit ready anew.
pub(crate) const PAGE_ROWS: usize = 64;

/// Texts in a row, and a number before and after them.
const TEXTS: usize = 16;

/// What stands before each row, and before each text: characters that JSON writes as escapes, so no line has them.
const ROW: char = '\u{1e}';
const TEXT: char = '\u{1f}';

/// A page in one text. NULL is told from what is empty by the mark before everything that is not NULL.
const PACKED: &str = "
    SELECT count(*), string_agg(packed, '') FROM (
        SELECT char(30) || concat_ws(char(31), '', d.seq, d.writer_id, d.decision_id, d.timestamp, d.decision,
            d.namespace, d.kind, d.name, d.operation, d.username, d.rules, d.images, coalesce('=' || d.repeat_of, ''),
            d.prev_hash, d.facets, d.hash, d.line, d.signature) AS packed
        FROM decisions d WHERE d.writer_id = $1 AND d.seq > $2 ORDER BY d.seq LIMIT 64
    ) page";

/// A row as it stands in the store.
#[derive(Debug)]
pub(crate) struct StoredRow {
    seq: u64,
    signature: i64,
    /// Of the whole page.
    text: Arc<str>,
    /// Where each of the row's texts begins and ends, in the order of [`SELECT`] without the numbers.
    places: [(usize, usize); TEXTS],
    is_repeat: bool,
}

impl StoredRow {
    /// Its number; 0, which no record has, for a negative one, which is nobody's either.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn hash(&self) -> &str {
        self.part(14)
    }

    /// The record as it was hashed.
    pub(crate) fn line(&self) -> &str {
        self.part(15)
    }

    /// When the record was made, as the column has it.
    pub(crate) fn timestamp(&self) -> &str {
        self.part(2)
    }

    pub(crate) fn columns(&self) -> Columns<&str> {
        Columns {
            writer_id: self.part(0),
            seq: self.seq,
            decision_id: self.part(1),
            timestamp: self.timestamp(),
            decision: self.part(3),
            namespace: self.part(4),
            kind: self.part(5),
            name: self.part(6),
            operation: self.part(7),
            username: self.part(8),
            rules: self.part(9),
            images: self.part(10),
            repeat_of: self.is_repeat.then(|| self.part(11)),
            prev_hash: self.part(12),
            facets: self.part(13),
            signature: self.signature,
        }
    }

    fn part(&self, index: usize) -> &str {
        let (from, to) = self.places[index];
        self.text.get(from..to).unwrap_or_default()
    }
}

/// A writer's rows after this number, at most [`PAGE_ROWS`], in the order of their numbers.
pub(crate) async fn page(
    connection: &mut Connection,
    writer_id: &str,
    after: i64,
) -> Result<VecDeque<StoredRow>, sqlx::Error> {
    if connection.dialect() == Dialect::Sqlite {
        let query = Query::new(PACKED).bind(Value::key(writer_id)).bind(after);
        let row = connection.row(query).await?;
        let Some(row) = row else {
            return Ok(VecDeque::new());
        };
        let count = usize::try_from(row.integer(0)?).unwrap_or(0);
        if count == 0 {
            return Ok(VecDeque::new());
        }
        if let Some(rows) = unpack(row.text_lent(1)?, count) {
            return Ok(rows);
        }
        // Somebody's name has such a character in it, or somebody put one there: each value by itself then.
    }
    let sql = format!("{SELECT} WHERE writer_id = $1 AND seq > $2 ORDER BY seq LIMIT {PAGE_ROWS}");
    let rows = connection.rows(Query::new(sql).bind(Value::key(writer_id)).bind(after)).await?;
    gather(&rows)
}

/// The rows in a packed text; `None` where a value holds one of the characters that part them. If none does, there are
/// exactly as many of either as so many rows need.
fn unpack(text: &str, count: usize) -> Option<VecDeque<StoredRow>> {
    let text: Arc<str> = text.into();
    let mut ends = memchr::memchr2_iter(ROW as u8, TEXT as u8, text.as_bytes()).chain([text.len()]);
    // Before the first row is nothing.
    let mut mark = ends.next().filter(|first| *first == 0)?;
    let mut rows = VecDeque::with_capacity(count);
    for _ in 0..count {
        // The row's own mark is followed by the first text's.
        let mut values = [(0, 0); TEXTS + 2];
        if !is(&text, mark, ROW) || ends.next()? != mark + 1 {
            return None;
        }
        mark += 1;
        for place in &mut values {
            if !is(&text, mark, TEXT) {
                return None;
            }
            let end = ends.next()?;
            *place = (mark + 1, end);
            mark = end;
        }
        let [seq, places @ .., signature] = values;
        let number = |(from, to): (usize, usize)| text.get(from..to)?.parse::<i64>().ok();
        rows.push_back(StoredRow::new(number(seq)?, number(signature)?, &text, places)?);
    }
    (mark == text.len()).then_some(rows)
}

/// Whether this mark stands there.
fn is(text: &str, at: usize, mark: char) -> bool {
    text.as_bytes().get(at) == Some(&(mark as u8))
}

/// The same of rows that came value by value.
fn gather(rows: &[Row]) -> Result<VecDeque<StoredRow>, sqlx::Error> {
    let mut text = String::new();
    let mut gathered = Vec::with_capacity(rows.len());
    for row in rows {
        let mut places = [(0, 0); TEXTS];
        for (index, place) in places.iter_mut().enumerate() {
            let begun = text.len();
            // The number is the second value.
            let column = if index == 0 { 0 } else { index + 1 };
            if index == REPEAT_OF {
                if let Some(repeat_of) = row.text_or_null(column)? {
                    text.push('=');
                    text.push_str(&repeat_of);
                }
            } else {
                text.push_str(row.text_lent(column)?);
            }
            *place = (begun, text.len());
        }
        gathered.push((row.integer(1)?, row.integer(17)?, places));
    }
    let text: Arc<str> = text.into();
    let row = |(seq, signature, places)| StoredRow::new(seq, signature, &text, places);
    Ok(gathered.into_iter().filter_map(row).collect())
}

/// Which of the texts may be NULL, and has a mark before it where it is not.
const REPEAT_OF: usize = 11;

impl StoredRow {
    /// `None` where that mark is not one.
    fn new(seq: i64, signature: i64, text: &Arc<str>, mut places: [(usize, usize); TEXTS]) -> Option<Self> {
        let (from, to) = places[REPEAT_OF];
        let is_repeat = from < to;
        if is_repeat {
            text.get(from..to)?.strip_prefix('=')?;
            places[REPEAT_OF] = (from + 1, to);
        }
        Some(Self { seq: u64::try_from(seq).unwrap_or(0), signature, text: text.clone(), places, is_repeat })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(rows: &[[&str; TEXTS + 2]]) -> String {
        let row =
            |texts: &[&str; TEXTS + 2]| texts.iter().fold(ROW.to_string(), |row, text| format!("{row}{TEXT}{text}"));
        rows.iter().map(row).collect()
    }

    const FIRST: [&str; TEXTS + 2] = [
        "1", "w", "id", "time", "deny", "shop", "Pod", "", "CREATE", "jane", "r", "i", "", "00", "[]", "aa", "{}", "7",
    ];
    const REPEATED: [&str; TEXTS + 2] = [
        "2",
        "w",
        "id",
        "time",
        "deny",
        "é",
        "Pod",
        "n",
        "CREATE",
        "jane",
        "",
        "",
        "=",
        "00",
        "[]",
        "bb",
        "{\"a\":1}",
        "-8",
    ];

    #[test]
    fn the_text_asks_for_a_page() {
        assert!(PACKED.contains(&format!(" LIMIT {PAGE_ROWS}\n")));
    }

    #[test]
    fn rows_read_as_they_were_packed() {
        let rows = unpack(&packed(&[FIRST, REPEATED]), 2).unwrap();
        let [first, second] = rows.iter().collect::<Vec<_>>()[..] else { panic!("{rows:?}") };
        assert_eq!((first.seq(), first.hash(), first.line(), first.timestamp()), (1, "aa", "{}", "time"));
        assert_eq!((first.columns().namespace, first.columns().name, first.columns().repeat_of), ("shop", "", None));
        assert_eq!((second.seq(), second.hash(), second.line()), (2, "bb", "{\"a\":1}"));
        assert_eq!((second.columns().namespace, second.columns().facets), ("é", "[]"));
        assert_eq!((first.columns().signature, second.columns().signature), (7, -8));
        assert_eq!(second.columns().repeat_of, Some(""));
    }

    #[test]
    fn a_value_with_a_mark_in_it_never_passes_for_another() {
        let mut forged = FIRST;
        let whole_row = packed(&[REPEATED]);
        let end_and_row = format!("7{whole_row}");
        for (at, text) in
            [(7, "a\u{1f}b"), (7, "a\u{1e}b"), (17, &end_and_row), (7, &whole_row), (12, "no mark"), (0, "x")]
        {
            forged[at] = text;
            assert!(unpack(&packed(&[forged]), 1).is_none(), "{text:?}");
            assert!(unpack(&packed(&[forged, REPEATED]), 2).is_none(), "{text:?}");
            forged = FIRST;
        }
        assert!(unpack("", 1).is_none() && unpack("x", 1).is_none());
        assert!(unpack(&packed(&[FIRST]), 2).is_none());
    }
}
