-- V27: an empty scope means the user's. (The index on scope is there since V4.)
UPDATE knowledge_nodes SET scope = 'user' WHERE scope IS NULL OR trim(scope) = '';
