"""Random rows through reading and encoding, each stored value held against the raw one."""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.fuzz.oracle import Raw, as_id, has_extras, is_kept, stored_value
from tests.fuzz.values import MARKER, Values, bound, kind_of, placeholder
from tests.support import rows as good_rows
from vestige_migrate.encode.careful import BatchEncoder
from vestige_migrate.report.rows import RowError
from vestige_migrate.source.layout.inspect import inspect_source
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.ranges import plan_ranges
from vestige_migrate.source.read.rows import list_rowids, read_batches
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.base import Null, Table
from vestige_migrate.wire.batch import Batch

DIMENSION = 4
EXTRAS = ("source", 'sql "ite', "語")
LONGEST_MESSAGE = 2000
RUN_START = datetime(2026, 6, 1, 12, tzinfo=UTC)
_ROUND_ROWS = 800


def fuzz_rows(seed: int, count: int) -> Iterator[str]:
    """Encodes at least `count` rows; yields what is wrong, each with the seed of its round."""
    done = 0
    while done < count:
        chance = random.Random(f"rows {seed}")
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            _fill(connection, chance)
            layout = inspect_source(connection, Path(":memory:"))
            for table in TABLES.values():
                for problem in _encode_all(connection, layout, table, chance):
                    yield f"rows of seed {seed}: {table.name}: {problem}"
        done += _ROUND_ROWS
        seed += 1


def _fill(connection: sqlite3.Connection, chance: random.Random) -> None:
    """Tables without types, so that any column holds any storage class; some rows good, some bad in a few columns."""
    each = _ROUND_ROWS // len(TABLES)
    world = good_rows.World(
        chance.randrange(10**6),
        memory_ids=good_rows.ids(1, "memory", each),
        user_ids=good_rows.ids(1, "user", each),
        group_ids=good_rows.ids(1, "group", each),
        domain_ids=good_rows.domain_ids(each),
    )
    good = {
        "knowledge_nodes": good_rows.memories(world),
        "scheduling": good_rows.schedules(world, each),
        "edges": good_rows.edges(world, each),
        "review_events": good_rows.review_events(world, each),
        "domains": good_rows.domains(world, DIMENSION),
        "users": good_rows.people(world, "users", world.user_ids),
        "groups": good_rows.people(world, "groups", world.group_ids),
        "group_memberships": good_rows.memberships(world, each),
    }
    values = Values(chance, DIMENSION, world.memory_ids)
    connection.execute("CREATE TABLE embedding_model (id, name, dimension)")
    connection.execute("INSERT INTO embedding_model VALUES (1, 'm', ?)", (DIMENSION,))
    for name, found in good.items():
        columns = [*TABLES[name].column_names, *(EXTRAS if chance.random() < 0.7 else ())]
        names = ", ".join('"' + column.replace('"', '""') + '"' for column in columns)
        connection.execute(f"CREATE TABLE {name} ({names})")
        badness = chance.choice((0.02, 0.1, 0.5))
        for row in found:
            drawn = [
                values.draw(kind_of(column)) if chance.random() < badness else row.get(column) for column in columns
            ]
            marks = ", ".join(map(placeholder, drawn))  # type: ignore[arg-type]
            connection.execute(f"INSERT INTO {name} VALUES ({marks})", list(map(bound, drawn)))  # type: ignore[arg-type]


def _encode_all(connection: sqlite3.Connection, layout: Layout, table: Table, chance: random.Random) -> Iterator[str]:
    source = table.source_in(layout)
    assert source is not None
    encoder = BatchEncoder(table, source, layout, RUN_START)
    expected = _ROUND_ROWS // len(TABLES)
    read = 0
    for range_ in plan_ranges(connection, table.name, source, workers=chance.choice((1, 3))):
        rowids = list_rowids(connection, source, range_)
        limits = chance.choice(((500, 8_000_000), (20, 8_000_000), (500, 20_000), (7, 100_000)))
        for rows in read_batches(connection, source, rowids, *limits):
            read += len(rows)
            yield from _check(table, source, rows, encoder.encode(rows))
    if read != expected:
        yield f"{read} rows were read of {expected}"


def _check(table: Table, source: TableSource, rows: Sequence[tuple[Raw, ...]], batch: Batch) -> Iterator[str]:
    if len(batch) + batch.unplaced_rows != len(rows):
        yield f"{len(rows)} rows became {len(batch)} and {batch.unplaced_rows} unplaced"
        return
    wanted = [at for at, value in enumerate(source.values) if value is not None]
    raws = [dict(zip(wanted, row, strict=False)) for row in rows]
    kept = [at for at, raw in enumerate(raws) if not _bad_keys(table, raw)]
    if len(kept) != len(batch):
        yield f"{len(kept)} rows have a good key, and {len(batch)} were placed"
        return
    lost = sum(len(_bad_keys(table, raw)) for raw in raws)
    if len(batch.unplaced) != lost:
        yield f"{len(batch.unplaced)} errors for {lost} keys that cannot be placed"
    yield from _leaks([error for _, error in batch.errors] + batch.unplaced)
    named: defaultdict[int, list[str | None]] = defaultdict(list)
    for position, error in batch.errors:
        named[position].append(error.column)
        if error.id != batch.id_of(position):
            yield f"an error names {error.id} instead of {batch.id_of(position)}"
    for position, (at, fields) in enumerate(zip(kept, batch.rows(), strict=True)):
        extras = dict(zip(source.extras, rows[at][len(wanted) :], strict=True))
        for index, column in enumerate(table.columns):
            stored = stored_value(column.pg_type, fields[index])
            same = _is_same(table, index, raws[at].get(index), extras, stored)
            if same == (column.name in named[position]):
                said = "altered without an error" if not same else "named by an error and not altered"
                yield f"{column.name} of {batch.id_of(position)} {said}: {raws[at].get(index)!r:.200} {stored!r:.200}"


def _bad_keys(table: Table, raw: dict[int, Raw]) -> list[str]:
    """The columns without which a row cannot be placed and that are bad."""
    found = []
    for at, column in enumerate(table.columns):
        value = raw.get(at)
        if column.required:
            bad = as_id(value) is None if column.pg_type == "uuid" else value is None
            if bad and not (value is None and column.null is Null.DEFAULT):
                found.append(column.name)
    return found


def _is_same(table: Table, index: int, raw: Raw, extras: dict[str, Raw], stored: Any) -> bool:
    column = table.columns[index]
    if column.name == "metadata" and extras:
        return has_extras(raw, extras, stored)
    if raw is None:
        return column.null is not Null.ERROR
    return is_kept(column.pg_type, raw, stored)


def _leaks(errors: Sequence[RowError]) -> Iterator[str]:
    for error in errors:
        if MARKER in error.message or MARKER in error.id:
            yield f"a message quotes the source: {error.message}"
        if len(error.message) > LONGEST_MESSAGE or "\n" in error.message:
            yield f"a message is long or of several lines: {error.message!r:.300}"
