"""`--deletions` for what no tombstone names: rows that a copy of this source brought, and that it has no more.

An edge that was taken away leaves no trace in Vestige's file. The destination's record says that a copy wrote it, and
that nobody changed it since: so it was the source that let it go. What hangs on a memory that only the destination has
goes and stays with that, and a row to which others refer stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from loguru import logger
from psycopg import sql

from vestige_migrate.copy.run_history import RunHistory
from vestige_migrate.decode.ids import spellings
from vestige_migrate.destination.connection.faults import describe
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.load.bisect_refused import by_halves
from vestige_migrate.destination.load.named_rows import key_parameters, named_rows
from vestige_migrate.destination.load.references import is_referred_to
from vestige_migrate.destination.load.stored_form import same_key
from vestige_migrate.destination.schema.run_tables import RUNS, as_copied, files_of_other_runs
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.deletions import DeletionReport, GoneRows
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.source.read.rows import read_value_by_key
from vestige_migrate.tables.base import BOOTSTRAP_USER, Table
from vestige_migrate.tables.row_names import name_key
from vestige_migrate.tables.unreadable_rows import errors_of_lost
from vestige_migrate.verify.extra_rows import OpenTable, find_extras, has_unreadable_key

_MEMBERSHIPS = "group_memberships"
_TABLES = ("edges", "scheduling", "review_events", _MEMBERSHIPS, "domains", "groups", "users")
"""What refers to others comes first."""
_MEMORIES_OF = {
    "edges": ("source_id", "target_id"),
    "scheduling": ("memory_id",),
    "review_events": ("memory_id",),
}
_UNREADABLE_KEY = "the source has rows of it whose key cannot be read, and one of them may be theirs"


def settle_gone_rows(
    plan: SqliteToPostgresPlan,
    sources: Sequence[PreparedSource],
    destination: ReadyDestination,
    history: RunHistory,
    report: DeletionReport,
) -> None:
    """Names the rows that the source has no more, and deletes them where that is to be done, after the memories.

    Raises psycopg.Error only for what is no row's fault; what was deleted until then stays so.
    """
    gone_memories = sorted({*report.deleted, *report.to_delete, *report.changed_since, *report.not_in_source})
    for name in _TABLES:
        table = destination.shapes.table(name)
        if name in history.recorded and table.stored is None:
            _Gone(plan, table, sources, destination, history, gone_memories).settle(report)


class _Gone:
    """The rows of one table."""

    def __init__(
        self,
        plan: SqliteToPostgresPlan,
        table: Table,
        sources: Sequence[PreparedSource],
        destination: ReadyDestination,
        history: RunHistory,
        gone_memories: Sequence[str],
    ) -> None:
        self._batch_size = plan.batch_size
        self._table = table
        self._sources = sources
        self._destination = destination
        self._run = history.recorded[table.name]
        self._gone_memories = list(gone_memories)
        main = destination.main
        of_memories = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in self._hangs_on)
        hangs = (
            sql.SQL("EXISTS (SELECT FROM unnest(%s::uuid[]) AS g(id) WHERE g.id IN ({}))").format(of_memories)
            if self._hangs_on
            else sql.SQL("false")
        )
        # By the runs of these files alone: another file's rows are none of this one's to take away.
        self._is_gone = sql.SQL("{} AND NOT {}").format(as_copied(main, table.name, self._run), hangs)
        self._is_referred_to = is_referred_to(main, table, destination.shapes.table(_MEMBERSHIPS))

    @property
    def _hangs_on(self) -> tuple[str, ...]:
        """The columns that name the memories to which the row belongs."""
        return _MEMORIES_OF.get(self._table.name, ())

    def settle(self, report: DeletionReport) -> None:
        sides = self._sides()
        extras = self._extras(sides) if sides else []
        if not extras:
            return
        self._gone_memories += self._gone_meanwhile(extras)
        memberships = report.rows.get(_MEMBERSHIPS, GoneRows()).to_delete
        gone = GoneRows()
        gone.to_delete, gone.in_use = self._brought(extras, memberships)
        if gone.to_delete:
            gone.held_back = self._reason_to_hold_back(sides)
        if report.applied and gone.to_delete and not gone.held_back:
            wanted = gone.to_delete
            for start in range(0, len(wanted), self._batch_size):
                self._delete_some(wanted[start : start + self._batch_size], gone, report)
            gone.to_delete, in_use = self._brought(wanted)
            gone.in_use = sorted({*gone.in_use, *in_use})
            rows = "1 row" if len(gone.deleted) == 1 else f"{len(gone.deleted)} rows"
            logger.info("{}: {} that the source has no more deleted", self._table.name, rows)
        if gone.deleted or gone.to_delete or gone.in_use:
            report.rows[self._table.name] = gone

    def _sides(self) -> list[OpenTable]:
        """The table of every source; none where one of them does not say what it has."""
        sides: list[OpenTable] = []
        for source in self._sources:
            found = self._table.source_in(source.layout)
            if found is None:
                return []  # a file that never had such rows took none away
            if errors_of_lost(source.lost, {self._table.name: found}, self._destination.shapes):
                return []  # what it has cannot be known
            sides.append((source.connection, found.by_rowid()))
        return sides

    def _extras(self, sides: Sequence[OpenTable]) -> list[str]:
        main, name = self._destination.main, self._table.name
        [(rows,)] = main.execute(sql.SQL("SELECT count(*) FROM {}").format(ours(main, name))).fetchall()
        ours_alone = self._made_here() if name == "users" else set()
        return [id_ for id_ in find_extras(main, self._table, sides, int(rows), set()) if id_ not in ours_alone]

    def _made_here(self) -> set[str]:
        """Users whom no source has to have: the schema's own, and those whom a copy made for its `--owner`."""
        main = self._destination.main
        query = sql.SQL("SELECT id::text FROM {} WHERE handle IN (SELECT options ->> 'owner' FROM {})").format(
            ours(main, self._table.name), ours(main, RUNS)
        )
        return {BOOTSTRAP_USER, *(id_ for (id_,) in main.execute(query))}

    def _reason_to_hold_back(self, sides: Sequence[OpenTable]) -> str:
        """Why a row may be a source's though it looks as if none had it; empty where it may not."""
        others = files_of_other_runs(self._destination.main, self._table.name, self._run)
        names = [name for name in others if name not in self._run.sources]
        if names:
            return (
                f"other files were copied here that may have them ({', '.join(names)}; give all files in one command)"
            )
        if others:
            return "another file of the same name was copied here that may have them"
        return _UNREADABLE_KEY if any(has_unreadable_key(self._table, *side) for side in sides) else ""

    def _gone_meanwhile(self, ids: Sequence[str]) -> list[str]:
        """The memories of these rows that no source has now: one may have been deleted since they were looked for, and
        its rows with it."""
        if not self._hangs_on:
            return []
        main = self._destination.main
        columns = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in self._hangs_on)
        query = sql.SQL(
            "SELECT DISTINCT m.id::text FROM {} AS k JOIN {} AS t ON {}, unnest(ARRAY[{}]) AS m(id)"
        ).format(named_rows(self._table), ours(main, self._table.name), same_key(self._table, "k"), columns)
        memories = {id_ for (id_,) in main.execute(query, key_parameters(self._table, ids))}
        table = self._destination.shapes.table("knowledge_nodes")
        spelt = [way for id_ in memories for way in spellings(id_)]
        for source in self._sources:
            found = table.source_in(source.layout)
            if found is not None:
                rows = read_value_by_key(source.connection, found, "1", spelt)
                memories -= {name_key(table, (key,)) for key, _ in rows}
        return sorted(memories)

    def _memories(self) -> list[list[str]]:
        return [self._gone_memories] if self._hangs_on else []

    def _brought(self, ids: Sequence[str], memberships: Sequence[str] = ()) -> tuple[list[str], list[str]]:
        """Those of the rows that are as a copy of the sources wrote them, and that nothing refers to; those to which
        something does. The `memberships` count for nothing: they are to go as well."""
        main = self._destination.main
        query = sql.SQL("SELECT k.ordinal, {} FROM {} AS k JOIN {} AS t ON {} WHERE {}").format(
            self._is_referred_to.condition,
            named_rows(self._table),
            ours(main, self._table.name),
            same_key(self._table, "k"),
            self._is_gone,
        )
        parameters = [*self._is_referred_to.parameters(memberships), *key_parameters(self._table, ids)]
        found = main.execute(query, [*parameters, *self._memories()]).fetchall()
        free = sorted(ids[ordinal - 1] for ordinal, is_in_use in found if not is_in_use)
        return free, sorted(ids[ordinal - 1] for ordinal, is_in_use in found if is_in_use)

    def _delete_some(self, ids: Sequence[str], gone: GoneRows, report: DeletionReport) -> None:
        main = self._destination.main
        name, named, same = ours(main, self._table.name), named_rows(self._table), same_key(self._table, "k")
        # Locked first: whoever refers to one of them until then is seen by the DELETE, and nobody can after that.
        lock = sql.SQL("SELECT FROM {} AS t JOIN {} AS k ON {} FOR UPDATE OF t").format(name, named, same)
        # The conditions once more: what is changed meanwhile stays.
        query = sql.SQL("DELETE FROM {} AS t USING {} AS k WHERE {} AND {} AND NOT {} RETURNING k.ordinal").format(
            name, named, same, self._is_gone, self._is_referred_to.condition
        )

        def delete(part: Sequence[str]) -> None:
            keys = key_parameters(self._table, part)
            with main.transaction():
                main.execute(lock, keys)
                found = main.execute(query, [*keys, *self._memories(), *self._is_referred_to.parameters()]).fetchall()
            gone.deleted += sorted(part[ordinal - 1] for (ordinal,) in found)

        def refuse(id_: str, error: psycopg.Error) -> None:
            name = self._table.name
            report.errors.append(RowError(name, id_, None, describe(error), Outcome.NOT_DELETED, error.sqlstate))

        by_halves(ids, delete, refuse)
