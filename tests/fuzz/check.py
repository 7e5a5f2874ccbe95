"""One bad file: copied, copied again, compared; whatever is not as it has to be is named."""

from __future__ import annotations

import json
import random
import sqlite3
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
from loguru import logger
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.fuzz.files import Mutated
from tests.fuzz.oracle import Raw, key_of
from tests.fuzz.values import MARKER
from vestige_migrate import (
    MigrationReport,
    Refused,
    RowError,
    SqliteToPostgresPlan,
    VerifyReport,
    run_sqlite_to_postgres,
    verify_sqlite_to_postgres,
)
from vestige_migrate.decode.text import tolerant_text
from vestige_migrate.report.rows import NIL_UUID
from vestige_migrate.source.layout.inspect import inspect_source
from vestige_migrate.tables import TABLES

_NEEDS_SNAPSHOT = {("shared", 1), ("shared", 11), ("shared", 13), ("plan", 14)}
Named = Counter[tuple[str, str, str, str, str, str]]


@dataclass
class Result:
    """What became of a file: `refused` before anything was written, or with how many errors it came over."""

    problems: list[str]
    refused: str = ""
    rows: int = 0
    errors: tuple[RowError, ...] = ()


def check_file(made: Mutated, url: str, seed: int) -> Result:
    """Runs the file through everything. `url` is an empty database."""
    chance = random.Random(f"plan {seed}")
    plan = SqliteToPostgresPlan(
        made.path,
        url,
        workers=1 if chance.random() < 0.9 else 2,
        batch_size=chance.choice((1, 7, 500, 500, 500)),
        # One try: a fault that comes back is what is looked for.
        retries=1,
        snapshot=(made.spec.line, made.spec.version) in _NEEDS_SNAPSHOT,
        archive=chance.random() < 0.2,
    )
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="DEBUG")
    try:
        return _run(plan, made, lines)
    except Refused as error:
        reason = f"{type(error).__name__}: {error}"
        return Result([] if made.may_refuse else [f"refused: {reason}"], refused=reason)
    except Exception:
        return Result([traceback.format_exc(limit=-6)])
    finally:
        logger.remove(sink)


def _run(plan: SqliteToPostgresPlan, made: Mutated, lines: list[str]) -> Result:
    first = run_sqlite_to_postgres(plan)
    second = run_sqlite_to_postgres(plan)
    verified = verify_sqlite_to_postgres(plan)
    problems = [*_sums(first, "first"), *_sums(second, "second"), *_again(first, second)]
    problems += disagreements(first, verified, repeated_ids(made.path))
    texts = {
        "report": json.dumps(first.as_json(), ensure_ascii=False),
        "comparison": json.dumps(verified.as_json(), ensure_ascii=False),
        "log": "".join(lines),
    }
    problems += [f"the {name} quotes the source" for name, text in texts.items() if MARKER in text]
    rows = sum(table.source_rows for table in first.tables.values())
    return Result(problems, rows=rows, errors=tuple(first.errors))


def _sums(report: MigrationReport, which: str) -> Iterator[str]:
    if not report.complete:
        yield f"the {which} copy is not complete"
    for name, table in report.tables.items():
        if table.source_rows != table.inserted + table.skipped + table.failed:
            yield f"the {which} copy's counts of {name} do not add up: {table}"


def _again(first: MigrationReport, second: MigrationReport) -> Iterator[str]:
    for name, table in second.tables.items():
        before = first.tables[name]
        if table.inserted or table.source_rows != before.source_rows or table.failed > before.failed:
            yield f"the second copy of {name} was {table}, the first {before}"
    if (first.archived, first.left_behind) != (second.archived, second.left_behind):
        yield f"the second copy archived {second.archived} instead of {first.archived}"


def disagreements(copied: MigrationReport, verified: VerifyReport, repeated: set[tuple[str, str]]) -> Iterator[str]:
    """Nothing missing, different or extra, and the rows that are altered or refused are those of the report.

    Of rows that share an id one is stored, so what is said of the others depends on which came first.
    """
    yield from (f"verify: {difference}" for difference in verified.differences)
    with_repeated = {table for table, _ in repeated}
    for name, table in verified.tables.items():
        report = copied.tables[name]
        total = table.same + table.altered + table.not_copied + table.repeated + table.different + table.missing
        if not table.source_rows == total == report.source_rows:
            yield f"verify counts {name} as {table}, the copy as {report}"
        if table.not_copied != report.failed and name not in with_repeated:
            yield f"verify calls {table.not_copied} rows of {name} not copied, the copy {report.failed}"
    told, found = _named(copied.errors, repeated), _named(verified.altered + verified.not_copied, repeated)
    yield from (f"only the copy reports {error}" for error in told - found)
    yield from (f"only verify reports {error}" for error in found - told)


def _named(errors: list[RowError], repeated: set[tuple[str, str]]) -> Named:
    return Counter(
        (error.table, error.id, str(error.column), error.message, str(error.outcome), str(error.sqlstate))
        for error in errors
        if (error.table, error.id) not in repeated
    )


def repeated_ids(path: Path) -> set[tuple[str, str]]:
    """(table, id) of every id that several rows have, however it is spelt."""
    found: set[tuple[str, str]] = set()
    with closing(sqlite3.connect(path)) as connection:
        layout = inspect_source(connection, path)
        connection.text_factory = tolerant_text
        for name, table in TABLES.items():
            source = table.source_in(layout)
            if source is None:
                continue
            rows: list[tuple[Raw, ...]] = connection.execute(
                f'SELECT {", ".join(source.key)} FROM "{source.base}" AS n'
            ).fetchall()
            keys = Counter(key for row in rows if (key := key_of(table.key_types, row)) is not None)
            found |= {(name, " -> ".join(map(str, key))) for key, count in keys.items() if count > 1}
    return found - {(name, NIL_UUID) for name in TABLES}


def forget(path: Path) -> None:
    """Takes a bad file away."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def in_database(server_url: str, seed: int, made: Mutated) -> Result:
    """`check_file` in a database of its own, gone afterwards like the file."""
    name = sql.Identifier(f"fuzz_{seed}")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        try:
            return check_file(made, make_conninfo(server_url, dbname=f"fuzz_{seed}"), seed)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
            forget(made.path)
