"""What a source file holds, in a form small enough to hand to every worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vestige_migrate.plan import ModelSignature


@dataclass(frozen=True)
class Layout:
    """Tables and columns of a source, its version and line, and the model its vectors belong to.

    `model_registered` is False where `model` was inferred from the vectors; `dimension` is the length of the
    vectors that come over (None where there are none). `vector_model` is the model name that `node_embeddings` rows
    must carry to come over (None: any). `active_profile` is the profile whose vectors win, from released V28 on;
    `mirror_counts` says whether `node_embeddings` may stand in for it. `repeated_vectors` are the tables of vectors
    that have several rows for one memory, as a rebuilt file without its keys may.
    """

    tables: Mapping[str, tuple[str, ...]]
    version: int
    lineage: str
    model: ModelSignature | None = None
    model_registered: bool = False
    dimension: int | None = None
    vector_model: str | None = None
    active_profile: str | None = None
    mirror_counts: bool = True
    repeated_vectors: frozenset[str] = frozenset()

    def has(self, table: str, column: str | None = None) -> bool:
        """Whether the table, and the column in it, exist."""
        columns = self.tables.get(table)
        return columns is not None and (column is None or column in columns)
