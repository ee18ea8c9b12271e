-- Up to where each writer's records were removed by retention, with the last one's hash, so that the chain that is left
-- still has a beginning that can be proven. Signed by the gate; an archive's, from `freshgate audit import`, is not.
CREATE TABLE boundaries (
    writer_id  TEXT    NOT NULL PRIMARY KEY,
    seq        INTEGER NOT NULL,  -- the last record that was removed
    hash       TEXT    NOT NULL,
    removed_at TEXT    NOT NULL,
    reason     TEXT    NOT NULL,  -- age, size, import
    key_id     TEXT,
    signature  TEXT               -- base64
) STRICT, WITHOUT ROWID;
