"""Vestige's portable archive (`vestige portable-export`): one JSON object with the rows of some of its tables, which is
made into a private SQLite file, a row at a time, and then read like any other.

The tables are made of the archive's own columns, with the primary keys that Vestige gives them and without types: an
untyped column keeps every value as the archive has it, which is how the file's own column kept it. Nothing else of a
version's schema bears on a copy: which version and line a file is of is told by its tables, columns and number, and the
defaults and constraints of a column have done their work when the row was written.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from loguru import logger

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.paths import shown
from vestige_migrate.source.file.private_copies import check_space, private_folder
from vestige_migrate.source.file.salvage import LostRow
from vestige_migrate.source.layout.known_names import NEEDED_COLUMNS, NEEDED_TABLE
from vestige_migrate.source.portable.json_stream import JsonReader, NotJson, encoding_of
from vestige_migrate.source.portable.rows import RowReader, TableWriter
from vestige_migrate.source.sqlite.file_kind import EXPORT, NO_ARCHIVE
from vestige_migrate.source.sqlite.raw_file import raw_file

FORMAT, MODE = "vestige.portable.v1", "exact"
_LEAST_SHARE = 4
"""Of an archive's bytes at least a fourth are values: a vector, which is most of a file, is written in hex."""
_SNIFFED_BYTES = 4096
_SAID_EVERY_SECONDS = 10.0
_OBJECT = re.compile(r'\s*\{\s*["}]')
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_WORD = re.compile(r"[\w.:+-]{1,64}")
_HIGHEST_VERSION = 2**31 - 1
"""PRAGMA user_version has 32 bits with a sign."""
_NAMED_ROWS = 20
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Portable:
    """What an archive was made into: the private file, and what the archive says of itself. `tables` are in lower case;
    `lost` are rows, and cells of rows, that could not be read."""

    file: Path
    vestige_version: str | None
    exported_at: str | None
    tables: frozenset[str]
    lost: tuple[LostRow, ...]


def is_json(path: Path) -> bool:
    """Whether a file begins as a JSON object does, whatever its name is. False where it cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with raw_file(path) as file:
            start = file.read(_SNIFFED_BYTES)
            while start and not start.strip():
                start = file.read(_SNIFFED_BYTES)
    except (OSError, ValueError):
        return False
    text = start.decode(encoding_of(start), "replace")
    # An encrypted database may begin with a brace, and has control characters at once, which JSON never has.
    return _OBJECT.match(text) is not None and _CONTROL.search(text) is None


@contextmanager
def unpacked(path: Path) -> Iterator[Portable]:
    """The archive as a private SQLite file (mode 0600, in a folder of its own), gone when the context ends.

    Raises `SourceUnusable` where it is no such archive, or not a whole one, and where there is no room.
    """
    with private_folder() as folder:
        copy = folder / "portable.db"
        try:
            with path.open("rb") as file:
                before = os.fstat(file.fileno())
                check_space(folder, path, before.st_size // _LEAST_SHARE)
                logger.info(
                    "{} is a JSON file of {} MiB: a portable archive is put into a private SQLite file first",
                    shown(path),
                    -(-before.st_size // _MIB),
                )
                os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                portable = _Archive(path, copy, before.st_size).read(file)
                after = os.fstat(file.fileno())
        except (OSError, sqlite3.Error) as error:
            raise _no_copy(path, folder, error) from None
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise SourceUnusable(f"{path} was written to while it was being read: run again when nobody writes to it")
        yield portable


def _no_copy(path: Path, folder: Path, error: OSError | sqlite3.Error) -> SourceUnusable:
    if isinstance(error, OSError) and (error.filename is None or Path(str(error.filename)).parent != folder):
        return SourceUnusable(f"{path} cannot be read: {error.strerror}")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_FULL) & 0xFF
    reason = error.strerror if isinstance(error, OSError) else getattr(error, "sqlite_errorname", None) or error
    if code not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return SourceUnusable(
            f"{path} cannot be made into an SQLite file ({reason}), and so was written by no Vestige: export again "
            f"with {EXPORT}"
        )
    return SourceUnusable(
        f"no private copy of {path} could be made in {folder} ({reason}): free space there, or set TMPDIR to a folder "
        "with room for a copy of the file"
    )


@dataclass
class _Head:
    """What a table's object says besides its rows."""

    name: str | None = None
    columns: tuple[str, ...] | None = None


class _RowsFirst(Exception):
    """A table's rows stand before its name or columns, so those have to be looked for first."""


@dataclass
class _Archive:
    """One archive being read."""

    path: Path
    copy: Path
    size: int
    heads: list[_Head] = field(default_factory=list)
    lost: list[LostRow] = field(default_factory=list)
    _where: str = ""
    _said_at: float = field(default_factory=time.monotonic)
    _names: dict[str, str] = field(default_factory=dict)
    _facts: dict[str, object] = field(default_factory=dict)

    def read(self, file: BinaryIO) -> Portable:
        """Fills the private file. Raises `SourceUnusable`, OSError and sqlite3.Error."""
        with closing(sqlite3.connect(self.copy, isolation_level=None)) as connection:
            # A file of our own that nobody reads before it is whole.
            for setting in ("page_size = 8192", "journal_mode = MEMORY", "synchronous = OFF", "cache_size = -65536"):
                connection.execute(f"PRAGMA {setting}").close()
            connection.execute("BEGIN")
            try:
                try:
                    self._document(file, connection)
                except _RowsFirst:
                    connection.execute("ROLLBACK")
                    connection.execute("BEGIN")
                    self._names.clear()
                    self.lost.clear()
                    file.seek(0)
                    self._outline(file)
                    file.seek(0)
                    self._document(file, connection)
            except NotJson as error:
                raise self._broken(error) from None
            version = self._check()
            connection.execute(f"PRAGMA user_version = {version}")
            _index(connection, self._names)
            connection.execute("COMMIT")
        self._say_lost()
        return Portable(
            self.copy,
            _word(self._facts.get("vestigeVersion")),
            _word(self._facts.get("exportedAt")),
            frozenset(self._names.values()),
            tuple(self.lost),
        )

    def _document(self, file: BinaryIO, connection: sqlite3.Connection) -> None:
        reader = JsonReader(file)
        self._facts.clear()
        for name in reader.members():
            self._once(self._facts, name)
            self._where = name
            if name == "tables":
                for at, _ in enumerate(reader.items()):
                    self._table(reader, connection, file, at)
                self._facts[name] = True
            elif name in ("archiveFormat", "vestigeVersion", "schemaVersion", "exportedAt", "mode"):
                self._facts[name] = reader.value()
                self._check_format(name)
            else:
                reader.skip()
                self._facts[name] = None
        self._where = ""
        if reader.peek():
            raise self._refused(
                "goes on after the end of the archive: two files may have been joined to one. Give the archive alone"
            )

    def _table(self, reader: JsonReader, connection: sqlite3.Connection, file: BinaryIO, at: int) -> None:
        head = self.heads[at] if at < len(self.heads) else _Head()
        found: dict[str, object] = {}
        self._where = f"table {at + 1}"
        for name in reader.members():
            self._once(found, name)
            found[name] = None
            if name == "name":
                head.name = self._table_name(reader.value(), at)
            elif name == "columns":
                head.columns = self._columns(reader.value(), at)
            elif name == "rows":
                if head.name is None or head.columns is None:
                    raise _RowsFirst
                self._rows(reader, connection, file, head.name, head.columns)
            else:
                reader.skip()
        if head.name is None or head.columns is None or "rows" not in found:
            raise self._refused(f"is no whole portable archive: its table {at + 1} has no name, columns or rows")

    def _outline(self, file: BinaryIO) -> None:
        """The names and columns of all tables, in a pass of its own."""
        reader = JsonReader(file)
        for name in reader.members():
            if name != "tables":
                reader.skip()
                continue
            for at, _ in enumerate(reader.items()):
                head = _Head()
                for part in reader.members():
                    if part == "name":
                        head.name = self._table_name(reader.value(), at)
                    elif part == "columns":
                        head.columns = self._columns(reader.value(), at)
                    else:
                        reader.skip(levels=1)
                if head.name is None or head.columns is None:
                    raise self._refused(f"is no whole portable archive: its table {at + 1} has no name or columns")
                self.heads.append(head)

    def _rows(
        self,
        reader: JsonReader,
        connection: sqlite3.Connection,
        file: BinaryIO,
        name: str,
        columns: tuple[str, ...],
    ) -> None:
        folded = name.lower()
        if folded in self._names.values():
            raise self._refused(
                f"has the table {name} twice, and Vestige takes no such archive: take one of them out, or export again "
                f"with {EXPORT}"
            )
        try:
            writer = TableWriter(connection, name, columns)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
            raise self._refused(
                f"has a table {name} that SQLite does not take ({error}), and so was written by no Vestige: export "
                f"again with {EXPORT}"
            ) from None
        if folded == NEEDED_TABLE and not {column.lower() for column in columns} >= NEEDED_COLUMNS:
            raise self._refused(f"is no portable archive of Vestige: its table {name} has no id or no content")
        self._names[name] = folded
        rows = RowReader(name, columns)
        for number, _ in enumerate(reader.items(), 1):
            self._where = f"row {number} of {name}"
            start = reader.position
            values = rows.read(reader, number)
            if values is not None:
                writer.add(values, reader.position - start)
            if not number % 1024:
                self._tell(file)
        writer.finish()
        self.lost += rows.lost

    def _table_name(self, value: object, at: int) -> str:
        if not _is_name(value) or str(value).lower().startswith("sqlite_"):
            raise self._refused(f"is no portable archive: the name of its table {at + 1} is none")
        return str(value)

    def _columns(self, value: object, at: int) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(map(_is_name, value)):
            raise self._refused(f"is no portable archive: the columns of its table {at + 1} are no list of names")
        return tuple(map(str, value))

    def _once(self, seen: dict[str, object], name: str) -> None:
        """A member that is there twice would say two things."""
        if name in seen:
            raise self._refused(
                f"is no portable archive: an object in it has one member twice (in {self._where or 'the archive'}). "
                f"Export again with {EXPORT}"
            )

    def _check_format(self, name: str) -> None:
        found = self._facts[name]
        if name == "archiveFormat" and found != FORMAT:
            raise self._refused(
                f"is an archive of another format{_named(found)}, and this program reads {FORMAT}: look for a newer "
                "vestige-migrate, or copy Vestige's own database"
            )
        if name == "mode" and found != MODE:
            raise self._refused(
                f"is a portable archive of another mode{_named(found)}, and only {MODE!r} has every row as it is: "
                f"export again with {EXPORT}, or copy Vestige's own database"
            )

    def _check(self) -> int:
        """The version. Raises `SourceUnusable` where the document is no whole archive."""
        facts = self._facts
        if "archiveFormat" not in facts:
            raise self._refused(f"is a text file, and no SQLite database: {NO_ARCHIVE}")
        missing = [name for name in ("schemaVersion", "mode", "tables") if name not in facts]
        if missing:
            raise self._refused(
                f"is no whole portable archive: it has no {' and no '.join(missing)}. Export again with {EXPORT}"
            )
        if NEEDED_TABLE not in self._names.values():
            raise self._refused(
                f"is a portable archive without the table {NEEDED_TABLE}, so there is nothing to copy: export again "
                f"with {EXPORT}"
            )
        version = facts["schemaVersion"]
        if type(version) is not int or not 0 < version <= _HIGHEST_VERSION:
            raise self._refused(f"is no portable archive: its schemaVersion is no version. Export again with {EXPORT}")
        return version

    def _broken(self, error: NotJson) -> SourceUnusable:
        within = f", in {self._where}" if self._where else ""
        if "archiveFormat" not in self._facts and not self._names:
            return self._refused(
                f"is a text file, and no SQLite database: it begins as JSON does and is none (character {error.at})"
            )
        if error.is_cut:
            return self._refused(
                f"is a portable archive that was cut short: it ends{within}. Copy the file again from where it came "
                f"from, or export again with {EXPORT}"
            )
        if error.is_large:
            return self._refused(f"has a value of more than 1 GiB{within}, which PostgreSQL does not take")
        return self._refused(
            f"is a portable archive that is damaged at character {error.at}{within}: no JSON is there, or not what an "
            f"archive has there. Copy the file again from where it came from, or export again with {EXPORT}"
        )

    def _refused(self, clause: str) -> SourceUnusable:
        return SourceUnusable(f"{self.path} {clause}")

    def _tell(self, file: BinaryIO) -> None:
        """A line now and then: a large archive takes minutes."""
        now = time.monotonic()
        if now - self._said_at >= _SAID_EVERY_SECONDS:
            self._said_at = now
            logger.info("{}: {} % read", shown(self.path), 100 * file.tell() // max(self.size, 1))

    def _say_lost(self) -> None:
        for row in self.lost[:_NAMED_ROWS]:
            part = f"{row.table}.{row.column} in row {row.rowid}" if row.column else f"row {row.rowid} of {row.table}"
            logger.warning("{}: {} cannot be read ({})", shown(self.path), part, row.reason)
        if len(self.lost) > _NAMED_ROWS:
            logger.warning("{}: {} more cannot be read", shown(self.path), len(self.lost) - _NAMED_ROWS)


def _index(connection: sqlite3.Connection, names: dict[str, str]) -> None:
    """Memories are split by their times, as Vestige's own index lets them be."""
    if "knowledge_nodes" in names:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(knowledge_nodes)")}
        if "created_at" in columns:
            connection.execute("CREATE INDEX portable_created_at ON knowledge_nodes (created_at)")


def _is_name(value: object) -> bool:
    """Whether SQLite can be given this as a name."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _word(value: object) -> str | None:
    """What the archive says of itself, where it is what Vestige writes there: anything else is not repeated."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


def _named(value: object) -> str:
    word = _word(value)
    return f" ({word})" if word else ""
