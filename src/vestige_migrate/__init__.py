"""Moves a Vestige agent memory from its SQLite file into PostgreSQL with pgvector.

The public names: a plan, the run, its report, and the exceptions it raises. What a run logs goes nowhere until its
caller says `loguru.logger.enable("vestige_migrate")`; the command line does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from loguru import logger

from vestige_migrate.errors import (
    DestinationBusy,
    DestinationUnusable,
    Interrupted,
    MigrationError,
    ModelMismatch,
    PlanError,
    RangeFailed,
    Refused,
    SourceIncomplete,
    SourcesMismatch,
    SourceTooOld,
    SourceUnusable,
    Stopped,
    TooManyErrors,
    UnsupportedPair,
)
from vestige_migrate.model import Embedder, ModelSignature
from vestige_migrate.plan import Deletions, Indexes, OnConflict, SqliteToPostgresPlan
from vestige_migrate.progress import Progress
from vestige_migrate.report.combined import CombinedReport
from vestige_migrate.report.deletions import DeletionReport
from vestige_migrate.report.estimate import Estimate, HnswEstimate
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import Outcome, RowError, TableReport
from vestige_migrate.report.verification import Difference, SearchCheck, TableComparison, VerifyReport

if TYPE_CHECKING:
    from vestige_migrate.copy.coordinator import run_several_to_postgres, run_sqlite_to_postgres
    from vestige_migrate.verify.coordinator import verify_several_to_postgres, verify_sqlite_to_postgres

__version__ = "0.1.0"

# What a library has to say is for its caller to ask for: https://loguru.readthedocs.io/en/stable/api/logger.html
logger.disable(__name__)

__all__ = [
    "CombinedReport",
    "DeletionReport",
    "Deletions",
    "DestinationBusy",
    "DestinationUnusable",
    "Difference",
    "Embedder",
    "Estimate",
    "HnswEstimate",
    "Indexes",
    "Interrupted",
    "MigrationError",
    "MigrationReport",
    "ModelMismatch",
    "ModelSignature",
    "OnConflict",
    "Outcome",
    "PlanError",
    "Progress",
    "RangeFailed",
    "Refused",
    "RowError",
    "SearchCheck",
    "SourceIncomplete",
    "SourceTooOld",
    "SourceUnusable",
    "SourcesMismatch",
    "SqliteToPostgresPlan",
    "Stopped",
    "TableComparison",
    "TableReport",
    "TooManyErrors",
    "UnsupportedPair",
    "VerifyReport",
    "run_several_to_postgres",
    "run_sqlite_to_postgres",
    "verify_several_to_postgres",
    "verify_sqlite_to_postgres",
]

_LATER = {
    "run_several_to_postgres": "vestige_migrate.copy.coordinator",
    "run_sqlite_to_postgres": "vestige_migrate.copy.coordinator",
    "verify_several_to_postgres": "vestige_migrate.verify.coordinator",
    "verify_sqlite_to_postgres": "vestige_migrate.verify.coordinator",
}
"""Names whose modules load NumPy, psycopg and multiprocess: half a second that a look at --help should not cost."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
