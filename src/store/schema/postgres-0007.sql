-- The table as SQLite has it after its seventh step.
-- What package indexes answered, as it was read: a restart and a new leader ask nothing again. An answer that was not used
-- for a while goes, and nothing is lost with it but a question.
CREATE TABLE freshgate.index_answers (
    url           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    asked_at      TEXT COLLATE "C" NOT NULL,
    etag          TEXT COLLATE "C",          -- what the index calls this state of its answer
    last_modified TEXT COLLATE "C",          -- when that changed, where the index says so
    answer        TEXT COLLATE "C",          -- JSON; NULL where the index has no such thing
    used_at       TEXT COLLATE "C" NOT NULL  -- when somebody last wanted it, give or take a day
);
CREATE INDEX index_answers_by_use ON freshgate.index_answers (used_at);
