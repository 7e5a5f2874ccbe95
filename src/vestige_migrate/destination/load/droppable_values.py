"""Which values of a refused row have to be left out so that PostgreSQL takes the rest of it."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from vestige_migrate.destination.load.staging import RowFields
from vestige_migrate.tables.base import Special, Table

Objection = Callable[[RowFields], psycopg.Error | None]
"""What PostgreSQL says against a row; None where it takes it."""


def without_refused(
    table: Table, fields: RowFields, objection: Objection
) -> tuple[RowFields, dict[int, psycopg.Error]] | None:
    """The row without the values that cannot be stored, and for each of their columns PostgreSQL's objection to it.

    None where the row is refused even without all that it can do without: asked first, so that a row which nothing
    helps (most are) costs one more try and no more.
    """
    values: dict[int, bytes] = {}
    row = list(fields)
    for at, column in enumerate(table.columns):
        if column.droppable and not isinstance(column.default, Special) and fields[at] != column.default:
            values[at], row[at] = fields[at], column.default
    if not values or objection(tuple(row)) is not None:
        return None
    lost: dict[int, psycopg.Error] = {}
    for at, value in values.items():
        without, row[at] = row[at], value
        error = objection(tuple(row))
        if error is not None:
            lost[at], row[at] = error, without
    return tuple(row), lost
