-- A signature is a few bits for each facet of a record (audit/facet/signature.rs): a record that lacks one of a facet's
-- bits lacks the facet. The index has it beside each facet, so that of several facets the first one's records are read in
-- order, and hardly any is looked up for the others. Rows of before have 0: they are looked up as they always were.
ALTER TABLE decisions ADD COLUMN signature INTEGER NOT NULL DEFAULT 0;
ALTER TABLE decision_facets ADD COLUMN signature INTEGER NOT NULL DEFAULT 0;

DROP TRIGGER decision_facets_added;
CREATE TRIGGER decision_facets_added AFTER INSERT ON decisions WHEN NEW.facets <> '' BEGIN
    INSERT OR IGNORE INTO decision_facets (facet, timestamp, writer_id, seq, signature)
    SELECT value, NEW.timestamp, NEW.writer_id, NEW.seq, NEW.signature
    FROM json_each(CASE WHEN json_valid(NEW.facets) THEN NEW.facets ELSE '[]' END);
END;

DROP TRIGGER decision_facets_changed;
CREATE TRIGGER decision_facets_changed AFTER UPDATE OF facets, timestamp, writer_id, seq, signature ON decisions BEGIN
    DELETE FROM decision_facets
    WHERE timestamp = OLD.timestamp AND writer_id = OLD.writer_id AND seq = OLD.seq AND facet IN (
        SELECT value FROM json_each(CASE WHEN json_valid(OLD.facets) THEN OLD.facets ELSE '[]' END));
    INSERT OR IGNORE INTO decision_facets (facet, timestamp, writer_id, seq, signature)
    SELECT value, NEW.timestamp, NEW.writer_id, NEW.seq, NEW.signature
    FROM json_each(CASE WHEN json_valid(NEW.facets) THEN NEW.facets ELSE '[]' END);
END;
