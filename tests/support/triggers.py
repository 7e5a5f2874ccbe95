"""Triggers that a destination has of its own."""

from __future__ import annotations

import psycopg

MARKER = "quetzalcoatl"
"""Stands in rows, and in what a trigger says of them; nothing may show it."""


def run_sql(url: str, *statements: str) -> None:
    """Runs the statements, each by itself."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def ask(url: str, query: str) -> list[tuple[object, ...]]:
    """What a query yields."""
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def add_trigger(
    url: str,
    body: str,
    *tables: str,
    when: str = "BEFORE INSERT",
    level: str = "ROW",
    kind: str = "",
    declare: str = "",
) -> None:
    """A function with this body, and a trigger of each table that calls it; `when` may end in DEFERRABLE ..."""
    name = f"own_{abs(hash((body, tables, when)))}"
    event, _, deferred = when.partition(" DEFERRABLE")
    deferred = f"DEFERRABLE{deferred}" if deferred else ""
    run_sql(
        url,
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql"
        f" AS $body$ DECLARE {declare} BEGIN {body} END $body$",
        *(
            f"CREATE {kind} TRIGGER {name} {event} ON {table} {deferred} FOR EACH {level} EXECUTE FUNCTION {name}()"
            for table in tables
        ),
    )
