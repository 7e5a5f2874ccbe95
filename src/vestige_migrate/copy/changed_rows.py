"""Rows that both sides have, and that differ though nothing says which is later: whose row stays?

Found by digests of whole rows, as `verify` does it, so that no row leaves the server. With `--on-conflict newer` the
source's takes the place of one that is as a copy wrote it, and one that was changed in the destination since stays and
is named. With `source` the source's does, unless somebody writes to the destination's meanwhile and nobody said
`--yes`. What cannot be read in the source replaces nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace

from psycopg import sql

from vestige_migrate.copy.job import Rules
from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.load.batch_writer import TableWriter
from vestige_migrate.destination.load.named_rows import key_parameters, named_rows
from vestige_migrate.destination.load.stored_form import same_key
from vestige_migrate.destination.schema.run_tables import as_copied
from vestige_migrate.encode.careful import BatchEncoder
from vestige_migrate.limits import BATCH_BYTES
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.report.verification import Difference
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.rows import Row, read_batches
from vestige_migrate.tables.base import Evidence, Refresh, Table
from vestige_migrate.verify.batch_comparer import BatchComparer
from vestige_migrate.verify.judge import Judge
from vestige_migrate.wire import field as wire
from vestige_migrate.wire.batch import Batch

_ROWS = 2000
_VECTOR = "embedding"
_CHANGED_HERE = "was changed here since a copy wrote it, or no record says that one did"
_VECTOR_REPLACED = (
    "the source's vector took the place of the one here, in a row that was changed here since a copy wrote it"
)
_UNREADABLE = "cannot be read in the source, or what says which is later cannot"


@dataclass
class Brought:
    """What became of the rows that differed: they add up to them.

    `kept` names those that stay as they are here, and `vectors` those of the updated ones that were changed here and
    took the source's vector all the same.
    """

    updated: int = 0
    skipped: int = 0
    failed: int = 0
    kept: list[RowError] = field(default_factory=list)
    vectors: list[RowError] = field(default_factory=list)


@dataclass(frozen=True)
class ChangedRow:
    """What differs in a row. `no_vector`: the source's has none. `is_unreadable`: a value that differs, or one that
    says which is later, cannot be read in the source, so that its stand-in is no reason to replace anything."""

    difference: Difference
    no_vector: bool
    is_unreadable: bool

    @property
    def id(self) -> str:
        """The row's name."""
        return self.difference.id

    @property
    def lacks_vector_alone(self) -> bool:
        """Whether all that differs is that the source has no vector: the destination keeps the one it has."""
        return self.no_vector and self.difference.columns == (_VECTOR,)

    @property
    def has_other_vector(self) -> bool:
        """Whether the source has a vector, and another one."""
        return _VECTOR in self.difference.columns and not self.no_vector

    @property
    def without_vector(self) -> ChangedRow:
        """What differs besides the vector."""
        columns = tuple(name for name in self.difference.columns if name != _VECTOR)
        return replace(self, difference=replace(self.difference, columns=columns))

    @property
    def as_kept(self) -> RowError:
        """How it is named where the destination's row stays."""
        columns = ", ".join(self.difference.columns)
        why = _UNREADABLE if self.is_unreadable else _CHANGED_HERE
        return RowError(self.difference.table, self.id, columns, why, Outcome.KEPT)

    @property
    def as_vector_replaced(self) -> RowError:
        """How it is named where it was changed here, and took the source's vector."""
        return RowError(self.difference.table, self.id, _VECTOR, _VECTOR_REPLACED, Outcome.VECTOR_REPLACED)


@dataclass(frozen=True)
class Changed:
    """Rows of one batch that differ, with what differs in each."""

    rows: list[Row]
    found: list[ChangedRow]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, wanted: Callable[[ChangedRow], bool]) -> Changed:
        """Those of the rows for which that holds."""
        at = [at for at, found in enumerate(self.found) if wanted(found)]
        return Changed([self.rows[place] for place in at], [self.found[place] for place in at])


NONE_CHANGED = Changed([], [])


class RowComparer:
    """Compares rows of one table, over one connection to each side."""

    def __init__(
        self, sqlite: sqlite3.Connection, postgres: Connection, table: Table, source: TableSource, layout: Layout
    ) -> None:
        self._sqlite = sqlite
        self._table = table
        self._source = source
        self._encoder = BatchEncoder(table, source, layout, None)
        self._comparer = BatchComparer(table, source, postgres, Judge(sqlite, postgres, layout, table))
        self._decides = table.refresh.decides if table.refresh is not None else ()
        self._vector = table.index(_VECTOR) if _VECTOR in table.column_names else None

    def find(self, rowids: Sequence[int]) -> Iterator[Changed]:
        """Those of the rows that the destination has with other values than a copy would bring."""
        for rows in read_batches(self._sqlite, self._source, rowids, _ROWS, BATCH_BYTES):
            found = self.compare(rows)
            if len(found):
                yield found

    def compare(self, rows: list[Row]) -> Changed:
        """Those of the rows that differ."""
        batch = self._encoder.encode(rows) if rows else None
        # A row that cannot be placed is not there: it is none of those that both sides have.
        if batch is None or len(batch) != len(rows):
            return NONE_CHANGED
        differences = {at: item for at, item in self._comparer.compare(batch).differences.items() if item.columns}
        unreadable: dict[int, set[str | None]] = {}
        for row, error in batch.errors:
            unreadable.setdefault(row, set()).add(error.column)
        vectors = batch.columns[self._vector] if self._vector is not None else None
        found = [
            ChangedRow(
                differences[row],
                no_vector=vectors is not None and vectors[row] == wire.NULL,
                is_unreadable=not unreadable.get(row, set()).isdisjoint({*differences[row].columns, *self._decides}),
            )
            for row in sorted(differences)
        ]
        return Changed([rows[row] for row in sorted(differences)], found)


class ChangedRowsLook:
    """What `ChangedRows` would do with rows of one table, for a dry run."""

    def __init__(self, postgres: Connection, table: Table, comparer: RowComparer, rules: Rules) -> None:
        self._comparer = comparer
        self._rules = rules
        self._find_copied = None
        self._keeps_vector = _keeps_vector(rules.whole_row)
        if rules.whole_row is not None and rules.whole_row.evidence is not Evidence.ALWAYS:
            copied = as_copied(postgres, table.name, rules.run)
            self._find_copied = sql.SQL("SELECT k.ordinal FROM {} AS k JOIN {} AS t ON {} WHERE {}").format(
                named_rows(table), ours(postgres, table.name), same_key(table, "k"), copied
            )
        self._postgres = postgres
        self._table = table

    def look(self, rowids: Sequence[int], apart: Set[str]) -> Brought:
        """How many of the rows would be updated, those that would be kept although they differ, and those that would
        take a vector although they were changed; without the ids that are to be left `apart`."""
        brought = Brought()
        for found in self._comparer.find(rowids):
            changed = found.where(lambda row: row.id not in apart)
            replaced = self._replaced(changed)
            brought.updated += len(replaced)
            for at, row in enumerate(changed.found):
                if at in replaced or (self._keeps_vector and row.lacks_vector_alone):
                    continue
                takes_vector = self._rules.of_vector is not None and row.has_other_vector and not row.is_unreadable
                brought.updated += takes_vector
                if takes_vector and self._find_copied is not None:
                    brought.vectors.append(row.as_vector_replaced)
                left = row.without_vector if takes_vector else row
                brought.kept += [left.as_kept] if left.difference.columns else []
        return brought

    def _replaced(self, changed: Changed) -> set[int]:
        """The rows that would be replaced as a whole."""
        if self._rules.whole_row is None:
            return set()
        may_be = set(range(len(changed)))
        if self._find_copied is not None:
            names = [row.id for row in changed.found]
            rows = self._postgres.execute(self._find_copied, key_parameters(self._table, names))
            may_be = {ordinal - 1 for (ordinal,) in rows}
        return {at for at in may_be if _may_replace(changed.found[at], self._keeps_vector)}


class ChangedRows:
    """Brings what differs in one table. `encode` makes rows ready to be written, as for any other batch.

    `rule` is the one for whole rows; None where nobody knows which of them are as a copy wrote them.
    `of_vector` is the rule for vectors of rows that are otherwise left alone; None where there is none.
    """

    def __init__(
        self,
        comparer: RowComparer,
        encode: Callable[[list[Row]], Batch],
        writer: TableWriter,
        rule: Refresh | None,
        of_vector: Refresh | None,
    ) -> None:
        self._comparer = comparer
        self._encode = encode
        self._writer = writer
        self._rule = rule
        self._of_vector = of_vector
        self._keeps_vector = _keeps_vector(rule)

    def bring(self, changed: Changed) -> Brought:
        """Replaces what may be replaced, and says what may not."""
        brought = Brought()
        found = len(changed)
        unreadable = changed.where(lambda row: row.is_unreadable)
        changed = changed.where(lambda row: _may_replace(row, self._keeps_vector))
        brought.skipped += found - len(changed)
        refused: set[str] = set()
        left = changed
        if self._rule is None:
            brought.skipped += len(changed)
        else:
            refused, _ = self._replace(changed.rows, self._rule, brought)
            left = self._comparer.compare(changed.rows) if brought.updated < len(changed) else NONE_CHANGED
        if self._of_vector is not None:
            other = left.where(lambda row: row.has_other_vector)
            refused_too, replaced = self._replace(other.rows, self._of_vector, brought, again=True)
            if self._rule is not None:
                # What is refused as a whole was as a copy wrote it: its vector is of that copy.
                named = [row for row in other.found if row.id in replaced - refused]
                brought.vectors = [row.as_vector_replaced for row in named]
            refused |= refused_too
            left = self._comparer.compare(left.rows) if len(other) else left
        brought.kept = [row.as_kept for row in (*unreadable.found, *left.found) if row.id not in refused]
        return brought

    def _replace(
        self, rows: list[Row], rule: Refresh, brought: Brought, again: bool = False
    ) -> tuple[set[str], set[str]]:
        """The ids of the rows that PostgreSQL refused, and of those that were replaced. `again`: they were counted as
        skipped once."""
        if not rows:
            return set(), set()
        batch = self._encode(rows)
        written = self._writer.replace(batch, rule)
        brought.updated += written.updated
        brought.failed += len(written.refused)
        brought.skipped += written.skipped - (len(rows) if again else 0)
        return {error.id for error in written.refused.values()}, {batch.id_of(row) for row in written.replaced}


def _keeps_vector(rule: Refresh | None) -> bool:
    """Whether a vector stays that the source has none for."""
    return rule is None or rule.evidence is Evidence.AS_COPIED


def _may_replace(row: ChangedRow, keeps_vector: bool) -> bool:
    """Whether the source's row says anything by which the destination's could be replaced."""
    return not row.is_unreadable and not (keeps_vector and row.lacks_vector_alone)
