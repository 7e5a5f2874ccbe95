"""What becomes of vectors that are longer than most: how they are indexed, or why not, or that they do not fit."""

from __future__ import annotations

import shlex

from loguru import logger

from vestige_migrate.destination.schema.vector_index import Form, forms
from vestige_migrate.limits import MAX_DIMENSION
from vestige_migrate.plan import Indexes, SqliteToPostgresPlan
from vestige_migrate.source.layout.layout import Layout

_MORE = "docs/schema.md has how to search"


def say_outlook(layout: Layout, dimension: int | None, pgvector: str | None, plan: SqliteToPostgresPlan) -> None:
    """One line, and none for vectors of up to 2,000 dimensions.

    `dimension` is that of the destination's vectors, `pgvector` the version that it has, or would be given.
    """
    if layout.dimension is not None and layout.dimension > MAX_DIMENSION:
        _say_lost(layout, layout.dimension, plan.dry_run)
    elif dimension is not None and Form.WHOLE.longest < dimension <= MAX_DIMENSION and plan.indexes is not Indexes.NONE:
        _say_form(dimension, pgvector or "0", plan.dry_run)


def _say_lost(layout: Layout, dimension: int, dry_run: bool) -> None:
    fitting = [model for model in layout.other_models if model.dimension <= MAX_DIMENSION]
    logger.warning(
        "the source's vectors have {:,} dimensions, and pgvector stores at most {:,}: the memories {} without them, "
        "each of which is reported. Keep the file, and {}",
        dimension,
        MAX_DIMENSION,
        "would come over" if dry_run else "come over",
        "copy the vectors of a model that fits, which the source has too: --embedding-model "
        + shlex.quote(fitting[0].name)
        + f" --embedding-dimension {fitting[0].dimension}"
        if fitting
        else "let Vestige re-embed the memories in it with another model first",
    )


def _say_form(dimension: int, pgvector: str, dry_run: bool) -> None:
    found = forms(dimension, pgvector)
    if not found:
        logger.warning(
            "no HNSW index: pgvector {} indexes at most {:,} dimensions, the vectors have {:,}, and a search has to "
            "read them all. Version 0.7 or newer indexes them: install it on the server, run ALTER EXTENSION vector "
            "UPDATE, then this command again",
            pgvector,
            Form.WHOLE.longest,
            dimension,
        )
        return
    how = {
        Form.HALVES: "in half precision (halfvec)",
        Form.BITS: "by the signs of their numbers (bit), which finds a shortlist that is put in order by the vectors",
    }[found[0]]
    logger.info(
        "vectors of {:,} dimensions {} {}: {}", dimension, "would be indexed" if dry_run else "are indexed", how, _MORE
    )
