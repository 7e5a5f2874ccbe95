"""All identifiers reach PostgreSQL composed, none formatted: held by reading the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.composed_sql import findings
from vestige_migrate import destination
from vestige_migrate.destination.load.archive_table import ARCHIVE
from vestige_migrate.destination.schema.schema_check import REGISTRY
from vestige_migrate.tables import TABLES

PACKAGE = Path(destination.__file__).parent.parent
CHECKED = ("destination", "prepare", "copy", "estimate", "verify", "workers", "cli")
"""Whoever talks to PostgreSQL, and `demo` apart, whose statements to SQLite are of its own tables."""


def test_every_statement_is_fixed_or_composed() -> None:
    files = [file for folder in CHECKED for file in sorted((PACKAGE / folder).rglob("*.py"))]
    assert len(files) > 40
    found = [f"{file.relative_to(PACKAGE)}:{finding}" for file in files for finding in findings(file.read_text())]
    assert found == []


_NAMES = "|".join([*TABLES, REGISTRY, ARCHIVE])
_BARE = re.compile(
    rf"\b(?:FROM|INTO|UPDATE|JOIN|TABLE|ANALYZE|TRUNCATE|COPY)\s+(?:ONLY\s+)?(?:{_NAMES})\b|to_reg\w+\('(?:{_NAMES})"
)
"""A table of ours by its name alone: search_path would decide which one that is (`connection.table_names`)."""


def bare(code: str) -> list[str]:
    """Statements for PostgreSQL that name a table of ours without its schema; a `?` is a placeholder of SQLite's."""
    found = (node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant))
    return [text for text in found if isinstance(text, str) and _BARE.search(text)]


def test_no_statement_leaves_the_schema_of_our_tables_to_search_path() -> None:
    files = [file for folder in CHECKED for file in sorted((PACKAGE / folder).rglob("*.py"))]
    files.append(PACKAGE / "demo" / "queries.py")
    assert [text for file in files for text in bare(file.read_text()) if "= ?" not in text] == []
    assert bare("c.execute('SELECT 1 FROM users'); c.execute(\"SELECT to_regclass('edges')\")") != []


REFUSED = [
    "c.execute(f'DROP TABLE {name}')",
    "c.execute('DROP TABLE %s' % name)",
    "c.execute('DROP TABLE {}'.format(name))",
    "c.execute('DROP TABLE ' + name)",
    "c.execute(name)",
    "c.execute(' '.join(['DROP TABLE', name]))",
    "cursor.executemany(f'INSERT INTO {name} VALUES (%s)', rows)",
    "with cursor.copy(f'COPY {name} FROM STDIN') as copy: pass",
    "q = f'DROP TABLE {name}'\nc.execute(q)",
    "q = 'DROP TABLE {}'\nq = q.format(name)\nc.execute(q)",
    "q = sql.SQL('SELECT 1')\nq += name\nc.execute(q)",
    "self.q = 'DROP TABLE ' + name\nself.c.execute(self.q)",
    "def f(statement: str):\n    c.execute(statement)",
    "def f(statement):\n    c.execute(statement)",
    "for statement in found:\n    c.execute(statement)",
    "def drop(name) -> str:\n    return 'DROP TABLE ' + name\nc.execute(drop(name))",
    "sql.SQL(name)",
    "sql.SQL(f'DROP TABLE {name}')",
    "sql.SQL('DROP TABLE {}'.format(name))",
    "sql.SQL('DROP TABLE ' + name)",
    "sql.SQL('a' if x else name)",
    "SQL(name)",
]


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_formatted_is_found(code: str) -> None:
    assert len(findings(code)) == 1


def test_what_is_fixed_or_composed_is_let_pass() -> None:
    code = """
_Q = sql.SQL("SELECT {}").format(sql.Identifier(name))
c.execute("SELECT 1 WHERE x = %s", (name,))
c.execute("SELECT " "1")
c.execute(_Q)
c.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
c.execute(read_sql("schema.sql"))
q = sql.SQL("a" if x else "b")
q += sql.SQL(" WHERE {}").format(sql.SQL(", ").join(names))
c.execute(q)
def f(statement: LiteralString, composed: sql.Composed) -> None:
    c.execute(statement)
    c.execute(composed)
run.execute()
"""
    assert findings(code) == []
