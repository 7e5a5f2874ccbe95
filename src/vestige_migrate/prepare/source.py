"""Getting the source ready: opened as it is, upgraded in place, or as a private snapshot."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loguru import logger

from vestige_migrate.errors import SourceReplaced, SourceUnusable
from vestige_migrate.model import ModelSignature
from vestige_migrate.model_names import MINI_DIMENSION
from vestige_migrate.paths import shown
from vestige_migrate.plan import OnConflict, SqliteToPostgresPlan
from vestige_migrate.report.endpoints import PortableInfo, ScopeInfo, SourceInfo
from vestige_migrate.shared_folders import is_root, others_can_exchange
from vestige_migrate.source.file.find import FileState, file_state, find_source
from vestige_migrate.source.file.mid_run_changes import Witnesses, describe_fault, what_happened
from vestige_migrate.source.file.oddities import describe
from vestige_migrate.source.file.other_names import other_name
from vestige_migrate.source.file.salvage import LostRow
from vestige_migrate.source.file.scope import check_scope, keep_scope
from vestige_migrate.source.file.snapshot import no_snapshot, take_snapshot
from vestige_migrate.source.file.upgrade import upgrade, upgrade_in_place
from vestige_migrate.source.layout.inspect import damaged, inspect_source
from vestige_migrate.source.layout.layout import Layout, Lineage
from vestige_migrate.source.layout.lineage import (
    NEWEST_KNOWN,
    check_readable,
    check_upgradable,
    is_newer_than_known,
    is_readable,
    strange,
)
from vestige_migrate.source.portable.archive import Portable, is_json, unpacked
from vestige_migrate.source.portable.tables import lacking
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.connect import SourceFile, open_source
from vestige_migrate.source.sqlite.file_kind import sidecar
from vestige_migrate.vestige4 import lives_on


@dataclass(frozen=True)
class Original:
    """The file that a private copy was made of, and how it was before that was begun."""

    path: Path
    before: FileState | None

    @property
    def has_changed(self) -> bool:
        """Whether another program wrote to it since."""
        return file_state(self.path) != self.before


@dataclass(frozen=True)
class PreparedSource:
    """A source that can be read as it is, with a connection that stays open for the run."""

    file: SourceFile
    layout: Layout
    info: SourceInfo
    connection: sqlite3.Connection
    lost: tuple[LostRow, ...] = ()
    witnesses: Witnesses | None = None
    original: Original | None = None
    """Where rows are read from a private copy that nobody asked for: what is written to the file is not in it."""

    def changed_since(self, state: object) -> bool:
        """Whether another program has written to the source since it was in this `state`."""
        return self.state() != state or (self.original is not None and self.original.has_changed)

    def state(self) -> object:
        """Compares equal as long as no other program has written to the file or put another in its place.

        `PRAGMA data_version` changes when another connection commits (https://sqlite.org/pragma.html). It says nothing
        of a file opened as immutable, of one that was overwritten as a file while it is in WAL mode, and of the path:
        there the file itself, and a WAL that was not there, say so.
        """
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        try:
            found = self.file.path.stat()
        except OSError:
            return version, None
        return version, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns), self._wal()

    def _wal(self) -> object:
        return sidecar(self.file.path, "-wal") if self.file.immutable else None

    def check_same(self) -> None:
        """Says so where the file is gone or another has its place: every row was then read from the one that was there.

        Raises `SourceReplaced` where its content is that of another database.
        """
        happened = what_happened(self.file) if not self.file.is_in_place else None
        if happened is not None:
            logger.warning("{} {}: every row came from the file that was there", self._name, happened.clause)
            return
        if self.witnesses is not None and not self.witnesses.recognise(self.file):
            raise SourceReplaced(
                f"{self._name} was overwritten with another database while it was being copied, so that rows of both "
                "may have come over. Run again to copy what is there now; to have nothing of the other, copy into a "
                "new database"
            )

    @property
    def _name(self) -> str:
        return shown(self.file.path)


@dataclass(frozen=True)
class FoundSource:
    """A source as it was found: looked at, and nothing written to it. `lost` are rows that a damaged file has lost."""

    path: Path
    file: SourceFile
    layout: Layout
    lost: tuple[LostRow, ...] = ()
    original: Original | None = None
    wanted: ModelSignature | None = None
    """The model that was asked for, which counts where the file has vectors of it."""
    portable: PortableInfo | None = None
    """Where the path leads to a portable archive: `file` is the private file that was made of it."""

    def choosing(self, wanted: ModelSignature | None) -> FoundSource:
        """The same source with the vectors of this model, where it has others as well."""
        model = self.layout.model
        if wanted is None or (model is not None and model.matches(wanted)):
            return self
        return replace(self, layout=_inspect(self.file, self.path, wanted), wanted=wanted)


@contextmanager
def found_source(plan: SqliteToPostgresPlan, wanted: ModelSignature | None = None) -> Iterator[FoundSource]:
    """The plan's source, judged by what is in it and by the plan's flags; `wanted` is the model that counts where the
    file has vectors of it and of others.

    Raises `SourceUnusable` where it is no Vestige file, and `SourceTooOld` where the flags offer no way forward. So
    every refusal comes before the first write, of an upgrade as well.
    """
    path = plan.sqlite_path
    original = _original(path)
    with ExitStack() as opened:
        portable = opened.enter_context(unpacked(path)) if is_json(path) else None
        unpinned, damage, oddities = opened.enter_context(
            find_source(portable.file if portable else path, plan.on_conflict is OnConflict.NEWER, name=path)
        )
        file = _pinned(unpinned, path)
        layout = _inspect(file, path, wanted)
        lost = portable.lost if portable else damage.lost if damage is not None else ()
        if plan.scope is not None:
            with _open(file, path) as connection:
                check_scope(connection, layout, plan.scope, path)
        if damage is not None:
            if not is_readable(layout):  # an upgrade counts on constraints, which a damaged file need not keep
                raise SourceUnusable(damaged(path, damage.finding))
            logger.warning(
                "{} is damaged ({}): what can be read comes from a private copy; {} rows cannot be read, and are named "
                "among the errors",
                shown(path),
                damage.finding,
                len(damage.lost),
            )
        if portable is not None:
            pass  # the private file is brought forward, whatever the flags say: nobody else has it
        elif plan.allow_source_upgrade:
            check_upgradable(layout, path)
            if not is_readable(layout):
                _check_one_name(path, layout)
                _check_not_as_root(path, layout)
            if oddities and not plan.snapshot and not is_readable(layout):
                raise SourceUnusable(
                    f"{path} is at V{layout.version} and cannot be upgraded in place ({describe(oddities)}): use "
                    "--snapshot instead, which upgrades a private copy and never touches the file"
                )
        elif not plan.snapshot:
            check_readable(layout, path)
        # An archive has no table of those by which a branch of Vestige is told.
        found_strange = strange(layout) if portable is None or layout.lineage is Lineage.FORK else None
        if found_strange is not None:
            logger.warning("{} {}", shown(path), found_strange)
        since = lives_on(path) if portable is None else None
        if since is not None:
            logger.warning("{}: {}", shown(path), since)
        if is_newer_than_known(layout.lineage, layout.version):
            logger.warning(
                "{} is at V{} of the {} line, newer than any this program knows (V{}): what it knows is copied, the "
                "rest is named as left behind; look for a newer vestige-migrate",
                shown(path),
                layout.version,
                layout.lineage,
                NEWEST_KNOWN[layout.lineage],
            )
        _say_labels(path, layout)
        info = _portable_info(path, portable, layout) if portable is not None else None
        yield FoundSource(path, file, layout, lost, original, wanted, info)


def _portable_info(path: Path, portable: Portable, layout: Layout) -> PortableInfo:
    """What the archive is and lacks, in the log too."""
    lacks = lacking(layout.lineage, layout.version, portable.tables)
    info = PortableInfo(portable.vestige_version, portable.exported_at, *lacks)
    logger.info(
        "{} is a portable archive of V{} (Vestige {}, exported {})",
        shown(path),
        layout.version,
        info.vestige_version or "of no known version",
        info.exported_at or "at no known time",
    )
    left_out = len(info.lacks) + len(info.lacks_unplaced)
    if left_out:
        logger.warning(
            "{}: a file of this version has {} tables that no portable archive holds: the report names them",
            shown(path),
            left_out,
        )
    if info.missing:
        logger.warning("{} lacks tables that an archive holds: {}", shown(path), ", ".join(info.missing))
    return info


def _original(path: Path) -> Original:
    # Where a link leads to itself `resolve` raises: that is refused later, in words.
    file = Path(os.path.realpath(path))
    return Original(file, file_state(file))


def _check_one_name(path: Path, layout: Layout) -> None:
    clause = other_name(path)
    if clause is not None:
        raise SourceUnusable(
            f"{path} is at V{layout.version} and cannot be upgraded in place: it {clause}, and whoever uses it by its "
            "other name would not see the upgrade's own log. Use --snapshot instead, or give a file with one name"
        )


def _check_not_as_root(path: Path, layout: Layout) -> None:
    """SQLite opens what it writes to by name, also the backup: whoever may write to the folder could lead root to any
    other database by a link of that name."""
    folder = path.resolve().parent
    if is_root() and others_can_exchange(folder):
        raise SourceUnusable(
            f"{path} is at V{layout.version} and is not upgraded in place by root, since others can exchange files in "
            f"{shown(folder)}: run this as the account that the file belongs to, or use --snapshot instead"
        )


def _say_labels(path: Path, layout: Layout) -> None:
    """One line for each label that is known to be wrong, and one where vectors come over otherwise than they are."""
    for wrong in layout.mislabelled:
        logger.warning(
            "{}: {} vectors of {} floats are labelled {}, which has {} dimensions. Early versions of Vestige labelled "
            "them so, and Vestige does not use them: their memories come over without a vector and await a re-embed, "
            "the vectors stay in the source",
            shown(path),
            wrong.count,
            wrong.floats,
            wrong.name,
            MINI_DIMENSION,
        )
    if layout.shortened and layout.model is not None:
        logger.info(
            "{}: {} vectors of {} are longer than {} floats and come over as Vestige itself takes them: the first {}, "
            "divided by their length; the rest stays in the source",
            shown(path),
            layout.shortened,
            layout.model.name,
            layout.dimension,
            layout.dimension,
        )


@contextmanager
def prepared_source(plan: SqliteToPostgresPlan, found: FoundSource) -> Iterator[PreparedSource]:
    """The source, upgraded or snapshotted as the plan says. A snapshot is removed at the end.

    Raises `SourceUnusable` where the upgrade or the snapshot cannot be made.
    """
    path, layout = found.path, found.layout
    if found.portable is not None:
        if not is_readable(layout):
            _upgrade_snapshot(found.file, path)
            logger.info("upgraded the private file from V{} to V15", layout.version)
            layout = _checked_again(found.file, found)
        if plan.snapshot:
            found = replace(found, original=None)
    elif plan.snapshot:
        with take_snapshot(found.file) as copy:
            if not is_readable(layout):
                _upgrade_snapshot(copy, path)
                logger.info(
                    "upgraded the snapshot from V{} to V15; {} itself is untouched", layout.version, shown(path)
                )
            # A snapshot is the state of one moment because that was asked for.
            found = replace(found, original=None)
            layout = _checked_again(copy, found)
            with _opened(copy, found, layout, _kept_scope(plan, copy, layout)) as prepared:
                yield prepared
        return
    # A dry run changes nothing: it counts an older file as it is where the upgrade is allowed.
    if plan.allow_source_upgrade and not is_readable(layout) and not plan.dry_run and found.portable is None:
        backup = upgrade_in_place(path, found.file.cipher)
        if backup is not None:
            logger.info("upgraded {} from V{} to V15; the backup is {}", shown(path), layout.version, shown(backup))
        # What was found may be a private copy, repaired; the upgrade repaired the file itself.
        file = _pinned(replace(found.file, path=path.resolve()), path)
        layout = _checked_again(file, found)
        found = FoundSource(path, file, layout, original=found.original, wanted=found.wanted)
    if plan.scope is None:
        with _opened(found.file, found, layout) as prepared:
            yield prepared
        return
    with take_snapshot(found.file) as copy, _opened(copy, found, layout, _kept_scope(plan, copy, layout)) as prepared:
        yield prepared


def _kept_scope(plan: SqliteToPostgresPlan, copy: SourceFile, layout: Layout) -> ScopeInfo | None:
    """Leaves only the scope that the plan names in a private copy; None where it names none.

    The layout stays that of the whole file: all of its scopes are of one embedding model.
    """
    if plan.scope is None:
        return None
    path = plan.sqlite_path
    scope = ScopeInfo(plan.scope, keep_scope(copy, layout, plan.scope, path))
    logger.info("{}: {}", shown(path), scope)
    return scope


def _upgrade_snapshot(copy: SourceFile, path: Path) -> None:
    try:
        upgrade(copy.path, copy.cipher)
    except driver.errors() as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise no_snapshot(path, copy.path, error) from None
        raise SourceUnusable(
            f"the snapshot of {path} could not be upgraded to V15 ({error}): its tables are not those of its version. "
            "The file itself is untouched; open it once with Vestige, or restore a backup, then run again"
        ) from None


def _checked_again(file: SourceFile, found: FoundSource) -> Layout:
    """The layout after an upgrade or in a snapshot. The registries were compared for the one found first."""
    layout = _inspect(file, found.path, found.wanted)
    check_readable(layout, found.path)
    if (layout.model, layout.dimension) != (found.layout.model, found.layout.dimension):
        raise SourceUnusable(
            f"{found.path} changed its embedding model from {found.layout.model or 'none'} to {layout.model or 'none'} "
            "while it was being looked at: run again"
        )
    return layout


def _pinned(file: SourceFile, path: Path) -> SourceFile:
    try:
        return file.pinned()
    except OSError as error:
        raise SourceUnusable(f"{path} is gone ({error.strerror}): it was there a moment ago, run again") from None


def _inspect(file: SourceFile, path: Path, wanted: ModelSignature | None) -> Layout:
    with _open(file, path) as connection:
        return inspect_source(connection, path, wanted)


@contextmanager
def _opened(
    file: SourceFile, found: FoundSource, layout: Layout, scope: ScopeInfo | None = None
) -> Iterator[PreparedSource]:
    """An open source; the report names the version and line that it was found with."""
    path = found.path
    file = _pinned(file, path) if file.identity is None else file
    info = SourceInfo(shown(path), found.layout.version, found.layout.lineage, scope, found.portable)
    with _open(file, path) as connection:
        try:
            witnesses = Witnesses.of(file, connection)
        except driver.errors() as error:
            raise _unusable(file, path, error) from None
        is_copy = found.original is not None and file.path != found.original.path
        original = found.original if is_copy else None
        yield PreparedSource(file, layout, info, connection, found.lost, witnesses, original)


@contextmanager
def _open(file: SourceFile, path: Path) -> Iterator[sqlite3.Connection]:
    try:
        connection = open_source(file)
    except driver.errors() as error:
        raise _unusable(file, path, error) from None
    with closing(connection):
        yield connection


def _unusable(file: SourceFile, path: Path, error: sqlite3.Error) -> SourceUnusable:
    return SourceUnusable(f"{path} cannot be read ({describe_fault(file, error)}): run again")
