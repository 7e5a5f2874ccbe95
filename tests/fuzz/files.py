"""Whole files: a good one of any form, then bad values, loosened tables, odd columns, repeated and missing rows."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.values import Hostile, Values, bound, kind_of, placeholder
from tests.support.sources import SourceSpec, build_source
from tests.support.untyped import remake_without_types
from vestige_migrate.source.sqlite.quoting import quote_identifier

DIMENSION = 16
_SMALL = SourceSpec(memories=30, schedules=25, edges=12, events=12, dimension=DIMENSION)
FORMS: tuple[SourceSpec, ...] = (
    _SMALL,
    SourceSpec(memories=60, schedules=60, edges=20, events=20, dimension=DIMENSION, model=None),
    *(
        SourceSpec(line, version, "vestige", 30, edges=12, events=12, dimension=DIMENSION)  # type: ignore[arg-type]
        for line, version in (
            ("plan", 15), ("plan", 14), ("shared", 1), ("shared", 11), ("shared", 13), ("released", 14),
            ("released", 17), ("released", 28), ("released", 39),
        )
    ),
)  # fmt: skip
"""Every physical form that the fixtures know; the plain one, which takes anything, is drawn as often as all others."""

COPIED = (
    "users", "groups", "group_memberships", "domains", "knowledge_nodes", "scheduling", "edges", "memory_connections",
    "review_events", "node_embeddings", "embedding_profile_vectors",
)  # fmt: skip
_NEEDED = {"id", "content", "memory_id", "source_id", "target_id", "user_id", "group_id", "node_id"}
_ODD_NAMES = (
    "extra",
    'we"ird',
    "a b",
    "語",
    "n.rowid",
    "sqlite",
    "metadata.sqlite",
    "ordinal",
    "SELECT",
    "%s",
    "\u202e",
)
_MANY_CELLS = 60


@dataclass
class Mutated:
    """A bad file, and what was done to it."""

    path: Path
    spec: SourceSpec
    done: list[str] = field(default_factory=list)
    may_refuse: bool = False
    """The registry, or a table that says what the file is, was changed: a refusal before any write is right, too."""


class Maker:
    """Makes bad files in a folder, by seed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._good: dict[SourceSpec, Path] = {}

    def make(self, seed: int) -> Mutated:
        """The file of this seed, which is always the same."""
        chance = random.Random(f"file {seed}")
        spec = _SMALL if chance.random() < 0.5 else chance.choice(FORMS)
        if spec not in self._good:
            self._good[spec] = build_source(self._folder / f"good-{len(self._good)}.db", spec)
        path = self._folder / f"bad-{seed}.db"
        shutil.copyfile(self._good[spec], path)
        made = Mutated(path, spec)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            _Mutator(connection, chance, made).run()
        return made


class _Mutator:
    def __init__(self, connection: sqlite3.Connection, chance: random.Random, made: Mutated) -> None:
        self._db = connection
        self._chance = chance
        self._made = made
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA synchronous = OFF")
        self._tables = [name for name in COPIED if self._columns(name)]
        ids = [id_ for (id_,) in connection.execute("SELECT id FROM knowledge_nodes")]
        self._values = Values(chance, DIMENSION, ids)

    def run(self) -> None:
        chance = self._chance
        self._db.execute("BEGIN")
        for name, kind in self._db.execute(
            "SELECT name, type FROM sqlite_schema WHERE type IN ('trigger', 'view')"
        ).fetchall():
            self._db.execute(f"DROP {kind} {quote_identifier(name)}")
        for table in list(self._tables):
            if chance.random() < 0.5:
                self._loosen(table)
        changes: list[tuple[float, Callable[[], None]]] = [
            (1.0, self._change_cells), (0.3, self._repeat_rows), (0.2, self._remove_rows), (0.2, self._change_column),
            (0.15, self._move_rowids), (0.15, self._change_registry), (0.08, self._remove_table),
            (0.05, self._empty_table),
        ]  # fmt: skip
        for likely, change in changes:
            if chance.random() < likely:
                change()
        self._db.execute("COMMIT")

    def _columns(self, table: str) -> list[str]:
        return [name for (name,) in self._db.execute("SELECT name FROM pragma_table_info(?)", (table,))]

    def _said(self, what: str) -> None:
        self._made.done.append(what)

    def _loosen(self, table: str) -> None:
        """The same table without types, keys and constraints; now and then without a column, or with one more."""
        chance = self._chance
        columns = self._columns(table)
        kept = [name for name in columns if name in _NEEDED or chance.random() > 0.02]
        more = chance.sample(_ODD_NAMES, k=chance.choice((0, 0, 0, 1, 2)))
        remake_without_types(self._db, table, kept, more)
        self._made.may_refuse |= kept != columns  # an older file cannot be upgraded without every column
        self._said(f"{table} without types, without {sorted(set(columns) - set(kept))}, with {more}")

    def _set(self, table: str, column: str, value: Hostile, where: str, *parameters: int) -> None:
        with suppress(sqlite3.IntegrityError):  # a table that was not loosened takes less
            self._db.execute(
                f"UPDATE {table} SET {quote_identifier(column)} = {placeholder(value)} WHERE {where}",
                (bound(value), *parameters),
            )
            self._said(f"{table}.{column} {where} {parameters}: {value!r:.80}")

    def _rowids(self, table: str) -> list[int]:
        return [rowid for (rowid,) in self._db.execute(f"SELECT rowid FROM {table}")]

    def _change_cells(self) -> None:
        for _ in range(self._chance.choice((1, 5, 20, _MANY_CELLS))):
            table = self._chance.choice(self._tables)
            rowids = self._rowids(table)
            if rowids:
                column = self._chance.choice(self._columns(table))
                value = self._values.draw(kind_of(column))
                self._set(table, column, value, "rowid = ?", self._chance.choice(rowids))

    def _change_column(self) -> None:
        table = self._chance.choice(self._tables)
        column = self._chance.choice(self._columns(table))
        self._set(table, column, self._values.draw(kind_of(column)), "1")

    def _repeat_rows(self) -> None:
        """The same rows once more, with another spelling of the id in some; only tables without a key take them."""
        for _ in range(self._chance.randrange(1, 6)):
            table = self._chance.choice(self._tables)
            rowids = self._rowids(table)
            if not rowids:
                continue
            with suppress(sqlite3.IntegrityError):
                self._db.execute(
                    f"INSERT INTO {table} SELECT * FROM {table} WHERE rowid = ?", (self._chance.choice(rowids),)
                )
                new = self._db.execute("SELECT last_insert_rowid()").fetchone()[0]
                self._said(f"{table} has a row twice")
                column = self._chance.choice(self._columns(table))
                spelt = self._chance.choice(
                    ("upper({})", "'{{' || {} || '}}'", "CAST({} AS BLOB)", "replace({}, '-', '')", "{}")
                )
                name = quote_identifier(column)
                self._db.execute(f"UPDATE {table} SET {name} = {spelt.format(name)} WHERE rowid = ?", (new,))

    def _remove_rows(self) -> None:
        table = self._chance.choice(self._tables)
        self._db.execute(f"DELETE FROM {table} WHERE rowid % ? = 0", (self._chance.randrange(2, 9),))
        self._said(f"{table} lacks rows")

    def _empty_table(self) -> None:
        table = self._chance.choice(self._tables)
        self._db.execute(f"DELETE FROM {table}")
        self._said(f"{table} is empty")

    def _remove_table(self) -> None:
        table = self._chance.choice([name for name in self._tables if name != "knowledge_nodes"])
        self._db.execute(f"DROP TABLE {table}")
        self._tables.remove(table)
        self._made.may_refuse = True
        self._said(f"{table} is gone")

    def _move_rowids(self) -> None:
        for table in self._tables:
            rowids = self._rowids(table)
            if rowids:
                new = self._chance.choice((-1, 0, -(2**63), 2**63 - 1, 2**53 + 1, 10**6))
                with suppress(sqlite3.IntegrityError):
                    self._db.execute(
                        f"UPDATE {table} SET rowid = ? WHERE rowid = ?", (new, self._chance.choice(rowids))
                    )
                    self._said(f"{table} has rowid {new}")

    def _change_registry(self) -> None:
        for table in ("embedding_model", "embedding_profiles", "embedding_profile_state"):
            columns = self._columns(table)
            if columns and self._chance.random() < 0.5:
                column = self._chance.choice(columns)
                self._made.may_refuse = True
                self._set(table, column, self._values.draw("number" if column == "dimension" else "text"), "1")
