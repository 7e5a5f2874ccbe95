"""Is it the row, or the statement? Halving finds the rows that PostgreSQL refuses; some errors condemn every row.

A row's fault is what goes away without that row. A role that lost a right, or a trigger whose own table is missing,
fails for all rows alike, and to name each of them as bad would be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg

from vestige_migrate.destination.connection.faults import is_of_functions, is_row_fault, is_transient, may_be_a_rows

ENOUGH_REFUSED = 20
"""After so many rows in a row that were refused for a reason which need not be theirs: does any row go in?"""

_Row = TypeVar("_Row")


def by_halves(
    rows: Sequence[_Row],
    do: Callable[[Sequence[_Row]], object],
    refuse: Callable[[_Row, psycopg.Error], None],
    may_be_a_rows: Callable[[psycopg.Error], bool] = is_row_fault,
) -> None:
    """Calls `do`, which does all or nothing, with ever smaller parts, and `refuse` with a row that it fails for.

    Raises an error that is no row's by itself.
    """
    try:
        do(rows)
    except psycopg.Error as error:
        if not may_be_a_rows(error):
            raise
        if len(rows) == 1:
            refuse(rows[0], error)
            return
        middle = len(rows) // 2
        by_halves(rows[:middle], do, refuse, may_be_a_rows)
        by_halves(rows[middle:], do, refuse, may_be_a_rows)


def place_by_halves(
    rows: Sequence[_Row],
    place: Callable[[Sequence[_Row]], object],
    refuse: Callable[[_Row, psycopg.Error], None],
    blame: Blame,
) -> None:
    """The same where `blame` judges the errors."""

    def blame_and_refuse(row: _Row, error: psycopg.Error) -> None:
        blame.on_row(error)
        refuse(row, error)

    by_halves(rows, place, blame_and_refuse, blame.may_be_a_rows)


class Blame:
    """Judges the errors of one table's batches, one after the other.

    `without_rows` runs the statement with no row, and raises what PostgreSQL says against that. `any_goes_in` tries
    rows from all over the table. On the `last_try` of a range, what may pass by itself is looked into as well.
    """

    def __init__(
        self, without_rows: Callable[[], None], any_goes_in: Callable[[], bool], last_try: bool = False
    ) -> None:
        self._without_rows = without_rows
        self._any_goes_in = any_goes_in
        self._last_try = last_try
        self._goes_in: bool | None = None
        self._in_a_row = 0
        self.begin()

    def begin(self) -> None:
        """Another batch."""
        self._placed = False
        self._statement_is_fine = False
        self._doubt: psycopg.Error | None = None

    def may_be_a_rows(self, error: psycopg.Error) -> bool:
        """Whether the error may go away without one of the rows."""
        return may_be_a_rows(error, self._last_try)

    def on_placed(self) -> None:
        """Rows went in: the statement is in order."""
        self._placed = True
        self._in_a_row = 0

    def on_row(self, error: psycopg.Error) -> None:
        """One row by itself was refused. Raises psycopg.Error where the statement fails without any row, too."""
        if not self._placed and not self._statement_is_fine:
            self._without_rows()
            self._statement_is_fine = True
        if not is_row_fault(error):
            self._in_a_row += 1
            self._doubt = error

    def conclude(self) -> None:
        """The batch is through. Raises the error that it met where nothing shows that rows were to blame for it."""
        if self._doubt is None or self._placed:
            return
        may_pass = is_transient(self._doubt) and not is_of_functions(self._doubt)
        if self._in_a_row < ENOUGH_REFUSED and not may_pass:
            return
        if self._goes_in is None:
            self._goes_in = self._any_goes_in()
        if not self._goes_in:
            raise self._doubt
