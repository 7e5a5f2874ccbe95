"""Which embedding model a source's vectors belong to: registered, of the active profile, or inferred."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vestige_migrate.decode.text import is_storable, tolerant_text
from vestige_migrate.model import ModelSignature
from vestige_migrate.source.layout.labels import Labels
from vestige_migrate.source.layout.layout import Layout, Mislabelled
from vestige_migrate.source.layout.vectors import VECTOR_TABLES, is_one_of
from vestige_migrate.source.sqlite.quoting import quote_identifier

LEGACY_PROFILE = "nomic-v1.5-legacy-raw-256"
"""The profile that `node_embeddings` mirrors from released V28 on. Vestige reads the mirror for no other profile: two
profiles of one model and one dimension may still encode differently."""


def with_model(connection: sqlite3.Connection, layout: Layout, wanted: ModelSignature | None = None) -> Layout:
    """The layout with its model and with the vectors that come over. The active profile's, where profiles exist.

    `wanted` is the model that counts where the file has vectors of several, its own among them. A name that PostgreSQL
    cannot store (a NUL character, invalid UTF-8) names no model.
    """
    before = connection.text_factory
    connection.text_factory = tolerant_text
    try:
        return _with_model(connection, layout, wanted)
    finally:
        connection.text_factory = before


def _with_model(connection: sqlite3.Connection, layout: Layout, wanted: ModelSignature | None) -> Layout:
    labels = Labels.of(connection, layout)
    registered = _registered(connection, layout)
    profile = _active_profile(connection, layout)
    if profile is not None:
        profile, of_profile = _chosen_profile(connection, layout, profile, wanted)
        own = registered is not None and (of_profile is None or registered.matches(of_profile))
        model = registered if own else of_profile
        layout = replace(layout, active_profile=profile, mirror_counts=_is_mirrored(connection, profile))
    else:
        # A wanted hash that is not the registered one's chooses nothing: it is refused when the two are compared.
        is_other = registered is None or (wanted is not None and not replace(registered, hash=None).matches(wanted))
        chosen = labels.choose(wanted) if is_other else None
        own = registered is not None and chosen is None
        model = chosen or registered or labels.commonest()
    mislabelled = labels.mislabelled(model) if layout.mirror_counts else ()
    others = labels.others(model) if profile is None else _models_of_others(connection, layout, profile, model)
    return replace(
        layout,
        model=model,
        model_registered=own,
        dimension=model.dimension if model else _commonest_length(connection, layout, mislabelled),
        vector_labels=labels.accepted(model),
        mislabelled=mislabelled,
        shortened=labels.shortened(model) if layout.mirror_counts else 0,
        other_models=others,
        repeated_vectors=frozenset(_repeated(connection, layout)),
    )


def _chosen_profile(
    connection: sqlite3.Connection, layout: Layout, active: str, wanted: ModelSignature | None
) -> tuple[str, ModelSignature | None]:
    """The active profile and its model; where that is not the wanted one, the only profile with vectors of it."""
    model = _model_of_profile(connection, layout, active)
    if wanted is None or model is None or model.matches(wanted):
        return active, model
    found = [(name, of) for name, of in _other_profiles(connection, layout, active) if of.matches(wanted)]
    return found[0] if len(found) == 1 else (active, model)


def _other_profiles(connection: sqlite3.Connection, layout: Layout, but: str) -> list[tuple[str, ModelSignature]]:
    """The other profiles that have vectors, with their models."""
    others = connection.execute(
        "SELECT DISTINCT profile_id FROM embedding_profile_vectors"
        " WHERE profile_id <> ? AND typeof(profile_id) = 'text'",
        (but,),
    ).fetchall()
    return [
        (name, of)
        for (name,) in others
        if is_storable(name) and (of := _model_of_profile(connection, layout, name)) is not None
    ]


def _models_of_others(
    connection: sqlite3.Connection, layout: Layout, profile: str, model: ModelSignature | None
) -> tuple[ModelSignature, ...]:
    """Models that the operator may choose among the other profiles: those of one profile alone."""
    found = [of for _, of in _other_profiles(connection, layout, profile)]
    return tuple(
        of
        for of in found
        if sum(of.matches(other) for other in found) == 1 and not (model is not None and of.matches(model))
    )


def _repeated(connection: sqlite3.Connection, layout: Layout) -> Iterator[str]:
    """Tables with several vectors for one memory: their key forbids it, and a rebuilt file may have lost the key."""
    for table, key in VECTOR_TABLES.items():
        names = key.split(", ")
        if all(layout.has(table, name) for name in names) and not _has_key(connection, table, set(names)):
            known = " AND ".join(f"{name} IS NOT NULL" for name in names)
            query = f"SELECT 1 FROM {table} WHERE {known} GROUP BY {key} HAVING COUNT(*) > 1 LIMIT 1"
            if connection.execute(query).fetchone():
                yield table


def _has_key(connection: sqlite3.Connection, table: str, names: set[str]) -> bool:
    """Whether the table itself forbids two rows with these columns equal: to count takes 25 ms for 100,000."""
    for _, index, unique, _, partial in connection.execute(f"PRAGMA index_list({table})").fetchall():
        columns = {name for _, _, name in connection.execute(f"PRAGMA index_info({quote_identifier(index)})")}
        if unique and not partial and columns <= names:
            return True
    return False


def _registered(connection: sqlite3.Connection, layout: Layout) -> ModelSignature | None:
    if not all(layout.has("embedding_model", column) for column in ("id", "name", "dimension")):
        return None
    hash_ = "hash" if layout.has("embedding_model", "hash") else "NULL"
    row = connection.execute(f"SELECT name, dimension, {hash_} FROM embedding_model WHERE id = 1").fetchone()
    return _signature(*row) if row else None


def _signature(name: object, dimension: object, hash_: object = None) -> ModelSignature | None:
    if not isinstance(name, str) or not is_storable(name) or not isinstance(dimension, int) or dimension < 1:
        return None
    return ModelSignature(name, dimension, hash_ if isinstance(hash_, str) and hash_ and is_storable(hash_) else None)


def _active_profile(connection: sqlite3.Connection, layout: Layout) -> str | None:
    needed = {
        "embedding_profile_state": ("singleton", "active_profile_id"),
        "embedding_profile_vectors": ("profile_id", "node_id", "embedding"),
    }
    if not all(layout.has(table, column) for table, columns in needed.items() for column in columns):
        return None
    row = connection.execute("SELECT active_profile_id FROM embedding_profile_state WHERE singleton = 1").fetchone()
    return row[0] if row and isinstance(row[0], str) and is_storable(row[0]) else None


def _model_of_profile(connection: sqlite3.Connection, layout: Layout, profile: str) -> ModelSignature | None:
    """The model that the profile names, else the one that most of its vectors name."""
    if all(layout.has("embedding_profiles", name) for name in ("profile_id", "model_id", "embedding_dimension")):
        row = connection.execute(
            "SELECT model_id, embedding_dimension FROM embedding_profiles WHERE profile_id = ?", (profile,)
        ).fetchone()
        if row and (found := _signature(*row)):
            return found
    return _commonest(connection, layout, "embedding_profile_vectors", "profile_id = ?", profile)


def _is_mirrored(connection: sqlite3.Connection, profile: str) -> bool:
    """Whether `node_embeddings` holds this profile's vectors. A file without the legacy profile does not say."""
    if profile == LEGACY_PROFILE:
        return True
    query = "SELECT 1 FROM embedding_profile_vectors WHERE profile_id = ? LIMIT 1"
    return connection.execute(query, (LEGACY_PROFILE,)).fetchone() is None


def _commonest(
    connection: sqlite3.Connection, layout: Layout, table: str, where: str, *parameters: str | int
) -> ModelSignature | None:
    """The (model, dimensions) that most rows of a table of vectors have; the first by name of equals."""
    if not (layout.has(table, "model") and layout.has(table, "dimensions")):
        return None
    row = connection.execute(
        f"SELECT model, dimensions FROM {quote_identifier(table)} WHERE {where} GROUP BY model, dimensions"
        " ORDER BY COUNT(*) DESC, model, dimensions LIMIT 1",
        parameters,
    ).fetchone()
    return _signature(*row) if row else None


def _commonest_length(connection: sqlite3.Connection, layout: Layout, mislabelled: Sequence[Mislabelled]) -> int | None:
    """The commonest dimension of vectors that no model is known of, the mislabelled ones left out; None where there are
    none."""
    for table in ("knowledge_nodes", "node_embeddings"):
        if not layout.has(table, "embedding"):
            continue
        wrong = is_one_of(mislabelled, "model", "embedding") if mislabelled and table == "node_embeddings" else "0"
        row = connection.execute(
            f"SELECT LENGTH(embedding) / 4 FROM {quote_identifier(table)} WHERE typeof(embedding) = 'blob'"
            f" AND LENGTH(embedding) > 0 AND LENGTH(embedding) % 4 = 0 AND NOT {wrong}"
            " GROUP BY LENGTH(embedding) ORDER BY COUNT(*) DESC, LENGTH(embedding) LIMIT 1"
        ).fetchone()
        if row:
            return int(row[0])
    return None
