"""The schema of every version of Vestige's SQLite file, made as Vestige makes it: one step after the other.

The facts (names, types, defaults, constraints, indexes, triggers) are those of docs/versions.md and, for
the shared history and the released line, of Vestige's public `migrations.rs`; the words are ours. One file a step,
under `schemas/`: what a step adds is read there. Two lines use the same numbers from V14 on:

    shared    V1 .. V13   what every file went through
    plan      V12 .. V15  V12 with `review_events`; V14 model registry and domains; V15 users, groups, owners
    released  V14 .. V39  V14 merge plans, V15 compositions, V16 model registry and domains, V28 embedding profiles

Forks count on from V9 in ways of their own (`make_fork`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

Line = Literal["shared", "plan", "released"]

SCHEMAS = Path(__file__).parent / "schemas"
LAST_SHARED_VERSION = 13
VERSIONS: dict[Line, range] = {"shared": range(1, 14), "plan": range(12, 16), "released": range(14, 40)}
EVERY_VERSION: tuple[tuple[Line, int], ...] = tuple((line, v) for line, vs in VERSIONS.items() for v in vs)

BOOTSTRAP_USER_ID = "00000000-0000-0000-0000-000000000001"
APPLIED_AT = "2026-05-27 09:35:58"
"""The time in `schema_version`, fixed so that a file is the same however often it is built."""

FIRST_VERSION_WITH_LARGE_PAGES = 7
SMALL_PAGE_BYTES, LARGE_PAGE_BYTES = 4096, 8192


def create_schema(conn: sqlite3.Connection, line: Line, version: int) -> None:
    """Make the empty schema of `version` of `line` in a new database; `PRAGMA user_version` stays 0."""
    if version not in VERSIONS[line]:
        known = VERSIONS[line]
        raise ValueError(f"the {line} line has V{known.start} to V{known.stop - 1}, not V{version}")
    page_bytes = LARGE_PAGE_BYTES if version >= FIRST_VERSION_WITH_LARGE_PAGES else SMALL_PAGE_BYTES
    _put(conn, page_bytes, tuple(_steps(line, version)))
    _stamp(conn, version)


def create_plain_v15(conn: sqlite3.Connection) -> None:
    """Make the plan line's V15 as plain tables, which hold bad rows too (see `schemas/plan/plain_v15.sql`)."""
    _put(conn, LARGE_PAGE_BYTES, (SCHEMAS / "plan" / "plain_v15.sql",))
    _stamp(conn, 15)


def make_fork(conn: sqlite3.Connection, name: str, version: int) -> None:
    """Bring a V9 to what a public fork of Vestige has at V10 or V11: `gemini` (V10) or `typed` (V10, V11)."""
    files = [SCHEMAS / "fork" / f"{name}_v{number}.sql" for number in range(10, version + 1)]
    _run(conn, files)
    conn.execute("DELETE FROM schema_version")
    _stamp(conn, version)


def _steps(line: Line, version: int) -> Iterator[Path]:
    """The files to run, oldest first: a step of the line itself follows the shared step of the same number."""
    for number in range(1, version + 1):
        if number <= LAST_SHARED_VERSION:
            yield SCHEMAS / "shared" / f"v{number:02}.sql"
        own = SCHEMAS / line / f"v{number:02}.sql"
        if line != "shared" and own.exists():
            yield own


def _put(conn: sqlite3.Connection, page_bytes: int, files: tuple[Path, ...]) -> None:
    """What these files make, in a file in WAL mode. Vestige wrote SQLite's default page size until V7 rewrote the file
    with 8192."""
    _made(page_bytes, files).backup(conn)
    conn.execute("PRAGMA journal_mode = WAL").fetchone()


@cache
def _made(page_bytes: int, files: tuple[Path, ...]) -> sqlite3.Connection:
    """The same in memory, made once: each of hundreds of ALTER TABLEs reads the whole schema again, 0.05 s for V39."""
    conn = sqlite3.connect(":memory:", check_same_thread=False)
    conn.execute(f"PRAGMA page_size = {page_bytes}")  # before the first table
    _run(conn, files)
    return conn


def _run(conn: sqlite3.Connection, files: Sequence[Path]) -> None:
    """Run all files in one transaction: one flush to disk instead of one for each statement."""
    conn.executescript("\n".join(["BEGIN;", *(file.read_text("utf-8") for file in files), "COMMIT;"]))


def _stamp(conn: sqlite3.Connection, version: int) -> None:
    """Vestige keeps one row and updates it; real files have exactly one."""
    conn.execute("INSERT INTO schema_version (version, applied_at) VALUES (?, ?)", (version, APPLIED_AT))
    conn.commit()
