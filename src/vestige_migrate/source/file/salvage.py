"""What can be read of a damaged file, in a private copy, and which rows cannot.

SQLite stops at the first page that it cannot make sense of. Here a table's rows are read in parts, and a part that
fails in its halves, down to the single row; what the table's indexes know of such a row says which one it was.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vestige_migrate.decode.problem import Raw
from vestige_migrate.errors import SourceUnusable
from vestige_migrate.source.file.private_copies import check_space, private_folder
from vestige_migrate.source.layout import sqlite_schema as schema
from vestige_migrate.source.layout.known_names import READ_TABLES, known_table
from vestige_migrate.source.sqlite.connect import SourceFile, open_source
from vestige_migrate.source.sqlite.quoting import quote_identifier

Known = tuple[tuple[str, Raw], ...]
"""(column, value) of what an index holds of a row."""

_ROWS_AT_ONCE = 5000
_ONE_BY_ONE = 1000
"""How many rowids behind a damaged page are tried in turn, where no index names them, before larger steps are taken."""
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_END = _HIGHEST
"""Behind the last row."""


@dataclass(frozen=True)
class LostRow:
    """A row that cannot be read. Without a rowid: an unknown number of rows, of which no index knows anything. With a
    column: the row is there, and has no value in it."""

    table: str
    rowid: int | None
    known: Known = ()
    reason: str = "damaged page"
    column: str | None = None

    def evaluate(self, expressions: Sequence[str]) -> list[Raw] | None:
        """SQL expressions over the row's columns, with the row as `n`; None where what is known is not enough."""
        given = dict(self.known)
        if not given:
            return None
        columns = ", ".join(f"? AS {quote_identifier(column)}" for column in given)
        with closing(sqlite3.connect(":memory:")) as connection:
            try:
                row = connection.execute(
                    f"SELECT {', '.join(expressions)} FROM (SELECT {columns}) AS n", list(given.values())
                ).fetchone()
            except sqlite3.DatabaseError:
                return None
        return list(row)


@dataclass(frozen=True)
class Damage:
    """What SQLite found first, and every row that could not be read."""

    finding: str
    lost: tuple[LostRow, ...]


@contextmanager
def salvage(file: SourceFile, finding: str) -> Iterator[tuple[SourceFile, Damage]]:
    """A private copy of what can be read; gone when the context ends.

    Raises sqlite3.DatabaseError where not even the list of tables can be read, and `SourceUnusable` where there is no
    room for a copy.
    """
    with private_folder() as folder:
        copy = folder / file.path.name
        check_space(folder, file.path, file.path.stat().st_size)
        with closing(open_source(file)) as connection:
            entries = schema.entries(connection)
        _refuse_what_is_no_table(entries, file.path, finding)
        try:
            lost = _salvage(file, copy, [entry.name for entry in entries if entry.kind is schema.TableKind.TABLE])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise
            raise SourceUnusable(
                f"no private copy of what can be read of {file.path}, which is damaged, could be made in {folder} "
                f"({error}): free space there, or set TMPDIR to a folder with room for a copy of the file"
            ) from None
        yield SourceFile(copy), Damage(finding, tuple(lost))


def _salvage(file: SourceFile, copy: Path, tables: Sequence[str]) -> list[LostRow]:
    copy.touch(0o600)
    lost: list[LostRow] = []
    with closing(sqlite3.connect(copy.absolute().as_uri(), uri=True, isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS damaged", (file.uri,))
        (encoding,) = connection.execute("PRAGMA damaged.encoding").fetchone()
        (version,) = connection.execute("PRAGMA damaged.user_version").fetchone()
        connection.execute(f"PRAGMA main.encoding = '{encoding}'")
        connection.execute(f"PRAGMA main.user_version = {int(version)}")
        connection.execute("PRAGMA main.journal_mode = MEMORY")
        connection.execute("PRAGMA synchronous = OFF")
        for name in tables:
            lost += _Table(connection, name).copy()
    return lost


def _refuse_what_is_no_table(entries: Sequence[schema.Entry], path: Path, finding: str) -> None:
    """Raises `SourceUnusable` where rows that are copied come out of a view or a virtual table: only tables are
    salvaged, and theirs would be missing without a word."""
    for entry in entries:
        if entry.kind is not schema.TableKind.TABLE and known_table(entry.name) in READ_TABLES:
            raise SourceUnusable(
                f"{path} is a corrupt SQLite database ({finding}) in which {entry.name} is no table but a "
                f"{entry.kind.value}, and only tables can be salvaged: restore a backup, or rebuild it with "
                "`sqlite3 FILE .recover | sqlite3 NEW` and copy the new file"
            )


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether SQLite could not make sense of a page."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF == sqlite3.SQLITE_CORRUPT


class _Table:
    """One table, `damaged` and its copy in `main`, which has the same columns and no constraint."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        quoted = quote_identifier(name)
        self._source, self._copy = f"damaged.{quoted}", f"main.{quoted}"
        strict = schema.is_strict(connection, name)
        columns = [
            (column, schema.affinity(declared, strict))
            for _, column, declared, *_ in connection.execute(f"PRAGMA damaged.table_xinfo({quoted})")
        ]
        self._columns = ", ".join(quote_identifier(column) for column, _ in columns)
        declared = ", ".join(f"{quote_identifier(column)} {kind}" for column, kind in columns)
        connection.execute(f"CREATE TABLE {self._copy} ({declared})")
        self._has_rowid = self._find_rowid([column for column, _ in columns])

    def _find_rowid(self, columns: Sequence[str]) -> bool:
        if "rowid" in map(str.lower, columns):
            return False
        try:
            self._connection.execute(f"SELECT rowid FROM {self._source} LIMIT 0")
        except sqlite3.DatabaseError as error:
            return is_damage(error)
        return True

    def copy(self) -> list[LostRow]:
        """Copies what can be read; returns what cannot."""
        if not self._has_rowid:
            return self._copy_as_it_comes()
        indexed, complete = self._indexed_rowids()
        found, gaps = self._walk(sorted(indexed))
        failed: list[int] = []
        rowids = sorted(indexed.union(found))
        for start in range(0, len(rowids), _ROWS_AT_ONCE):
            self._copy_part(rowids[start : start + _ROWS_AT_ONCE], failed)
        known = self._known(set(failed))
        lost = [LostRow(self._name, rowid, known.get(rowid, ())) for rowid in failed]
        self._copy_indexes()
        # Without an index that names every row, a gap in the table may hold rows that nothing knows of.
        return lost if complete else lost + [LostRow(self._name, None)] * len(gaps)

    def _copy_as_it_comes(self) -> list[LostRow]:
        marks = ", ".join("?" * (self._columns.count(", ") + 1))
        try:
            rows = self._connection.execute(f"SELECT {self._columns} FROM {self._source}")
            for row in rows:
                self._connection.execute(f"INSERT INTO {self._copy} VALUES ({marks})", row)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return [LostRow(self._name, None)]
        return []

    def _copy_part(self, rowids: Sequence[int], failed: list[int]) -> None:
        """Copies these rows; those that cannot be read, or are not there although an index has them, are `failed`."""
        try:
            copied = self._connection.execute(
                f"INSERT INTO {self._copy} (rowid, {self._columns}) SELECT rowid, {self._columns} FROM {self._source}"
                " NOT INDEXED WHERE rowid IN (SELECT value FROM json_each(?))",
                (json.dumps(rowids),),
            ).rowcount
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            if len(rowids) == 1:
                failed.extend(rowids)
                return
            middle = len(rowids) // 2
            self._copy_part(rowids[:middle], failed)
            self._copy_part(rowids[middle:], failed)
            return
        if copied != len(rowids):
            there = {
                rowid
                for (rowid,) in self._connection.execute(
                    f"SELECT rowid FROM {self._copy} WHERE rowid IN (SELECT value FROM json_each(?))",
                    (json.dumps(rowids),),
                )
            }
            failed.extend(rowid for rowid in rowids if rowid not in there)

    def _indexes(self) -> list[tuple[str, list[str]]]:
        """Name and columns of every index that can be read as far as that goes."""
        found = []
        with suppress(sqlite3.DatabaseError):
            for _, name, *_ in self._connection.execute(
                f"PRAGMA damaged.index_list({quote_identifier(self._name)})"
            ).fetchall():
                info = self._connection.execute(f"PRAGMA damaged.index_info({quote_identifier(name)})").fetchall()
                found.append((name, [column for _, _, column in info if column is not None]))
        return found

    def _copy_indexes(self) -> None:
        """Rows are looked up by them. None is unique: which rows there are is not for an index to say here."""
        for number, (_, columns) in enumerate(self._indexes()):
            name = f"{self._name} {number}"
            listed = ", ".join(map(quote_identifier, columns))
            if listed:
                self._connection.execute(
                    f"CREATE INDEX main.{quote_identifier(name)} ON {quote_identifier(self._name)} ({listed})"
                )

    def _read_index(self, name: str, columns: Sequence[str]) -> Iterator[tuple[int, Known]]:
        """(rowid, what it holds) of every entry. Raises sqlite3.DatabaseError at the first damaged page of the index,
        and where it is partial, so that it cannot answer for the whole table."""
        listed = "".join(f", {quote_identifier(column)}" for column in columns)
        for rowid, *values in self._connection.execute(
            f"SELECT rowid{listed} FROM {self._source} INDEXED BY {quote_identifier(name)}"
        ):
            yield rowid, tuple(zip(columns, values, strict=True))

    def _indexed_rowids(self) -> tuple[set[int], bool]:
        """Every rowid that an index has, and whether one of them could be read to its end."""
        found: set[int] = set()
        complete = False
        for name, _ in self._indexes():
            with suppress(sqlite3.DatabaseError):
                for rowid, _ in self._read_index(name, ()):
                    found.add(rowid)
                complete = True
        return found, complete

    def _known(self, rowids: set[int]) -> dict[int, Known]:
        found: dict[int, Known] = {}
        if rowids:
            for name, columns in self._indexes():
                with suppress(sqlite3.DatabaseError):
                    for rowid, known in self._read_index(name, columns):
                        if rowid in rowids:
                            found[rowid] = found.get(rowid, ()) + known
        return found

    def _walk(self, indexed: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
        """Rowids by the table's own tree, and the gaps in them (from, below) where it could not be read."""
        found: list[int] = []
        gaps: list[tuple[int, int]] = []
        start = _LOWEST
        while True:
            try:
                for (rowid,) in self._connection.execute(
                    f"SELECT rowid FROM {self._source} NOT INDEXED WHERE rowid >= ? ORDER BY rowid", (start,)
                ):
                    found.append(rowid)
                    start = rowid + 1
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
            else:
                return found, gaps
            # sqlite3 drops the last row before an error, so that one is asked for by itself.
            after = self._seek(start)
            if after is None:
                after = self._after_damage(start, [rowid for rowid in indexed if rowid > start])
                gaps.append((start, after))
            if after == _END:
                return found, gaps
            found.append(after)
            start = after + 1

    def _after_damage(self, start: int, indexed: Sequence[int]) -> int:
        """The first rowid behind `start` that the table yields again, or `_END`."""
        for rowid in indexed:
            found = self._seek(rowid)
            if found is not None:
                return found
        failed, step = max(start, 0), 1
        while failed + step < _HIGHEST:
            if self._seek(failed + step) is not None:
                return self._first_readable(failed, failed + step)
            failed += step
            step = 1 if failed - start < _ONE_BY_ONE else step * 2
        return _END

    def _first_readable(self, failed: int, readable: int) -> int:
        """What the table yields first, between a rowid from which it yields nothing and one from which it does."""
        while readable - failed > 1:
            middle = (failed + readable) // 2
            if self._seek(middle) is None:
                failed = middle
            else:
                readable = middle
        found = self._seek(readable)
        return _END if found is None else found

    def _seek(self, rowid: int) -> int | None:
        """The next rowid from this one on, `_END` where there is none; None where a damaged page is in the way."""
        with suppress(sqlite3.DatabaseError):
            row = self._connection.execute(
                f"SELECT rowid FROM {self._source} NOT INDEXED WHERE rowid >= ? ORDER BY rowid LIMIT 1", (rowid,)
            ).fetchone()
            return row[0] if row else _END
        return None
