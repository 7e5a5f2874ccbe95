"""What to copy, from where, to where: the one input of a run."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vestige_migrate.errors import PlanError, UnsupportedPair
from vestige_migrate.limits import (
    DEFAULT_ANSWER_TIMEOUT_SECONDS,
    DEFAULT_BATCH_SIZE,
    DEFAULT_CONNECTIONS,
    DEFAULT_RETRIES,
    MAX_ANSWER_TIMEOUT_SECONDS,
    MAX_BATCH_SIZE,
    MAX_CONNECTIONS,
    MAX_DEFAULT_WORKERS,
    MAX_DIMENSION,
    MAX_IDLE_SECONDS,
    MAX_LABEL_CHARS,
    MAX_RETRIES,
    MAX_SCHEMA_BYTES,
    MAX_WORKERS,
    MIN_IDLE_SECONDS,
)
from vestige_migrate.model import ModelSignature
from vestige_migrate.paths import check_reachable, expanded


class Indexes(StrEnum):
    """When the secondary indexes are built."""

    AUTO = "auto"
    """After the load where the destination holds no memory yet; kept, and completed before the load, elsewhere."""
    NOW = "now"
    """Before the load: each row is indexed as it comes."""
    LATER = "later"
    """After the load, also the ones that a destination in use lacks."""
    NONE = "none"
    """Not at all: the tables alone."""


class OnConflict(StrEnum):
    """What becomes of a row that the destination has already."""

    SKIP = "skip"
    """It stays as it is in the destination."""
    NEWER = "newer"
    """It takes the source's values where the source's is later, or where only the source's was changed since the last
    copy. Where both were and nothing says which is later, it stays, and is named."""
    SOURCE = "source"
    """It takes the source's values wherever the two differ."""


class Deletions(StrEnum):
    """What becomes of a memory that the destination has and the source has deleted."""

    IGNORE = "ignore"
    """Nobody looks for any."""
    REPORT = "report"
    """It is named, and stays."""
    APPLY = "apply"
    """It is deleted, with all that hangs on it, unless it was changed in the destination since."""


def usable_cpus() -> int:
    """CPUs this process may run on (a container's affinity mask, not the host's count)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers() -> int:
    """One writer per usable CPU, at most 8: past that the server is the limit, not the client."""
    return max(1, min(MAX_DEFAULT_WORKERS, usable_cpus()))


@dataclass(frozen=True)
class SqliteToPostgresPlan:
    """A copy, fully described.

    Raises `UnsupportedPair` or `PlanError` when a value cannot work. `postgres_url` is a libpq URL or keyword
    string, or `embedded` / `embedded:DIR` for the bundled server: nothing goes to a server that nobody named.
    """

    sqlite_path: Path
    postgres_url: str = field(repr=False)
    """Without white space around it. May hold a password, so no `repr` shows it, nor a traceback of a caller's that
    has the plan in it."""
    source_kind: str = "sqlite"
    destination_kind: str = "postgres"
    workers: int = field(default_factory=default_workers)
    batch_size: int = DEFAULT_BATCH_SIZE
    max_errors: int | None = None
    max_connections: int = DEFAULT_CONNECTIONS
    retries: int = DEFAULT_RETRIES
    answer_timeout: float = DEFAULT_ANSWER_TIMEOUT_SECONDS
    """Seconds of silence after which a connection is given up whose server is not at work for it."""
    allow_source_upgrade: bool = False
    snapshot: bool = False
    indexes: Indexes = Indexes.AUTO
    on_conflict: OnConflict = OnConflict.SKIP
    yes: bool = False
    """`OnConflict.SOURCE` may replace rows that are not as a copy wrote them, and a codebase or an owner that the last
    copy gave may be taken from memories again."""
    deletions: Deletions | None = None
    """None: `REPORT` where rows are compared (`OnConflict.NEWER` and `SOURCE`), else `IGNORE`."""
    restore_forgotten: bool = False
    """Memories that were deleted in the destination are brought as any others, and their tombstones there removed."""
    archive: bool = False
    verify: bool = False
    codebase: str | None = None
    owner: str | None = None
    scope: str | None = None
    """Only the memories of this scope, with what belongs to them; None: all."""
    schema: str | None = None
    """The destination's schema for our tables, made where it is not there; None: the first one on search_path."""
    dry_run: bool = False
    follow: bool = False
    """After the copy, whatever changes in the source is brought as it comes, until Ctrl-C or `until_idle`."""
    until_idle: float | None = None
    """With `follow`: so many seconds without a change end it, after one more pass over all rows."""

    def __post_init__(self) -> None:
        if (self.source_kind, self.destination_kind) != ("sqlite", "postgres"):
            raise UnsupportedPair(self.source_kind, self.destination_kind)
        object.__setattr__(self, "sqlite_path", expanded(self.sqlite_path))
        check_reachable(self.sqlite_path, "--sqlite-path")
        _label(codebase=self.codebase, owner=self.owner, scope=self.scope)
        _check_schema(self.schema)
        self._choose(OnConflict, "on_conflict")
        self._choose(Indexes, "indexes")
        if self.deletions is not None:
            self._choose(Deletions, "deletions")
        _within(1, MAX_WORKERS, workers=self.workers)
        _within(1, MAX_CONNECTIONS, max_connections=self.max_connections)
        _within(1, MAX_BATCH_SIZE, batch_size=self.batch_size)
        _within(1, MAX_RETRIES, retries=self.retries)
        _within(1, MAX_ANSWER_TIMEOUT_SECONDS, answer_timeout=self.answer_timeout)
        if self.max_errors is not None and self.max_errors < 0:
            raise PlanError(f"--max-errors is {self.max_errors}: it must be 0 or more")
        if self.allow_source_upgrade and self.snapshot:
            raise PlanError(
                "--allow-source-upgrade and --snapshot exclude each other: the first changes the file, "
                "the second never touches it; give one of them"
            )
        if self.scope is not None and self.archive:
            raise PlanError(
                "--scope and --archive exclude each other: the archive keeps whole tables, and their rows belong to "
                "every scope; give one of them"
            )
        if self.scope is not None and self.deletions not in (None, Deletions.IGNORE):
            raise PlanError(
                "--scope and --deletions exclude each other: a tombstone does not say of which scope its memory was; "
                "give one of them"
            )
        if self.verify and self.dry_run:
            raise PlanError("--verify and --dry-run exclude each other: a dry run writes nothing to compare")
        self._check_follow()
        object.__setattr__(self, "postgres_url", _stripped(self.postgres_url))
        if not self.postgres_url:
            raise PlanError("--postgres-url is empty: give a libpq URL, a keyword string, or 'embedded'")

    def _check_follow(self) -> None:
        if self.until_idle is not None:
            if not self.follow:
                raise PlanError("--until-idle says when --follow ends: give both")
            _within(MIN_IDLE_SECONDS, MAX_IDLE_SECONDS, until_idle=self.until_idle)
        if not self.follow:
            return
        if self.on_conflict is OnConflict.SKIP:
            raise PlanError(
                "--follow brings changes, and --on-conflict skip leaves every row as it is: give --on-conflict newer"
            )
        excluded = {
            "--dry-run": (self.dry_run, "a dry run writes nothing that could be kept current"),
            "--snapshot": (self.snapshot, "a snapshot does not change"),
            "--scope": (self.scope is not None, "a scope is read from a private copy, which does not change"),
            "--archive": (self.archive, "the archive is not kept current"),
            "--verify": (self.verify, "run vestige migrate verify when Vestige is stopped"),
            "--restore-forgotten": (self.restore_forgotten, "copy once with it, then follow"),
        }
        for name, (given, why) in excluded.items():
            if given:
                raise PlanError(f"--follow and {name} exclude each other: {why}")

    @property
    def deletions_asked(self) -> Deletions:
        """What is done about deletions, also where nothing was said of them."""
        if self.deletions is not None:
            return self.deletions
        compared = self.on_conflict is not OnConflict.SKIP and self.scope is None
        return Deletions.REPORT if compared else Deletions.IGNORE

    def _choose(self, choices: type[StrEnum], name: str) -> None:
        """A caller may give the text of a choice."""
        value = getattr(self, name)
        if value not in list(choices):
            raise PlanError(f"--{name.replace('_', '-')} is {value}: it must be {' or '.join(choices)}")
        object.__setattr__(self, name, choices(value))


def _stripped(url: str) -> str:
    """Without what a file or a variable leaves around it.

    A blank behind a backslash belongs to a keyword's value, and one behind `embedded:` to the name of a folder.
    """
    found = url.strip()
    if found.startswith("embedded:"):
        return url.lstrip().rstrip("\r\n")
    return found + " " if found.endswith("\\") and url.rstrip("\r\n").endswith("\\ ") else found


def _within(least: int, most: int, **values: float) -> None:
    for name, value in values.items():
        if not least <= value <= most:
            raise PlanError(f"--{name.replace('_', '-')} is {value}: it must lie between {least} and {most}")


def _label(**values: str | None) -> None:
    for name, value in values.items():
        if value is None:
            continue
        fits = value.strip() and "\0" not in value and len(value) <= MAX_LABEL_CHARS
        if not fits or value != value.encode("utf-8", "replace").decode():
            raise PlanError(f"--{name} must be a text of 1 to {MAX_LABEL_CHARS} characters, valid UTF-8 without NUL")


def _check_schema(name: str | None) -> None:
    """Raises `PlanError` for a name that PostgreSQL would refuse, cut off or take for another schema."""
    if name is None:
        return
    if not name.strip() or any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise PlanError("--schema must be a name without control characters, valid UTF-8: it is taken as it is given")
    size = len(name.encode())
    if size > MAX_SCHEMA_BYTES:
        raise PlanError(
            f"--schema {name} is {size} bytes long, and names in PostgreSQL have {MAX_SCHEMA_BYTES} at the most: give "
            "a shorter one"
        )
    if name.startswith("pg_") or name in ("information_schema", "$user"):
        raise PlanError(f"--schema {name} is a name that PostgreSQL keeps for itself: give another one")


def embedder_signature(name: str | None, dimension: int | None, hash_: str | None) -> ModelSignature | None:
    """The signature given by --embedding-model, --embedding-dimension and --embedding-hash; None when none is."""
    if name is None and dimension is None and hash_ is None:
        return None
    if name is None or dimension is None:
        raise PlanError("--embedding-model and --embedding-dimension belong together: give both (the hash is optional)")
    if not 1 <= dimension <= MAX_DIMENSION:
        raise PlanError(f"--embedding-dimension is {dimension}: it must lie between 1 and {MAX_DIMENSION}")
    return ModelSignature(name, dimension, hash_)
