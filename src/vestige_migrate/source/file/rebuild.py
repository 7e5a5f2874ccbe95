"""A private copy of a file in which every table is an ordinary one: texts in UTF-8, a rowid, the usual names, plain
indexes. It is read where the file itself would be misread (`source.file.oddities`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.source.file.oddities import Oddities, missing_collation, missing_function, uncomputable_columns
from vestige_migrate.source.file.private_copies import check_space, private_folder
from vestige_migrate.source.layout import sqlite_schema as schema
from vestige_migrate.source.layout.known_names import FULL_TEXT, READ_COLUMNS, READ_TABLES, known_column, known_table
from vestige_migrate.source.layout.sqlite_schema import ColumnInfo, Entry, TableKind
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.connect import SourceFile, open_source
from vestige_migrate.source.sqlite.quoting import quote_identifier

Values = tuple[object, ...]


@contextmanager
def rebuild(file: SourceFile, path: Path, oddities: Oddities) -> Iterator[SourceFile]:
    """The copy; gone when the context ends. `path` is how the operator knows the file.

    Raises `SourceUnusable` where there is no room for it, and where a table that rows come from cannot be read, by its
    name; `driver.errors()` for anything else.
    """
    with private_folder() as folder:
        copy = folder / file.path.name
        check_space(folder, path, file.path.stat().st_size)
        copy.touch(0o600)
        with (
            closing(open_source(file)) as source,
            closing(driver.connect(copy, file.cipher, isolation_level=None)) as target,
        ):
            # One state of all tables, whoever writes to the file meanwhile.
            source.execute("BEGIN")
            try:
                _Rebuild(source, target, path, oddities.collations).run()
            except driver.operational_errors() as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                    raise
                raise SourceUnusable(
                    f"no private copy of {path} could be made in {folder} ({error}), and it cannot be read in place: "
                    "free space there, or set TMPDIR to a folder with room for a copy of the file"
                ) from None
        yield SourceFile(copy, cipher=file.cipher)


@dataclass(frozen=True)
class _Column:
    """A column here and there."""

    source: str
    target: str
    affinity: str
    collation: str = "BINARY"


class _Rebuild:
    """One copy being made."""

    def __init__(
        self, source: sqlite3.Connection, target: sqlite3.Connection, path: Path, collations: Sequence[str]
    ) -> None:
        self._source, self._target, self._path, self._collations = source, target, path, collations
        (encoding,) = source.execute("PRAGMA encoding").fetchone()
        self._to_utf8 = _to_utf8(encoding)

    def run(self) -> None:
        """Copies all there is, but views and virtual tables that nobody asks for."""
        source, target = self._source, self._target
        (version,) = source.execute("PRAGMA user_version").fetchone()
        target.execute("PRAGMA encoding = 'UTF-8'")
        target.execute(f"PRAGMA user_version = {int(version)}")
        target.execute("PRAGMA journal_mode = MEMORY").fetchone()
        target.execute("PRAGMA synchronous = OFF")
        target.execute("BEGIN")
        wanted = [entry for entry in schema.entries(source) if entry.name.lower() not in FULL_TEXT]
        # A view is judged before stand-ins are there: what it compares, it must compare as it says.
        for entry in wanted:
            if entry.kind is not TableKind.TABLE and known_table(entry.name) in READ_TABLES:
                self._copy(entry, self._derived_columns(entry))
        # An ordinary table is read from end to end, in its own order, so that nothing is compared.
        for name in self._collations:
            source.create_collation(name, _binary)
        for entry in wanted:
            if entry.kind is TableKind.TABLE:
                self._copy(entry, self._stored_columns(entry))
        target.execute("COMMIT")

    def _derived_columns(self, entry: Entry) -> list[ColumnInfo]:
        """The columns of a view or a virtual table. Raises `SourceUnusable` where it cannot be read."""
        try:
            found = schema.columns_of(self._source, entry.name)
            self._source.execute(f"SELECT * FROM {quote_identifier(entry.name)} LIMIT 0").close()
        except driver.database_errors() as error:
            raise self._unreadable(entry, error) from None
        return found

    def _stored_columns(self, entry: Entry) -> list[ColumnInfo]:
        """The columns of an ordinary table but those that cannot be computed. Raises `SourceUnusable` where one of
        those has a place in the destination."""
        cannot = uncomputable_columns(self._source, entry.name)
        for name, function in cannot.items():
            if known_table(entry.name) in READ_TABLES and known_column(name).lower() in READ_COLUMNS:
                raise SourceUnusable(
                    f"{self._path} cannot be read here: column {name} of {entry.name} is computed by the function "
                    f"{function}, which this SQLite does not have. The file is whole: copy it where that function is "
                    "there, or make the column an ordinary one with the program that has the function"
                )
        return [item for item in schema.columns_of(self._source, entry.name) if item.name not in cannot]

    def _collation(self, entry: Entry, item: ColumnInfo) -> str:
        """Rows are joined by such columns: they must find one another as they did."""
        return schema.collation_of(self._source, entry.name, item.name) if entry.kind is TableKind.TABLE else "BINARY"

    def _unreadable(self, entry: Entry, error: sqlite3.Error) -> SourceUnusable:
        collation, function = missing_collation(error), missing_function(error)
        lacks = f"the collation {collation}" if collation else f"the function {function}" if function else None
        reason = f"names {lacks}, which this SQLite does not have" if lacks else f"cannot be read here ({error})"
        place = known_table(entry.name)
        return SourceUnusable(
            f"{self._path} has a {entry.kind.value} in the place of the table {place}, and it {reason}. "
            "The file is whole: make an ordinary table of it with the program that can read it, then run again"
        )

    def _copy(self, entry: Entry, found: Sequence[ColumnInfo]) -> None:
        source, is_read = self._source, known_table(entry.name) in READ_TABLES
        strict = entry.kind is TableKind.TABLE and schema.is_strict(source, entry.name)
        names = _target_names([item.name for item in found], is_read)
        columns = [
            _Column(item.name, name, schema.affinity(item.declared, strict), self._collation(entry, item))
            for item, name in zip(found, names, strict=True)
        ]
        rowid = alias = None
        if entry.kind is TableKind.TABLE:
            rowid = schema.rowid_name(source, entry.name, found)
            alias = schema.rowid_column(source, entry.name, found)
        keyed = sorted((item.key, name) for item, name in zip(found, names, strict=True) if item.key)
        table = _Table(source, self._target, self._to_utf8, entry, known_table(entry.name), columns)
        try:
            table.fill([name for _, name in keyed], rowid, alias)
        except driver.integrity_errors():
            # Its own index did not keep the key unique.
            table.fill([], rowid, None)
        except driver.database_errors() as error:
            if entry.kind is TableKind.TABLE:
                raise
            raise self._unreadable(entry, error) from None
        if entry.kind is TableKind.TABLE:
            table.make_indexes()


class _Table:
    """One table, and the ordinary one that is made of it."""

    def __init__(
        self,
        source: sqlite3.Connection,
        target: sqlite3.Connection,
        to_utf8: Callable[[bytes], bytes] | None,
        entry: Entry,
        name: str,
        columns: Sequence[_Column],
    ) -> None:
        self._source, self._target, self._to_utf8 = source, target, to_utf8
        self._entry, self._columns = entry, columns
        self._from, self._into, self._name = quote_identifier(entry.name), quote_identifier(name), name

    def fill(self, key: Sequence[str], rowid: str | None, alias: str | None) -> None:
        """Makes the table with this primary key, and copies every row. Raises `driver.integrity_errors()` where rows
        share a key."""
        self._target.execute(f"DROP TABLE IF EXISTS {self._into}")
        self._target.execute(f"CREATE TABLE {self._into} ({', '.join(self._definitions(key, alias))})")
        into = [quote_identifier(item.target) for item in self._columns]
        taken = {item.target.lower() for item in self._columns}
        own = next((name for name in schema.ROWID_NAMES if name not in taken), None)
        selected = [part for item in self._columns for part in _typed(item.source)]
        marks = [f"CASE WHEN ?{at} THEN CAST(?{at + 1} AS TEXT) ELSE ?{at + 1} END" for at in _odd(len(into))]
        if rowid is not None and alias is None and own is not None:
            into.append(own)
            marks.append(f"?{2 * len(self._columns) + 1}")
            selected.append(f'n."{rowid}"')
        order = f'ORDER BY n."{rowid}"' if rowid is not None else ""
        indexed = "NOT INDEXED" if self._entry.kind is TableKind.TABLE else ""
        select = f"SELECT {', '.join(selected)} FROM {self._from} AS n {indexed} {order}"
        insert = f"INSERT INTO {self._into} ({', '.join(into)}) VALUES ({', '.join(marks)})"
        with closing(self._source.execute(select)) as rows:
            self._target.executemany(insert, rows if self._to_utf8 is None else self._converted(rows, self._to_utf8))

    def _definitions(self, key: Sequence[str], alias: str | None) -> Iterator[str]:
        for item in self._columns:
            declared = "INTEGER PRIMARY KEY" if item.source == alias else item.affinity
            yield f"{quote_identifier(item.target)} {declared} COLLATE {item.collation}"
        if key and alias is None:
            yield f"PRIMARY KEY ({', '.join(map(quote_identifier, key))})"

    def _converted(self, rows: Iterator[Values], to_utf8: Callable[[bytes], bytes]) -> Iterator[Values]:
        """The rows with the bytes of their texts in UTF-8."""
        texts = 2 * len(self._columns)
        for row in rows:
            values = list(row)
            for at in range(0, texts, 2):
                if values[at]:
                    values[at + 1] = to_utf8(values[at + 1])  # type: ignore[arg-type]  # a text's bytes
            yield tuple(values)

    def make_indexes(self) -> None:
        """Rows are looked up by them. None is unique: which rows there are is not for an index to say here."""
        there = {item.source: item.target for item in self._columns}
        for number, index in enumerate(schema.indexes_of(self._source, self._entry.name)):
            names = [there.get(str(column)) for column in index.columns]
            if index.is_partial or None in names:
                continue
            listed = ", ".join(quote_identifier(str(name)) for name in names)
            self._target.execute(
                f"CREATE INDEX {quote_identifier(f'{self._name} {number}')} ON {self._into} ({listed})"
            )


def _typed(name: str) -> tuple[str, str]:
    """Whether a value is a text, and the value; a text as its bytes, which need not be valid in their encoding."""
    value = f"n.{quote_identifier(name)}"
    return f"typeof({value}) = 'text'", f"CASE typeof({value}) WHEN 'text' THEN CAST({value} AS BLOB) ELSE {value} END"


def _odd(count: int) -> range:
    return range(1, 2 * count + 1, 2)


def _target_names(names: Sequence[str], is_read: bool) -> list[str]:
    """The columns' names in the copy: of a table that is read by its rowid, none may hide it."""
    if not is_read:
        return list(names)
    found = [known_column(name) for name in names]
    taken = {name.lower() for name in found}
    for at, name in enumerate(found):
        if name.lower() == schema.ROWID_NAMES[0]:
            while name.lower() in taken:
                name += "_"
            found[at] = name
    return found


def _binary(one: str, other: str) -> int:
    return (one > other) - (one < other)


def _to_utf8(encoding: str) -> Callable[[bytes], bytes] | None:
    """How a text's bytes become UTF-8; None where they are. What is no valid UTF-16 becomes what is no valid UTF-8."""
    if encoding == "UTF-8":
        return None
    codec = {"UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}[encoding]

    def convert(raw: bytes) -> bytes:
        try:
            return raw.decode(codec).encode()
        except UnicodeDecodeError:
            whole = len(raw) // 2 * 2
            text = raw[:whole].decode(codec, "surrogatepass").encode("utf-8", "surrogatepass")
            return text + b"\xff" * (len(raw) - whole)

    return convert
