"""The passes of `copy --follow`: the first brings everything, each further one what changed since.

Nothing is read while nothing is written to the source (`PRAGMA data_version`). Then every row of it is read once more,
on this side alone, and those that changed are copied as the first pass copied them. A pass that costs time is followed
by a pause as long, so that a source which is written to all the time is not read all the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
from loguru import logger

from vestige_migrate.copy.file_copy import FileCopy, FilesOfRun
from vestige_migrate.copy.follow.changes_copy import copy_changes
from vestige_migrate.copy.follow.source_changes import Changes, WatchedSource
from vestige_migrate.copy.follow.standing_rows import StandingRows
from vestige_migrate.copy.follow.stop_requests import heard_at_the_end
from vestige_migrate.copy.lost_sessions import through_lost_sessions
from vestige_migrate.destination.connection.faults import is_session_lost
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.progress import Progress
from vestige_migrate.report.deletions import DeletionReport
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.passes import PassReport
from vestige_migrate.report.rows import ALTERED

LOOK_SECONDS = 0.2
LEAST_PAUSE_SECONDS = 1.0
"""Between two passes, so that what Vestige writes in one go comes over in one."""
MOST_PASSES = 5000
"""So many have an entry of their own in the report; of more the oldest are added up."""
_CHECK_SECONDS = 5.0
_SAY_SECONDS = 60.0
_BAR = "following"


class Follower:
    """Of a run of one file. `copy_all` copies all of it and makes a report, `settle_deletions` looks then for what the
    source has deleted."""

    def __init__(
        self,
        files: FilesOfRun,
        settle_deletions: Callable[[], DeletionReport | None],
        copy_all: Callable[[], FileCopy],
    ) -> None:
        self._files = files
        self._plan = files.plan
        self._settle_deletions = settle_deletions
        self._copy_all = copy_all
        self._watched = WatchedSource(files.sources[0], files.destination.shapes, self._beat)
        self.deletions: DeletionReport | None = None
        self._passes: list[PassReport] = []
        self._state: object = None
        """The source before it was read last."""
        self._changed_at = self._checked_at = self._said_at = time.monotonic()
        self._behind_since: float | None = None
        self._pause_until = 0.0
        self._rows = 0
        """Changed rows that the pass under way brings; 0 between passes."""
        self._is_in_pass = False

    def run(self) -> MigrationReport:
        """The first pass, then all others until nothing changes for as long as the plan says, or until Ctrl-C.

        Raises what a copy raises. Ctrl-C is a usual end between two passes, and so is a first one within any but the
        first.
        """
        copy = self._whole_pass()
        logger.info("following {}: every change is brought as it comes; Ctrl-C ends this", copy.report.source.path)
        try:
            while True:
                while self._is_pass_due():
                    if self._pass(copy):
                        return self._end(copy, "as asked")
                # Everything once more, also what changed in the destination meanwhile.
                with heard_at_the_end() as request:
                    copy = self._whole_pass(copy)
                if request.asked:
                    return self._end(copy, "as asked")
                if self._is_current:
                    return self._end(copy, f"nothing was written to it for {self._plan.until_idle:g} s")
        except KeyboardInterrupt:
            if self._is_in_pass:
                raise
            return self._end(copy, "as asked")

    @property
    def _source(self) -> PreparedSource:
        return self._files.sources[0]

    @property
    def _is_current(self) -> bool:
        return self._source.state() == self._state

    # Between passes.

    def _is_pass_due(self) -> bool:
        """Waits until a pass is due; False when nothing was written for as long as the plan says."""
        while True:
            now = time.monotonic()
            if not self._is_current:
                self._behind_since = self._behind_since or now
                if now >= self._pause_until:
                    return True
            elif self._plan.until_idle is not None and now - self._changed_at >= self._plan.until_idle:
                return False
            self._check_session(now)
            self._beat()
            time.sleep(LOOK_SECONDS)

    def _check_session(self, now: float) -> None:
        """The lock of the run goes with its session: it is taken again as soon as that is noticed."""
        if now - self._checked_at < _CHECK_SECONDS:
            return
        self._checked_at = now
        session = self._files.destination.session
        try:
            session.check()
        except psycopg.Error as error:
            if not is_session_lost(error):
                raise
            logger.warning("the coordinator lost its session between two passes and takes another")
            session.recover()

    # Passes.

    def _whole_pass(self, before: FileCopy | None = None) -> FileCopy:
        """Every row. With `before` it is the last pass: what was altered by an earlier one is still."""
        self._is_in_pass = True
        started, clock, self._state = _utc(), time.monotonic(), self._source.state()
        self._find_changes()  # before anything is copied: what is written from now on is a change
        if before is not None:
            self._files.rows_with_errors, self._files.started = 0, clock
        copy = self._copy_all()
        copy.report.passes = self._passes
        if before is not None:
            altered = [error for error in before.report.errors if error.outcome in ALTERED]
            copy.report.errors = list(dict.fromkeys((*altered, *copy.report.errors)))
            self._say_errors(copy.report)
        deleted = self._settle()
        self._note(copy.report, copy.report.source_rows, started, clock, deleted, whole=True)
        self._changed_at = time.monotonic()
        return copy

    def _pass(self, copy: FileCopy) -> bool:
        """What changed since the last one; whether somebody asked for the end meanwhile."""
        with heard_at_the_end() as request:
            self._is_in_pass = True
            started, clock, self._state = _utc(), time.monotonic(), self._source.state()
            changes = self._find_changes()
            if changes.are_any:
                self._changed_at = clock
                self._bring(copy, changes, started, clock)
            else:
                self._ended(clock)
        return request.asked

    def _find_changes(self) -> Changes:
        changes = self._watched.find_changes()
        self._files.sources = [self._watched.prepared]
        return changes

    def _bring(self, copy: FileCopy, changes: Changes, started: str, clock: float) -> None:
        standing = StandingRows(copy.report, self._watched, self._files.destination.shapes)
        rowids = {name: list(found) for name, found in changes.rowids.items()}
        if rowids.get("knowledge_nodes"):
            for name, waiting in standing.refused().items():
                rowids[name] = sorted({*rowids.get(name, ()), *waiting})
        self._rows = sum(map(len, rowids.values()))
        found = copy_changes(
            self._files, self._watched.sources, rowids, copy.overrides, standing.rows_with_errors, self._advance
        )
        standing.take_in(found, rowids, changes.let_go)
        self._say_errors(copy.report)
        deleted = self._settle() if changes.let_go else 0
        self._note(found, len(changes), started, clock, deleted, whole=False)

    def _say_errors(self, report: MigrationReport) -> None:
        session, history = self._files.destination.session, self._files.history
        through_lost_sessions(session, self._plan.retries, lambda _: history.say(report.errors))

    def _settle(self) -> int:
        """Looks for what the source has deleted; how many rows were deleted for it."""
        found = self._settle_deletions()
        if found is None:
            return 0
        self.deletions = found.after(self.deletions) if self.deletions is not None else found
        return found.rows_deleted

    def _note(
        self, found: MigrationReport, changed: int, started: str, clock: float, deleted: int, whole: bool
    ) -> None:
        tables = found.tables.values()
        oldest = self._behind_since or (None if whole else clock)
        behind = time.monotonic() - oldest if oldest is not None else 0.0
        done = PassReport(
            started_at=started,
            seconds=time.monotonic() - clock,
            behind_seconds=behind,
            whole=whole,
            changed=changed,
            inserted=sum(table.inserted for table in tables),
            updated=sum(table.updated for table in tables),
            deleted=deleted,
            kept=sum(table.kept for table in tables),
            failed=sum(table.failed for table in tables),
        )
        self._passes.append(done)
        if len(self._passes) > MOST_PASSES:  # the first one is another kind of pass
            self._passes[1:3] = [self._passes[1].joined_with(self._passes[2])]
        rows = f"all of {changed} rows" if whole else f"{changed} rows changed"
        logger.log(
            "INFO" if whole else "DEBUG",
            "pass {}: {}; {} inserted, {} updated, {} deleted, {} failed in {:.1f} s",
            len(self._passes), rows, done.inserted, done.updated, done.deleted, done.failed, done.seconds,
        )  # fmt: skip
        self._ended(clock)
        if whole:  # the next one is much shorter
            self._pause_until = time.monotonic() + LEAST_PAUSE_SECONDS

    def _ended(self, clock: float) -> None:
        now = time.monotonic()
        self._is_in_pass = False
        self._rows = 0
        self._behind_since = None if self._is_current else clock
        self._pause_until = now + max(LEAST_PAUSE_SECONDS, now - clock)

    def _end(self, copy: FileCopy, why: str) -> MigrationReport:
        report = copy.report
        report.source_changed = not self._is_current
        logger.info(
            "ended following {}, {}; passes: {}, and {}",
            report.source.path,
            why,
            len(self._passes),
            "it was written to since the last one began" if report.source_changed else "nothing has changed since",
        )
        return report

    # What is shown of it.

    def _advance(self, progress: Progress) -> None:
        self._beat(f"{progress.table} {progress.done} of {progress.total}")

    def _beat(self, detail: str = "") -> None:
        """Shows how far behind the destination is, and says so once a minute."""
        now = time.monotonic()
        behind = now - self._behind_since if self._behind_since is not None else 0.0
        if behind:
            rows = f"{self._rows} rows" if self._rows else "changes"
            said = f"{rows} not there yet, {behind:.1f} s behind"
        else:
            said = "up to date"
        if self._files.on_progress is not None and self._passes:
            passes = "1 pass" if len(self._passes) == 1 else f"{len(self._passes)} passes"
            self._files.on_progress(Progress(_BAR, 0, 0, ", ".join(filter(None, (said, passes, detail)))))
        if now - self._said_at >= _SAY_SECONDS and self._passes:
            self._said_at = now
            logger.info("following: {}; {} passes so far", said, len(self._passes))


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
