"""What became of a source while it was read: replaced, deleted, cut short, overwritten, locked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

from vestige_migrate.paths import shown
from vestige_migrate.source.sqlite import connect, driver
from vestige_migrate.source.sqlite.connect import NotTheFile, SourceFile, open_source
from vestige_migrate.source.sqlite.header import HEADER_BYTES, change_counter, whole_bytes
from vestige_migrate.source.sqlite.quoting import quote_identifier
from vestige_migrate.source.sqlite.raw_file import raw_file
from vestige_migrate.source.sqlite.rowid_sample import draw_rowids

_TABLE = "knowledge_nodes"
_WITNESSES = 64


class Fate(NamedTuple):
    """What another program did to a file, as a clause, and what to do about it."""

    clause: str
    advice: str


def what_happened(file: SourceFile) -> Fate | None:
    """None where the file is the one that was found, and whole."""
    try:
        size = file.path.stat().st_size
    except OSError as error:
        return Fate(f"was deleted or moved away ({error.strerror})", "put it back")
    if not file.is_in_place:
        return Fate("was replaced by another file", "the next run copies that one")
    header = _header(file)
    whole = whole_bytes(header) if header else 1
    if size < whole:
        of = f" of its {whole}" if header else ""
        return Fate(f"was cut short to {size}{of} bytes", "put the whole file back")
    return None


def describe_fault(file: SourceFile, error: sqlite3.Error) -> str:
    """Why the file could not be read and what to do, in one clause.

    SQLite's result code by name where there is nothing better: its messages may quote what they stumbled over.
    """
    happened = what_happened(file)
    if happened is not None:
        return f"{shown(file.path)} {happened.clause} while it was being read ({happened.advice})"
    if is_locked(error):
        waited = f"{connect.BUSY_TIMEOUT_SECONDS:.0f} s"
        return f"{shown(file.path)} is locked by another program, which was waited for for {waited} (stop it)"
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    return f"SQLite: {name}"


def which_fault(files: Iterable[SourceFile], error: sqlite3.Error) -> str:
    """The same where it may have been any of these: the one that something happened to."""
    files = list(files)
    return describe_fault(next((file for file in files if what_happened(file)), files[0]), error)


def is_locked(error: sqlite3.Error) -> bool:
    """Whether another program kept us from the file, which may end."""
    return isinstance(error, driver.operational_errors()) and "locked" in str(error)


def _header(file: SourceFile) -> bytes:
    """SQLite's header; empty where there is none to be read: an encrypted file, or one cut down to less."""
    if file.cipher is not None:
        return b""
    try:
        with raw_file(file.path) as opened:
            header = opened.read(HEADER_BYTES)
    except OSError:
        return b""
    return header if len(header) == HEADER_BYTES and header.startswith(driver.MAGIC) else b""


@dataclass(frozen=True)
class Witnesses:
    """Some memories' ids, and how often the file had been written: by them the database is known again.

    A file that is overwritten in place (`cp other.db vestige.db`) stays the same file to the system, and connections
    that are open read on in it, some pages of the one database and some of the other.
    """

    ids: tuple[bytes, ...]
    counter: int

    @classmethod
    def of(cls, file: SourceFile, connection: sqlite3.Connection) -> Witnesses:
        """Those of the database as it is now."""
        rowids = draw_rowids(connection, _TABLE, _WITNESSES)
        marks = ",".join("?" * len(rowids))
        # As bytes: an id need not be valid UTF-8.
        select = (
            f"SELECT CAST(id AS BLOB) FROM {quote_identifier(_TABLE)} WHERE rowid IN ({marks}) AND typeof(id) = 'text'"
        )
        return cls(tuple(id_ for (id_,) in connection.execute(select, rowids)), _change_counter(file))

    def recognise(self, file: SourceFile) -> bool:
        """Whether the file still holds that database: at least half of these memories, and not as it was before.

        Read anew, because an open connection has pages of the earlier one in memory. True where the path leads to
        another file: then nothing was mixed. Raises `driver.errors()` where it cannot be read.
        """
        try:
            with closing(open_source(file)) as connection:
                # An index may not know them (`source.file.oddities`): then the table is asked itself.
                known = any(2 * self._there(connection, by) >= len(set(self.ids)) for by in ("", "NOT INDEXED"))
        except NotTheFile:
            return True
        return known and _change_counter(file) >= self.counter

    def _there(self, connection: sqlite3.Connection, by: str) -> int:
        marks = ",".join(["CAST(? AS TEXT)"] * len(self.ids))
        select = f"SELECT COUNT(DISTINCT id) FROM {quote_identifier(_TABLE)} {by} WHERE id IN ({marks})"
        (count,) = connection.execute(select, self.ids).fetchone()
        return int(count)


def _change_counter(file: SourceFile) -> int:
    """How often the file was written, which is only ever more; 0 where nothing says so."""
    return change_counter(_header(file))
