"""What a source file holds, in a form small enough to hand to every worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vestige_migrate.model import ModelSignature


@dataclass(frozen=True)
class Mislabelled:
    """`count` vectors of so many floats, under a name whose vectors have another number of them."""

    name: str
    floats: int
    count: int


class Lineage(StrEnum):
    """The line of development that a file is of (docs/versions.md)."""

    SHARED = "shared"
    """Before the lines parted."""
    PLAN = "plan"
    RELEASED = "released"
    FORK = "fork"


@dataclass(frozen=True)
class Layout:
    """Tables and columns of a source, its version and line, and the model its vectors belong to.

    `model_registered` is False where `model` was inferred from the vectors; `dimension` is the length of the
    vectors that come over (None where there are none). `vector_labels` are the model names of which a row of
    `node_embeddings` must carry one to come over (None: any). `mislabelled` are rows of it whose name is known to be
    wrong, `shortened` is how many come over shortened, `other_models` are models that others name. `active_profile` is
    the profile whose vectors win, from released V28 on; `mirror_counts` says whether `node_embeddings` may stand in for
    it. `repeated_vectors` are the tables of vectors that have several rows for one memory, as a rebuilt file without
    its keys may.
    """

    tables: Mapping[str, tuple[str, ...]]
    version: int
    lineage: Lineage
    model: ModelSignature | None = None
    model_registered: bool = False
    dimension: int | None = None
    vector_labels: tuple[str, ...] | None = None
    mislabelled: tuple[Mislabelled, ...] = ()
    shortened: int = 0
    other_models: tuple[ModelSignature, ...] = ()
    active_profile: str | None = None
    mirror_counts: bool = True
    repeated_vectors: frozenset[str] = frozenset()

    def has(self, table: str, column: str | None = None) -> bool:
        """Whether the table, and the column in it, exist."""
        columns = self.tables.get(table)
        return columns is not None and (column is None or column in columns)
