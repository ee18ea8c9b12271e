//! A question's text and its values, made ready for either database.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Encode, Postgres, Sqlite, Type};

/// An index of PostgreSQL takes about 2,700 bytes in all. Whatever Kubernetes names is far shorter; a crafted review's
/// names need not be, and a record that the store can never take would hold up all that follow.
const LONGEST_KEY_BYTES: usize = 500;

/// A value as it is bound.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    /// A text that an index holds.
    Key(Cow<'a, str>),
    Integer(i64),
    Null,
}

impl<'a> Value<'a> {
    /// A text that is part of an index.
    pub(crate) fn key(text: &'a str) -> Self {
        Self::Key(Cow::Borrowed(text))
    }

    /// A number of a record; none of them comes near the end.
    pub(crate) fn number(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// The text as PostgreSQL takes it.
    fn for_postgres(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(without_nul(text)),
            Self::Key(text) => Some(bounded(without_nul(text))),
            Self::Integer(_) | Self::Null => None,
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// PostgreSQL's texts hold no zero character.
pub(crate) fn without_nul(text: &str) -> Cow<'_, str> {
    if memchr::memchr(0, text.as_bytes()).is_some() {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// What stands for a text in an index: itself, or where that is too long its beginning and a hash of the whole.
fn bounded(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.len() <= LONGEST_KEY_BYTES {
        return text;
    }
    let beginning = text.floor_char_boundary(LONGEST_KEY_BYTES - 64);
    Cow::Owned(format!("{}{}", &text[..beginning], hex::encode(Sha256::digest(text.as_bytes()))))
}

/// A question, or a change.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    sql: Cow<'static, str>,
    values: Vec<Value<'a>>,
    /// Whether the connection keeps it prepared for the next time.
    prepared: bool,
}

impl<'a> Query<'a> {
    /// One whose text is always the same.
    pub(crate) fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { sql: sql.into(), values: Vec::new(), prepared: true }
    }

    /// One that is put together for this time alone.
    pub(crate) fn once(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { prepared: false, ..Self::new(sql) }
    }

    /// The value of the next `$n`.
    pub(crate) fn bind(mut self, value: impl Into<Value<'a>>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Goes on with this text.
    pub(crate) fn push(&mut self, sql: impl AsRef<str>) -> &mut Self {
        self.sql.to_mut().push_str(sql.as_ref());
        self
    }

    /// Goes on with this value.
    pub(crate) fn push_bind(&mut self, value: impl Into<Value<'a>>) -> &mut Self {
        self.values.push(value.into());
        let place = format!("${}", self.values.len());
        self.push(place)
    }

    pub(super) fn for_sqlite(self) -> Result<(String, SqliteArguments, bool), sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        for value in self.values {
            match value {
                Value::Text(text) | Value::Key(text) => add::<Sqlite, _>(&mut arguments, text)?,
                Value::Integer(number) => add::<Sqlite, _>(&mut arguments, number)?,
                Value::Null => add::<Sqlite, _>(&mut arguments, None::<&str>)?,
            }
        }
        Ok((self.sql.into_owned(), arguments, self.prepared))
    }

    pub(super) fn for_postgres(self) -> Result<(String, PgArguments, bool), sqlx::Error> {
        let mut arguments = PgArguments::default();
        for value in &self.values {
            match value {
                Value::Integer(number) => add::<Postgres, _>(&mut arguments, *number)?,
                text => add::<Postgres, _>(&mut arguments, text.for_postgres())?,
            }
        }
        Ok((self.sql.into_owned(), arguments, self.prepared))
    }
}

fn add<'v, DB, T>(arguments: &mut DB::Arguments, value: T) -> Result<(), sqlx::Error>
where
    DB: sqlx::Database,
    T: Encode<'v, DB> + Type<DB>,
{
    arguments.add(value).map_err(sqlx::Error::Encode)
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
}

/// Many rows for one table: lists of values for `SQLite`, an array for each column for PostgreSQL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Insert<const COLUMNS: usize> {
    pub(crate) table: &'static str,
    pub(crate) columns: [(&'static str, Kind); COLUMNS],
    /// What follows the rows: `ON CONFLICT …`. The row that is there is called by the table's name.
    pub(crate) on_conflict: &'static str,
    /// Which of the rows, called `v`, are left out on PostgreSQL, where others may have been at work meanwhile.
    pub(crate) postgres_where: &'static str,
    /// Rows in one statement of `SQLite`.
    pub(crate) sqlite_rows: usize,
}

impl<const COLUMNS: usize> Insert<COLUMNS> {
    /// The statement for so many rows, and whether it is worth keeping.
    pub(super) fn sqlite(&self, rows: &[[Value<'_>; COLUMNS]]) -> Result<(String, SqliteArguments, bool), sqlx::Error> {
        let names = self.names();
        let mut sql = format!("INSERT INTO {} ({names}) VALUES ", self.table);
        let row = format!("({})", vec!["?"; COLUMNS].join(", "));
        sql.push_str(&vec![row; rows.len()].join(", "));
        sql.push_str(self.on_conflict);
        let mut arguments = SqliteArguments::default();
        arguments.reserve(rows.len() * COLUMNS, 0);
        for value in rows.iter().flatten() {
            match value {
                Value::Text(text) | Value::Key(text) => add::<Sqlite, _>(&mut arguments, &**text)?,
                Value::Integer(number) => add::<Sqlite, _>(&mut arguments, *number)?,
                Value::Null => add::<Sqlite, _>(&mut arguments, None::<&str>)?,
            }
        }
        Ok((sql, arguments, rows.len() == self.sqlite_rows))
    }

    /// The statement for any number of rows.
    pub(super) fn postgres(&self, rows: &[[Value<'_>; COLUMNS]]) -> Result<(String, PgArguments), sqlx::Error> {
        let mut arguments = PgArguments::default();
        let mut arrays = Vec::with_capacity(COLUMNS);
        for (index, (_, kind)) in self.columns.iter().enumerate() {
            let column = rows.iter().map(|row| &row[index]);
            match kind {
                Kind::Text => {
                    let texts: Vec<Option<Cow<'_, str>>> = column.map(Value::for_postgres).collect();
                    add::<Postgres, _>(&mut arguments, texts)?;
                    arrays.push(format!("${}::text[]", index + 1));
                }
                Kind::Integer => {
                    let number =
                        |value: &Value<'_>| if let Value::Integer(number) = value { Some(*number) } else { None };
                    add::<Postgres, _>(&mut arguments, column.map(number).collect::<Vec<_>>())?;
                    arrays.push(format!("${}::bigint[]", index + 1));
                }
            }
        }
        let names = self.names();
        let sql = format!(
            "INSERT INTO {table} ({names}) SELECT {names} FROM unnest({arrays}) AS v ({names}){filter}{on_conflict}",
            table = self.table,
            arrays = arrays.join(", "),
            filter = self.postgres_where,
            on_conflict = self.on_conflict,
        );
        Ok((sql, arguments))
    }

    fn names(&self) -> String {
        self.columns.map(|(name, _)| name).join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_index_holds_is_bounded_and_still_tells_texts_apart() {
        let short = Value::key("shop");
        assert_eq!(short.for_postgres().as_deref(), Some("shop"));
        let (one, other) = (format!("{}a", "é".repeat(2_000)), format!("{}b", "é".repeat(2_000)));
        let (one, other) = (Value::key(&one), Value::key(&other));
        let (one, other) = (one.for_postgres().unwrap(), other.for_postgres().unwrap());
        assert!(one.len() <= LONGEST_KEY_BYTES && one != other, "{one}");
        assert_eq!(Value::from("a\0b").for_postgres().as_deref(), Some("a\u{fffd}b"));
    }
}
