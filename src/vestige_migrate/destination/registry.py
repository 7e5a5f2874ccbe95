"""The destination's embedding model: read, compared, stamped."""

from __future__ import annotations

from psycopg import sql

from vestige_migrate.destination.connect import Connection
from vestige_migrate.errors import DestinationUnusable, ModelMismatch
from vestige_migrate.plan import MAX_DIMENSION, ModelSignature


def read_registry(connection: Connection) -> ModelSignature | None:
    """The registered model, or None where there is no registry yet or no row in it."""
    if connection.execute("SELECT to_regclass('embedding_model')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT name, dimension, hash FROM embedding_model WHERE id = 1").fetchone()
    return ModelSignature(*row) if row else None


def column_dimension(connection: Connection) -> int | None:
    """The dimension N of `embedding vector(N)`; None where there is no table, or no N yet."""
    row = connection.execute(
        "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass('knowledge_nodes')"
        " AND attname = 'embedding' AND NOT attisdropped"
    ).fetchone()
    return int(row[0]) if row and row[0] > 0 else None


def check_models(
    source: ModelSignature | None, embedder: ModelSignature | None, destination: ModelSignature | None
) -> None:
    """Raises `ModelMismatch` where two of the three that are known differ."""
    if source is not None:
        if embedder is not None and not source.matches(embedder):
            raise ModelMismatch(source, embedder, "embedder")
        if destination is not None and not source.matches(destination):
            raise ModelMismatch(source, destination, "destination")
    elif embedder is not None and destination is not None and not embedder.matches(destination):
        raise ModelMismatch(embedder, destination, "destination")


def check_dimension(wanted: int | None, found: int | None) -> None:
    """Raises `DestinationUnusable` where the column has another dimension than the vectors."""
    if wanted is not None and found is not None and wanted != found:
        raise DestinationUnusable(
            f"knowledge_nodes.embedding in the destination is vector({found}), and the source's vectors have "
            f"{wanted} dimensions: copy into another database, or re-embed one of the two"
        )


def stamp(connection: Connection, model: ModelSignature | None, dimension: int | None) -> None:
    """Registers the model and gives the vector column its dimension, where they have none yet.

    A dimension that pgvector cannot store is left out of the column: the decoder refuses each such vector.
    """
    with connection.transaction():
        if model is not None:
            connection.execute(
                "INSERT INTO embedding_model (id, name, dimension, hash) VALUES (1, %s, %s, %s)"
                " ON CONFLICT (id) DO NOTHING",
                (model.name, model.dimension, model.hash),
            )
        storable = dimension is not None and dimension <= MAX_DIMENSION
        if storable and column_dimension(connection) is None:
            connection.execute(
                sql.SQL("ALTER TABLE knowledge_nodes ALTER COLUMN embedding TYPE vector({})").format(
                    sql.Literal(dimension)
                )
            )
