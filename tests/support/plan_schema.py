"""The database that Vestige's own plan makes (repository randomnimbus/vestige, docs/plans/0002c-migrations.md).

The tables, keys, defaults, indexes and the trigger are that page's. One thing is not: array_to_string() is not
IMMUTABLE, so PostgreSQL refuses the page's search_vec as it stands; whoever makes this database needs a function.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

LOCAL = "00000000-0000-0000-0000-000000000001"
_PERSON = (
    "id uuid PRIMARY KEY DEFAULT gen_random_uuid(), handle text NOT NULL UNIQUE, display_name text,"
    " created_at timestamptz NOT NULL DEFAULT now(), metadata jsonb NOT NULL DEFAULT '{}'"
)
_MEMORY = "uuid NOT NULL REFERENCES knowledge_nodes (id) ON DELETE CASCADE"
_TABLES = {
    "embedding_model": "id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1), name text NOT NULL,"
    " dimension integer NOT NULL CHECK (dimension > 0), hash text NOT NULL,"
    " created_at timestamptz NOT NULL DEFAULT now()",
    "domains": "id text PRIMARY KEY, label text NOT NULL, centroid vector, top_terms text[] NOT NULL DEFAULT '{}',"
    " memory_count integer NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now(),"
    " metadata jsonb NOT NULL DEFAULT '{}'",
    "users": _PERSON,
    "groups": _PERSON,
    "group_memberships": "user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,"
    " group_id uuid NOT NULL REFERENCES groups (id) ON DELETE CASCADE, role text NOT NULL DEFAULT 'member',"
    " joined_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (user_id, group_id),"
    " CHECK (role IN ('member', 'admin'))",
    "knowledge_nodes": "id uuid PRIMARY KEY DEFAULT gen_random_uuid(), content text NOT NULL,"
    " node_type text NOT NULL DEFAULT 'general', tags text[] NOT NULL DEFAULT '{}',"
    " metadata jsonb NOT NULL DEFAULT '{}', domains text[] NOT NULL DEFAULT '{}',"
    " domain_scores jsonb NOT NULL DEFAULT '{}', embedding vector, codebase text,"
    f" owner_user_id uuid NOT NULL DEFAULT '{LOCAL}' REFERENCES users (id),"
    " visibility text NOT NULL DEFAULT 'private', shared_with_groups uuid[] NOT NULL DEFAULT '{}',"
    " created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),"
    " search_vec tsvector GENERATED ALWAYS AS (setweight(to_tsvector('english', coalesce(content, '')), 'A')"
    " || setweight(to_tsvector('english', coalesce(node_type, '')), 'B')"
    " || setweight(to_tsvector('english', coalesce(joined_tags(tags), '')), 'C')) STORED,"
    " CHECK (visibility IN ('private', 'group', 'public'))",
    "scheduling": "memory_id uuid PRIMARY KEY REFERENCES knowledge_nodes (id) ON DELETE CASCADE,"
    " stability double precision NOT NULL DEFAULT 0.0, difficulty double precision NOT NULL DEFAULT 0.0,"
    " retrievability double precision NOT NULL DEFAULT 1.0, last_review timestamptz, next_review timestamptz,"
    " reps integer NOT NULL DEFAULT 0, lapses integer NOT NULL DEFAULT 0",
    "edges": f"source_id {_MEMORY}, target_id {_MEMORY}, edge_type text NOT NULL DEFAULT 'related',"
    " weight double precision NOT NULL DEFAULT 1.0, created_at timestamptz NOT NULL DEFAULT now(),"
    " PRIMARY KEY (source_id, target_id, edge_type)",
    "review_events": f"id bigserial PRIMARY KEY, memory_id {_MEMORY}, timestamp timestamptz NOT NULL DEFAULT now(),"
    " rating smallint NOT NULL, prior_state jsonb NOT NULL, new_state jsonb NOT NULL",
}
_INDEXES = (
    "idx_knowledge_nodes_fts ON knowledge_nodes USING gin (search_vec)",
    "idx_knowledge_nodes_domains ON knowledge_nodes USING gin (domains)",
    "idx_knowledge_nodes_tags ON knowledge_nodes USING gin (tags)",
    "idx_knowledge_nodes_node_type ON knowledge_nodes (node_type)",
    "idx_knowledge_nodes_created ON knowledge_nodes (created_at)",
    "idx_knowledge_nodes_updated ON knowledge_nodes (updated_at)",
    "idx_knowledge_nodes_owner ON knowledge_nodes (owner_user_id)",
    "idx_knowledge_nodes_shared_groups ON knowledge_nodes USING gin (shared_with_groups)",
    "idx_knowledge_nodes_codebase ON knowledge_nodes (codebase) WHERE codebase IS NOT NULL",
    "idx_scheduling_next_review ON scheduling (next_review)",
    "idx_scheduling_last_review ON scheduling (last_review)",
    "idx_edges_target ON edges (target_id)",
    "idx_edges_source ON edges (source_id)",
    "idx_edges_type ON edges (edge_type)",
    "idx_review_events_memory ON review_events (memory_id)",
    "idx_review_events_ts ON review_events (timestamp)",
)
_OTHERS = (
    "CREATE FUNCTION knowledge_nodes_set_updated_at() RETURNS trigger LANGUAGE plpgsql"
    " AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$",
    "CREATE TRIGGER trg_knowledge_nodes_updated_at BEFORE UPDATE ON knowledge_nodes"
    " FOR EACH ROW EXECUTE FUNCTION knowledge_nodes_set_updated_at()",
    f"INSERT INTO users (id, handle, display_name) VALUES ('{LOCAL}', 'local', 'Local User')",
)
_TAGS = (
    "CREATE FUNCTION joined_tags(text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT array_to_string($1, ' ') $$"
)


def make_plan_database(url: str, schema: str = "public") -> None:
    """Makes the tables of the plan's first migration. The second one is an index that wants a dimension first."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        connection.execute(sql.SQL("SET search_path = {}, public").format(sql.Identifier(schema)))
        connection.execute(_TAGS)
        for name, columns in _TABLES.items():
            connection.execute(f"CREATE TABLE {name} ({columns})".encode())
        for index in _INDEXES:
            connection.execute(f"CREATE INDEX {index}".encode())
        for statement in _OTHERS:
            connection.execute(statement.encode())
