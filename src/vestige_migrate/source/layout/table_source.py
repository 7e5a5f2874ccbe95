"""How one destination table is read from the source: a FROM clause and one expression for each wanted value."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vestige_migrate.source.sqlite.quoting import quote_identifier

EVERY_ROW = "1"
"""The condition that holds for every row."""


_BY_ROWID = ("rowid",)


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
    order: tuple[str, ...] = _BY_ROWID
    extras: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    of_columns: tuple[str | None, ...] = ()
    """For each of `values` the column of the base table that it is, but for what stands in the place of some: its type
    is what that column has. None where it is another expression, which knows what it yields."""

    @property
    def base_clause(self) -> str:
        """FROM the base table alone, as `n`. Where rows are found by their rowid, by no index: one may lack rows."""
        return f"FROM {quote_identifier(self.base)} AS n{' NOT INDEXED' if self.order == _BY_ROWID else ''}"

    @property
    def from_clause(self) -> str:
        """FROM, with the base table as `n` and what is joined to it."""
        return f"{self.base_clause} {self.joins}"

    @property
    def lookup_clause(self) -> str:
        """FROM for rows that are found by their key."""
        return f"FROM {quote_identifier(self.base)} AS n {self.joins}"

    def rows_clause(self, where: str) -> str:
        """FROM the base table alone for the rows for which `where` holds; for all of them by no index, either."""
        return f"{self.by_rowid().base_clause if where == EVERY_ROW else self.base_clause} WHERE {where}"

    def by_rowid(self) -> TableSource:
        """The same rows, split and found by their rowids, whatever an index of the base table holds."""
        return replace(self, order=_BY_ROWID)
