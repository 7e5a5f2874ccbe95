-- The destination's tables. Every statement may run again; indexes are in indexes.sql.
-- The defaults of ids, and domains.metadata, are for those who write here after the copy, which has values for all ids.
-- Names are not qualified: they land in the first schema of the session's search_path, which is the target (target_schema.py).

CREATE TABLE IF NOT EXISTS embedding_model (
    id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    name text NOT NULL,
    dimension integer NOT NULL CHECK (dimension > 0),
    hash text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    handle text NOT NULL UNIQUE,
    display_name text,
    created_at timestamptz NOT NULL DEFAULT now(),
    metadata jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE IF NOT EXISTS groups (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    handle text NOT NULL UNIQUE,
    display_name text,
    created_at timestamptz NOT NULL DEFAULT now(),
    metadata jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE IF NOT EXISTS group_memberships (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_id uuid NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    role text NOT NULL DEFAULT 'member' CHECK (role IN ('member', 'admin')),
    joined_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, group_id)
);

CREATE TABLE IF NOT EXISTS domains (
    id text PRIMARY KEY,
    label text NOT NULL,
    centroid vector,
    top_terms text[] NOT NULL DEFAULT '{}',
    memory_count integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    metadata jsonb NOT NULL DEFAULT '{}'
);

-- array_to_string is STABLE (an element's output function may depend on settings), and a generated column takes
-- IMMUTABLE functions only; for text[] nothing can vary. PL/pgSQL costs the same a row as an SQL function that cannot be
-- inlined (docs/performance.md), and its plan is kept for the session.
CREATE OR REPLACE FUNCTION vestige_tags_text(tags text[]) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ BEGIN RETURN array_to_string(tags, ' '); END $$;

-- A tsvector holds 1 MiB at most and a longer one fails the INSERT, so a bounded prefix is indexed. 65,536
-- characters are 256 KiB of UTF-8 at the most; positions and hyphenated compounds can make that about 2.5 times as
-- large (each distinct word takes up to 8 bytes beside its letters), which stays below the limit.
CREATE TABLE IF NOT EXISTS knowledge_nodes (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    content text NOT NULL,
    node_type text NOT NULL DEFAULT 'fact',
    tags text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    domains text[] NOT NULL DEFAULT '{}',
    domain_scores jsonb NOT NULL DEFAULT '{}',
    embedding vector,
    codebase text,
    owner_user_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000001' REFERENCES users (id),
    visibility text NOT NULL DEFAULT 'private'
        CONSTRAINT knowledge_nodes_visibility_check CHECK (visibility IN ('private', 'group', 'public')),
    shared_with_groups uuid[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    search_vec tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('english'::regconfig, left(content, 65536)), 'A')
        || setweight(to_tsvector('english'::regconfig, left(node_type, 1024)), 'B')
        || setweight(to_tsvector('english'::regconfig, left(vestige_tags_text(tags), 16384)), 'C')
    ) STORED
);

CREATE TABLE IF NOT EXISTS scheduling (
    memory_id uuid PRIMARY KEY REFERENCES knowledge_nodes (id) ON DELETE CASCADE,
    stability double precision NOT NULL DEFAULT 1.0,
    difficulty double precision NOT NULL DEFAULT 5.0,
    retrievability double precision NOT NULL DEFAULT 1.0,
    last_review timestamptz,
    next_review timestamptz,
    reps integer NOT NULL DEFAULT 0,
    lapses integer NOT NULL DEFAULT 0
);

CREATE TABLE IF NOT EXISTS edges (
    source_id uuid NOT NULL REFERENCES knowledge_nodes (id) ON DELETE CASCADE,
    target_id uuid NOT NULL REFERENCES knowledge_nodes (id) ON DELETE CASCADE,
    edge_type text NOT NULL DEFAULT 'semantic',
    weight double precision NOT NULL DEFAULT 1.0,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_id, target_id)
);

CREATE TABLE IF NOT EXISTS review_events (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    memory_id uuid NOT NULL REFERENCES knowledge_nodes (id) ON DELETE CASCADE,
    occurred_at timestamptz NOT NULL,
    retrievability_before double precision,
    retrievability_after double precision,
    rating smallint NOT NULL DEFAULT 0,
    kind text NOT NULL DEFAULT 'review',
    metadata jsonb NOT NULL DEFAULT '{}'
);

INSERT INTO users (id, handle) VALUES ('00000000-0000-0000-0000-000000000001', 'local') ON CONFLICT DO NOTHING;
