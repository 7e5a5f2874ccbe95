"""When the secondary indexes are built, and what the operator sees of it."""

from __future__ import annotations

from collections.abc import Sequence

from loguru import logger

from vestige_migrate.copy.heartbeat import Heartbeat
from vestige_migrate.destination.indexes import build as indexes
from vestige_migrate.destination.indexes.parallel_builds import Build, build_progress, run_builds
from vestige_migrate.destination.schema import registry
from vestige_migrate.plan import Indexes, SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.progress import OnProgress, Progress

PLAIN = "indexes"
HNSW = "HNSW index"
"""Names of the two progress bars."""


class IndexPhase:
    """Builds what `--indexes` asks for, before or after the load."""

    def __init__(self, plan: SqliteToPostgresPlan, destination: ReadyDestination, on_progress: OnProgress | None):
        self._plan = plan
        self._destination = destination
        self._on_progress = on_progress

    def before_load(self) -> None:
        """Drops what a broken build left; builds what has to be there while rows are added."""
        for name in indexes.drop_invalid(self._destination.main):
            logger.warning("index {} was left broken by an earlier run: it will be built again", name)
        wanted = self._plan.indexes
        if wanted is Indexes.NOW:
            self._build_plain()
            self._build_hnsw()
        elif wanted is Indexes.AUTO and not self._destination.fresh:
            # Somebody may be using it: what it lost is there again before rows are added.
            self._build_plain()

    def between_loads(self, changed: dict[str, int]) -> None:
        """After a file that others follow: ANALYZE makes its batches durable; indexes wait for the last one."""
        self._analyze(changed)

    def after_load(self, changed: dict[str, int]) -> None:
        """Builds what is missing, then ANALYZE of the changed tables, whose commit makes every batch durable."""
        if self._plan.indexes is Indexes.NONE:
            self._warn_of_missing()
        else:
            self._build_plain()
            self._build_hnsw()
        self._analyze(changed)

    def _analyze(self, changed: dict[str, int]) -> None:
        skipped = indexes.analyze(self._destination.main, changed)
        if skipped:
            logger.warning(
                "this role may not ANALYZE {}: let their owner do so, searches are planned badly until then",
                ", ".join(skipped),
            )

    def _warn_of_missing(self) -> None:
        absent = [name for name, _ in indexes.missing(self._destination.main, self._destination.shapes)]
        if indexes.needs_hnsw(self._destination.main, registry.column_dimension(self._destination.main)):
            absent.append(indexes.HNSW_INDEX)
        if absent:
            logger.warning(
                "--indexes none: {} indexes are missing and searches are slow; run again without it to build them",
                len(absent),
            )

    def _build_plain(self) -> None:
        wanted = indexes.missing(self._destination.main, self._destination.shapes)
        if wanted:
            self._run(PLAIN, indexes.plain_builds(wanted))

    def _run(self, name: str, builds: Sequence[Build]) -> None:
        heard = Heartbeat()

        def watch(done: int) -> None:
            self._advance(name, done, len(builds))
            if heard.is_due():
                logger.info("{}: {} of {} built after {:.0f} s", name, done, len(builds), heard.seconds)

        self._advance(name, 0, len(builds))
        run_builds(self._destination.pool, builds, watch)

    def _build_hnsw(self) -> None:
        dimension = registry.column_dimension(self._destination.main)
        if indexes.waits_for_owner(self._destination.main, dimension):
            logger.warning(
                "no HNSW index: vectors of {:,} dimensions lack it in a destination of an earlier version, and its "
                "tables belong to another role, who gets it from a run of this command",
                dimension,
            )
        if dimension is None or not indexes.needs_hnsw(self._destination.main, dimension):
            return
        memory = indexes.hnsw_memory(self._destination.main, dimension)
        logger.info(
            "building the HNSW index of {} vectors: its graph needs {} MiB, maintenance_work_mem is {} MiB ({})",
            memory.vectors,
            memory.wanted_mib,
            memory.given_mib,
            memory.reason,
        )
        if not memory.fits:
            logger.warning(
                "the HNSW graph does not fit into memory and its build takes several times as long: {}", memory.advice
            )
        build = indexes.hnsw_build(memory, self._plan.workers, logger.warning)
        self._advance(HNSW, 0, memory.vectors)
        heard = Heartbeat()
        run_builds(self._destination.pool, [build], lambda done: self._watch_hnsw(done, memory.vectors, heard))

    def _watch_hnsw(self, finished: int, vectors: int, heard: Heartbeat) -> None:
        if finished:
            self._advance(HNSW, vectors, vectors)
            return
        due = heard.is_due()
        if self._on_progress is None and not due:
            return
        seen = build_progress(self._destination.main, indexes.HNSW_INDEX)
        if seen is None:
            return
        # The server's total is the planner's guess of the table's rows; the count is exact.
        done, detail = min(seen.done, vectors), seen.describe(vectors)
        self._advance(HNSW, done, vectors, detail)
        if due:
            logger.info("{}: {}, {} of {} vectors after {:.0f} s", HNSW, detail, done, vectors, heard.seconds)

    def _advance(self, name: str, done: int, total: int, detail: str = "") -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(name, done, total, detail))
