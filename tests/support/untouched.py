"""What a refused run must leave as it was: everything in the destination, every file of the source."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql


def database_objects(url: str) -> list[tuple[str, ...]]:
    """Every table, index, column, function and extension in the database, and each table's rows as a checksum."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT 'class', c.oid::regclass::text, c.relfilenode::text FROM pg_class AS c"
            " WHERE c.relnamespace = 'public'::regnamespace"
            " UNION ALL SELECT 'column', attrelid::regclass || '.' || attname, format_type(atttypid, atttypmod)"
            " FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid WHERE c.relnamespace = 'public'::regnamespace"
            " UNION ALL SELECT 'function', oid::regprocedure::text, prosrc FROM pg_proc"
            " WHERE pronamespace = 'public'::regnamespace"
            " UNION ALL SELECT 'extension', extname, extversion FROM pg_extension ORDER BY 1, 2, 3"
        ).fetchall()
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
        for (table,) in tables:
            query = sql.SQL("SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') "
                            "FROM {} AS t").format(sql.Identifier(table))  # fmt: skip
            row = connection.execute(query).fetchone()
            assert row is not None
            found.append(("rows", table, row[0]))
    return found


def files(directory: Path) -> dict[str, bytes]:
    """Every file below the directory, with its bytes; not the empty WAL and its index, which any reader leaves."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm") and not (path.name.endswith("-wal") and _is_empty(path))
    }


def everything_below(directory: Path) -> dict[str, tuple[object, ...]]:
    """Every name below the directory and itself, with its kind, mode, owner and content; links are not followed."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        state = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path)] = (state.st_mode, state.st_uid, state.st_gid, content)
    return found


def _is_empty(path: Path) -> bool:
    return path.stat().st_size == 0
