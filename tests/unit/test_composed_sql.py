"""All identifiers reach PostgreSQL composed, none formatted: held by reading the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.composed_sql import findings
from vestige_migrate import destination

PACKAGE = Path(destination.__file__).parent.parent
CHECKED = ("destination", "run", "verify", "cli")
"""Whoever talks to PostgreSQL, and `demo` apart, whose statements to SQLite are of its own tables."""


def test_every_statement_is_fixed_or_composed() -> None:
    files = [file for folder in CHECKED for file in sorted((PACKAGE / folder).rglob("*.py"))]
    assert len(files) > 40
    found = [f"{file.relative_to(PACKAGE)}:{finding}" for file in files for finding in findings(file.read_text())]
    assert found == []


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
