"""Which embedding model the vectors of several files are of, and whether they may go into one destination."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from vestige_migrate.destination.schema.registry import UNNAMED
from vestige_migrate.errors import PlanError, SourcesMismatch
from vestige_migrate.model import ModelSignature
from vestige_migrate.prepare.source import FoundSource, PreparedSource
from vestige_migrate.source.layout.layout import Layout


def check_sources(found: Sequence[FoundSource]) -> None:
    """Raises `PlanError` where a file is given twice, and `SourcesMismatch` where two have vectors of two models."""
    for one, other in combinations(found, 2):
        if one.path.samefile(other.path):
            named = str(one.path) if one.path == other.path else f"{one.path} and {other.path}"
            raise PlanError(f"--sqlite-path names one file twice: {named}. Give each file once")
        first, second = signature(one.layout), signature(other.layout)
        if first is None or second is None:
            continue
        named_both = UNNAMED not in (first.name, second.name)
        if not first.matches(second) if named_both else first.dimension != second.dimension:
            choices = (
                *filter(first.matches, other.layout.other_models),
                *filter(second.matches, one.layout.other_models),
            )
            raise SourcesMismatch(str(one.path), first, str(other.path), second, next(iter(choices), None))


def signature(layout: Layout) -> ModelSignature | None:
    """The model of a file's vectors; one without a name where only their length is known."""
    if layout.model is None and layout.dimension is not None:
        return ModelSignature(UNNAMED, layout.dimension)
    return layout.model


def telling_layout(sources: Sequence[FoundSource | PreparedSource]) -> Layout:
    """The layout that says most about the model of all of them: with a hash, else a name, else a dimension."""

    def rank(layout: Layout) -> tuple[bool, bool, bool]:
        model = layout.model
        return model is not None and model.hash is not None, model is not None, layout.dimension is not None

    return max((item.layout for item in sources), key=rank)
