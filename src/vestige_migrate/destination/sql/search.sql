-- Long vectors are stored beside their rows, and the planner counts the rows alone: it would rather read all vectors. JIT
-- goes by its costs, which are past all limits where a table has no index. The last setting is for words that are none.
CREATE OR REPLACE FUNCTION {function} (query text, query_embedding {vector} DEFAULT NULL, k integer DEFAULT 10)
    RETURNS TABLE (id uuid, score double precision, text_rank integer, vector_rank integer)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
    SET enable_seqscan = off
    SET jit = off
    SET client_min_messages = warning
    AS {body}
