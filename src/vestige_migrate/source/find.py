"""From a path to a source that can be opened: wherever it lies, whatever may be written beside it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from loguru import logger

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.paths import shown
from vestige_migrate.source import driver
from vestige_migrate.source.connect import SourceFile, open_source
from vestige_migrate.source.inspect import damaged, unreadable
from vestige_migrate.source.kind import Kind, check_kind, companion
from vestige_migrate.source.private import check_space, private_folder
from vestige_migrate.source.salvage import Damage, is_damage, salvage

_BESIDE = ("-wal", "-journal")
_COPY_TRIES = 3


@contextmanager
def find_source(path: Path) -> Iterator[tuple[SourceFile, Damage | None]]:
    """The file, looked at and opened once. Raises `SourceUnusable` with the reason where that cannot be done.

    SQLite reads a file in WAL mode with the help of a `-shm` file, and one that a crash left in the middle of a write
    only after repairing it. Where the folder or the file is read-only it can do neither. Then a file with nothing
    beside it is opened as one that nobody is writing, and one with changes in its `-wal` or `-journal` is read from
    a private copy, so that those are neither lost nor half read. Of a damaged file, what can be read is in a private
    copy, and `Damage` has the rest.
    """
    kind = check_kind(path)
    file = SourceFile(path.resolve())
    if kind is Kind.ENCRYPTED:
        file = replace(file, cipher=_find_cipher(file, path))
    with ExitStack() as opened:
        try:
            finding = _look(file, path)
        except _WantsToWrite as want:
            if any(companion(file.path, suffix) for suffix in _BESIDE):
                file = opened.enter_context(_private_copy(file))
                logger.info("{} can only be read after a repair: this is done in a private copy", shown(path))
            elif not file.immutable:
                file = replace(file, immutable=True)
            try:
                finding = _look(file, path)
            except _WantsToWrite:
                raise SourceUnusable(_cannot_open(path, want.error)) from None
        if finding is None:
            yield file, None
            return
        if file.cipher is not None:
            raise SourceUnusable(damaged(path, finding))
        try:
            salvaged = opened.enter_context(salvage(file, finding))
        except driver.database_errors() as error:
            raise unreadable(path, error) from None
        yield salvaged


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
            finding = connection.execute("PRAGMA quick_check(1)").fetchone()
    except driver.operational_errors() as error:
        if _is_for_want_of_writing(error):
            raise _WantsToWrite(error) from None
        raise unreadable(path, error) from None
    except driver.database_errors() as error:
        if is_damage(error):
            return str(error)
        raise unreadable(path, error) from None
    # Only what begins so is about the file; the rest is about rows (a NULL where none may be), which are copied.
    if finding is not None and str(finding[0]).startswith("*** in database"):
        return " ".join(str(finding[0]).splitlines()[1:2])
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
            source = path if not suffix else companion(path, suffix)
            if source is not None:
                shutil.copyfile(source, copy.with_name(copy.name + suffix))
        if _state(path) == before:
            return
    raise SourceUnusable(f"{path} is being written to and cannot be read in place: stop Vestige, then run again")


def _state(path: Path) -> list[tuple[int, int] | None]:
    """Size and time of the last change of the database and what is beside it."""
    found = [path, *(companion(path, suffix) for suffix in _BESIDE)]
    return [(item.stat().st_size, item.stat().st_mtime_ns) if item else None for item in found]
