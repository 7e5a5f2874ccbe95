"""The embedding model: does the destination say of its vectors what the sources say of theirs?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vestige_migrate.destination.schema.registry import column_dimension
from vestige_migrate.destination.schema.schema_check import REGISTRY
from vestige_migrate.limits import MAX_DIMENSION
from vestige_migrate.model_names import same_model
from vestige_migrate.report.verification import Difference, Kind
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.verify.destination import OpenDestination

_ROW = "1"
"""The one id that the registry has."""


def registry_differences(destination: OpenDestination, layouts: Sequence[Layout]) -> list[Difference]:
    """What differs of the registry's row, and of the dimension of the vector column; each said once."""
    found = [
        difference
        for layout in layouts
        for difference in (*_of_registry(destination, layout), *_of_column(destination, layout))
    ]
    return list(dict.fromkeys(found))


def _of_registry(destination: OpenDestination, layout: Layout) -> Iterator[Difference]:
    model, registered = layout.model, destination.registered
    if model is None:
        return
    if registered is None:
        yield Difference(REGISTRY, _ROW, Kind.MISSING)
        return
    # A model that was inferred from the vectors has no hash to compare.
    compared = ["name", "dimension", *(["hash"] if model.hash is not None else [])]
    columns = [name for name in compared if getattr(model, name) != getattr(registered, name)]
    if same_model(model.name, registered.name):
        columns = [name for name in columns if name != "name"]  # two spellings of one
    if columns:
        detail = ""
        if columns == ["hash"] and registered.hash is None:
            detail = "different in hash: it has none, and the source has one"
        yield Difference(REGISTRY, _ROW, Kind.DIFFERENT, tuple(columns), detail)


def _of_column(destination: OpenDestination, layout: Layout) -> Iterator[Difference]:
    wanted = layout.dimension or (layout.model.dimension if layout.model else None)
    if wanted is None or wanted > MAX_DIMENSION:  # longer ones the column cannot have
        return
    declared = column_dimension(destination.main)
    if declared != wanted:
        has = f"is vector({declared})" if declared else "is vector without a dimension"
        yield Difference(
            "knowledge_nodes", "embedding", Kind.SCHEMA, detail=f"{has}, the source's vectors have {wanted}"
        )
