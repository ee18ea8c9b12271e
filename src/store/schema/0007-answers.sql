-- What package indexes answered, as it was read: a restart and a new leader ask nothing again. An answer that was not used
-- for a while goes, and nothing is lost with it but a question.
CREATE TABLE index_answers (
    url           TEXT NOT NULL PRIMARY KEY,
    asked_at      TEXT NOT NULL,
    etag          TEXT,           -- what the index calls this state of its answer
    last_modified TEXT,           -- when that changed, where the index says so
    answer        TEXT,           -- JSON; NULL where the index has no such thing
    used_at       TEXT NOT NULL   -- when somebody last wanted it, give or take a day
) STRICT;
CREATE INDEX index_answers_by_use ON index_answers (used_at);
