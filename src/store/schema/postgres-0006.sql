-- The table as SQLite has it after its sixth step.
-- What the scanner found of each image that runs: the leader writes it, every replica reads it for its nudges, and the next
-- leader goes on from it. It is looked up again after a while, so nothing is lost where it is.
CREATE TABLE freshgate.image_findings (
    scope      TEXT COLLATE "C" NOT NULL,  -- the namespace whose credentials opened it; empty where none were needed
    image      TEXT COLLATE "C" NOT NULL,  -- the reference, as workloads write it
    running    TEXT COLLATE "C" NOT NULL,  -- the digest that Pods run under it; empty where none is known
    scanned_at TEXT COLLATE "C" NOT NULL,
    findings   TEXT COLLATE "C" NOT NULL,  -- JSON
    PRIMARY KEY (scope, image, running)
);
CREATE INDEX image_findings_by_time ON freshgate.image_findings (scanned_at);
