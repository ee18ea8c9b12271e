-- Every recorded decision. `line` is the record as it was hashed; every other column but `hash` is derived from it,
-- and `freshgate audit verify` compares them. Times in columns are UTC with six decimals, so that text sorts as time.
CREATE TABLE decisions (
    writer_id   TEXT    NOT NULL,  -- one per process start
    seq         INTEGER NOT NULL,  -- from 1, without a gap
    decision_id TEXT    NOT NULL,
    timestamp   TEXT    NOT NULL,
    decision    TEXT    NOT NULL,  -- allow, warn, deny
    namespace   TEXT    NOT NULL,  -- empty for what has none
    kind        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    operation   TEXT    NOT NULL,
    username    TEXT    NOT NULL,
    rules       TEXT    NOT NULL,  -- those that did not pass, separated by commas
    images      TEXT    NOT NULL,  -- references and digests, separated by spaces
    repeat_of   TEXT,              -- the decision that this one repeats
    prev_hash   TEXT    NOT NULL,
    hash        TEXT    NOT NULL,
    line        TEXT    NOT NULL,
    PRIMARY KEY (writer_id, seq)
) STRICT;
CREATE INDEX decisions_by_time ON decisions (timestamp);
CREATE INDEX decisions_by_workload ON decisions (namespace, name, timestamp);
CREATE INDEX decisions_by_id ON decisions (decision_id);

-- When the gate first met each digest: an upper bound of its age that nobody else can write.
CREATE TABLE first_seen (
    digest TEXT NOT NULL PRIMARY KEY,
    at     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What a registry said about a digest, as JSON; true for ever, because a digest never changes.
CREATE TABLE image_facts (
    digest     TEXT NOT NULL PRIMARY KEY,
    fact       TEXT NOT NULL,
    fetched_at TEXT NOT NULL
) STRICT;

-- Which digests were admitted in which workload: a projection of the decisions, written with them.
CREATE TABLE admissions (
    namespace         TEXT NOT NULL,
    kind              TEXT NOT NULL,
    name              TEXT NOT NULL,
    digest            TEXT NOT NULL,
    reference         TEXT NOT NULL,
    first_admitted_at TEXT NOT NULL,
    last_admitted_at  TEXT NOT NULL,
    PRIMARY KEY (namespace, kind, name, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX admissions_by_digest ON admissions (namespace, digest, first_admitted_at);

-- Which Pod templates were admitted in which workload: likewise a projection.
CREATE TABLE templates (
    namespace         TEXT NOT NULL,
    kind              TEXT NOT NULL,
    name              TEXT NOT NULL,
    fingerprint       TEXT NOT NULL,
    first_admitted_at TEXT NOT NULL,
    PRIMARY KEY (namespace, kind, name, fingerprint)
) STRICT, WITHOUT ROWID;
