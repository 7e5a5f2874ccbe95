"""`--on-conflict newer`: rows that are there already are brought up to the staged ones, with their companions.

The condition stands in the UPDATE itself, so that a row which another program changes meanwhile is judged as it is at
that moment, and a second try finds nothing left to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import sql

from vestige_migrate.destination.connect import Connection
from vestige_migrate.destination.stage import Stage
from vestige_migrate.report import RowError
from vestige_migrate.tables.base import Refresh, Table

if TYPE_CHECKING:
    from vestige_migrate.wire.batch import Batch


@dataclass(frozen=True)
class Replaced:
    """Rows and companions that took the source's values, and the errors of those companions."""

    rows: int = 0
    companions: int = 0
    errors: list[RowError] = field(default_factory=list)


NOTHING = Replaced()


def outdated(refresh: Refresh, theirs: sql.Composable, ours: sql.Composable) -> sql.Composed:
    """Whether the destination's row `theirs` is to take the values of `ours`. Not where `ours` is NULL."""
    condition = "{} < {}" if refresh.later else "{} <> {}"
    return sql.SQL("COALESCE({}, false)").format(sql.SQL(condition).format(theirs, ours))


class Replacer:
    """Updates rows of one table, and of its companion, from their stages."""

    def __init__(
        self, connection: Connection, table: Table, refresh: Refresh, stage: Stage, companion: Table | None
    ) -> None:
        self._connection = connection
        decides = sql.Identifier(refresh.decides)
        self._update = sql.SQL(
            "UPDATE {} AS t SET {} FROM {} AS s WHERE {} AND s.ordinal <> ALL(%s::int[]) AND {} RETURNING s.ordinal"
        ).format(
            sql.Identifier(table.name),
            _assignments(refresh.columns),
            stage.name,
            sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(name)) for name in table.key),
            outdated(refresh, sql.SQL("t.{}").format(decides), sql.SQL("s.{}").format(decides)),
        )
        self._companions = None
        if companion is not None:
            self._stage = Stage(connection, companion)
            (key,), (own,) = companion.key, table.key
            self._companions = sql.SQL(
                "UPDATE {} AS t SET {} FROM {} AS s JOIN {} AS n ON n.{} = s.{}"
                " WHERE t.{} = s.{} AND n.ordinal = ANY(%s::int[]) RETURNING s.ordinal"
            ).format(
                sql.Identifier(companion.name),
                _assignments([name for name in companion.column_names if name != key]),
                self._stage.name,
                stage.name,
                *map(sql.Identifier, (own, key, key, key)),
            )

    def make_stage(self) -> None:
        """Creates the companion's stage, outside of a transaction."""
        if self._companions is not None:
            self._stage.make()

    def apply(self, barred: Sequence[int], companions: Batch | None) -> Replaced:
        """Updates what is outdated among the staged rows, without the ordinals `barred`; in the caller's transaction.

        Companions that the destination lacks are not inserted: they come with their own table.
        """
        ordinals = [ordinal for (ordinal,) in self._connection.execute(self._update, (list(barred),))]
        if not ordinals or self._companions is None or companions is None or not len(companions):
            return Replaced(rows=len(ordinals))
        self._stage.fill(list(enumerate(companions.rows())))
        found = {ordinal for (ordinal,) in self._connection.execute(self._companions, (ordinals,))}
        errors = [error for row, error in companions.errors if row in found]
        return Replaced(len(ordinals), len(found), errors)


def _assignments(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(sql.Identifier(name)) for name in names)
