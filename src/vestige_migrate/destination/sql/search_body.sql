-- Made by vestige-migrate (docs/schema.md), which replaces it in a later run: change a copy of it under another name.
#variable_conflict use_column
DECLARE
    wanted constant bigint := coalesce(k, 10);
    -- Each search names so many: what is good for both is seldom far down in either.
    depth constant bigint := greatest(3 * wanted, 40);
    -- So many the index of vectors is asked for, and their vectors put in order.
    shortlist constant bigint := {shortlist};
    words constant tsquery := websearch_to_tsquery('pg_catalog.english', coalesce(query, ''));
    earlier text;
BEGIN
    IF wanted < 1 OR (numnode(words) = 0 AND query_embedding IS NULL) THEN
        RETURN;
    END IF;
    IF shortlist > {most} THEN -- more than an index gives
        RETURN QUERY {exact}
        RETURN;
    END IF;
    PERFORM {vector_dims}(query_embedding); -- this loads pgvector, whose setting it is
    earlier := current_setting('hnsw.ef_search');
    PERFORM set_config('hnsw.ef_search', greatest(earlier::bigint, shortlist)::text, true);
    RETURN QUERY {indexed}
    PERFORM set_config('hnsw.ef_search', earlier, true);
END
