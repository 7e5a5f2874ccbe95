"""Source rows of one table -> a `Batch`, with what stands for every bad value (docs/bad-rows.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from vestige_migrate.decode.ids import quote_id
from vestige_migrate.decode.problem import UNSET, BadValue, Raw
from vestige_migrate.encode.encoders import encoder_of
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.tables.base import Column, Null, Special, Table
from vestige_migrate.tables.row_names import name_key
from vestige_migrate.wire import field
from vestige_migrate.wire.batch import Batch
from vestige_migrate.wire.column import EncodedFields, Values
from vestige_migrate.wire.metadata_extras import merge_extras

Found = tuple[int, int, BadValue]
"""(row, column, problem)."""


class BatchEncoder:
    """Encodes batches of one table; keeps its columns' caches for the length of a run.

    Without a `run_start`, `field.UNKNOWN_TIME` stands where it would stand.
    """

    def __init__(self, table: Table, source: TableSource, layout: Layout, run_start: datetime | None) -> None:
        self._table = table
        self._source = source
        self._encoders = [encoder_of(column, layout) for column in table.columns]
        self._run_start = field.UNKNOWN_TIME if run_start is None else field.timestamptz(run_start)
        self._wanted = [at for at, value in enumerate(source.values) if value is not None]

    def encode(self, rows: Sequence[tuple[Raw, ...]]) -> Batch:
        """Rows as the `TableSource` selects them -> a batch. Never raises for what a row holds."""
        selected: list[Values] = list(zip(*rows, strict=True))
        raw: list[Values] = [(None,) * len(rows)] * len(self._table.columns)
        for at, values in zip(self._wanted, selected, strict=False):
            raw[at] = values
        problems: list[Found] = []
        cells = [self._encode_column(at, values, problems) for at, values in enumerate(raw)]
        if self._source.extras:
            self._merge_extras(cells, selected[len(self._wanted) :], problems)
        if not problems:
            return Batch(cells, lambda row: self._row_id(raw, row))  # type: ignore[arg-type]
        return self._repair(cells, raw, problems)

    def _encode_column(self, at: int, values: Values, problems: list[Found]) -> EncodedFields:
        column = self._table.columns[at]
        cells, found = self._encoders[at](values)
        problems.extend((row, at, problem) for row, problem in found)
        if column.null is Null.KEPT or None not in values:
            return cells
        absent = self._source.values[at] is None
        cells = list(cells)
        for row, value in enumerate(values):
            if value is not None:
                continue
            if column.null is Null.ERROR and not absent:
                cells[row] = None
                problems.append((row, at, BadValue("is NULL")))
            else:
                cells[row] = self._default(column)
        return cells

    def _merge_extras(self, cells: list[EncodedFields], extras: list[Values], problems: list[Found]) -> None:
        at = self._table.index("metadata")
        cells[at], found = merge_extras(cells[at], self._source.extras, extras)
        problems.extend((row, at, problem) for row, problem in found)

    def _default(self, column: Column) -> bytes:
        return self._run_start if column.default is Special.RUN_START else column.default

    def _repair(self, cells: list[EncodedFields], raw: list[Values], problems: list[Found]) -> Batch:
        """Stand-ins for the bad values; rows that cannot be placed leave the batch."""
        columns = self._table.columns
        unplaced = {row for row, at, problem in problems if columns[at].required and problem.instead is UNSET}
        stand_ins = [(row, at, self._stand_in(cells, row, at)) for row, at, _ in problems if cells[at][row] is None]
        for row, at, stand_in in stand_ins:
            column = cells[at]
            assert isinstance(column, list)  # a Block has no None
            column[row] = stand_in
        kept = [row for row in range(len(raw[0])) if row not in unplaced]
        position = {row: index for index, row in enumerate(kept)}
        errors = []
        lost: list[RowError] = []
        named: set[int] = set()
        for row, at, problem in problems:
            if row not in unplaced:
                errors.append((position[row], self._error(raw, row, at, problem)))
            elif columns[at].required and problem.instead is UNSET:
                lost.append(replace(self._error(raw, row, at, problem), further=row in named))
                named.add(row)
        if unplaced:
            cells = [[column[row] for row in kept] for column in cells]
        return Batch(
            cells,  # type: ignore[arg-type]  # every None was given its stand-in
            lambda index: self._row_id(raw, kept[index]),
            errors,
            lost,
            len(unplaced),
        )

    def _stand_in(self, cells: list[EncodedFields], row: int, at: int) -> bytes:
        column = self._table.columns[at]
        if column.twin is not None:
            twin = cells[self._table.index(column.twin)][row]
            if twin is not None and twin != field.NULL:
                return twin
        return self._default(column)

    def _error(self, raw: list[Values], row: int, at: int, problem: BadValue) -> RowError:
        column = self._table.columns[at]
        lost = column.required and problem.instead is UNSET
        message = f"{column.name} {problem.reason}"
        quoted = quote_id(raw[at][row]) if lost else ""
        if quoted:
            message += f": {quoted}"
        return RowError(
            table=self._table.name,
            id=self._row_id(raw, row),
            column=column.name,
            message=message,
            outcome=Outcome.NOT_COPIED if lost else problem.outcome,
            quoted=quoted,
        )

    def _row_id(self, raw: list[Values], row: int) -> str:
        return name_key(self._table, [raw[self._table.index(name)][row] for name in self._table.key])
