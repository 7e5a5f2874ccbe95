-- V7: the full-text index stems words. (The page size changes to 8192 too; a pragma, see vestige_schemas.py.)
DROP TRIGGER knowledge_ai;
DROP TRIGGER knowledge_ad;
DROP TRIGGER knowledge_au;
DROP TABLE knowledge_fts;
CREATE VIRTUAL TABLE knowledge_fts USING fts5(
    id, content, tags, content='knowledge_nodes', content_rowid='rowid', tokenize='porter ascii'
);
INSERT INTO knowledge_fts(knowledge_fts) VALUES ('rebuild');
CREATE TRIGGER knowledge_ai AFTER INSERT ON knowledge_nodes BEGIN
    INSERT INTO knowledge_fts(rowid, id, content, tags) VALUES (new.rowid, new.id, new.content, new.tags);
END;
CREATE TRIGGER knowledge_ad AFTER DELETE ON knowledge_nodes BEGIN
    INSERT INTO knowledge_fts(knowledge_fts, rowid, id, content, tags)
        VALUES ('delete', old.rowid, old.id, old.content, old.tags);
END;
CREATE TRIGGER knowledge_au AFTER UPDATE ON knowledge_nodes BEGIN
    INSERT INTO knowledge_fts(knowledge_fts, rowid, id, content, tags)
        VALUES ('delete', old.rowid, old.id, old.content, old.tags);
    INSERT INTO knowledge_fts(rowid, id, content, tags) VALUES (new.rowid, new.id, new.content, new.tags);
END;
