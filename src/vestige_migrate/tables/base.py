"""What a destination table is: its columns with their encoders, key and parents, and where its rows come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import LiteralString

from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.tables.column_types import ColumnType, PlainForm

BOOTSTRAP_USER = "00000000-0000-0000-0000-000000000001"
"""The user `local` that exists on both sides (docs/versions.md)."""


class Null(Enum):
    """What NULL in the source means for a column."""

    KEPT = "kept"
    DEFAULT = "the column's default, silently: the source had no value"
    ERROR = "the column's default, and an error: the source should have had a value"


class Special(Enum):
    """Defaults that are known only when the copy runs."""

    RUN_START = "the moment the run started"


@dataclass(frozen=True)
class Column:
    """One destination column.

    `default` is a COPY field that stands in for a missing or bad value. A bad value in a `required` column keeps its
    row from being copied. `twin` names the column whose value stands in first. `droppable` columns are emptied, one
    after the other, where PostgreSQL refuses a row for a reason no decoder foresaw, so that the memory itself is not
    lost. `instead`: a field, and what is written in the place of it. `one_by_one`: its values are never plain.
    """

    name: str
    type: ColumnType
    default: bytes | Special
    null: Null = Null.KEPT
    required: bool = False
    twin: str | None = None
    droppable: bool = False
    instead: tuple[bytes, bytes] | None = None
    one_by_one: bool = False

    @property
    def pg_type(self) -> str:
        """The PostgreSQL type."""
        return self.type.pg_type

    @property
    def form(self) -> PlainForm | None:
        """How its values are when there is nothing odd about them; None where they are always read one by one."""
        return None if self.one_by_one else self.type.form


@dataclass(frozen=True)
class Parent:
    """A foreign key: `column` refers to `table.parent_column`."""

    column: str
    table: str
    parent_column: str
    constraint: str


class Evidence(Enum):
    """What says that a row of the source is to take the place of the one that is there."""

    LATER = "the value of the column is greater"
    DIFFERENT = "the value of the column is another"
    REVIEWED = "the first column is greater, or equal and the sum of the others is greater"
    SAME_TIME = "the first column is equal, and the second is not NULL and another"
    AS_COPIED = "nothing; the destination's row is as a copy of the same files wrote it"
    AS_COPIED_WHOLE = "nothing; the same, also where the source has no vector"
    ALWAYS = "nothing; the source's row counts"


@dataclass(frozen=True)
class Refresh:
    """How `--on-conflict newer` treats a row that the destination has already.

    The columns `decides` are compared as `evidence` says. Then `columns` take the source's values. `companion` is a
    table whose row of the same key is replaced in the same transaction, unless by its own rule the one that is there
    is the later one.
    """

    evidence: Evidence
    decides: tuple[str, ...]
    columns: tuple[str, ...]
    companion: str | None = None


@dataclass(frozen=True)
class StoredColumn:
    """A column of a table that somebody else made: what fills it, an SQL expression over our columns (of `s`)."""

    name: LiteralString
    pg_type: str
    written: LiteralString


@dataclass(frozen=True)
class Stored:
    """How a destination that somebody else made keeps the rows of a table, where that is not column by column.

    `columns` are what it has in the place of ours, `own` those that it fills by itself, `read` the SQL expression over
    them (of `o`) that gives back each of ours, in the order of `Table.columns`. No constraint keeps two rows of one key
    apart there: whoever inserts asks first. A column of ours that is indexed is `renamed` in its statement.
    """

    columns: tuple[StoredColumn, ...]
    own: tuple[LiteralString, ...]
    read: tuple[LiteralString, ...]
    renamed: tuple[tuple[LiteralString, LiteralString], ...] = ()


@dataclass(frozen=True)
class Table:
    """One destination table. `columns` are in COPY order, key columns included.

    `named_by` are the columns of the key by which a row is named to people; empty: all of them. `stored`: see there;
    None where the table has the columns as they are.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    source_in: Callable[[Layout], TableSource | None]
    parents: tuple[Parent, ...] = ()
    refresh: Refresh | None = None
    refresh_vector: Refresh | None = None
    """How a vector is treated whose row `refresh` calls neither later nor earlier."""
    named_by: tuple[str, ...] = ()
    stored: Stored | None = None
    unique: str | None = None
    """A column besides the key whose values PostgreSQL keeps apart."""
    checked: str | None = None
    """A column whose values a CHECK constraint names."""

    def refresh_from(self, source: TableSource) -> Refresh | None:
        """The refresh rule; None where there is none, or where the source lacks a column that decides."""
        return self._applicable(self.refresh, source)

    def refresh_vector_from(self, source: TableSource) -> Refresh | None:
        """The same of the rule for vectors."""
        return self._applicable(self.refresh_vector, source)

    def _applicable(self, rule: Refresh | None, source: TableSource) -> Refresh | None:
        if rule is None or any(source.values[self.index(name)] is None for name in rule.decides):
            return None
        return rule

    def whole_row(self, evidence: Evidence, source: TableSource) -> Refresh:
        """A rule for all that the source can say of a row: not of a time that would be the start of the run."""
        names = tuple(
            column.name
            for column, value in zip(self.columns, source.values, strict=True)
            if column.name not in self.key and (value is not None or not isinstance(column.default, Special))
        )
        return Refresh(evidence, decides=names, columns=names)

    def index(self, column: str) -> int:
        """The position of a column in `columns`. Raises ValueError where it has none."""
        return self.column_names.index(column)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of `columns`."""
        return tuple(column.name for column in self.columns)

    @property
    def stored_columns(self) -> dict[str, str]:
        """The columns that the destination has to have for this table, with their types."""
        if self.stored is None:
            return {column.name: column.pg_type for column in self.columns}
        return {column.name: column.pg_type for column in self.stored.columns}

    def names_rows_by(self, part: str) -> bool:
        """Whether a row's name has this part of its key."""
        return part in (self.named_by or self.key)

    @property
    def key_types(self) -> tuple[str, ...]:
        """The PostgreSQL types of the key columns."""
        return tuple(self.columns[self.index(name)].pg_type for name in self.key)


def plain_source(
    layout: Layout, physical: str, columns: tuple[Column, ...], key: tuple[str, ...], **renamed: str
) -> TableSource | None:
    """A source that has the destination's columns by name, or by the name that `renamed` gives.

    None where the file has no such table, or one without the key: a table that only shares the name stays behind.
    Its other columns are kept under `metadata.sqlite` where the destination table has metadata, else they are dropped.
    """
    from vestige_migrate.source.sqlite.quoting import column as expression

    if not all(layout.has(physical, renamed.get(name, name)) for name in key):
        return None
    physical_names = [renamed.get(item.name, item.name) for item in columns]
    present = set(layout.tables[physical])
    of_columns = tuple(name if name in present else None for name in physical_names)
    values = tuple(expression(name) if name is not None else None for name in of_columns)
    keys = tuple(expression(renamed.get(name, name)) for name in key)
    others = tuple(name for name in layout.tables[physical] if name not in physical_names)
    if any(item.name == "metadata" for item in columns):
        return TableSource(base=physical, values=values, key=keys, extras=others, of_columns=of_columns)
    return TableSource(base=physical, values=values, key=keys, dropped=others, of_columns=of_columns)


def with_nothing(source: TableSource, columns: tuple[Column, ...], **nothing: str) -> TableSource:
    """The source with NULL where a column has the SQL literal that is written for nothing. In C it costs nothing."""
    values = tuple(
        f"NULLIF({value}, {nothing[item.name]})" if value is not None and item.name in nothing else value
        for item, value in zip(columns, source.values, strict=True)
    )
    return replace(source, values=values)
