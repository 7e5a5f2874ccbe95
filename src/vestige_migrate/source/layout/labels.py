"""The names that the vectors in `node_embeddings` carry: which of them are of one model, and which model counts."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vestige_migrate.decode.text import is_storable
from vestige_migrate.model import ModelSignature
from vestige_migrate.model_names import SHORT_DIMENSION, can_shorten, families, is_mislabelled, same_model, spellings
from vestige_migrate.source.layout.layout import Layout, Mislabelled

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Label:
    """So many vectors with this name and dimension; `floats` is how long they are."""

    name: str
    dimension: int
    floats: int
    count: int

    @property
    def is_wrong(self) -> bool:
        """Whether the vectors are known not to be of the model that they name."""
        return is_mislabelled(self.name, self.floats)


class Labels:
    """The labels of one file. Those that PostgreSQL cannot store name no model and are left out."""

    def __init__(self, labels: Sequence[Label]) -> None:
        self._labels = sorted(labels, key=lambda label: (-label.count, label.name, label.dimension))
        self._names = frozenset(label.name for label in labels)

    @classmethod
    def of(cls, connection: sqlite3.Connection, layout: Layout) -> Labels:
        """What the file's rows say; nothing where it has no such columns."""
        if not all(layout.has("node_embeddings", name) for name in ("model", "dimensions")):
            return cls([])
        blob = layout.has("node_embeddings", "embedding")
        floats = f"CASE typeof(embedding) WHEN 'blob' THEN LENGTH(embedding) / {_FLOAT_BYTES} END" if blob else "NULL"
        label, table = ("model", "dimensions", floats), "node_embeddings NOT INDEXED"
        # Most files have one: to see that takes 0.05 s of CPU for 100,000 vectors, to sort them into groups 0.3 s.
        other = " OR ".join(f"({part}) IS NOT (SELECT {part} FROM {table} LIMIT 1)" for part in label)
        (several,) = connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE {other})").fetchone()
        groups = f"GROUP BY {', '.join(label)}" if several else ""
        rows = connection.execute(f"SELECT {', '.join(label)}, COUNT(*) FROM {table} {groups}")
        return cls(
            [
                Label(name, dimension, dimension if long is None else long, count)
                for name, dimension, long, count in rows
                if count
                and isinstance(name, str)
                and is_storable(name)
                and isinstance(dimension, int)
                and dimension > 0
            ]
        )

    def choose(self, wanted: ModelSignature | None) -> ModelSignature | None:
        """The wanted model where vectors carry a name of it, as the caller spells it; else None. It has no hash: whose
        the vectors are is known by their label alone."""
        if wanted is None:
            return None
        names = spellings(wanted.name, self._names)
        fits = any(label.name in names and _fits(label, wanted.dimension) for label in self._labels)
        return replace(wanted, hash=None) if fits else None

    def commonest(self) -> ModelSignature | None:
        """The model and dimension that most vectors have, by its commonest name; wrong labels do not count.

        Of a model whose long vectors come over shortened the short ones count, wherever there are any.
        """
        found = _families([label for label in self._labels if not label.is_wrong])
        counted: Counter[tuple[int, int]] = Counter()
        for at, family in enumerate(found):
            has_short = any(label.dimension == SHORT_DIMENSION for label in family)
            for label in family:
                shortens = has_short and can_shorten(label.name, label.dimension, SHORT_DIMENSION)
                counted[at, SHORT_DIMENSION if shortens else label.dimension] += label.count
        if not counted:
            return None
        at, dimension = min(counted, key=lambda key: (-counted[key], found[key[0]][0].name, key[1]))
        names: Counter[str] = Counter()
        for label in found[at]:
            names[label.name] += label.count * (label.dimension == dimension)
        return ModelSignature(min(names, key=lambda name: (-names[name], name)), dimension)

    def accepted(self, model: ModelSignature | None) -> tuple[str, ...] | None:
        """The names that a row must carry to be of the model; None where it does not matter.

        Where no row carries a name of it, the two places merely name it differently: then the commonest name among
        vectors of its dimension is meant.
        """
        if model is None:
            return None
        found = spellings(model.name, self._names)
        if not found:
            same_length = [label for label in self._labels if label.dimension == model.dimension and not label.is_wrong]
            found = spellings(same_length[0].name, self._names) if same_length else frozenset()
        # The commonest ones, since they become part of a statement: nobody writes one name in a hundred ways.
        names = dict.fromkeys(label.name for label in self._labels if label.name in found)
        return tuple(names)[:_MOST_SPELLINGS] or None

    def mislabelled(self, model: ModelSignature | None) -> tuple[Mislabelled, ...]:
        """Vectors under a name that is known to be wrong, but for those that the model itself is said to be."""
        return tuple(
            Mislabelled(label.name, label.floats, label.count)
            for label in self._labels
            if label.is_wrong and not (model and model.dimension == label.floats and same_model(model.name, label.name))
        )[:_MOST_SPELLINGS]

    def shortened(self, model: ModelSignature | None) -> int:
        """How many vectors come over shortened to the model's dimension."""
        names = self.accepted(model) or ()
        return sum(
            label.count
            for label in self._labels
            if model and label.name in names and can_shorten(label.name, label.floats, model.dimension)
        )

    def others(self, model: ModelSignature | None) -> tuple[ModelSignature, ...]:
        """Models other than that one which vectors name, the commonest first: the operator may choose among them."""
        honest = [label for label in self._labels if not label.is_wrong]
        found = [ModelSignature(label.name, label.dimension) for label in honest]
        found += [
            replace(of, dimension=SHORT_DIMENSION)
            for of in found
            if can_shorten(of.name, of.dimension, SHORT_DIMENSION)
        ]
        return tuple(dict.fromkeys(other for other in found if model is None or not other.matches(model)))[:_MOST_NAMED]


_MOST_NAMED = 20
_MOST_SPELLINGS = 100


def _fits(label: Label, dimension: int) -> bool:
    return label.dimension == dimension or can_shorten(label.name, label.floats, dimension)


def _families(labels: Sequence[Label]) -> list[list[Label]]:
    """Labels of one model each, in their order."""
    by_name: defaultdict[str, list[Label]] = defaultdict(list)
    for label in labels:
        by_name[label.name].append(label)
    found = [[label for name in names for label in by_name[name]] for names in families(by_name)]
    return [sorted(family, key=lambda label: -label.count) for family in found]
