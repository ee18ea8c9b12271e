-- The signature of each record's facets, as SQLite has it. Its index does without: PostgreSQL combines several facets by
-- itself, and a condition of which its statistics know nothing would mislead it.
ALTER TABLE freshgate.decisions ADD COLUMN signature BIGINT NOT NULL DEFAULT 0;
