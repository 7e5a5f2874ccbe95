"""A copy from start to report: `run_sqlite_to_postgres`, and `run_several_to_postgres` for several files.

Both ends are opened and judged here, then each file is copied by a `FileCopy`. One file is a run of one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import reduce
from secrets import token_hex

import psycopg

from vestige_migrate.copy.file_copy import FileCopy, FilesOfRun
from vestige_migrate.copy.follow.can_follow import check_can_be_followed
from vestige_migrate.copy.index_phase import IndexPhase
from vestige_migrate.copy.lost_sessions import through_lost_sessions
from vestige_migrate.copy.run_history import RunHistory
from vestige_migrate.copy.second_run_checks import check_second_run
from vestige_migrate.destination.connection.faults import describe
from vestige_migrate.errors import HostTooSmall, Interrupted, MigrationError, PlanError, Stopped
from vestige_migrate.host_limits import describe_limit, limits_refuse
from vestige_migrate.model import Embedder, ModelSignature
from vestige_migrate.plan import Deletions, OnConflict, SqliteToPostgresPlan
from vestige_migrate.prepare.destination import check_url, ready_destination
from vestige_migrate.prepare.model import check_sources, telling_layout
from vestige_migrate.prepare.source import found_source, prepared_source
from vestige_migrate.progress import OnProgress
from vestige_migrate.report.combined import CombinedReport
from vestige_migrate.report.deletions import DeletionReport
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.source.file.mid_run_changes import which_fault
from vestige_migrate.source.file.private_copies import kept
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.connect import SourceFile
from vestige_migrate.workers.processes import warm_up


def run_sqlite_to_postgres(
    plan: SqliteToPostgresPlan, embedder: Embedder | None = None, on_progress: OnProgress | None = None
) -> MigrationReport:
    """Copies a source into a destination, as `vestige migrate copy` does.

    Args:
        plan: what to copy, from where, to where.
        embedder: the embedding model that the caller uses; compared with the source's, never called.
        on_progress: called after every committed batch, in this process and thread.

    Returns:
        The report. `report.errors` names every row that did not come over as it was.

    Raises:
        PlanError: the plan's `postgres_url` is none.
        Refused: nothing was written (`SourceUnusable`, `ModelMismatch`, `DestinationUnusable`, ...).
        Stopped: stopped in the middle; what is committed stays, running again resumes.
        Interrupted: Ctrl-C. No process, transaction or lock is left behind.
    """
    try:
        return run_several_to_postgres([plan], embedder, on_progress).only
    except MigrationError as error:
        if isinstance(error.report, CombinedReport):
            error.report = error.report.only if error.report.reports else None
        raise


def run_several_to_postgres(
    plans: Sequence[SqliteToPostgresPlan], embedder: Embedder | None = None, on_progress: OnProgress | None = None
) -> CombinedReport:
    """Copies several sources into one destination; the plans differ in `sqlite_path` alone.

    Every check of every file, the registries' against each other included, and every upgrade and snapshot come before
    the first write to the destination. A memory that several files share is stored once: the first file's, with
    `OnConflict.NEWER` the latest. Raises what `run_sqlite_to_postgres` raises.
    """
    started = time.monotonic()
    check_plans(plans)
    plan = plans[0]
    check_url(plan)
    run_name = new_run_name()
    if not plan.dry_run:
        warm_up("vestige_migrate.copy.worker")
    # Every check that can refuse the run comes before the first write: an upgrade of the source is one.
    with ExitStack() as opened:
        with limits_refuse():
            opened.enter_context(kept(each.sqlite_path for each in plans))
            wanted = signature_of(embedder)
            found = [opened.enter_context(found_source(each, wanted)) for each in plans]
            check_sources(found)
            destination = opened.enter_context(ready_destination(plan, telling_layout(found), wanted, run_name))
            check_second_run(plans, destination)
            sources = [opened.enter_context(prepared_source(each, at)) for each, at in zip(plans, found, strict=True)]
        if plan.follow:
            check_can_be_followed(sources[0])
        indexes = IndexPhase(plan, destination, on_progress)
        history = RunHistory(plans, destination, _program_version())
        if plan.on_conflict is not OnConflict.SKIP or plan.deletions_asked is not Deletions.IGNORE:
            history.tell_files_apart(sources)
        if plan.dry_run:
            history.look()
        files = FilesOfRun(
            plan, sources, destination, destination.fresh, indexes, run_name, started, on_progress, history
        )
        combined = CombinedReport(destination.info, destination.model, len(plans), plan.dry_run)
        try:
            with as_migration_error(*(source.file for source in sources)):
                if plan.follow:
                    _follow(files, combined)
                else:
                    for number in range(len(files.sources)):
                        _copy(files, combined, number)
                    if plan.deletions_asked is not Deletions.IGNORE:
                        combined.deletions = DeletionReport(applied=False)
                        _settle_deletions(files, combined.deletions)
            combined.estimate = files.estimate
            if plan.verify:
                from vestige_migrate.verify.coordinator import verify_copied

                combined.verification = verify_copied(plan, sources, destination, run_name, on_progress)
            with as_migration_error(*(source.file for source in sources)):
                if history.is_kept and not plan.dry_run:
                    through_lost_sessions(destination.session, plan.retries, lambda _: history.end(combined))
        except MigrationError as error:
            error.report = combined
            raise
        finally:
            combined.duration_seconds = time.monotonic() - started
    return combined


def _copy(files: FilesOfRun, combined: CombinedReport, number: int) -> FileCopy:
    copy = FileCopy(files, number)
    combined.reports.append(copy.report)
    with as_migration_error(files.sources[number].file):
        copy.execute()
    files.fresh = files.fresh and copy.report.memories_copied == 0
    return copy


def _settle_deletions(files: FilesOfRun, report: DeletionReport) -> None:
    from vestige_migrate.copy.deletions import settle_deletions  # here: they need NumPy
    from vestige_migrate.copy.gone_rows import settle_gone_rows

    settle_deletions(files.plan, files.sources, files.destination, report)
    settle_gone_rows(files.plan, files.sources, files.destination, files.history, report)


def _follow(files: FilesOfRun, combined: CombinedReport) -> None:
    """Copies the run's one file, and then whatever changes in it."""
    from vestige_migrate.copy.follow.follower import Follower  # here: it needs NumPy

    def copy_all() -> FileCopy:
        combined.reports.clear()
        return _copy(files, combined, 0)

    def settle() -> DeletionReport | None:
        if files.plan.deletions_asked is Deletions.IGNORE:
            return None
        tries: list[DeletionReport] = []

        def settle_once(_: bool) -> None:
            tries.append(DeletionReport(applied=False))
            _settle_deletions(files, tries[-1])

        through_lost_sessions(files.destination.session, files.plan.retries, settle_once)
        # What was deleted in a try that did not come to its end is deleted.
        return reduce(lambda earlier, later: later.after(earlier), tries)

    follower = Follower(files, settle, copy_all)
    try:
        follower.run()
    finally:
        combined.deletions = follower.deletions


def check_plans(plans: Sequence[SqliteToPostgresPlan]) -> None:
    """Raises `PlanError` unless there is a plan, and all of them differ in `sqlite_path` alone."""
    if not plans:
        raise PlanError("no source was given: give at least one --sqlite-path")
    if plans[0].follow and len(plans) > 1:
        raise PlanError("--follow takes one --sqlite-path: follow each file in a command of its own")
    for plan in plans[1:]:
        if replace(plan, sqlite_path=plans[0].sqlite_path) != plans[0]:
            raise PlanError("the plans of one copy may differ in their source file only")
        if plan.on_conflict is OnConflict.SOURCE:
            raise PlanError(
                "--on-conflict source takes one --sqlite-path: of several files that share a memory, each would be the "
                "truth. Copy them one after the other, or with --on-conflict newer"
            )


def _program_version() -> str:
    from vestige_migrate import __version__  # here: the package imports this module

    return __version__


def new_run_name() -> str:
    """What the server is told of a run's sessions, so that they can be told from those of any other."""
    return f"vestige-migrate {token_hex(4)}"


def signature_of(embedder: Embedder | None) -> ModelSignature | None:
    """What is compared of the caller's embedder."""
    return ModelSignature(embedder.name, embedder.dimension, embedder.hash) if embedder else None


@contextmanager
def as_migration_error(*files: SourceFile) -> Iterator[None]:
    """Ctrl-C, the destination's failures and those of these source files in the operator's terms."""
    try:
        yield
    except MigrationError:
        raise
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted: everything committed so far stays, and running the same command again resumes"
        ) from None
    except psycopg.Error as error:
        raise Stopped(
            f"the destination failed: {describe(error)}. What was committed stays; run again to resume"
        ) from None
    except driver.errors() as error:
        raise Stopped(
            f"the source could not be read: {which_fault(files, error)}. What was committed stays; run again to "
            "resume, and check the file with PRAGMA integrity_check if this stays"
        ) from None
    except Exception as error:
        limit = describe_limit(error)
        if limit is None:
            raise
        raise HostTooSmall(f"{limit}. What was committed stays; then run again to resume") from error
