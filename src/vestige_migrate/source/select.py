"""How one destination table is read from the source: a FROM clause and one expression for each wanted value."""

from __future__ import annotations

from dataclasses import dataclass

EVERY_ROW = "1"
"""The condition that holds for every row."""


def quote_identifier(name: str) -> str:
    """An SQLite identifier, quoted. Names come from the source file, so they are never trusted."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def quote_text(value: str) -> str:
    """An SQLite string literal."""
    escaped = value.replace("'", "''")
    return f"'{escaped}'"


@dataclass(frozen=True)
class TableSource:
    """Where a destination table's rows come from.

    `base` is the physical table, named `n` in every expression; `joins` hangs others on it, one row each at the
    most. `values` has one SQL expression a destination column (None where the source has nothing for it: the column
    takes its default). `extras` are columns with no place of their own, kept under `metadata.sqlite`. `key` has the
    expressions of the destination's primary key, `order` the columns that split the table into ranges. `dropped`
    are columns with no place at all.
    """

    base: str
    values: tuple[str | None, ...]
    key: tuple[str, ...]
    joins: str = ""
    order: tuple[str, ...] = ("rowid",)
    extras: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def from_clause(self) -> str:
        """FROM, with the base table as `n`."""
        return f"FROM {quote_identifier(self.base)} AS n {self.joins}"


def column(name: str, alias: str = "n") -> str:
    """A column as an expression."""
    return f"{alias}.{quote_identifier(name)}"
