"""`--on-conflict newer`: rows that are there already are brought up to the staged ones, with their companions.

The condition stands in the UPDATE itself, so that a row which another program changes meanwhile is judged as it is at
that moment, and a second try finds nothing left to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.load.row_triggers import triggers_of
from vestige_migrate.destination.load.staging import Stage
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.tables.base import Refresh, Table

if TYPE_CHECKING:
    from vestige_migrate.wire.batch import Batch


@dataclass(frozen=True)
class Replaced:
    """Rows and companions that took the source's values, and the errors of those companions.

    `dropped` are the ordinals of rows that are outdated still: a trigger of the destination's own kept them so;
    `altered` those of rows that took another value than the source's in the column that decides.
    """

    rows: int = 0
    companions: int = 0
    errors: list[RowError] = field(default_factory=list)
    dropped: frozenset[int] = frozenset()
    altered: frozenset[int] = frozenset()


NOTHING = Replaced()
NOT_REPLACED = "is not changed by its UPDATE: a trigger of the destination's own dropped that"

ALTERED = "is not as its UPDATE wrote it: a trigger of the destination's own changed it"


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
        self._has_triggers = triggers_of(connection, table.name).on_update
        decides = sql.Identifier(refresh.decides)
        condition = sql.SQL("{} AND s.ordinal <> ALL(%s::int[]) AND {}").format(
            sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(name)) for name in table.key),
            outdated(refresh, sql.SQL("t.{}").format(decides), sql.SQL("s.{}").format(decides)),
        )
        name = ours(connection, table.name)
        self._update = sql.SQL(
            "UPDATE {} AS t SET {} FROM {} AS s WHERE {} RETURNING s.ordinal, t.{} IS DISTINCT FROM s.{}"
        ).format(name, _assignments(refresh.columns), stage.name, condition, decides, decides)
        self._outdated = sql.SQL("SELECT s.ordinal FROM {} AS t, {} AS s WHERE {}").format(name, stage.name, condition)
        self._companions = None
        if companion is not None:
            self._companion = companion
            self._companions_have_triggers = triggers_of(connection, companion.name).on_update
            self._stage = Stage(connection, companion)
            (key,), (own,) = companion.key, table.key
            self._companions = sql.SQL(
                "UPDATE {} AS t SET {} FROM {} AS s JOIN {} AS n ON n.{} = s.{}"
                " WHERE t.{} = s.{} AND n.ordinal = ANY(%s::int[]) RETURNING s.ordinal"
            ).format(
                ours(connection, companion.name),
                _assignments([name for name in companion.column_names if name != key]),
                self._stage.name,
                stage.name,
                *map(sql.Identifier, (own, key, key, key)),
            )
            self._companions_there = sql.SQL(
                "SELECT s.ordinal FROM {} AS s JOIN {} AS n ON n.{} = s.{}"
                " WHERE n.ordinal = ANY(%s::int[]) AND EXISTS (SELECT FROM {} AS t WHERE t.{} = s.{})"
            ).format(
                self._stage.name,
                stage.name,
                *map(sql.Identifier, (own, key)),
                ours(connection, companion.name),
                *map(sql.Identifier, (key, key)),
            )

    def make_stage(self) -> None:
        """Creates the companion's stage, outside of a transaction."""
        if self._companions is not None:
            self._stage.make()

    def apply(self, barred: Sequence[int], companions: Batch | None) -> Replaced:
        """Updates what is outdated among the staged rows, without the ordinals `barred`; in the caller's transaction.

        Companions that the destination lacks are not inserted: they come with their own table.
        """
        updated = self._connection.execute(self._update, (list(barred),)).fetchall()
        ordinals = [ordinal for ordinal, _ in updated]
        altered = frozenset(ordinal for ordinal, is_altered in updated if is_altered)
        dropped: frozenset[int] = frozenset()
        if self._has_triggers:
            still = self._connection.execute(self._outdated, ([*barred, *ordinals],))
            dropped = frozenset(ordinal for (ordinal,) in still)
        if not ordinals or self._companions is None or companions is None or not len(companions):
            return Replaced(rows=len(ordinals), dropped=dropped, altered=altered)
        self._stage.fill(list(enumerate(companions.rows())))
        found = {ordinal for (ordinal,) in self._connection.execute(self._companions, (ordinals,))}
        errors = [error for row, error in companions.errors if row in found]
        if self._companions_have_triggers:
            there = {ordinal for (ordinal,) in self._connection.execute(self._companions_there, (ordinals,))}
            errors += [self._not_replaced(companions.id_of(ordinal)) for ordinal in sorted(there - found)]
        return Replaced(len(ordinals), len(found), errors, dropped, altered)

    def _not_replaced(self, id_: str) -> RowError:
        return RowError(self._companion.name, id_, None, NOT_REPLACED, Outcome.NOT_COPIED)


def _assignments(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(sql.Identifier(name)) for name in names)
