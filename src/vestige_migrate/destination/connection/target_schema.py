"""The schema that our tables are in, or will be made in: decided on a run's first session, and kept by every other.

Without `--schema` it is where CREATE TABLE would put them: the first schema of the session's search_path that is there.
A table of one of our names in a later schema is another application's, or another copy's, and none of ours. Every
session then has a search_path of its own, which begins there, and our tables are written with their schema (`ours`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from vestige_migrate.errors import DestinationUnusable

_Connection = psycopg.Connection[TupleRow]

_NAME = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]*?))\s*(?:,|$)')
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_OWN = "$user"
"""Stands in search_path for the schema that is called like the role."""
_TEMPORARY = "pg_temp"

_SCHEMAS = (
    "SELECT name, n.oid IS NOT NULL, coalesce(has_schema_privilege(n.oid, 'USAGE'), false)"
    " FROM unnest(%s::text[]) WITH ORDINALITY AS w(name, ordinal) LEFT JOIN pg_namespace AS n ON nspname::text = name"
    " ORDER BY ordinal"
)
_COPIES = (
    "SELECT name FROM unnest(%s::text[]) WITH ORDINALITY AS w(name, ordinal)"
    " WHERE to_regclass(quote_ident(name) || '.knowledge_nodes') IS NOT NULL"
    " AND to_regclass(quote_ident(name) || '.embedding_model') IS NOT NULL ORDER BY ordinal"
)
# The schema of pgvector's type and operators comes second, whether the session's own path leads there or not. Then the
# rest of that path, for what triggers of the destination's own call. pg_catalog comes first where it is not named, and
# temporary tables last, so that none is taken for a table of ours. Where the target is not there, nothing is looked
# for anywhere else.
_ENTER = (
    "SELECT set_config('search_path', string_agg(quote_ident(name), ', ' ORDER BY at) || ', pg_temp', false)"
    " FROM (SELECT name, min(at) AS at FROM ("
    "   SELECT name, at FROM unnest(%s::text[]) WITH ORDINALITY AS n(name, at)"
    "   UNION ALL SELECT nspname::text, 1.5 FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace"
    "   WHERE extname = 'vector' AND nspname <> 'pg_catalog') AS wanted GROUP BY name) AS path"
    " WHERE at = 1 OR EXISTS ("
    "   SELECT FROM pg_namespace WHERE nspname::text = %s AND has_schema_privilege(oid, 'USAGE'))"
)


@dataclass(frozen=True)
class Target:
    """`schema` has our tables, or will have them. `exists`: it was there when the run began.

    `path` are the other schemas that the session's own search_path leads to, in order; `skipped` are names that stand
    there before `schema` and are no schemas.
    """

    schema: str
    exists: bool = True
    path: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


def find_target(connection: _Connection, wanted: str | None = None, only_reads: bool = False) -> Target:
    """The schema `wanted`, or else the one where CREATE TABLE would put a table in this session.

    Raises `DestinationUnusable` where there is none that can be used; one that is wanted may be made later, unless it
    `only_reads`.
    """
    named = _on_path(connection)
    if wanted is None:
        return _first_on_path(connection, named, _look(connection, [name for name, _ in named]))
    found = _look(connection, [wanted, *(name for name, _ in named)])
    if found[wanted].exists and not found[wanted].usable:
        raise DestinationUnusable(
            f"the schema {wanted} (--schema) may not be used by this role: let its owner run: "
            f"{_grant(connection, wanted)}"
        )
    if not found[wanted].exists:
        _check_absent(connection, wanted, only_reads)
    return Target(wanted, found[wanted].exists, _usable(named, found, wanted))


def _check_absent(connection: _Connection, wanted: str, only_reads: bool) -> None:
    """Raises `DestinationUnusable` unless the schema, which is not there, may be made."""
    absent = f"the schema {wanted} (--schema) is not in the database {connection.info.dbname}"
    if only_reads:
        raise DestinationUnusable(
            f"{absent}: nothing was copied there yet. Run vestige migrate copy first, or check the name, in which "
            "capitals count"
        )
    row = connection.execute("SELECT has_database_privilege(current_database(), 'CREATE')").fetchone()
    if row != (True,):
        raise DestinationUnusable(
            f"{absent}, and this role may not make it: let the database's owner run: {_create(connection, wanted)}"
        )


def make_schema(connection: _Connection, target: Target) -> None:
    """Makes the target where it is not there, in the caller's transaction."""
    row = connection.execute("SELECT FROM pg_namespace WHERE nspname::text = %s", (target.schema,)).fetchone()
    if row is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(target.schema)))
    enter(connection, target)


def enter(connection: _Connection, target: Target) -> None:
    """Gives the session a search_path that begins with the target."""
    connection.execute(_ENTER, ([target.schema, *target.path], target.schema))


def other_copies(connection: _Connection, target: Target) -> list[str]:
    """Schemas of the session's own search_path, beside the target, that have the tables of a copy."""
    return [name for (name,) in connection.execute(_COPIES, (list(target.path),))]


def names_of(search_path: str) -> list[str]:
    """The names in a setting of search_path, as PostgreSQL reads them: A to Z in lower case unless it is quoted."""
    found = []
    for match in _NAME.finditer(search_path):
        quoted, plain = match.groups()
        found.append(quoted.replace('""', '"') if quoted is not None else plain.translate(_LOWER))
    return [name for name in found if name]


@dataclass(frozen=True)
class _Schema:
    exists: bool
    usable: bool


def _on_path(connection: _Connection) -> list[tuple[str, bool]]:
    """The names on the session's search_path; True for the one that nobody has to have meant."""
    row = connection.execute("SELECT current_setting('search_path'), current_user::text").fetchone()
    assert row is not None
    setting, role = row
    return [(role, True) if name == _OWN else (name, False) for name in names_of(setting)]


def _look(connection: _Connection, names: Sequence[str]) -> dict[str, _Schema]:
    rows = connection.execute(_SCHEMAS, (list(names),))
    return {name: _Schema(exists, usable) for name, exists, usable in rows}


def _first_on_path(connection: _Connection, named: Sequence[tuple[str, bool]], found: dict[str, _Schema]) -> Target:
    skipped: list[str] = []
    for name, is_own in named:
        if is_systems(name):
            raise DestinationUnusable(
                f"search_path leads to {name}, which is PostgreSQL's own: no table of ours can be made there. Give "
                "--schema NAME, or put another schema before it in search_path"
            )
        if found[name].usable:
            return Target(name, path=_usable(named, found, name), skipped=tuple(skipped))
        if found[name].exists:
            # There may be an earlier copy in it, or another may be meant to go there: the next one is not as good.
            raise DestinationUnusable(
                f"search_path leads to the schema {name}, which this role may not use: let its owner run: "
                f"{_grant(connection, name)}"
            )
        if not is_own:
            skipped.append(name)
    raise _nowhere(connection, named)


def _usable(named: Sequence[tuple[str, bool]], found: dict[str, _Schema], target: str) -> tuple[str, ...]:
    """The schemas of the session's own search_path beside the target."""
    names = [name for name, _ in named if name != target and found[name].usable and not is_systems(name)]
    return tuple(dict.fromkeys(names))


def check_skipped(connection: _Connection, target: Target) -> None:
    """Where the role may make no table in the target: raises `DestinationUnusable` if search_path names a schema before
    it that is not there, since that one may be what was meant."""
    if target.skipped:
        raise DestinationUnusable(
            f"{_absent_words(connection, target.skipped)}, and this role may make no table in {target.schema}, which "
            f"comes next. Let the database's owner run: {_create(connection, target.skipped[0])}; or let search_path "
            "or --schema name a schema in which this role may"
        )


def _nowhere(connection: _Connection, named: Sequence[tuple[str, bool]]) -> DestinationUnusable:
    if not named:
        return DestinationUnusable(
            "search_path is empty in this session, so no table could be made: give --schema NAME, or let it name a "
            "schema (in the URL: options=-csearch_path%3Dpublic)"
        )
    missing = [name for name, is_own in named if not is_own] or [name for name, _ in named]
    return DestinationUnusable(
        f"{_absent_words(connection, missing)}: no table could be made there. Let the database's owner run: "
        f"{_create(connection, missing[0])}; or give --schema NAME, which makes it where this role may, or set "
        "search_path otherwise"
    )


def _absent_words(connection: _Connection, names: Sequence[str]) -> str:
    schemas, are = ("the schema", "is") if len(names) == 1 else ("the schemas", "are")
    return f"search_path names {schemas} {', '.join(names)}, which {are} not in the database {connection.info.dbname}"


def is_systems(name: str) -> bool:
    """Whether a schema of this name is PostgreSQL's own."""
    return name.startswith("pg_") or name == "information_schema"


def _grant(connection: _Connection, schema: str) -> str:
    return (
        sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}")
        .format(sql.Identifier(schema), sql.Identifier(_role(connection)))
        .as_string(connection)
    )


def _create(connection: _Connection, schema: str) -> str:
    return (
        sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}")
        .format(sql.Identifier(schema), sql.Identifier(_role(connection)))
        .as_string(connection)
    )


def _role(connection: _Connection) -> str:
    row = connection.execute("SELECT current_user::text").fetchone()
    assert row is not None
    return str(row[0])
