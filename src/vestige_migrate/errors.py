"""Every failure this program raises on purpose.

    MigrationError                 the base; `exit_code` is what the command line returns
    ├── PlanError                  2    an argument is wrong
    ├── Refused                    3    nothing was written
    │   ├── UnsupportedPair             --from/--to other than sqlite -> postgres
    │   ├── SourceUnusable              no file, no Vestige file, unreadable
    │   │   └── SourceTooOld            needs --allow-source-upgrade or --snapshot
    │   ├── ModelMismatch               two different embedding models
    │   │   └── SourcesMismatch         ... in two of several sources
    │   ├── DestinationUnusable         unreachable, no pgvector, missing rights, altered schema
    │   │   └── DestinationBusy         another run holds the lock
    │   ├── HostUnusable                worker processes cannot be started here
    │   └── NotAvailable                declared, not built yet
    ├── Stopped                    4    stopped in the middle; running again resumes
    │   ├── TooManyErrors               --max-errors was passed
    │   ├── RangeFailed                 a range failed on every try
    │   ├── WriteNotKept                what was written is not there: the destination's own triggers
    │   ├── HostKillsWorkers            something on this machine ends every worker process
    │   ├── HostTooSmall                a limit of this machine was reached
    │   ├── SourceIncomplete            fewer rows were read than the source holds
    │   └── SourceReplaced              another database was written over the source
    └── Interrupted                130  Ctrl-C, SIGTERM or SIGHUP

A message is written for the operator: what happened, to which file or row, what to do now. It never holds
row content or a password.
"""

from __future__ import annotations

from shlex import quote
from typing import Any, Protocol

from vestige_migrate.model import ModelSignature


class UnfinishedReport(Protocol):
    """The report of a run that had started: a `MigrationReport` or a `CombinedReport`."""

    def as_json(self) -> dict[str, Any]: ...


class MigrationError(Exception):
    """Base of all failures; `str(error)` is the message for the operator.

    `report` is what was done until then, where a run had started.
    """

    exit_code = 4
    report: UnfinishedReport | None = None


class PlanError(MigrationError):
    """A plan or an option has a value that cannot work."""

    exit_code = 2


class Refused(MigrationError):
    """The run was refused before anything was written."""

    exit_code = 3


class UnsupportedPair(Refused):
    """Only sqlite -> postgres is supported."""

    def __init__(self, source: str, destination: str) -> None:
        super().__init__(
            f"cannot copy from {source!r} to {destination!r}: the supported pair is --from sqlite --to postgres"
        )


class SourceUnusable(Refused):
    """The source file is missing, unreadable, or not a Vestige file."""


class HostUnusable(Refused):
    """This machine lacks something that the worker processes need."""


class SourceTooOld(SourceUnusable):
    """The source has an older schema than V15 and no way forward was chosen."""


class ModelMismatch(Refused):
    """Two of source, embedder and destination do not agree on the embedding model.

    `source` is the signature that counts (the source's; the embedder's where the source has none), `other` the one
    that differs; the roles say whose they are. `can_choose`: the source has vectors of the other one as well.
    """

    def __init__(
        self,
        source: ModelSignature,
        other: ModelSignature,
        other_role: str,
        source_role: str = "source",
        can_choose: bool = False,
    ) -> None:
        self.source = source
        self.other = other
        self.source_role = source_role
        self.other_role = other_role
        super().__init__(
            f"embedding model mismatch between {source_role} and destination\n\n"
            f"  {_MODEL_OF[source_role]:<20}{source}\n"
            f"  {_MODEL_OF[other_role]:<20}{other}\n\n"
            f"Nothing was written. {_choice(other) if can_choose else _advice(other, other_role, source_role)}"
        )


def _both(choice: ModelSignature) -> str:
    return f"Or copy the vectors of {choice.name} alone, which both files have: add {_options(choice)}."


def _options(model: ModelSignature) -> str:
    return f"--embedding-model {quote(model.name)} --embedding-dimension {model.dimension}"


def _choice(other: ModelSignature) -> str:
    """What to do where the source has vectors of the other model, too."""
    return (
        "The source has vectors of that model, too: to copy those, and leave the others in the source, add "
        f"{_options(other)}; or copy into a new database."
    )


def _advice(other: ModelSignature, other_role: str, source_role: str) -> str:
    """What can be done about it today: this program copies vectors as they are."""
    elsewhere = "copy into a new database"
    if source_role == "embedder":
        return f"Name the embedder that the destination has vectors of, {other.name}, or {elsewhere}."
    reembed = f"Let Vestige re-embed the source with {other.name} and copy again"
    if other_role == "embedder":
        return f"{reembed}, or run this command again with the original embedder."
    return f"{reembed}, or {elsewhere}."


class SourcesMismatch(ModelMismatch):
    """Two of several sources do not agree on the embedding model. `choice` is one that both have vectors of."""

    def __init__(
        self,
        path: str,
        source: ModelSignature,
        other_path: str,
        other: ModelSignature,
        choice: ModelSignature | None = None,
    ) -> None:
        self.source = source
        self.other = other
        self.source_role = self.other_role = "source"
        Refused.__init__(
            self,
            "embedding model mismatch between two sources\n\n"
            f"  {path} has {source}\n"
            f"  {other_path} has {other}\n\n"
            "Their vectors cannot be searched together: copy the files into two destinations, or let Vestige re-embed "
            f"one of them first.{f' {_both(choice)}' if choice is not None else ''}",
        )


_MODEL_OF = {
    "source": "source registered:",
    "embedder": "embedder presented:",
    "destination": "destination has:",
}


class DestinationUnusable(Refused):
    """The destination cannot be reached or cannot take the data."""


class DestinationBusy(DestinationUnusable):
    """Another run holds the advisory lock of this destination."""


class NotAvailable(Refused):
    """A command that is declared but not built yet."""


class Stopped(MigrationError):
    """The run stopped in the middle; what is committed stays, running again resumes."""

    exit_code = 4


class TooManyErrors(Stopped):
    """More rows have errors than --max-errors allows."""


class RangeFailed(Stopped):
    """One range of rows failed on every try."""


class WriteNotKept(Stopped):
    """The destination refused, dropped or changed what the run cannot do without: the registered model, an owner."""


class HostKillsWorkers(Stopped):
    """Worker processes end whatever they do: this machine does that, and no row is to blame."""


class HostTooSmall(Stopped):
    """A limit of this machine (memory, processes, open files) was reached in the middle."""


class SourceIncomplete(Stopped):
    """Fewer (or more) rows were read than the source's COUNT(*)."""


class SourceReplaced(Stopped):
    """The source was overwritten with another database while it was read: rows of both may have come over."""


class Interrupted(MigrationError):
    """Ctrl-C, SIGTERM or SIGHUP."""

    exit_code = 130
