"""`--on-conflict newer`: rows that are there already are brought up to the staged ones, with their companions.

The condition stands in the UPDATE itself, so that a row which another program changes meanwhile is judged as it is at
that moment, and a second try finds nothing left to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.load.row_triggers import triggers_of
from vestige_migrate.destination.load.run_record import BatchRecord
from vestige_migrate.destination.load.staging import Stage
from vestige_migrate.destination.schema.run_tables import Run, as_copied
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.tables.base import Evidence, Refresh, Table

if TYPE_CHECKING:
    from vestige_migrate.wire.batch import Batch


@dataclass(frozen=True)
class Replaced:
    """Rows and companions that took the source's values, and the errors of those companions.

    `ordinals` are those of the rows. `dropped` are those of rows that are outdated still: a trigger of the
    destination's own kept them so; `altered` those of rows that took another value than the source's in a column that
    decides, the first of which is `decides`.
    """

    companions: int = 0
    errors: list[RowError] = field(default_factory=list)
    dropped: frozenset[int] = frozenset()
    altered: frozenset[int] = frozenset()
    ordinals: frozenset[int] = frozenset()
    decides: str = ""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.ordinals)


NOTHING = Replaced()
_FALSE = sql.SQL("{}").format(sql.SQL("false"))
NOT_REPLACED = "is not changed by its UPDATE: a trigger of the destination's own dropped that"

ALTERED = "is not as its UPDATE wrote it: a trigger of the destination's own changed it"


_CONDITIONS: dict[Evidence, sql.SQL] = {
    Evidence.LATER: sql.SQL("{t} < {s}"),
    Evidence.DIFFERENT: sql.SQL("{t} <> {s}"),
    Evidence.REVIEWED: sql.SQL(
        "{s1} IS NOT NULL AND {s2} IS NOT NULL"
        " AND (COALESCE({t}, '-infinity'), {t1}::int8 + {t2}) < (COALESCE({s}, '-infinity'), {s1}::int8 + {s2})"
    ),
    # By their bytes: pgvector's operator calls 0 and -0 equal.
    Evidence.SAME_TIME: sql.SQL("{t} = {s} AND {s1} IS NOT NULL AND ROW({t1})::record *<> ROW({s1})::record"),
}


def outdated(refresh: Refresh, theirs: Sequence[sql.Composable], ours: Sequence[sql.Composable]) -> sql.Composed:
    """Whether the destination's row is to take the source's values, by the columns that decide of either.

    Not where the source's is NULL, but for a time of review: there has been none then.
    """
    names = {f"t{at or ''}": column for at, column in enumerate(theirs)}
    names |= {f"s{at or ''}": column for at, column in enumerate(ours)}
    return sql.SQL("COALESCE({}, false)").format(_CONDITIONS[refresh.evidence].format(**names))


def deciding(refresh: Refresh, alias: LiteralString) -> list[sql.Composed]:
    """The columns that decide, of the row that is called so."""
    return [sql.SQL("{}.{}").format(sql.SQL(alias), sql.Identifier(name)) for name in refresh.decides]


class Replacer:
    """Updates rows of one table, and of its companion, from their stages."""

    def __init__(
        self,
        connection: Connection,
        table: Table,
        refresh: Refresh,
        stage: Stage,
        companion: Table | None,
        record: BatchRecord | None = None,
    ) -> None:
        self._connection = connection
        self._table = table
        self._record = record
        self._has_triggers = triggers_of(connection, table.name).on_update
        self._decides = refresh.decides[0]
        # A row of which a part was replaced is not as a copy wrote it: the rest may have been changed here.
        self._replaces_rows = refresh.evidence not in (Evidence.SAME_TIME, Evidence.DIFFERENT)
        keeps_vector = refresh.evidence is Evidence.AS_COPIED
        theirs, staged = deciding(refresh, "t"), deciding(refresh, "s")
        condition = sql.SQL("{} AND s.ordinal <> ALL(%s::int[]) AND {}").format(
            sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(name)) for name in table.key),
            _may_be_replaced(connection, table.name, refresh, theirs, staged, record.run if record else None),
        )
        name = ours(connection, table.name)
        self._update = sql.SQL(
            "UPDATE {} AS t SET {} FROM {} AS s WHERE {} RETURNING s.ordinal, t.xmin::text::bigint,"
            " ROW({})::record *<> ROW({})::record"
        ).format(
            name,
            _assignments(refresh.columns, keeps_vector),
            stage.name,
            condition,
            sql.SQL(", ").join(theirs),
            sql.SQL(", ").join(
                _WRITTEN_VECTOR if keeps_vector and column == _VECTOR else written
                for column, written in zip(refresh.decides, staged, strict=True)
            ),
        )
        self._outdated = sql.SQL("SELECT s.ordinal FROM {} AS t, {} AS s WHERE {}").format(name, stage.name, condition)
        self._companions = None
        if companion is not None:
            self._companion = companion
            self._companions_have_triggers = triggers_of(connection, companion.name).on_update
            self._stage = Stage(connection, companion)
            (key,), (own,) = companion.key, table.key
            rule = companion.refresh
            self._companion_decides = rule.decides if rule is not None else ()
            replaceable = _replaceable(rule)  # last in both statements: it has a parameter of its own
            self._companions = sql.SQL(
                "UPDATE {} AS t SET {} FROM {} AS s JOIN {} AS n ON n.{} = s.{}"
                " WHERE t.{} = s.{} AND n.ordinal = ANY(%s::int[]) AND {} RETURNING s.ordinal, t.xmin::text::bigint"
            ).format(
                ours(connection, companion.name),
                _assignments([name for name in companion.column_names if name != key]),
                self._stage.name,
                stage.name,
                *map(sql.Identifier, (own, key, key, key)),
                replaceable,
            )
            self._companions_there = sql.SQL(
                "SELECT s.ordinal FROM {} AS s JOIN {} AS n ON n.{} = s.{}"
                " WHERE n.ordinal = ANY(%s::int[]) AND EXISTS (SELECT FROM {} AS t WHERE t.{} = s.{} AND {})"
            ).format(
                self._stage.name,
                stage.name,
                *map(sql.Identifier, (own, key)),
                ours(connection, companion.name),
                *map(sql.Identifier, (key, key)),
                replaceable,
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
        ordinals = [ordinal for ordinal, _, _ in updated]
        altered = frozenset(ordinal for ordinal, _, is_altered in updated if is_altered)
        if self._record is not None and self._replaces_rows:
            self._record.note_update(self._table.name, (xmin for _, xmin, _ in updated))
        dropped: frozenset[int] = frozenset()
        if self._has_triggers:
            still = self._connection.execute(self._outdated, ([*barred, *ordinals],))
            dropped = frozenset(ordinal for (ordinal,) in still)
        if not ordinals or self._companions is None or companions is None or not len(companions):
            return Replaced(0, [], dropped, altered, frozenset(ordinals), self._decides)
        self._stage.fill(list(enumerate(companions.rows())))
        unjudged = [row for row, error in companions.errors if error.column in self._companion_decides]
        asked = (ordinals, unjudged)
        replaced = self._connection.execute(self._companions, asked).fetchall()
        found = {ordinal for ordinal, _ in replaced}
        if self._record is not None:
            self._record.note_update(self._companion.name, (xmin for _, xmin in replaced))
        errors = [error for row, error in companions.errors if row in found]
        if self._companions_have_triggers:
            there = {ordinal for (ordinal,) in self._connection.execute(self._companions_there, asked)}
            errors += [self._not_replaced(companions.id_of(ordinal)) for ordinal in sorted(there - found)]
        return Replaced(len(found), errors, dropped, altered, frozenset(ordinals), self._decides)

    def _not_replaced(self, id_: str) -> RowError:
        return RowError(self._companion.name, id_, None, NOT_REPLACED, Outcome.NOT_COPIED)


def _replaceable(rule: Refresh | None) -> sql.Composed:
    """Whether the rule of a companion does not call the one that is there, `t`, later than the staged one, `s`.

    Its parameter are ordinals of staged rows with a stand-in for what cannot be read, which says nothing of which is
    later: there the first column alone decides.
    """
    later = by_first = _FALSE
    if rule is not None:
        later = outdated(rule, deciding(rule, "s"), deciding(rule, "t"))
        first = sql.Identifier(rule.decides[0])
        by_first = sql.SQL("COALESCE(t.{0} > COALESCE(s.{0}, '-infinity'), false)").format(first)
    return sql.SQL("NOT CASE WHEN s.ordinal <> ALL(%s::int[]) THEN {} ELSE {} END").format(later, by_first)


def _may_be_replaced(
    connection: Connection,
    table: str,
    refresh: Refresh,
    theirs: Sequence[sql.Composable],
    staged: Sequence[sql.Composable],
    run: Run | None,
) -> sql.Composable:
    if refresh.evidence is Evidence.ALWAYS:
        return sql.SQL("true")
    if refresh.evidence in (Evidence.AS_COPIED, Evidence.AS_COPIED_WHOLE):
        return as_copied(connection, table, run)
    return outdated(refresh, theirs, staged)


_VECTOR = "embedding"
_KEPT_VECTOR = sql.SQL("{0} = CASE WHEN s.{0} IS NULL AND s.content = t.content THEN t.{0} ELSE s.{0} END").format(
    sql.Identifier(_VECTOR)
)
"""Of a text that is the same: a source that has no vector for it now takes none away."""
_WRITTEN_VECTOR = sql.SQL("COALESCE(s.{0}, t.{0})").format(sql.Identifier(_VECTOR))
"""What that is to have written, of the row as it is then: a vector that was kept is no change of a trigger's."""


def _assignments(names: Sequence[str], keeps_vector: bool = False) -> sql.Composed:
    return sql.SQL(", ").join(
        _KEPT_VECTOR if keeps_vector and name == _VECTOR else sql.SQL("{0} = s.{0}").format(sql.Identifier(name))
        for name in names
    )
