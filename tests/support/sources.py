"""Builders of lifelike Vestige files, the same to the last value for the same specification.

`build_source` fills the schemas of `vestige_schemas.py`; `edit` plants what a test needs broken. A table that the
version lacks is left out silently: the counts of a `SourceSpec` are exact for the tables that are there.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Literal

from tests.support import leftovers, rows
from tests.support.vestige_schemas import (
    APPLIED_AT,
    BOOTSTRAP_USER_ID,
    VERSIONS,
    Line,
    create_plain_v15,
    create_schema,
)

LEGACY_PROFILE = "nomic-v1.5-legacy-raw-256"
LEGACY_MODEL, LEGACY_DIMENSION = "nomic-ai/nomic-embed-text-v1.5", 256
ACTIVE_PROFILE = "fixture-active"


@dataclass(frozen=True)
class OtherVectors:
    """Vectors of another model in `node_embeddings`, as old files have them after a change of model."""

    model: str
    dimension: int
    count: int


@dataclass(frozen=True)
class SourceSpec:
    """What a file holds.

    `form` says how plan V15 is stored: "plain" tables, or Vestige's own storage; every other version has the latter.
    There `schedules` is without meaning: the schedule is in the memory's own columns, so there are as many as memories.
    `model=None` means no vectors and no registered model; `registered_model=False` leaves only the registry out.
    """

    line: Line = "plan"
    version: int = 15
    form: Literal["plain", "vestige"] = "plain"
    memories: int = 250
    schedules: int = 250
    edges: int = 50
    events: int = 50
    extra_users: int = 3
    groups: int = 2
    memberships: int = 4
    domains: int = 5
    dimension: int = 256
    model: str | None = "nomic-ai/nomic-embed-text-v1.5"
    model_hash: str = "abcd0123456789efabcd0123456789efabcd0123456789efabcd0123456789ef"
    seed: int = 7
    with_bootstrap_user: bool = True
    registered_model: bool = True
    no_vector_every: int = 25  # every so many-th memory has no vector yet; 0: all have one
    other_vectors: tuple[OtherVectors, ...] = ()  # the last memories carry these instead (before V28, own storage)

    @property
    def is_plain(self) -> bool:
        return (self.form, self.line, self.version) == ("plain", "plan", 15)

    def sized(self, memories: int) -> SourceSpec:
        """The same with `memories` memories and schedules, and a fifth as many edges and events."""
        fifth = memories // 5
        return replace(self, memories=memories, schedules=memories, edges=fifth, events=fifth)


DEFAULT_SPEC = SourceSpec()


_KEPT_MEMORIES = 300
"""A file of at most so many memories is kept, for the next test that asks for the same: making it takes 3 to 25 ms."""
_KEPT_FILES = 64
_kept: dict[SourceSpec, bytes] = {}


def build_source(path: Path, spec: SourceSpec = DEFAULT_SPEC) -> Path:
    """Write the file that `spec` describes at `path`, where none may be yet."""
    _check(spec)
    if path.exists():
        raise FileExistsError(path)
    if spec in _kept:
        path.write_bytes(_kept[spec])
        return path
    build_anew(path, spec)
    if spec.memories <= _KEPT_MEMORIES:
        if len(_kept) == _KEPT_FILES:
            _kept.clear()
        _kept[spec] = path.read_bytes()  # all of it: nothing is in a WAL any more
    return path


def build_anew(path: Path, spec: SourceSpec) -> Path:
    """The same, whatever was made before."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA synchronous = OFF")
        conn.execute("PRAGMA cache_size = -400000")  # KiB: random ids make every index a random write
        if spec.is_plain:
            create_plain_v15(conn)
        else:
            create_schema(conn, spec.line, spec.version)
        conn.execute("PRAGMA journal_mode = OFF").fetchone()  # nothing to go back to in a file that is being made
        conn.execute("BEGIN")
        _fill(conn, spec, _world(spec))
        conn.commit()
        conn.execute("PRAGMA journal_mode = WAL").fetchone()
    return path


def node_id(path: Path, rowid: int, table: str = "knowledge_nodes", column: str = "id") -> str:
    """The id of the row with this rowid."""
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (rowid,)).fetchone()
    return str(found)


def edit(path: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    """Run `(sql, parameters)` one after the other with foreign keys off, in one transaction; for planting bad rows."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA foreign_keys = OFF")
        with conn:
            for sql, parameters in statements:
                conn.execute(sql, parameters)


def _check(spec: SourceSpec) -> None:
    """Counts that cannot be had are an error here, not a file with fewer rows than a test thinks."""
    users = spec.extra_users + spec.with_bootstrap_user
    limits = {
        "schedules": spec.memories if spec.is_plain else spec.schedules,
        "edges": spec.memories * (spec.memories - 1),
        "events": spec.events if spec.memories else 0,
        "memberships": users * spec.groups,
    }
    for field, limit in limits.items():
        if getattr(spec, field) > limit:
            raise ValueError(f"{field}={getattr(spec, field)} is more than the {limit} that {spec.memories} memories, "
                             f"{users} users and {spec.groups} groups allow")  # fmt: skip
    if spec.version not in VERSIONS[spec.line]:
        raise ValueError(f"no version {spec.version} in the {spec.line} line")


def _world(spec: SourceSpec) -> rows.World:
    bootstrap = [BOOTSTRAP_USER_ID] if spec.with_bootstrap_user else []
    return rows.World(
        seed=spec.seed,
        memory_ids=rows.ids(spec.seed, "memory", spec.memories),
        user_ids=bootstrap + rows.ids(spec.seed, "user", spec.extra_users),
        group_ids=rows.ids(spec.seed, "group", spec.groups),
        domain_ids=rows.domain_ids(spec.domains),
    )


def _fill(conn: sqlite3.Connection, spec: SourceSpec, world: rows.World) -> None:
    extra_users = [user for user in world.user_ids if user != BOOTSTRAP_USER_ID]
    if not spec.with_bootstrap_user and _columns(conn, "users"):
        conn.execute("DELETE FROM users WHERE id = ?", (BOOTSTRAP_USER_ID,))
    _insert(conn, "embedding_model", _registry(spec))
    _insert(conn, "users", rows.people(world, "users", extra_users))
    _insert(conn, "groups", rows.people(world, "groups", world.group_ids))
    _insert(conn, "group_memberships", rows.memberships(world, spec.memberships))
    _insert(conn, "domains", rows.domains(world, spec.dimension))
    if spec.is_plain:
        _insert(conn, "knowledge_nodes", _plain_memories(spec, world))
        _insert(conn, "scheduling", rows.schedules(world, spec.schedules))
    else:
        with _indexes_at_the_end(conn):
            _insert(conn, "knowledge_nodes", _vestige_memories(spec, world))
        _fill_vectors(conn, spec, world)
    _insert(conn, "edges" if spec.is_plain else "memory_connections", rows.edges(world, spec.edges))
    _insert(conn, "review_events", rows.review_events(world, spec.events))
    if not spec.is_plain:
        leftovers.fill(conn, world.rng("leftovers"), world.memory_ids)


@contextmanager
def _indexes_at_the_end(conn: sqlite3.Connection) -> Iterator[None]:
    """Take the indexes of `knowledge_nodes` and its full-text trigger away and make them again afterwards.

    The file is the same; 100,000 memories need a third less time.
    """
    kept = conn.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name = 'knowledge_nodes' AND sql IS NOT NULL "
        "AND (type = 'index' OR name = 'knowledge_ai') ORDER BY rowid"
    ).fetchall()
    for kind, name, _ in kept:
        conn.execute(f"DROP {kind} {name}")
    yield
    for _, _, statement in kept:
        conn.execute(statement)
    conn.execute("INSERT INTO knowledge_fts(knowledge_fts) VALUES ('rebuild')")


def _registry(spec: SourceSpec) -> Iterator[rows.Row]:
    if spec.model is not None and spec.registered_model:
        yield {
            "id": 1,
            "name": spec.model,
            "dimension": spec.dimension,
            "hash": spec.model_hash,
            "created_at": APPLIED_AT,
        }


def _has_vector(spec: SourceSpec, number: int) -> bool:
    gap = spec.no_vector_every
    return spec.model is not None and (not gap or number % gap != gap - 1)


def _plain_memories(spec: SourceSpec, world: rows.World) -> Iterator[rows.Row]:
    blobs = rows.vectors(spec.seed, "memories", spec.memories, spec.dimension)
    for number, (memory, blob) in enumerate(zip(rows.memories(world), blobs, strict=True)):
        yield {**memory, "embedding": blob if _has_vector(spec, number) else None}


def _vestige_memories(spec: SourceSpec, world: rows.World) -> Iterator[rows.Row]:
    own = rows.vestige_columns(world, spec.model)
    for number, (memory, columns) in enumerate(zip(rows.memories(world), own, strict=True)):
        has_vector = _has_vector(spec, number)
        model = columns["embedding_model"] if has_vector else None
        yield {**memory, **columns, "has_embedding": int(has_vector), "embedding_model": model}


def _fill_vectors(conn: sqlite3.Connection, spec: SourceSpec, world: rows.World) -> None:
    """`node_embeddings`, and from V28 on the profiles: then the first is a mirror of the legacy profile's vectors."""
    carriers = [memory_id for n, memory_id in enumerate(world.memory_ids) if _has_vector(spec, n)]
    if spec.model is None or not _columns(conn, "embedding_profile_vectors"):
        _insert(conn, "node_embeddings", _mixed_vectors(spec, carriers))
        return
    legacy = OtherVectors(LEGACY_MODEL, LEGACY_DIMENSION, len(carriers))
    active = OtherVectors(spec.model, spec.dimension, len(carriers))
    _insert(conn, "embedding_profiles", [_profile(active)])
    _insert(conn, "node_embeddings", _vector_rows(spec, LEGACY_PROFILE, legacy, carriers))
    for profile, kind in ((LEGACY_PROFILE, legacy), (ACTIVE_PROFILE, active)):
        _insert(conn, "embedding_profile_vectors", _vector_rows(spec, profile, kind, carriers))
        conn.execute(
            "INSERT OR REPLACE INTO embedding_profile_manifests (profile_id, manifest_json, manifest_hash, "
            "vector_count, updated_at) VALUES (?, '{}', 'fixture', ?, ?)",
            (profile, len(carriers), APPLIED_AT),
        )
    conn.execute("UPDATE embedding_profiles SET status = 'installed' WHERE profile_id = ?", (LEGACY_PROFILE,))
    conn.execute(
        "UPDATE embedding_profile_state SET active_profile_id = ?, previous_profile_id = ?",
        (ACTIVE_PROFILE, LEGACY_PROFILE),
    )
    if _columns(conn, "vector_journal"):  # its triggers write the present time
        conn.execute("UPDATE vector_journal SET at = '2026-05-27T09:35:58.000Z'")


def _mixed_vectors(spec: SourceSpec, carriers: list[str]) -> Iterator[rows.Row]:
    """The file's own model for the first memories, each of `other_vectors` for as many of the last as it says."""
    left = len(carriers) - sum(other.count for other in spec.other_vectors)
    if left < 0:
        raise ValueError(f"other_vectors asks for more than the {len(carriers)} memories that have a vector")
    own = [OtherVectors(spec.model, spec.dimension, left)] if spec.model is not None else []
    remaining = iter(carriers)
    for kind in (*own, *spec.other_vectors):
        yield from _vector_rows(spec, kind.model, kind, list(itertools.islice(remaining, kind.count)))


def _vector_rows(spec: SourceSpec, topic: str, kind: OtherVectors, memory_ids: Iterable[str]) -> Iterator[rows.Row]:
    """Rows for `node_embeddings` and `embedding_profile_vectors` alike; `topic` is the profile, or the model."""
    blobs = rows.vectors(spec.seed, topic, kind.count, kind.dimension)
    for memory_id, blob in zip(memory_ids, blobs, strict=True):
        yield {
            "profile_id": topic,
            "node_id": memory_id,
            "embedding": blob,
            "dimensions": kind.dimension,
            "model": kind.model,
            "created_at": APPLIED_AT,
            "version": 2,
        }


def _profile(kind: OtherVectors) -> rows.Row:
    """The profile that is active; what the copy does not read is left NULL or at its default where it may be."""
    return {
        "profile_id": ACTIVE_PROFILE,
        "model_id": kind.model,
        "immutable_model_revision": "0123456789abcdef0123456789abcdef01234567",
        "verified_model_artifact_hashes": "[]",
        "runtime_backend": "fastembed",
        "embedding_dimension": kind.dimension,
        "normalization_method": "l2",
        "document_encoding_template": "search_document: {content}",
        "query_encoding_template": "search_query: {query}",
        "maximum_token_limit": 8192,
        "chunking_strategy": "whole",
        "status": "active",
        "installed_at": APPLIED_AT,
        "last_verified_at": APPLIED_AT,
        "runtime_metadata": None,
        "verification": "{}",
        "evaluation": None,
        "failure": None,
        "created_at": APPLIED_AT,
        "updated_at": APPLIED_AT,
    }


def _columns(conn: sqlite3.Connection, table: str) -> list[str]:
    """Empty where the table is missing."""
    return [name for (name,) in conn.execute("SELECT name FROM pragma_table_info(?)", (table,))]


def _insert(conn: sqlite3.Connection, table: str, values: Iterable[rows.Row]) -> None:
    """Write every column that the table has; one that the row does not know is a mistake here (KeyError)."""
    columns = _columns(conn, table)
    if not columns:
        return
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    insert = f"INSERT INTO {table} ({names}) VALUES ({marks})"
    conn.executemany(insert, map(itemgetter(*columns), values))
