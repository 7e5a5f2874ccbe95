"""The report of a copy of several files: one section a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from vestige_migrate.model import ModelSignature
from vestige_migrate.report.deletions import DeletionReport
from vestige_migrate.report.endpoints import DestinationInfo
from vestige_migrate.report.estimate import Estimate
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import SCHEMA, RowError
from vestige_migrate.report.verification import VerifyReport


@dataclass
class CombinedReport:
    """The result of `run_several_to_postgres`. `reports` has one report for each file that was begun, in order."""

    destination: DestinationInfo
    model: ModelSignature | None
    files: int
    dry_run: bool = False
    reports: list[MigrationReport] = field(default_factory=list)
    duration_seconds: float = 0.0
    estimate: Estimate | None = None
    """What copying all of them would move, need and take; None but for a dry run. Its files' reports have none."""
    deletions: DeletionReport | None = None
    """Memories that only the destination has; None where nobody looked for them."""
    verification: VerifyReport | None = None
    """What comparing all files with the destination found afterwards; None without `--verify`."""

    @property
    def only(self) -> MigrationReport:
        """The report of a run of one file, with what was found out about the whole run."""
        [report] = self.reports
        report.estimate, report.verification = self.estimate, self.verification
        report.deletions = self.deletions
        report.duration_seconds = self.duration_seconds
        return report

    @property
    def complete(self) -> bool:
        """Whether every file was dealt with to its end."""
        return len(self.reports) == self.files and all(report.complete for report in self.reports)

    @property
    def source_rows(self) -> int:
        """Rows of all files that have a place in the destination."""
        return sum(report.source_rows for report in self.reports)

    @property
    def nothing_new(self) -> bool:
        """Whether every row of every file was there already."""
        is_as_before = self.deletions is None or not self.deletions.changed_anything
        return self.complete and is_as_before and all(report.nothing_new for report in self.reports)

    @property
    def errors(self) -> list[RowError]:
        """The errors of all files."""
        return [error for report in self.reports for error in report.errors]

    @property
    def exit_code(self) -> int:
        """0 when every row of every file moved as it was, 1 when some have errors or `--verify` found a difference."""
        if self.errors or (self.deletions is not None and self.deletions.errors):
            return 1
        return self.verification.exit_code if self.verification else 0

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `sources` has the whole report of each file, in the shape of a single copy."""
        return {
            "schema": SCHEMA,
            "command": "copy",
            "dry_run": self.dry_run,
            "complete": self.complete,
            "destination": self.destination.as_json(),
            "model": asdict(self.model) if self.model else None,
            "sources": [report.as_json() for report in self.reports],
            "duration_seconds": round(self.duration_seconds, 3),
            **({"deletions": self.deletions.as_json()} if self.deletions else {}),
            **({"estimate": self.estimate.as_json()} if self.estimate else {}),
            **({"verification": self.verification.as_json()} if self.verification else {}),
        }
