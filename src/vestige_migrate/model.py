"""The embedding model that vectors are of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vestige_migrate.model_names import same_model


class Embedder(Protocol):
    """Anything that names an embedding model. The copy only compares it; it never embeds."""

    @property
    def name(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def hash(self) -> str | None: ...


@dataclass(frozen=True)
class ModelSignature:
    """An embedding model: its name, its vectors' length, and a hash of its weights where one is registered."""

    name: str
    dimension: int
    hash: str | None = None

    def matches(self, other: ModelSignature) -> bool:
        """Whether both name one model, in whichever spelling; a signature without a hash (inferred) compares name and
        dimension."""
        if self.dimension != other.dimension or not same_model(self.name, other.name):
            return False
        return self.hash is None or other.hash is None or self.hash == other.hash

    def __str__(self) -> str:
        known = f"hash {self.hash}" if self.hash is not None else "hash unknown"
        return f"{self.name} (dim {self.dimension}, {known})"
