"""One batch of source rows against the destination: digests first, then the columns of the rows that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.load.forgotten import ForgottenCheck, memory_columns
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.report.verification import Difference, Kind
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.tables.base import BOOTSTRAP_USER, Special, Table
from vestige_migrate.verify.expected_digests import Digester
from vestige_migrate.verify.judge import Judge, is_unknown
from vestige_migrate.verify.keys import key_sum
from vestige_migrate.verify.row_acceptance import objection
from vestige_migrate.verify.row_digests import ABSENT, DIGEST_BYTES, TableComparer
from vestige_migrate.wire import field as wire
from vestige_migrate.wire.batch import Batch, Fields
from vestige_migrate.wire.canonical import JsonbFields


@dataclass
class Verdict:
    """What was found about the rows of a batch, which the positions count; the others are as they should be."""

    differences: dict[int, Difference] = field(default_factory=dict)
    not_copied: set[int] = field(default_factory=set)
    errors: list[RowError] = field(default_factory=list)
    altered: set[int] = field(default_factory=set)
    matched: int = 0
    key_sum: int = 0


class BatchComparer:
    """Compares batches of one table, over one connection to each side."""

    def __init__(
        self,
        table: Table,
        source: TableSource,
        postgres: Connection,
        judge: Judge,
        forgotten: ForgottenCheck | None = None,
    ) -> None:
        self._table = table
        self._forgotten = forgotten
        self._judge = judge
        # A time that the source does not have at all became the start of the copy: any other is as good.
        self._compared = [
            at
            for at, (column, value) in enumerate(zip(table.columns, source.values, strict=True))
            if value is not None or not isinstance(column.default, Special)
        ]
        names = [table.columns[at].name for at in self._compared]
        self._comparer = TableComparer(postgres, table, names)
        self._digester = Digester(self._comparer.type_oids())
        self._json = {at: JsonbFields() for at in self._compared if table.columns[at].pg_type == "jsonb"}
        self._keys = [table.index(name) for name in table.key]

    def compare(self, batch: Batch) -> Verdict:
        """Judges every row of the batch."""
        verdict = Verdict(errors=list(batch.unplaced))
        if not len(batch):
            return verdict
        columns = [self._json[at](fields) if at in self._json else fields for at, fields in enumerate(batch.columns)]
        ours = self._digester.rows([columns[at] for at in self._compared])
        theirs = self._comparer.row_digests([columns[at] for at in self._keys])
        differing: list[int] = []
        absent: list[int] = []
        if b"".join(ours) != theirs:
            found = [theirs[at : at + DIGEST_BYTES] for at in range(0, len(theirs), DIGEST_BYTES)]
            absent = [row for row, digest in enumerate(found) if digest == ABSENT]
            differing = [row for row in range(len(ours)) if found[row] not in (ours[row], ABSENT)]
        self._look_closer(batch, columns, differing, verdict)
        self._judge_absent(batch, columns, absent, verdict)
        self._sum_keys(columns, set(absent), verdict)
        verdict.errors += batch.errors_of_stored(absent)
        verdict.altered |= {row for row, _ in batch.errors}
        verdict.altered -= verdict.differences.keys() | verdict.not_copied
        return verdict

    def _sum_keys(self, columns: Sequence[Fields], absent: set[int], verdict: Verdict) -> None:
        keys = [columns[at] for at in self._keys]
        if absent:
            keys = [[value for row, value in enumerate(part) if row not in absent] for part in keys]
        verdict.matched = len(keys[0])
        verdict.key_sum = key_sum(self._table.key_types, keys)

    def _judge_absent(self, batch: Batch, columns: Sequence[Fields], absent: Sequence[int], verdict: Verdict) -> None:
        absent = self._without_forgotten(batch, columns, absent, verdict)
        if not absent:
            return
        rows = [tuple(fields[row] for fields in columns) for row in absent]
        ids = [batch.id_of(row) for row in absent]
        refused = self._judge.not_placeable(rows, ids)
        for at, row in enumerate(absent):
            if at in refused:
                verdict.not_copied.add(row)
                verdict.errors.append(refused[at])
            else:
                verdict.differences[row] = Difference(self._table.name, ids[at], Kind.MISSING)

    def _without_forgotten(
        self, batch: Batch, columns: Sequence[Fields], absent: Sequence[int], verdict: Verdict
    ) -> Sequence[int]:
        """The absent rows but for those of memories that were deleted in the destination, which are named."""
        if self._forgotten is None or not absent:
            return absent
        named = {row: [columns[at][row] for at in memory_columns(self._table)] for row in absent}
        found = self._forgotten.find(id_ for ids in named.values() for id_ in ids)
        forgotten = [row for row, ids in named.items() if not found.isdisjoint(ids)]
        for row in forgotten:
            verdict.differences[row] = Difference(self._table.name, batch.id_of(row), Kind.FORGOTTEN)
        return [row for row in absent if row not in verdict.differences]

    def _look_closer(self, batch: Batch, columns: Sequence[Fields], differing: Sequence[int], verdict: Verdict) -> None:
        rows = [row for row in differing if not self._is_bootstrap(columns, row)]
        if not rows:
            return
        stored = dict(zip(rows, self._comparer.column_digests(self._keys_of(columns, rows)), strict=True))
        unequal = {row: self._unequal(columns, row, stored[row]) for row in rows}
        self._settle_json(columns, unequal)
        for row, places in unequal.items():
            left = [at for at in places if not self._is_rightly_empty(batch, columns, row, at, stored[row], verdict)]
            if left:
                names = tuple(self._table.columns[at].name for at in left)
                detail = self._detail(columns, row, names)
                verdict.differences[row] = Difference(self._table.name, batch.id_of(row), Kind.DIFFERENT, names, detail)

    def _detail(self, columns: Sequence[Fields], row: int, names: tuple[str, ...]) -> str:
        """What the columns' names alone do not say: that a vector is there which is of an earlier text."""
        if "embedding" not in names or columns[self._table.index("embedding")][row] != wire.NULL:
            return ""
        if not self._judge.is_stale(columns[self._keys[0]][row]):
            return ""
        return f"different in {', '.join(names)}: {_STALE}"

    def _is_bootstrap(self, columns: Sequence[Fields], row: int) -> bool:
        """The user `local` is on both sides from the start, and each side's own stays as it is."""
        return self._table.name == "users" and columns[self._keys[0]][row] == _BOOTSTRAP

    def _keys_of(self, columns: Sequence[Fields], rows: Sequence[int]) -> list[list[bytes]]:
        return [[columns[at][row] for row in rows] for at in self._keys]

    def _unequal(self, columns: Sequence[Fields], row: int, stored: Sequence[bytes]) -> list[int]:
        """Columns with another digest than ours."""
        found = []
        for place, at in enumerate(self._compared):
            ours = columns[at][row]
            if is_unknown(ours) and stored[place] != self._digester.value(place, wire.NULL):
                continue
            if stored[place] != self._digester.value(place, ours):
                found.append(at)
        return found

    def _settle_json(self, columns: Sequence[Fields], unequal: dict[int, list[int]]) -> None:
        """Takes jsonb columns away where jsonb itself calls both values equal, whatever they are written like."""
        for at in self._json:
            rows = [row for row, places in unequal.items() if at in places and columns[at][row] != wire.NULL]
            if not rows:
                continue
            values = [columns[at][row] for row in rows]
            equal = self._comparer.equal_json(self._table.columns[at].name, self._keys_of(columns, rows), values)
            for row, verdict in zip(rows, equal, strict=True):
                if verdict is True:
                    unequal[row].remove(at)

    def _is_rightly_empty(
        self, batch: Batch, columns: Sequence[Fields], row: int, at: int, stored: Sequence[bytes], verdict: Verdict
    ) -> bool:
        """Whether the destination has the column's default because PostgreSQL refuses the source's value."""
        column = self._table.columns[at]
        if not column.droppable or isinstance(column.default, Special):
            return False
        place = self._compared.index(at)
        if stored[place] != self._digester.value(place, column.default):
            return False
        error = self._judge.lacks(tuple(fields[row] for fields in columns), at)
        if error is None:
            return False
        verdict.altered.add(row)
        verdict.errors.append(self._without_value(batch.id_of(row), column.name, error))
        return True

    def _without_value(self, id_: str, column: str, error: psycopg.Error) -> RowError:
        outcome = Outcome.COPIED_WITHOUT_VALUE
        return RowError(self._table.name, id_, column, objection(error), outcome, error.sqlstate)


_STALE = (
    "the vector in the destination is of an earlier text, or was made there since; the source has none of the present "
    "one (has_embedding is 0). To search by the text that is there, set it to NULL and re-embed the memory"
)
_BOOTSTRAP = wire.with_length(bytes.fromhex(BOOTSTRAP_USER.replace("-", "")))
