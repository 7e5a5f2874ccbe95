-- V37: an intention belongs to a scope; NULL means `user`.
ALTER TABLE intentions ADD COLUMN scope TEXT;
CREATE INDEX idx_intentions_scope ON intentions(scope);
