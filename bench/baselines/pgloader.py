"""pgloader (Debian's package), then the SQL that brings its untyped copy into the final tables, then the indexes.

The SQL moves half of the rows on each of two connections at once, and no byte of a vector goes through an expression of
its own. The file has little-endian floats, PostgreSQL's binary form of a vector is two
int2 and big-endian floats, and a bytea travels as its plain bytes: so `reverse` makes the bytes right and the order of
the elements wrong, a COPY from bytea to vector changes the type, and `array_reverse` puts the order right again. Both
functions are new in PostgreSQL 18. Of five ways that were tried it is the fastest; seconds for 100,000 vectors of 256
dimensions on one connection, scaled up from 5,000 on a busy machine in four warm runs: this 1.5 to 3.4, string_agg of
reversed substrings 5.6 to 16, set_byte in PL/pgSQL 8 to 29, regexp_replace on hexadecimal 15 to 33, arithmetic over
get_byte 24 to 62.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bench.baselines.common import finish, from_command_line
from bench.byhand import CONNECTIONS, at_once, create_tables, halves
from bench.check import CopyFailed
from bench.server import Connection, connect
from vestige_migrate.destination.schema.schema import statements

_SQL = Path(__file__).with_suffix(".sql")
_FROM = re.compile(r"FROM untyped\.(\w+) AS u")
_COMPLAINT = re.compile(r" (ERROR|FATAL|CRITICAL) ")
_VECTORS = (("domains", "centroid"), ("knowledge_nodes", "embedding"))
_OPTIONS = (
    "include drop, create tables, create no indexes, no foreign keys, reset no sequences"
    ' cast type real to "double precision" using float-to-string'
)


def installed() -> bool:
    """Whether the program is there."""
    return shutil.which("pgloader") is not None


@dataclass(frozen=True)
class Seconds:
    """Of pgloader itself, of the SQL that moves its rows into the final tables, and of the indexes and ANALYZE."""

    load: float
    move: float
    finish: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.load + self.move + self.finish


def run(url: str, source: Path, dimension: int, indexes: bool = True) -> float:
    """Copies everything into the empty database `url`; returns the seconds that it took."""
    return run_in_parts(url, source, dimension, indexes).total


def run_in_parts(url: str, source: Path, dimension: int, indexes: bool = True) -> Seconds:
    """The same, with what each part took."""
    started = time.monotonic()
    load_untyped(url, source)
    loaded = time.monotonic()
    move(url, dimension)
    moved = time.monotonic()
    finish(url, dimension, indexes)
    return Seconds(loaded - started, moved - loaded, time.monotonic() - moved)


def move(url: str, dimension: int) -> None:
    """From pgloader's tables, which are in public, into the final ones, which take their place."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(url)) for _ in range(CONNECTIONS)]
        for connection in connections:
            connection.execute("SET synchronous_commit = off")
        main = connections[0]
        main.execute("ALTER SCHEMA public RENAME TO untyped")
        main.execute("CREATE SCHEMA public")
        create_tables(main, dimension)
        main.execute("DELETE FROM users")  # the bootstrap user comes with the source
        main.execute("CREATE UNLOGGED TABLE untyped.vectors (id text, embedding vector)")
        for table, column in _VECTORS:
            _copy_vectors(url, connections, table, column, dimension)
        for statement in statements(_SQL.read_text(encoding="utf-8")):
            _move(connections, statement)
        main.execute("DROP SCHEMA untyped CASCADE")


def load_untyped(url: str, source: Path) -> None:
    """pgloader cannot read libpq's keyword strings; host, port, user and password come to it by libpq's variables."""
    parameters = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    variables = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    environment = {**os.environ, **{variables[name]: parameters[name] for name in variables if name in parameters}}
    command = f"load database from '{source.absolute()}' into postgresql:///{parameters['dbname']} with {_OPTIONS};"
    with tempfile.TemporaryDirectory(prefix="pgloader-") as directory:
        file = Path(directory) / "command.load"
        file.write_text(command, encoding="utf-8")
        done = subprocess.run(
            ["pgloader", "--root-dir", directory, str(file)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    # It ends with 0 also where it could not open the file.
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    complaints = [line for line in said if _COMPLAINT.search(line)]
    if done.returncode != 0 or complaints:
        raise CopyFailed(f"pgloader ended with {done.returncode}: {'; '.join((complaints or said)[:3])}")


def _copy_vectors(url: str, connections: list[Connection], table: str, column: str, dimensions: int) -> None:
    """Into untyped.vectors, as vectors whose elements stand in reverse."""
    parts = halves(connections[0], sql.Identifier("untyped", table))

    def copy(part: int) -> None:
        read = sql.SQL(
            "COPY (SELECT id, int2send({}::int2) || int2send(0::int2) || reverse({}) FROM {} WHERE ctid {})"
            " TO STDOUT (FORMAT BINARY)"
        ).format(sql.Literal(dimensions), sql.Identifier(column), sql.Identifier("untyped", table), parts[part])
        with (
            connect(url) as reader,
            reader.cursor().copy(read) as rows,
            connections[part].cursor().copy("COPY untyped.vectors FROM STDIN (FORMAT BINARY)") as written,
        ):
            for block in rows:
                written.write(block)

    at_once(copy)


def _move(connections: list[Connection], statement: LiteralString) -> None:
    """One statement of the file, each half of its table on a connection of its own."""
    (table,) = _FROM.findall(statement)
    parts = halves(connections[0], sql.Identifier("untyped", table))

    def move(part: int) -> None:
        connections[part].execute(sql.SQL("{} WHERE u.ctid {}").format(sql.SQL(statement), parts[part]))

    at_once(move)


if __name__ == "__main__":
    from_command_line(run)
