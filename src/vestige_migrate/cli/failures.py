"""What a failure is to the operator: one message and an exit code, whatever was raised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vestige_migrate.cli.masking import without_passwords
from vestige_migrate.errors import Interrupted, MigrationError, Stopped
from vestige_migrate.host_limits import describe_limit, suspected_limit

INTERRUPTED = Interrupted.exit_code
BAD_ARGUMENTS = 2
STOPPED = Stopped.exit_code
DEBUG_FLAG = "--debug"
INTERRUPTED_MESSAGE = "interrupted: what was committed stays, and running the same command again resumes"


@dataclass(frozen=True)
class Failure:
    """A failure as the error line and the report have it."""

    type: str
    message: str
    exit_code: int

    def as_json(self) -> dict[str, Any]:
        """The entry `error` of a report."""
        return {"type": self.type, "message": without_passwords(self.message), "exit_code": self.exit_code}


def failure_of(error: BaseException) -> Failure:
    """How this is told. An exception that nobody expected is named by its type alone: its text may hold row content."""
    name = type(error).__name__
    if isinstance(error, MigrationError):
        return Failure(name, str(error), error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return Failure(Interrupted.__name__, INTERRUPTED_MESSAGE, INTERRUPTED)
    limit = describe_limit(error) or (None if isinstance(error, OSError) else suspected_limit(error))
    if limit is not None:
        return Failure(Stopped.__name__, f"{limit}. Nothing that was committed is lost; then run again", STOPPED)
    if isinstance(error, OSError):
        return Failure(Stopped.__name__, describe_os_error(error), STOPPED)
    return Failure(
        name,
        f"an unexpected {name} inside vestige-migrate: this is a defect. Nothing that was committed is lost; run again "
        f"with {DEBUG_FLAG} and report the traceback",
        STOPPED,
    )


def describe_os_error(error: OSError) -> str:
    """The system's refusal in one line: a full disk, a missing permission."""
    what = error.filename or "a file or the output cannot be used"
    reason = error.strerror or type(error).__name__
    return f"{what}: {reason}. What was committed stays; put that right and run again"
