"""From a path to a source that can be opened: wherever it lies, whatever may be written beside it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from loguru import logger

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.paths import shown
from vestige_migrate.shared_folders import is_root
from vestige_migrate.source.file.oddities import Oddities, check, find_oddities
from vestige_migrate.source.file.other_names import check_names, is_in_wal_mode
from vestige_migrate.source.file.private_copies import check_space, private_folder
from vestige_migrate.source.file.rebuild import rebuild
from vestige_migrate.source.file.salvage import Damage, is_damage, salvage
from vestige_migrate.source.layout import sqlite_schema as schema
from vestige_migrate.source.layout.inspect import damaged, unreadable
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.connect import SourceFile, open_source
from vestige_migrate.source.sqlite.file_kind import FileKind, check_kind, sidecar
from vestige_migrate.source.sqlite.quoting import quote_identifier
from vestige_migrate.source.sqlite.raw_file import raw_file

_BESIDE = ("-wal", "-journal")
_COPY_TRIES = 3
_OF_THE_FILE = "*** in database"
"""How a finding of PRAGMA quick_check begins that is about the file, and not about a row."""


class Found(NamedTuple):
    """The file to read, which may be a private copy: of what can be read of a damaged one (`damage` has the rest), and
    of one that would be misread in place, because of its `oddities`."""

    file: SourceFile
    damage: Damage | None
    oddities: Oddities


@contextmanager
def find_source(path: Path, by_key: bool = False, name: Path | None = None) -> Iterator[Found]:
    """The file, looked at and opened once. Raises `SourceUnusable` with the reason where that cannot be done.

    SQLite reads a file in WAL mode with the help of a `-shm` file, and one that a crash left in the middle of a write
    only after repairing it. Where the folder or the file is read-only it can do neither. Then a file with nothing
    beside it is opened as one that nobody is writing, and one with changes in its `-wal` or `-journal` is read from
    a private copy, so that those are neither lost nor half read. `by_key` says that single rows will be looked up by
    their ids, so that those of the indexes are looked over, too. `name` is how the operator knows a file of our own.
    """
    kind = check_kind(path)
    _check_names(path)
    file = SourceFile(path.resolve())
    path = name or path  # in messages from here on
    file = replace(file, immutable=_would_shut_out_its_owner(file.path))
    if kind is FileKind.ENCRYPTED:
        file = replace(file, cipher=_find_cipher(file, path))
    with ExitStack() as opened:
        try:
            if file.immutable and any(sidecar(file.path, suffix) for suffix in _BESIDE):
                raise _WantsToWrite(sqlite3.OperationalError("its log cannot be read in place"))
            finding = _look(file, path)
        except _WantsToWrite as want:
            if any(sidecar(file.path, suffix) for suffix in _BESIDE):
                file = opened.enter_context(_private_copy(file))
                logger.info("{} can only be read after a repair: this is done in a private copy", shown(path))
            elif not file.immutable:
                file = replace(file, immutable=True)
            try:
                finding = _look(file, path)
            except _WantsToWrite:
                raise SourceUnusable(_cannot_open(path, want.error)) from None
        damage = None
        if finding is not None:
            if file.cipher is not None:
                raise SourceUnusable(damaged(path, finding))
            try:
                file, damage = opened.enter_context(salvage(file, finding))
            except driver.database_errors() as error:
                raise unreadable(path, error) from None
        try:
            oddities = find_oddities(file, by_key)
            if oddities:
                file = opened.enter_context(rebuild(file, path, oddities))
                _say(path, oddities)
        except driver.database_errors() as error:
            raise unreadable(path, error) from None
        yield Found(file, damage, oddities)


def _would_shut_out_its_owner(real: Path) -> bool:
    """Whether opening the file would leave a `-wal` and `-shm` of ours beside that of another account.

    Its owner, who may not write to them, could not write to the file any more ("attempt to write a readonly
    database"). SQLite makes them whenever they are missing, in read-only mode too, and gives them away as root only.
    """
    if is_root() or not hasattr(os, "geteuid"):
        return False
    beside = [real.with_name(f"{real.name}{suffix}") for suffix in ("-wal", "-shm")]
    return (
        real.stat().st_uid != os.geteuid()
        and os.access(real.parent, os.W_OK)
        and is_in_wal_mode(real)
        and not all(each.exists() for each in beside)
    )


def _check_names(path: Path) -> None:
    try:
        check_names(path)
    except OSError as error:
        raise SourceUnusable(f"{path} cannot be looked at ({error.strerror}): run again") from None


def _say(path: Path, oddities: Oddities) -> None:
    """One line for each thing that keeps a file from being read in place."""
    name = shown(path)
    for index, table in oddities.indexes:
        logger.warning(
            "{}: index {} of {} lacks rows that the table has, or has others: every row is read without it. REINDEX "
            "repairs it: sqlite3 FILE REINDEX",
            name,
            index,
            table,
        )
    for table, column in oddities.left_out:
        logger.warning(
            "{}: {}.{} is computed from other columns by a function that this SQLite does not have. It stores nothing "
            "of its own, and is left out",
            name,
            table,
            column,
        )
    for collation in oddities.collations:
        logger.info(
            "{} names the collation {}, which this SQLite does not have: rows are read without it", name, collation
        )
    for clause in oddities.clauses:
        logger.info("{}: {}", name, clause)
    logger.info("{} is read from a private copy in which every table is an ordinary one", name)


class _WantsToWrite(Exception):
    """SQLite would have to write beside the file to read it."""

    def __init__(self, error: sqlite3.OperationalError) -> None:
        super().__init__()
        self.error = error


def _find_cipher(file: SourceFile, path: Path) -> driver.Cipher:
    """The key from the environment with the page size that goes with it. Raises `SourceUnusable` where none does.

    A wrong size looks like a wrong key, so each is tried; the right one costs 0.1 s, of which SQLCipher makes a point.
    """
    key = driver.key_from_environment()
    assert key is not None  # `check_kind` let nothing else pass
    for size in driver.PAGE_SIZES:
        cipher = driver.Cipher(key, size)
        if _opens(replace(file, cipher=cipher)):
            return cipher
    raise SourceUnusable(
        f"the key in {driver.KEY_VARIABLE} does not open {path}: give the one that Vestige runs with (or the file is "
        "no database at all)"
    )


def _opens(file: SourceFile) -> bool:
    """False where the cipher is the wrong one; any other trouble is left to who reads the file next."""
    try:
        with closing(open_source(file)) as connection:
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except driver.operational_errors() as error:
        return not file.immutable and _is_for_want_of_writing(error) and _opens(replace(file, immutable=True))
    except driver.database_errors() as error:
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_NOTADB) != sqlite3.SQLITE_NOTADB
    return True


def _look(file: SourceFile, path: Path) -> str | None:
    """Opens the file and has SQLite look over all of it; returns what is damaged.

    Raises `_WantsToWrite` where it cannot be opened as asked, and `SourceUnusable` where it cannot be read. The check
    costs a tenth of the reading (measured on 280 MB: 0.27 s), and without it damage would only show in the middle of a
    copy.
    """
    try:
        with closing(open_source(file)) as connection:
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            finding = _quick_check(connection)
    except driver.operational_errors() as error:
        if _is_for_want_of_writing(error):
            raise _WantsToWrite(error) from None
        raise unreadable(path, error) from None
    except driver.database_errors() as error:
        if is_damage(error):
            return str(error)
        raise unreadable(path, error) from None
    # Only what begins so is about the file; the rest is about rows (a NULL where none may be), which are copied.
    if finding is not None and str(finding[0]).startswith(_OF_THE_FILE):
        return " ".join(str(finding[0]).splitlines()[1:2])
    return None


def _quick_check(connection: sqlite3.Connection) -> tuple[str] | None:
    """What SQLite finds first. A virtual table of a module or tokenizer that it lacks is not looked at."""
    try:
        return check(connection, "PRAGMA quick_check(1)")
    except driver.operational_errors() as error:
        if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_ERROR:
            raise
    for entry in schema.entries(connection):
        if entry.kind is schema.TableKind.TABLE:
            row = check(connection, f"PRAGMA quick_check({quote_identifier(entry.name)})")
            if row is not None and row[0].startswith(_OF_THE_FILE):
                return row
    return None


def _is_for_want_of_writing(error: sqlite3.OperationalError) -> bool:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def _cannot_open(path: Path, error: sqlite3.OperationalError) -> str:
    return f"{path} cannot be opened for reading ({error}): check the permissions of it and its folder"


@contextmanager
def _private_copy(file: SourceFile) -> Iterator[SourceFile]:
    """The database with its `-wal` or `-journal` in a folder of our own, repaired there; gone when the context ends."""
    path = file.path
    with private_folder() as folder:
        copy = folder / path.name
        try:
            check_space(folder, path, path.stat().st_size)
            _copy_unchanged(path, copy)
            with closing(driver.connect(copy, file.cipher)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        except driver.database_errors() as error:
            raise unreadable(path, error) from None
        except OSError as error:
            raise SourceUnusable(
                f"no private copy of {path} could be made in {folder} ({error.strerror}), and it cannot be read in "
                "place: free space there, or set TMPDIR to a folder with room for a copy of the file"
            ) from None
        yield SourceFile(copy, cipher=file.cipher)


def _copy_unchanged(path: Path, copy: Path) -> None:
    """Copies the files of a database; again where one of them changes in the meantime."""
    for _ in range(_COPY_TRIES):
        before = _state(path)
        for suffix in ("", *_BESIDE):
            copy.with_name(copy.name + suffix).unlink(missing_ok=True)
            source = path if not suffix else sidecar(path, suffix)
            if source is not None:
                with raw_file(source) as file, copy.with_name(copy.name + suffix).open("wb") as into:
                    shutil.copyfileobj(file, into)
        if _state(path) == before:
            return
    raise SourceUnusable(f"{path} is being written to and cannot be read in place: stop Vestige, then run again")


FileState = list[tuple[int, int] | None]


def file_state(path: Path) -> FileState | None:
    """What a commit of any program changes, for a file that is read from a private copy; None where it is gone."""
    try:
        return _state(path)
    except OSError:
        return None


def _state(path: Path) -> FileState:
    """Size and time of the last change of the database and what is beside it."""
    found = [path, *(sidecar(path, suffix) for suffix in _BESIDE)]
    return [(item.stat().st_size, item.stat().st_mtime_ns) if item else None for item in found]
