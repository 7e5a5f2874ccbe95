"""A role with a password, and the forms in which libpq takes one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo


@contextmanager
def owned_with_password(database: str, password: str) -> Iterator[str]:
    """The database as a keyword string of a role with this password, which owns it, with pgvector installed."""
    role = f"owner_{uuid4().hex[:8]}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
        )
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(role)))
        yield make_conninfo(database, user=role, password=password)
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(name))
        connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(role)))
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def in_form(form: str, conninfo: str) -> tuple[str, dict[str, str]]:
    """(--postgres-url, environment) that give the same as a URL, query, keywords or with PGPASSWORD."""
    given = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    secret = given.pop("password")
    if form == "keywords":
        return conninfo, {}
    if form == "PGPASSWORD":
        return make_conninfo(**given), {"PGPASSWORD": secret}
    user, name = given.pop("user"), given.pop("dbname")
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in given.items())
    if form == "query":
        return f"postgresql:///{name}?user={user}&password={quote(secret, safe='')}&{query}", {}
    return f"postgresql://{user}:{quote(secret, safe='')}@/{name}?{query}", {}
