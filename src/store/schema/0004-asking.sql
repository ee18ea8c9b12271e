-- By what a record can be asked for: `facets` is a JSON list of texts like "namespace=shop" and "policy=production",
-- derived from the line as the other columns are. The table beside it is an index of that column, kept by the triggers,
-- so whoever adds, changes or deletes rows need not know of it. It leads from each facet to its records in the order of
-- time, so the newest few are found without a sort, however many there are.
-- Rows that are there already are filled in by the program (schema/fill.rs): SQL alone cannot read an image reference.
ALTER TABLE decisions ADD COLUMN facets TEXT NOT NULL DEFAULT '';

CREATE TABLE decision_facets (
    facet     TEXT    NOT NULL,
    timestamp TEXT    NOT NULL,
    writer_id TEXT    NOT NULL,
    seq       INTEGER NOT NULL,
    PRIMARY KEY (facet, timestamp, writer_id, seq)
) STRICT, WITHOUT ROWID;

-- A column that somebody changed to what is no JSON is for `audit verify` to name, and stops nothing here.
CREATE TRIGGER decision_facets_added AFTER INSERT ON decisions WHEN NEW.facets <> '' BEGIN
    INSERT OR IGNORE INTO decision_facets (facet, timestamp, writer_id, seq)
    SELECT value, NEW.timestamp, NEW.writer_id, NEW.seq
    FROM json_each(CASE WHEN json_valid(NEW.facets) THEN NEW.facets ELSE '[]' END);
END;

CREATE TRIGGER decision_facets_removed AFTER DELETE ON decisions WHEN OLD.facets <> '' BEGIN
    DELETE FROM decision_facets
    WHERE timestamp = OLD.timestamp AND writer_id = OLD.writer_id AND seq = OLD.seq AND facet IN (
        SELECT value FROM json_each(CASE WHEN json_valid(OLD.facets) THEN OLD.facets ELSE '[]' END));
END;

CREATE TRIGGER decision_facets_changed AFTER UPDATE OF facets, timestamp, writer_id, seq ON decisions BEGIN
    DELETE FROM decision_facets
    WHERE timestamp = OLD.timestamp AND writer_id = OLD.writer_id AND seq = OLD.seq AND facet IN (
        SELECT value FROM json_each(CASE WHEN json_valid(OLD.facets) THEN OLD.facets ELSE '[]' END));
    INSERT OR IGNORE INTO decision_facets (facet, timestamp, writer_id, seq)
    SELECT value, NEW.timestamp, NEW.writer_id, NEW.seq
    FROM json_each(CASE WHEN json_valid(NEW.facets) THEN NEW.facets ELSE '[]' END);
END;
