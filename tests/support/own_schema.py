"""Destinations whose tables lie in another schema than public."""

from __future__ import annotations

import re

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo


def on_path(url: str, *schemas: str) -> str:
    """The URL with a search_path of these schemas."""
    setting = ",".join('"{}"'.format(name.replace('"', '""')) for name in schemas)
    escaped = re.sub(r"([\\\s])", r"\\\1", setting)
    return make_conninfo(url, options=f"-csearch_path={escaped}")


def make_schemas(url: str, *schemas: str) -> None:
    """Makes them, empty."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name in schemas:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))


def tables_in(url: str, schema: str) -> set[str]:
    """Names of the tables and views in the schema."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'v', 'p') AND relnamespace = to_regnamespace(%s)",
            (sql.Identifier(schema).as_string(),),
        )
        return {name for (name,) in rows}


def fingerprint(url: str, schema: str) -> list[tuple[object, ...]]:
    """All that would change where something is written into the schema: its relations, and the rows of its tables."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT relname, relkind::text, relfilenode, relchecks, relhasindex FROM pg_class"
            " WHERE relnamespace = to_regnamespace(%s) ORDER BY relname",
            (sql.Identifier(schema).as_string(),),
        ).fetchall()
        for name, kind, *_ in list(found):
            if kind == "r":
                query = sql.SQL("SELECT count(*), md5(string_agg(t.xmin || t::text, '' ORDER BY t.ctid)) FROM {} AS t")
                found += connection.execute(query.format(sql.Identifier(schema, name))).fetchall()
        return found
