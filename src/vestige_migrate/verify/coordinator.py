"""The comparison from start to report. The public entries are `verify_sqlite_to_postgres` and its plural."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from secrets import token_hex
from uuid import UUID, uuid4

import psycopg
from loguru import logger

from vestige_migrate.destination.connection.faults import describe
from vestige_migrate.destination.load.run_record import with_known_since
from vestige_migrate.destination.schema import tombstones
from vestige_migrate.errors import HostTooSmall, Interrupted, MigrationError, SourceIncomplete, Stopped
from vestige_migrate.host_limits import describe_limit, limits_refuse
from vestige_migrate.limits import BATCH_BYTES
from vestige_migrate.plan import OnConflict, SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination, check_url
from vestige_migrate.prepare.owner import find_owner
from vestige_migrate.prepare.reembed_count import count_awaiting
from vestige_migrate.prepare.source import PreparedSource, found_source, prepared_source
from vestige_migrate.progress import OnProgress, Progress, timed
from vestige_migrate.report.archive_comparison import ArchiveDemand
from vestige_migrate.report.rows import NIL_UUID
from vestige_migrate.report.verification import Difference, Kind, VerifyReport
from vestige_migrate.source.file.mid_run_changes import which_fault
from vestige_migrate.source.file.private_copies import kept
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.counts import count_rows
from vestige_migrate.source.read.ranges import Range, plan_ranges
from vestige_migrate.source.sqlite import driver
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.base import BOOTSTRAP_USER, Evidence, Table
from vestige_migrate.tables.other_content import other_content_kept
from vestige_migrate.tables.overrides import Overrides
from vestige_migrate.tables.shapes import Shapes
from vestige_migrate.tables.unreadable_rows import NONE_LOST, errors_of_lost
from vestige_migrate.verify.archive_check import ArchiveCheck
from vestige_migrate.verify.destination import OpenDestination, as_open, open_destination
from vestige_migrate.verify.extra_rows import OpenTable, count_ids, find_extras
from vestige_migrate.verify.job import CompareJob
from vestige_migrate.verify.keys import key_id
from vestige_migrate.verify.messages import Queries
from vestige_migrate.verify.registry_check import registry_differences
from vestige_migrate.verify.row_digests import count_and_sum, repeated_keys
from vestige_migrate.verify.schema_structure import Structure
from vestige_migrate.verify.search_check import check_search
from vestige_migrate.verify.search_sample import Sample, draw_sample
from vestige_migrate.verify.tally import VerifyTally, log_findings
from vestige_migrate.workers.job import WorkerConfig
from vestige_migrate.workers.pool import WorkerPool
from vestige_migrate.workers.processes import warm_up


def verify_sqlite_to_postgres(plan: SqliteToPostgresPlan, on_progress: OnProgress | None = None) -> VerifyReport:
    """Compares a destination with the source it was copied from, as `vestige migrate verify` does.

    Args:
        plan: the copy to check. Its source is never written to, so `allow_source_upgrade` has no effect; an older
            source is upgraded in a private snapshot with `snapshot`. With `archive` every row that has no place in the
            destination must be in `vestige_archive`.
        on_progress: called after every compared batch, in this process and thread.

    Returns:
        The report; `report.same` is the answer, `report.differences` names every row that differs, `report.not_copied`
        every row that the copy could not place.

    Raises:
        Refused: the two cannot be compared (`SourceUnusable`, `DestinationUnusable`, ...).
        Stopped: stopped in the middle; nothing was changed.
        Interrupted: Ctrl-C.
    """
    return verify_several_to_postgres([plan], on_progress)


def verify_several_to_postgres(
    plans: Sequence[SqliteToPostgresPlan], on_progress: OnProgress | None = None
) -> VerifyReport:
    """Compares a destination with all the sources it was copied from; the plans differ in `sqlite_path` alone."""
    started = time.monotonic()
    check_url(plans[0])
    warm_up("vestige_migrate.verify.worker")
    run_name = f"vestige-migrate {token_hex(4)}"
    plans = [replace(plan, allow_source_upgrade=False) for plan in plans]
    with ExitStack() as opened:
        with limits_refuse():
            opened.enter_context(kept(plan.sqlite_path for plan in plans))
            found = [opened.enter_context(found_source(plan)) for plan in plans]
            destination = opened.enter_context(open_destination(plans[0], run_name))
            # The copy may have been told which model counts: the destination knows.
            found = [item.choosing(destination.registered) for item in found]
            sources = [
                opened.enter_context(prepared_source(plan, item)) for plan, item in zip(plans, found, strict=True)
            ]
        demand = ArchiveDemand.ALL if plans[0].archive else ArchiveDemand.OF_THIS_SOURCE
        report = _verify(plans[0], sources, destination, run_name, demand, on_progress)
    report.duration_seconds = time.monotonic() - started
    return report


def verify_copied(
    plan: SqliteToPostgresPlan,
    sources: Sequence[PreparedSource],
    ready: ReadyDestination,
    run_name: str,
    on_progress: OnProgress | None,
) -> VerifyReport:
    """Compares both sides of a copy that has just ended, and still holds them open and locked."""

    def tell(progress: Progress) -> None:
        # A bar of its own, beside the one of the table's copy.
        if on_progress is not None:
            on_progress(replace(progress, table=f"verify {progress.table}"))

    demand = ArchiveDemand.ALL if plan.archive else ArchiveDemand.NONE
    return _verify(plan, sources, as_open(ready), run_name, demand, tell)


def _verify(
    plan: SqliteToPostgresPlan,
    sources: Sequence[PreparedSource],
    destination: OpenDestination,
    run_name: str,
    demand: ArchiveDemand,
    on_progress: OnProgress | None,
) -> VerifyReport:
    started = time.monotonic()
    run = _Verification(plan, sources, destination, run_name, demand, on_progress)
    try:
        run.execute()
    except MigrationError:
        raise
    except KeyboardInterrupt:
        raise Interrupted("interrupted: nothing was changed by comparing; run vestige migrate verify again") from None
    except psycopg.Error as error:
        raise Stopped(f"the destination failed: {describe(error)}. Nothing was changed; verify again") from None
    except driver.errors() as error:
        fault = which_fault((source.file for source in sources), error)
        raise Stopped(f"the source could not be read: {fault}. Nothing was changed; verify again") from None
    except Exception as error:
        limit = describe_limit(error)
        if limit is None:
            raise
        raise HostTooSmall(f"{limit}. Nothing was changed; then verify again") from error
    run.report.duration_seconds = time.monotonic() - started
    return run.report


class _Verification:
    """One comparison."""

    def __init__(
        self,
        plan: SqliteToPostgresPlan,
        sources: Sequence[PreparedSource],
        destination: OpenDestination,
        run_name: str,
        demand: ArchiveDemand,
        on_progress: OnProgress | None,
    ) -> None:
        self._plan = plan
        self._sources = sources
        self._destination = destination
        self._run_name = run_name
        self._tables = [_tables_of(source, destination.shapes) for source in sources]
        self._lost = [
            errors_of_lost(source.lost, tables, destination.shapes)
            for source, tables in zip(sources, self._tables, strict=True)
        ]
        self._tally = VerifyTally(on_progress)
        self._demand = demand
        self._on_progress = on_progress
        self._overrides = self._find_overrides()
        model = next((source.layout.model for source in sources if source.layout.model), destination.registered)
        infos = tuple(source.info for source in sources)
        self.report = VerifyReport(infos, destination.info, model)

    def _find_overrides(self) -> Overrides:
        """What --codebase and --owner gave to memories that have only the default."""
        handle = self._plan.owner
        if handle is None:
            return Overrides(self._plan.codebase)
        # Without such a user nothing can belong to it: an id that nobody has makes that a difference.
        return Overrides(self._plan.codebase, find_owner(self._destination.main, handle) or uuid4())

    def execute(self) -> None:
        """Everything. The report is complete afterwards."""
        for source in self._sources:
            info = source.info
            logger.info("comparing {} (V{}, {} line)", info.path, info.schema_version, info.lineage)
        there = self.report.destination
        logger.info("with {}, schema {}: {} workers", there.url, there.schema, self._plan.workers)
        before = [source.state() for source in self._sources]
        with self._phase("sample"):
            sides = [(source.connection, source.layout) for source in self._sources]
            sample = draw_sample(sides, self._destination.main)
            queries = sample.queries()
        with self._phase("rows"):
            for number in range(len(self._sources)):
                self._compare_rows(number, queries)
        self._tally.settle(self.report)
        with self._phase("keys"):
            self._compare_keys()
        with self._phase("archive"):
            archive = self._compare_archive()
        with self._phase("schema"):
            structure = Structure(self._destination.main, self._destination.shapes)
            self._compare_schema(structure)
        with self._phase("search"):
            self._check_search(structure, sample, queries)
        self.report.source_changed = any(
            source.changed_since(state) for source, state in zip(self._sources, before, strict=True)
        )
        self._check_complete()
        if not self.report.source_changed:
            archive.check_complete()
        main = self._destination.main
        self.report.altered = with_known_since(main, self.report.altered)
        self.report.not_copied = with_known_since(main, self.report.not_copied)
        self.report.complete = True
        log_findings(self.report)

    def _compare_rows(self, number: int, queries: Queries) -> None:
        source = self._sources[number]
        pool = WorkerPool(self._worker_config(source, queries), self._plan.workers, self._plan.retries, logger.warning)
        try:
            ranges: list[Range] = []
            # No table waits for another: the ranges of all of them are one queue.
            for name, found in self._tables[number].items():
                self._tally.begin(name, self._count(number, name))
                lost = self._lost[number].get(name, NONE_LOST)
                self._tally.unreadable(number, name, lost.rows, lost.errors)
                ranges += plan_ranges(source.connection, name, found, self._plan.workers)
            pool.run(ranges, False, partial(self._tally.handle, number))
            pool.stop()
        except BaseException:
            pool.kill()
            raise

    def _worker_config(self, source: PreparedSource, queries: Queries) -> WorkerConfig:
        forgets = tombstones.are_any(self._destination.main)
        job = CompareJob(source.layout, BATCH_BYTES, self._overrides, self._destination.shapes, queries, forgets)
        return WorkerConfig(
            source=source.file,
            postgres_url=self._destination.url,
            home=self._destination.home,
            application_name=f"{self._run_name} worker",
            answer_timeout=self._plan.answer_timeout,
            job=job,
        )

    def _compare_schema(self, structure: Structure) -> None:
        """What is wrong with the tables themselves, and with the registry."""
        flaws = structure.flaws()
        differences = [Difference(flaw.table, flaw.part, Kind.SCHEMA, detail=flaw.wrong) for flaw in flaws]
        differences += registry_differences(self._destination, [source.layout for source in self._sources])
        self.report.differences += differences
        self.report.missing_indexes = structure.missing_indexes()

    def _compare_archive(self) -> ArchiveCheck:
        """The rows that have no place in the destination: in the archive, or only in the source."""
        main = self._destination.main
        archive = ArchiveCheck(
            main, list(zip(self._sources, self._tables, strict=True)), self._demand, self._on_progress
        )
        archive.run()
        self.report.archive = archive.found
        self.report.differences += archive.differences
        awaiting: Counter[str] = Counter()
        for source in self._sources:
            awaiting += count_awaiting(source.connection, source.layout, main)
        self.report.awaiting_reembed, self.report.awaiting_reasons = awaiting.total(), dict(awaiting)
        return archive

    def _compare_keys(self) -> None:
        """Looks for rows that only the destination has; where several rows of the source share an id, one is there."""
        main = self._destination.main
        for name, table in self._destination.shapes.tables().items():
            rows, total = count_and_sum(main, table)
            if (rows, total) == self._tally.matched(name):
                continue
            for key in repeated_keys(main, table):
                self.report.differences.append(Difference(name, key_id(table, key), Kind.REPEATED))
            sides = self._sides(name)
            known = self._lost_ids(name) | (self._own_users() if name == "users" else set())
            for id_ in find_extras(main, table, sides, rows, known):
                self.report.differences.append(Difference(name, id_, Kind.EXTRA))
                self.report.tables[name].extra += 1
            self._name_repeated(table, sides)

    def _sides(self, table: str) -> list[OpenTable]:
        return [
            (source.connection, tables[table])
            for source, tables in zip(self._sources, self._tables, strict=True)
            if table in tables
        ]

    def _count(self, number: int, table: str) -> int:
        """Rows of a table of one source, with those that a damaged file has lost."""
        lost = self._lost[number].get(table, NONE_LOST)
        return count_rows(self._sources[number].connection, self._tables[number][table]) + lost.rows

    def _lost_ids(self, table: str) -> set[UUID]:
        """Rows that a damaged source has lost: the destination may have them from before."""
        if self._destination.shapes.table(table).key_types != ("uuid",):
            return set()
        ids = {error.id for lost in self._lost for error in lost.get(table, NONE_LOST).errors}
        return {UUID(id_) for id_ in ids - {NIL_UUID}}

    def _own_users(self) -> set[UUID]:
        """The user `local`, whom every destination has from the start, and the one that --owner made."""
        owner = self._overrides.owner
        return {UUID(BOOTSTRAP_USER)} | ({owner} if owner is not None else set())

    def _name_repeated(self, table: Table, sides: Sequence[OpenTable]) -> None:
        """Of rows that share an id one is stored: the others differ from it, and their content is not there."""
        different = self._tally.different(table.name)
        if not different:
            return
        found = Counter(item.id for item in different)
        rows = count_ids(table, sides, found.keys())
        repeated = [item for item in different if rows[item.id] > found[item.id]]
        lost = [item for item in repeated if not self._was_asked_for(table, item)]
        counts = self.report.tables[table.name]
        counts.different -= len(repeated)
        counts.repeated += len(repeated) - len(lost)
        counts.not_copied += len(lost)
        self.report.not_copied += [other_content_kept(table, item.id) for item in lost]
        gone = set(repeated)
        self.report.differences = [item for item in self.report.differences if item not in gone]

    def _was_asked_for(self, table: Table, item: Difference) -> bool:
        """Whether `--on-conflict newer` puts another row of the source in the place of this one."""
        if self._plan.on_conflict is not OnConflict.NEWER:
            return False
        for memories in TABLES.values():
            if memories.refresh is not None and memories.refresh.companion == table.name:
                # A schedule goes by its own reviews, or by the time of its memory.
                deciding = set(memories.refresh.decides)
                theirs = self._tally.different(memories.name)
                if any(memory.id == item.id and deciding & {*memory.columns} for memory in theirs):
                    return True
        if table.refresh is None:
            return False
        if table.refresh.evidence is Evidence.DIFFERENT:
            return set(item.columns) <= {*table.refresh.columns}
        return bool({*table.refresh.decides} & {*item.columns})

    def _check_search(self, structure: Structure, sample: Sample, queries: Queries) -> None:
        exact = [self._tally.nearest(at) for at in range(len(queries.ids))]
        sides = [(source.connection, source.layout) for source in self._sources]
        self.report.search = check_search(structure, self._destination.main, sides, sample, queries, exact)
        self.report.differences += self.report.search.differences
        for warning in self.report.search.warnings:
            logger.warning("{}", warning)

    def _check_complete(self) -> None:
        if self.report.source_changed:
            logger.warning("another program wrote to the source during the comparison: copy and verify again")
            return
        for number, (source, tables) in enumerate(zip(self._sources, self._tables, strict=True)):
            for name in tables:
                expected, read = self._count(number, name), self._tally.rows(number, name)
                if read != expected:
                    raise SourceIncomplete(
                        f"{read} rows of {name} were read, and {source.info.path} holds {expected}: the comparison is "
                        "not complete. Check the file with PRAGMA integrity_check"
                    )

    def _phase(self, name: str) -> AbstractContextManager[None]:
        return timed(self.report.phases, name)


def _tables_of(source: PreparedSource, shapes: Shapes) -> dict[str, TableSource]:
    """By rowid, whatever the indexes hold by which the copy found its rows: it is not believed here."""
    tables = shapes.tables().items()
    return {name: found.by_rowid() for name, table in tables if (found := table.source_in(source.layout))}
