-- Decisions, as they were recorded. `line` and `hash` are the record; every other column is derived from the line, for
-- questions, and `freshgate audit verify` compares them.
CREATE TABLE decisions (
    writer_id   TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    decision_id TEXT    NOT NULL,
    timestamp   TEXT    NOT NULL,
    decision    TEXT    NOT NULL,
    namespace   TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    operation   TEXT    NOT NULL,
    username    TEXT    NOT NULL,
    rules       TEXT    NOT NULL,
    images      TEXT    NOT NULL,
    repeat_of   TEXT    NOT NULL,
    prev_hash   TEXT    NOT NULL,
    hash        TEXT    NOT NULL,
    line        TEXT    NOT NULL,
    PRIMARY KEY (writer_id, seq)
);
CREATE UNIQUE INDEX decisions_by_id ON decisions (decision_id);
CREATE INDEX decisions_by_time ON decisions (timestamp);
CREATE INDEX decisions_by_workload ON decisions (namespace, name, timestamp);

-- What a digest is: never changes.
CREATE TABLE image_facts (
    digest     TEXT PRIMARY KEY,
    fact       TEXT NOT NULL,
    fetched_at TEXT NOT NULL
) WITHOUT ROWID;

-- When the gate first met a digest: a bound on its build date that nobody can refresh.
CREATE TABLE first_seen (
    digest TEXT PRIMARY KEY,
    at     TEXT NOT NULL
) WITHOUT ROWID;

-- What was admitted where, so that going back can be told from going forward: a projection of the decisions.
CREATE TABLE admissions (
    namespace         TEXT NOT NULL,
    kind              TEXT NOT NULL,
    name              TEXT NOT NULL,
    digest            TEXT NOT NULL,
    reference         TEXT NOT NULL,
    first_admitted_at TEXT NOT NULL,
    last_admitted_at  TEXT NOT NULL,
    PRIMARY KEY (namespace, kind, name, digest, reference)
) WITHOUT ROWID;
CREATE INDEX admissions_by_digest ON admissions (namespace, digest);

CREATE TABLE templates (
    namespace         TEXT NOT NULL,
    kind              TEXT NOT NULL,
    name              TEXT NOT NULL,
    fingerprint       TEXT NOT NULL,
    first_admitted_at TEXT NOT NULL,
    PRIMARY KEY (namespace, kind, name, fingerprint)
) WITHOUT ROWID;
