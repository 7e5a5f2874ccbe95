"""Several sources into one destination, one after the other: `run_several_to_postgres`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import combinations

from vestige_migrate.copy.coordinator import as_migration_error, new_run_name, signature_of
from vestige_migrate.copy.index_phase import IndexPhase
from vestige_migrate.copy.run import Run, Turn
from vestige_migrate.destination.registry import UNNAMED
from vestige_migrate.errors import MigrationError, PlanError, SourcesMismatch
from vestige_migrate.estimate.figures import Work
from vestige_migrate.estimate.measure import survey
from vestige_migrate.host_limits import limits_refuse
from vestige_migrate.model import Embedder, ModelSignature
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination, check_url, ready_destination
from vestige_migrate.prepare.source import FoundSource, PreparedSource, found_source, prepared_source
from vestige_migrate.progress import OnProgress
from vestige_migrate.report.combined import CombinedReport
from vestige_migrate.report.estimate import Estimate
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.source.layout import Layout
from vestige_migrate.source.private import kept
from vestige_migrate.workers.processes import warm_up


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
    check_url(plans[0])
    run_name = new_run_name()
    if not plans[0].dry_run:
        warm_up("vestige_migrate.copy.worker")
    with ExitStack() as opened:
        with limits_refuse():
            opened.enter_context(kept(plan.sqlite_path for plan in plans))
            wanted = signature_of(embedder)
            found = [opened.enter_context(found_source(plan, wanted)) for plan in plans]
            check_sources(found)
            destination = opened.enter_context(ready_destination(plans[0], telling_layout(found), wanted, run_name))
            sources = [opened.enter_context(prepared_source(plan, at)) for plan, at in zip(plans, found, strict=True)]
        combined = CombinedReport(destination.info, destination.model, len(plans), plans[0].dry_run)
        try:
            with as_migration_error(*(source.file for source in sources)):
                works = []
                for report, work in _copy_each(plans, sources, destination, run_name, on_progress):
                    combined.reports.append(report)
                    works.append(work)
                combined.estimate = _estimate(works, plans[0], destination, telling_layout(found))
            if plans[0].verify:
                from vestige_migrate.verify.coordinator import verify_copied

                combined.verification = verify_copied(plans[0], sources, destination, run_name, on_progress)
        except MigrationError as error:
            if isinstance(error.report, MigrationReport):
                combined.reports.append(error.report)
            error.report = combined
            raise
        finally:
            combined.duration_seconds = time.monotonic() - started
    return combined


def _copy_each(
    plans: Sequence[SqliteToPostgresPlan],
    sources: Sequence[PreparedSource],
    destination: ReadyDestination,
    run_name: str,
    on_progress: OnProgress | None,
) -> Iterator[tuple[MigrationReport, Work | None]]:
    """Each file's report, and what a dry run found to be done."""
    # One for all: it builds before the first file and after the last one, by what the destination was at the start.
    indexes = IndexPhase(plans[0], destination, on_progress)
    errors = 0
    for at, (plan, source) in enumerate(zip(plans, sources, strict=True)):
        turn = Turn(
            first=at == 0,
            last=at == len(plans) - 1,
            errors_before=errors,
            others=tuple(sources[at + 1 :]),
            earlier=tuple(sources[:at]),
        )
        started = time.monotonic()
        run = Run(plan, source, destination, indexes, run_name, started, on_progress, turn)
        try:
            with as_migration_error(source.file):
                run.execute()
        except MigrationError as error:
            error.report = run.report
            raise
        finally:
            run.report.duration_seconds = time.monotonic() - started
        yield run.report, run.work
        errors = run.rows_with_errors
        destination = replace(destination, fresh=destination.fresh and run.report.memories_copied == 0)


def _estimate(
    works: Sequence[Work | None], plan: SqliteToPostgresPlan, destination: ReadyDestination, layout: Layout
) -> Estimate | None:
    """Of a dry run of all files together; None for a copy, and where one of them could not be sampled."""
    known = [work for work in works if work is not None]
    return survey(sum(known, Work()), plan, destination, layout.dimension) if len(known) == len(works) else None


def check_plans(plans: Sequence[SqliteToPostgresPlan]) -> None:
    """Raises `PlanError` unless there is a plan, and all of them differ in `sqlite_path` alone."""
    if not plans:
        raise PlanError("no source was given: give at least one --sqlite-path")
    for plan in plans[1:]:
        if replace(plan, sqlite_path=plans[0].sqlite_path) != plans[0]:
            raise PlanError("the plans of one copy may differ in their source file only")


def check_sources(found: Sequence[FoundSource]) -> None:
    """Raises `PlanError` where a file is given twice, and `SourcesMismatch` where two have vectors of two models."""
    for one, other in combinations(found, 2):
        if one.path.samefile(other.path):
            named = str(one.path) if one.path == other.path else f"{one.path} and {other.path}"
            raise PlanError(f"--sqlite-path names one file twice: {named}. Give each file once")
        first, second = signature(one.layout), signature(other.layout)
        if first is None or second is None:
            continue
        named_both = UNNAMED not in (first.name, second.name)
        if not first.matches(second) if named_both else first.dimension != second.dimension:
            choices = (
                *filter(first.matches, other.layout.other_models),
                *filter(second.matches, one.layout.other_models),
            )
            raise SourcesMismatch(str(one.path), first, str(other.path), second, next(iter(choices), None))


def signature(layout: Layout) -> ModelSignature | None:
    """The model of a file's vectors; one without a name where only their length is known."""
    if layout.model is None and layout.dimension is not None:
        return ModelSignature(UNNAMED, layout.dimension)
    return layout.model


def telling_layout(found: Sequence[FoundSource]) -> Layout:
    """The layout that says most about the model of all of them: with a hash, else a name, else a dimension."""

    def rank(layout: Layout) -> tuple[bool, bool, bool]:
        model = layout.model
        return model is not None and model.hash is not None, model is not None, layout.dimension is not None

    return max((item.layout for item in found), key=rank)
