"""The outputs of one command: accepted before anything else, and a whole report whatever becomes of the run."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vestige_migrate.cli.failures import Failure, failure_of
from vestige_migrate.cli.in_use import in_use
from vestige_migrate.cli.masking import without_passwords
from vestige_migrate.cli.output import console_sink, log_to
from vestige_migrate.cli.output_files import InUse, Place, accept, check_apart, is_input
from vestige_migrate.cli.output_writing import LogFile, ReportFile, write_standard_output
from vestige_migrate.cli.streams import SteadyConsole, silence
from vestige_migrate.errors import MigrationError, PlanError, Stopped
from vestige_migrate.paths import expanded, shown
from vestige_migrate.places import default_database
from vestige_migrate.report.combined import CombinedReport
from vestige_migrate.report.endpoints import USUAL_SCHEMA
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import SCHEMA
from vestige_migrate.report.verification import VerifyReport

STANDARD_OUTPUT = "-"
_REPORT, _LOG = "--report", "--log-file"
_STREAMS = {1: ("standard output", "stdout"), 2: ("standard error", "stderr")}

Report = MigrationReport | CombinedReport | VerifyReport


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run before it begins; `sources` is empty where nobody said and there is no default."""

    command: str
    dry_run: bool
    sources: tuple[Path, ...]
    url: str = field(repr=False)
    schema: str | None = None
    """As it was asked for; None where the server's search_path decides."""

    @classmethod
    def of(
        cls, command: str, dry_run: bool, given: Sequence[Path] | None, url: str, schema: str | None = None
    ) -> RunFacts:
        """For these `--sqlite-path`; Vestige's own file where there is none."""
        return cls(command, dry_run, tuple(expanded(path) for path in given or _default()), url.strip(), schema)

    def as_json(self) -> dict[str, Any]:
        """The keys of a report that are known."""
        sources = [{"path": without_passwords(shown(path))} for path in self.sources]
        known: dict[str, Any] = {"schema": SCHEMA, "command": self.command, "dry_run": self.dry_run, "complete": False}
        if len(sources) == 1:
            known["source"] = sources[0]
        elif sources:
            known["sources"] = sources
        url = self._shown_url()
        if url is None:
            return known
        schema = {"schema": self.schema} if self.schema not in (None, USUAL_SCHEMA) else {}
        return known | {"destination": {"url": url, **schema}}

    def _shown_url(self) -> str | None:
        from vestige_migrate.destination.connection.connect import display_url
        from vestige_migrate.destination.embedded import is_embedded

        if is_embedded(self.url):
            return without_passwords(self.url)
        try:
            return display_url(self.url) if self.url.strip() else None
        except PlanError:
            return None


class Outputs:
    """Where one command's report and log go.

    Raises `PlanError` where the report may not be written to its path. Whatever else is wrong comes up in `begin`, so
    that the report has it.
    """

    def __init__(self, facts: RunFacts, report: str | None, log_file: Path | None, console: SteadyConsole) -> None:
        self._facts = facts
        self._console = console
        self._to_standard_output = report == STANDARD_OUTPUT
        self._refusal: PlanError | None = None
        self._log_place: Place | None = None
        file = None if self._to_standard_output else report
        regular = [stream for stream in _STREAMS if _is_regular(stream)]
        # Where nothing goes into a file, nothing needs to be known of the run's own.
        asked = file is not None or log_file is not None or regular
        self._in_use = in_use(facts.sources, facts.url) if asked else InUse()
        place = accept(_REPORT, file, self._in_use) if file is not None else None
        try:
            _check_streams(regular, self._in_use)
            if log_file is not None:
                self._log_place = accept(_LOG, str(log_file), self._in_use)
        except PlanError as error:
            self._refusal = error
        if place is not None:
            _check_beside_streams(place, regular)
        if self._log_place is not None:
            self._check_log_apart(self._log_place, place)
        self._report = ReportFile.open(place, self._in_use) if place is not None else None

    def _check_log_apart(self, log: Place, report: Place | None) -> None:
        if report is not None:
            check_apart(report, log)
        found = log.look()
        if self._to_standard_output and found is not None and not stat.S_ISCHR(found.st_mode):
            with suppress(OSError):
                if os.path.samestat(found, os.fstat(1)):
                    raise log.refused("is where the report goes, which stands there alone: give another path")

    def begin(self, level: str, debug: bool) -> None:
        """Sends log lines to the log, else to the console. Raises `PlanError` where that cannot be done."""
        if self._refusal is not None:
            raise self._refusal
        sink = console_sink(self._console)
        if self._log_place is not None:
            sink = LogFile.open(self._log_place, self._in_use, self._console.print_line).write
        log_to(sink, level, debug)

    @contextmanager
    def told_of_failure(self) -> Iterator[None]:
        """A run that fails inside of this leaves a whole report with its error."""
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            failure = failure_of(error)
            done = error.report.as_json() if isinstance(error, MigrationError) and error.report is not None else {}
            self._write_failure(failure, done)
            if isinstance(error, OSError):  # not left to typer, which takes a broken pipe for our reader's
                raise Stopped(failure.message) from error
            raise

    def write(self, report: Report) -> None:
        """Writes the report of a run that came to its end. Raises OSError; an older report is whole then."""
        self._write(report.as_json())

    def refuse(self, failure: Failure) -> None:
        """Writes the report of a run that never began."""
        self._write_failure(failure, {})

    def _write_failure(self, failure: Failure, done: Mapping[str, Any]) -> None:
        first = {**self._facts.as_json(), **done, "complete": False}
        head = {name: first.pop(name) for name in ("schema", "command", "dry_run", "complete")}
        try:
            self._write({**head, "error": failure.as_json(), **first})
        except OSError as error:
            what = error.filename or "standard output"
            self._console.print_line(f"error: the report was not written to {what}: {error.strerror}")

    def _write(self, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        # A path that is no UTF-8 holds surrogates, whose escapes are JSON's own (\udcff).
        encoded = text.encode(errors="backslashreplace")
        if self._to_standard_output:
            write_standard_output(encoded)
        elif self._report is not None:
            self._report.write(encoded)


def _default() -> list[Path]:
    try:
        return [default_database()]
    except MigrationError:
        return []


def _is_regular(stream: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream).st_mode)
    except OSError:
        return False


def _check_streams(regular: Sequence[int], used: InUse) -> None:
    """Refuses a stream that is redirected into an input (`>> vestige.db`); that stream gets no word of it."""
    into = {number: found for number in regular if (found := is_input(os.fstat(number), used)) is not None}
    for number in into:
        silence(getattr(sys, _STREAMS[number][1]))
    for number, found in into.items():
        raise PlanError(
            f"{_STREAMS[number][0]} goes into {found.what} ({shown(found.path)}): writing there would destroy it. "
            "Redirect it to another file"
        )


def _check_beside_streams(place: Place, regular: Sequence[int]) -> None:
    """Refuses a report that would replace the file which a stream goes to."""
    found = place.look()
    if found is None or place.descriptor is not None:
        return
    if any(os.path.samestat(found, os.fstat(number)) for number in regular):
        raise place.refused("is where this program's own output goes: give another path, or - for standard output")
