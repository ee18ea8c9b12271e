-- The tables as SQLite has them after its fourth step: the same names, the same texts. Every text sorts by its bytes
-- (COLLATE "C"), as times in columns, cursors and SQLite do, whatever the database's own order is.
-- Whose schema this is, and its version.
CREATE TABLE freshgate.about (
    program TEXT   NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
);

-- Every recorded decision. `line` is the record as it was hashed; every other column but `hash` is derived from it,
-- and `freshgate audit verify` compares them. Times in columns are UTC with six decimals, so that text sorts as time.
CREATE TABLE freshgate.decisions (
    writer_id   TEXT COLLATE "C" NOT NULL,  -- one per process start
    seq         BIGINT           NOT NULL,  -- from 1, without a gap
    decision_id TEXT COLLATE "C" NOT NULL,
    timestamp   TEXT COLLATE "C" NOT NULL,
    decision    TEXT COLLATE "C" NOT NULL,  -- allow, warn, deny
    namespace   TEXT COLLATE "C" NOT NULL,  -- empty for what has none
    kind        TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C" NOT NULL,
    operation   TEXT COLLATE "C" NOT NULL,
    username    TEXT COLLATE "C" NOT NULL,
    rules       TEXT COLLATE "C" NOT NULL,  -- those that did not pass, separated by commas
    images      TEXT COLLATE "C" NOT NULL,  -- references and digests, separated by spaces
    repeat_of   TEXT COLLATE "C",           -- the decision that this one repeats
    prev_hash   TEXT COLLATE "C" NOT NULL,
    hash        TEXT COLLATE "C" NOT NULL,
    line        TEXT COLLATE "C" NOT NULL,
    facets      TEXT COLLATE "C" NOT NULL DEFAULT '',  -- JSON list of texts like "namespace=shop"
    PRIMARY KEY (writer_id, seq)
);
CREATE INDEX decisions_by_time ON freshgate.decisions (timestamp);
-- Whoever made the record chose the id, and only this kind of index takes any length. Workloads are found by facets.
CREATE INDEX decisions_by_id ON freshgate.decisions USING hash (decision_id);

-- By what a record can be asked for: an index of the column `facets`, kept by the triggers.
CREATE TABLE freshgate.decision_facets (
    facet     TEXT COLLATE "C" NOT NULL,
    timestamp TEXT COLLATE "C" NOT NULL,
    writer_id TEXT COLLATE "C" NOT NULL,
    seq       BIGINT           NOT NULL,
    PRIMARY KEY (facet, timestamp, writer_id, seq)
);

-- A facet as the index holds it: an index takes about 2,700 bytes, so of a longer one the beginning and a hash.
CREATE FUNCTION freshgate.facet_key(facet TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN octet_length(facet) <= 1000 THEN facet
                ELSE left(facet, 200) || encode(sha256(convert_to(facet, 'UTF8')), 'hex') END
$$;

-- The facets in a column. One that somebody changed to what is no JSON is for `audit verify` to name, and stops nothing
-- here; and a zero character, which no text of PostgreSQL holds, reads as the one for what cannot be shown.
CREATE FUNCTION freshgate.facets_in(facets TEXT) RETURNS SETOF TEXT LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN QUERY SELECT DISTINCT value
        FROM json_array_elements_text(replace(facets, '\u0000', '\ufffd')::json) AS found (value);
EXCEPTION WHEN data_exception THEN
    RETURN;
END
$$;

-- For each statement, not for each row: a batch has thousands.
CREATE FUNCTION freshgate.decisions_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO freshgate.decision_facets (facet, timestamp, writer_id, seq)
    SELECT freshgate.facet_key(f.facet), d.timestamp, d.writer_id, d.seq
    FROM new_rows d CROSS JOIN LATERAL freshgate.facets_in(d.facets) AS f (facet) WHERE d.facets <> ''
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE FUNCTION freshgate.decisions_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM freshgate.decision_facets o
    USING (SELECT freshgate.facet_key(f.facet) AS facet, d.timestamp, d.writer_id, d.seq
           FROM old_rows d CROSS JOIN LATERAL freshgate.facets_in(d.facets) AS f (facet)) gone
    WHERE (o.facet, o.timestamp, o.writer_id, o.seq) = (gone.facet, gone.timestamp, gone.writer_id, gone.seq);
    RETURN NULL;
END
$$;

CREATE TRIGGER decisions_added AFTER INSERT ON freshgate.decisions
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION freshgate.decisions_added();
CREATE TRIGGER decisions_removed AFTER DELETE ON freshgate.decisions
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION freshgate.decisions_removed();
-- Their names say the order: what was goes before what is comes.
CREATE TRIGGER decisions_changed_from AFTER UPDATE ON freshgate.decisions
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION freshgate.decisions_removed();
CREATE TRIGGER decisions_changed_to AFTER UPDATE ON freshgate.decisions
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION freshgate.decisions_added();

-- When a gate first met each digest: an upper bound of its age that nobody else can write.
CREATE TABLE freshgate.first_seen (
    digest TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    at     TEXT COLLATE "C" NOT NULL
);

-- What a registry said about a digest, as JSON; true for ever, because a digest never changes.
CREATE TABLE freshgate.image_facts (
    digest     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    fact       TEXT COLLATE "C" NOT NULL,
    fetched_at TEXT COLLATE "C" NOT NULL
);

-- Which digests were admitted in which workload: a projection of the decisions, written with them.
CREATE TABLE freshgate.admissions (
    namespace         TEXT COLLATE "C" NOT NULL,
    kind              TEXT COLLATE "C" NOT NULL,
    name              TEXT COLLATE "C" NOT NULL,
    digest            TEXT COLLATE "C" NOT NULL,
    reference         TEXT COLLATE "C" NOT NULL,
    first_admitted_at TEXT COLLATE "C" NOT NULL,
    last_admitted_at  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (namespace, kind, name, digest)
);
CREATE INDEX admissions_by_digest ON freshgate.admissions (namespace, digest, first_admitted_at);

-- Which Pod templates were admitted in which workload: likewise a projection.
CREATE TABLE freshgate.templates (
    namespace         TEXT COLLATE "C" NOT NULL,
    kind              TEXT COLLATE "C" NOT NULL,
    name              TEXT COLLATE "C" NOT NULL,
    fingerprint       TEXT COLLATE "C" NOT NULL,
    first_admitted_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (namespace, kind, name, fingerprint)
);

-- Which services each workload belonged to, and when it last did: likewise a projection.
CREATE TABLE freshgate.services (
    namespace TEXT COLLATE "C" NOT NULL,
    kind      TEXT COLLATE "C" NOT NULL,
    name      TEXT COLLATE "C" NOT NULL,
    source    TEXT COLLATE "C" NOT NULL,  -- the BudgetSource by whose rules it did
    service   TEXT COLLATE "C" NOT NULL,
    last_at   TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (namespace, kind, name, source, service)
);

-- Freezes that hold, by policy and objective: what one replica begins holds for all.
CREATE TABLE freshgate.freezes (
    policy  TEXT COLLATE "C" NOT NULL,
    source  TEXT COLLATE "C" NOT NULL,
    service TEXT COLLATE "C" NOT NULL,
    slo     TEXT COLLATE "C" NOT NULL,
    "freeze" TEXT COLLATE "C" NOT NULL,  -- JSON: since when, and the last measurement
    PRIMARY KEY (policy, source, service, slo)
);

-- Policies as they were when they were first used, by revision: what a recorded decision was made with.
CREATE TABLE freshgate.policy_revisions (
    revision      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name          TEXT COLLATE "C" NOT NULL,
    spec          TEXT COLLATE "C" NOT NULL,  -- JSON
    first_used_at TEXT COLLATE "C" NOT NULL
);

-- Up to where each writer's records were removed by retention, with the last one's hash, so that the chain that is left
-- still has a beginning that can be proven. Signed by the gate; an archive's, from `freshgate audit import`, is not.
CREATE TABLE freshgate.boundaries (
    writer_id  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    seq        BIGINT           NOT NULL,  -- the last record that was removed
    hash       TEXT COLLATE "C" NOT NULL,
    removed_at TEXT COLLATE "C" NOT NULL,
    reason     TEXT COLLATE "C" NOT NULL,  -- age, size, import
    key_id     TEXT COLLATE "C",
    signature  TEXT COLLATE "C"            -- base64
);
