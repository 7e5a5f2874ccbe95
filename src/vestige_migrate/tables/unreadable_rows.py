"""Rows of a damaged source that cannot be read, and values that are missing from others, as errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vestige_migrate.report.rows import NIL_UUID, Outcome, RowError
from vestige_migrate.source.file.salvage import LostRow
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.layout.vectors import VECTOR_TABLES
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.base import Table
from vestige_migrate.tables.row_names import name_key
from vestige_migrate.tables.shapes import OURS, Shapes


@dataclass(frozen=True)
class LostErrors:
    """`rows` of a destination table are lost in the source; `errors` names them, and rows that lost their vector."""

    rows: int
    errors: tuple[RowError, ...]


NONE_LOST = LostErrors(0, ())


def errors_of_lost(
    lost: Iterable[LostRow], sources: Mapping[str, TableSource], shapes: Shapes = OURS
) -> dict[str, LostErrors]:
    """By destination table. A table of the source may be read for several; one that is read for none is left out."""
    lost = list(lost)
    found: dict[str, LostErrors] = {}
    seen: set[str] = set()
    for name, source in sources.items():
        rows = [row for row in lost if row.table == source.base and row.column is None]
        errors = [_error(shapes.table(name), source.key, row) for row in rows]
        if name == "knowledge_nodes":
            errors += [_without_vector(row) for row in lost if row.table in VECTOR_TABLES and row.table in source.joins]
        # Once, although the same row may be read for several tables.
        values = (
            [row for row in lost if row.table == source.base and row.column is not None]
            if source.base not in seen
            else []
        )
        seen.add(source.base)
        errors += [_without_value(shapes.table(name), source.key, row) for row in values]
        if errors:
            found[name] = LostErrors(len(rows), tuple(errors))
    return found


def tables_of_lost(lost: Iterable[LostRow], sources: Mapping[str, TableSource]) -> set[str]:
    """The tables of the source that lost rows and are read for no destination table."""
    read = {source.base for source in sources.values()}.union(VECTOR_TABLES)
    return {row.table for row in lost} - read


def errors_of_unplaced(lost: Iterable[LostRow], sources: Mapping[str, TableSource]) -> dict[str, tuple[RowError, ...]]:
    """By table of the source that is read for no destination table: its lost rows, which no archive can keep."""
    lost = list(lost)
    return {
        name: tuple(
            RowError(name, NIL_UUID, None, _message(row), Outcome.NOT_COPIED) for row in lost if row.table == name
        )
        for name in sorted(tables_of_lost(lost, sources))
    }


def _error(table: Table, key: tuple[str, ...], row: LostRow) -> RowError:
    values = row.evaluate(key)
    id_ = name_key(table, values) if values is not None else NIL_UUID
    return RowError(table.name, id_, None, _message(row), Outcome.NOT_COPIED)


def _without_value(table: Table, key: tuple[str, ...], row: LostRow) -> RowError:
    values = row.evaluate(key)
    id_ = name_key(table, values) if values is not None else NIL_UUID
    message = f"{row.column} of row {row.rowid} of the source's {row.table} cannot be read ({row.reason})"
    return RowError(table.name, id_, row.column, message, Outcome.COPIED_WITHOUT_VALUE)


def _without_vector(row: LostRow) -> RowError:
    values = row.evaluate(('n."node_id"',))
    id_ = name_key(TABLES["knowledge_nodes"], values) if values is not None else NIL_UUID
    return RowError("knowledge_nodes", id_, "embedding", _message(row), Outcome.COPIED_WITHOUT_VALUE)


def _message(row: LostRow) -> str:
    if row.rowid is None:
        return f"rows of the source's {row.table} cannot be read, nor how many ({row.reason})"
    return f"row {row.rowid} of the source's {row.table} cannot be read ({row.reason})"
