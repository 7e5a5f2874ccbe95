"""The coordinator's entry, `run_sqlite_to_postgres`: both ends are opened and judged, then `Run` copies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from secrets import token_hex

import psycopg

from vestige_migrate.copy.index_phase import IndexPhase
from vestige_migrate.copy.run import Run
from vestige_migrate.destination.faults import describe
from vestige_migrate.errors import HostTooSmall, Interrupted, MigrationError, Stopped
from vestige_migrate.host_limits import describe_limit, limits_refuse
from vestige_migrate.model import Embedder, ModelSignature
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.prepare.destination import check_url, ready_destination
from vestige_migrate.prepare.source import found_source, prepared_source
from vestige_migrate.progress import OnProgress
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.source import driver
from vestige_migrate.source.connect import SourceFile
from vestige_migrate.source.fate import which_fault
from vestige_migrate.source.private import kept
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
    started = time.monotonic()
    check_url(plan)
    run_name = new_run_name()
    if not plan.dry_run:
        warm_up("vestige_migrate.copy.worker")
    # Every check that can refuse the run comes before the first write: an upgrade of the source is one.
    with ExitStack() as opened:
        with limits_refuse():
            opened.enter_context(kept([plan.sqlite_path]))
            wanted = signature_of(embedder)
            found = opened.enter_context(found_source(plan, wanted))
            destination = opened.enter_context(ready_destination(plan, found.layout, wanted, run_name))
            source = opened.enter_context(prepared_source(plan, found))
        indexes = IndexPhase(plan, destination, on_progress)
        run = Run(plan, source, destination, indexes, run_name, started, on_progress)
        try:
            with as_migration_error(source.file):
                run.execute()
            if plan.verify:
                from vestige_migrate.verify.coordinator import verify_copied

                run.report.verification = verify_copied(plan, [source], destination, run_name, on_progress)
        except MigrationError as error:
            error.report = run.report
            raise
        finally:
            run.report.duration_seconds = time.monotonic() - started
    return run.report


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
