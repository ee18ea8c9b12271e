-- Which services each workload belonged to, and when it last did: a projection of the decisions, as the admissions are.
-- A workload is judged under every one of its last 30 days, so that a new label does not free it.
CREATE TABLE services (
    namespace TEXT NOT NULL,
    kind      TEXT NOT NULL,
    name      TEXT NOT NULL,
    source    TEXT NOT NULL,  -- the BudgetSource by whose rules it did
    service   TEXT NOT NULL,
    last_at   TEXT NOT NULL,
    PRIMARY KEY (namespace, kind, name, source, service)
) STRICT, WITHOUT ROWID;

-- Freezes that hold, by policy and objective: so that a restart changes nothing.
CREATE TABLE freezes (
    policy  TEXT NOT NULL,
    source  TEXT NOT NULL,
    service TEXT NOT NULL,
    slo     TEXT NOT NULL,
    freeze  TEXT NOT NULL,  -- JSON: since when, and the last measurement
    PRIMARY KEY (policy, source, service, slo)
) STRICT, WITHOUT ROWID;

-- Policies as they were when they were first used, by revision: what a recorded decision was made with.
CREATE TABLE policy_revisions (
    revision      TEXT NOT NULL PRIMARY KEY,
    name          TEXT NOT NULL,
    spec          TEXT NOT NULL,  -- JSON
    first_used_at TEXT NOT NULL
) STRICT;
