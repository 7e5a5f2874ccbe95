-- From pgloader's untyped tables into the final ones, one statement a table, parents first. A condition on u.ctid is
-- added to each, so that two connections move one half each. Times are cut to microseconds, as the copy does it:
-- PostgreSQL's cast rounds. Vectors come by way of untyped.vectors (pgloader.py), where their elements are reversed.
INSERT INTO users (id, handle, display_name, created_at, metadata)
SELECT id::uuid, handle, display_name, (left(created_at, 26) || right(created_at, 6))::timestamptz, metadata::jsonb
FROM untyped.users AS u;

INSERT INTO groups (id, handle, display_name, created_at, metadata)
SELECT id::uuid, handle, display_name, (left(created_at, 26) || right(created_at, 6))::timestamptz, metadata::jsonb
FROM untyped.groups AS u;

INSERT INTO group_memberships (user_id, group_id, role, joined_at)
SELECT user_id::uuid, group_id::uuid, role, (left(joined_at, 26) || right(joined_at, 6))::timestamptz
FROM untyped.group_memberships AS u;

INSERT INTO domains (id, label, centroid, top_terms, memory_count, created_at)
SELECT u.id, label, array_reverse(v.embedding::real[])::vector,
    ARRAY(SELECT jsonb_array_elements_text(top_terms::jsonb)), memory_count,
    (left(created_at, 26) || right(created_at, 6))::timestamptz
FROM untyped.domains AS u LEFT JOIN untyped.vectors AS v ON v.id = u.id;

INSERT INTO knowledge_nodes (
    id, content, node_type, tags, metadata, domains, domain_scores, embedding, codebase, owner_user_id, visibility,
    shared_with_groups, created_at, updated_at
)
SELECT u.id::uuid, content, node_type, ARRAY(SELECT jsonb_array_elements_text(tags::jsonb)), metadata::jsonb,
    ARRAY(SELECT jsonb_array_elements_text(domains::jsonb)), domain_scores::jsonb,
    array_reverse(v.embedding::real[])::vector, codebase, owner_user_id::uuid, visibility,
    ARRAY(SELECT jsonb_array_elements_text(shared_with_groups::jsonb)::uuid),
    (left(created_at, 26) || right(created_at, 6))::timestamptz,
    (left(updated_at, 26) || right(updated_at, 6))::timestamptz
FROM untyped.knowledge_nodes AS u LEFT JOIN untyped.vectors AS v ON v.id = u.id;

INSERT INTO scheduling (
    memory_id, stability, difficulty, retrievability, last_review, next_review, reps, lapses
)
SELECT memory_id::uuid, stability, difficulty, retrievability,
    (left(last_review, 26) || right(last_review, 6))::timestamptz,
    (left(next_review, 26) || right(next_review, 6))::timestamptz, reps, lapses
FROM untyped.scheduling AS u;

INSERT INTO edges (source_id, target_id, edge_type, weight, created_at)
SELECT source_id::uuid, target_id::uuid, edge_type, weight, (left(created_at, 26) || right(created_at, 6))::timestamptz
FROM untyped.edges AS u;

INSERT INTO review_events (
    id, memory_id, occurred_at, retrievability_before, retrievability_after, rating, kind, metadata
)
SELECT id::uuid, memory_id::uuid, (left(occurred_at, 26) || right(occurred_at, 6))::timestamptz,
    retrievability_before, retrievability_after, rating, kind, metadata::jsonb
FROM untyped.review_events AS u;
