"""The destination's embedding model: read, compared, stamped."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours, relation
from vestige_migrate.destination.schema.read_back import naming, not_kept
from vestige_migrate.errors import DestinationUnusable, ModelMismatch
from vestige_migrate.limits import MAX_DIMENSION
from vestige_migrate.model import ModelSignature

UNNAMED = "a model that the file does not name"
"""Stands for the name where a source has vectors and says nowhere which model made them."""

_MEMORIES = relation("'knowledge_nodes'")
_REGISTRY = relation("'embedding_model'")


def read_registry(connection: Connection) -> ModelSignature | None:
    """The registered model, or None where there is no registry yet or no row in it."""
    if connection.execute(sql.SQL("SELECT {}").format(_REGISTRY)).fetchone() == (None,):
        return None
    query = sql.SQL("SELECT name, dimension, hash FROM {} WHERE id = 1").format(ours(connection, "embedding_model"))
    row = connection.execute(query).fetchone()
    return ModelSignature(*row) if row else None


def column_dimension(connection: Connection) -> int | None:
    """The dimension N of `embedding vector(N)`; None where there is no table, or no N yet."""
    row = connection.execute(
        sql.SQL(
            "SELECT atttypmod FROM pg_attribute WHERE attrelid = {} AND attname = 'embedding' AND NOT attisdropped"
        ).format(_MEMORIES)
    ).fetchone()
    return int(row[0]) if row and row[0] > 0 else None


def check_models(
    source: ModelSignature | None,
    dimension: int | None,
    embedder: ModelSignature | None,
    destination: ModelSignature | None,
    others: Sequence[ModelSignature] = (),
) -> None:
    """Raises `ModelMismatch` where two of the three that are known differ.

    `others` are models that the source has vectors of as well. `dimension` is the length of the source's vectors, which
    may be known where their model is not.
    """
    if source is None and dimension is not None:
        for other, role in ((embedder, "embedder"), (destination, "destination")):
            if other is not None and other.dimension != dimension:
                raise ModelMismatch(ModelSignature(UNNAMED, dimension), other, role)
    known = [
        (role, model)
        for role, model in (("source", source), ("embedder", embedder), ("destination", destination))
        if model is not None
    ]
    for (role, model), (other_role, other) in combinations(known, 2):
        if not model.matches(other):
            can_choose = other_role == "destination" and role == "source" and any(map(other.matches, others))
            raise ModelMismatch(model, other, other_role, role, can_choose)


def check_column(connection: Connection, dimension: int | None) -> None:
    """Raises `DestinationUnusable` where the vector column cannot take vectors of this dimension. Writes nothing."""
    if dimension is None:
        return
    declared = column_dimension(connection)
    if declared is not None and declared != dimension:
        raise DestinationUnusable(
            f"knowledge_nodes.embedding in the destination is vector({declared}), and the vectors to be copied have "
            f"{dimension} dimensions: copy into another database, or re-embed one of the two"
        )
    found = _other_length_stored(connection, dimension) if declared is None else None
    if found is not None:
        raise DestinationUnusable(
            f"knowledge_nodes.embedding in the destination holds vectors of {found} dimensions, and the vectors to be "
            f"copied have {dimension}: copy into another database, or re-embed one of the two"
        )


def _other_length_stored(connection: Connection, dimension: int) -> int | None:
    """The length of a stored vector that is not `dimension` long; None where there is none, or no such column."""
    exists = connection.execute(
        sql.SQL(
            "SELECT 1 FROM pg_attribute WHERE attrelid = {} AND attname = 'embedding'"
            " AND atttypid = to_regtype('vector') AND NOT attisdropped"
        ).format(_MEMORIES)
    ).fetchone()
    if exists is None:
        return None
    row = connection.execute(
        sql.SQL("SELECT vector_dims(embedding) FROM {} WHERE vector_dims(embedding) <> %s LIMIT 1").format(
            ours(connection, "knowledge_nodes")
        ),
        (dimension,),
    ).fetchone()
    return int(row[0]) if row else None


def with_hash(
    connection: Connection, model: ModelSignature | None, embedder: ModelSignature | None
) -> ModelSignature | None:
    """The model that is to be registered, with the embedder's hash where it has none and the table demands one.

    Raises `DestinationUnusable` where nobody gave it. The two name one model (`check_models`).
    """
    if model is None or model.hash is not None or not _demands_hash(connection):
        return model
    if embedder is not None and embedder.hash is not None:
        return replace(model, hash=embedder.hash)
    raise DestinationUnusable(
        f"embedding_model.hash in the destination must not be NULL, and no hash of {model.name} is known: give the "
        f"one that your agent uses, with --embedding-model {shlex.quote(model.name)} --embedding-dimension "
        f"{model.dimension} --embedding-hash HASH"
    )


def _demands_hash(connection: Connection) -> bool:
    query = sql.SQL(
        "SELECT a.attnotnull OR EXISTS (SELECT FROM pg_constraint AS c WHERE c.conrelid = a.attrelid"
        "   AND c.contype = 'c' AND a.attnum = ANY (c.conkey)"
        "   AND pg_get_constraintdef(c.oid) ~* '\\mhash\\M\"? IS NOT NULL')"
        " FROM pg_attribute AS a WHERE a.attrelid = {} AND a.attname = 'hash'"
    ).format(_REGISTRY)
    row = connection.execute(query).fetchone()
    return row == (True,)


def stamp(connection: Connection, model: ModelSignature | None, dimension: int | None) -> None:
    """Registers the model and gives the vector column its dimension, where they have none yet.

    A registry that has this model without a hash gets it.

    A dimension that pgvector cannot store is left out of the column: the decoder refuses each such vector.
    Raises `WriteNotKept` where the destination does not have them afterwards; nothing is stamped then.
    """
    with naming("the model in embedding_model"), connection.transaction():
        if model is not None:
            found = read_registry(connection)
            if found is None:  # else a NULL hash would be refused where none may be, whatever row is there
                connection.execute(
                    sql.SQL(
                        "INSERT INTO {} (id, name, dimension, hash) VALUES (1, %s, %s, %s) ON CONFLICT (id) DO NOTHING"
                    ).format(ours(connection, "embedding_model")),
                    (model.name, model.dimension, model.hash),
                )
                found = read_registry(connection)
            if found is None or not model.matches(found):
                raise not_kept("the model in embedding_model")
            if found.hash is None and model.hash is not None:
                _complete_hash(connection, model.hash)
        storable = dimension is not None and dimension <= MAX_DIMENSION
        if storable and column_dimension(connection) is None:
            connection.execute(
                sql.SQL("ALTER TABLE {} ALTER COLUMN embedding TYPE vector({})").format(
                    ours(connection, "knowledge_nodes"), sql.Literal(dimension)
                )
            )
            if column_dimension(connection) != dimension:
                raise not_kept("the dimension of knowledge_nodes.embedding")


def _complete_hash(connection: Connection, hash_: str) -> None:
    """Where this role may: without it the registry is as good as it was, and `verify` names what it lacks."""
    may = connection.execute(
        sql.SQL("SELECT has_column_privilege({}::oid, 'hash', 'UPDATE')").format(_REGISTRY)
    ).fetchone()
    if may == (True,):
        update = sql.SQL("UPDATE {} SET hash = %s WHERE id = 1 AND hash IS NULL")
        connection.execute(update.format(ours(connection, "embedding_model")), (hash_,))
