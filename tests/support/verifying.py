"""Copies, then comparisons of both sides through the library call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from vestige_migrate import SqliteToPostgresPlan, VerifyReport, verify_several_to_postgres


@dataclass(frozen=True)
class Verifier:
    """Compares files with the test's database."""

    database: str

    def __call__(self, *paths: Path, **options: Any) -> VerifyReport:
        plans = [SqliteToPostgresPlan(path, self.database, **{"workers": 1, **options}) for path in paths]
        return verify_several_to_postgres(plans)

    def tamper(self, *statements: str) -> None:
        """Changes the destination, without triggers and foreign keys."""
        with psycopg.connect(self.database) as connection:
            connection.execute("SET session_replication_role = replica")
            for statement in statements:
                connection.execute(statement)

    def one(self, query: str) -> str:
        """The one value that a query of the destination yields, as text."""
        with psycopg.connect(self.database) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return str(row[0])


def named(report: VerifyReport) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """The differences as plain tuples."""
    return sorted((item.table, item.id, str(item.kind), item.columns) for item in report.differences)


def balanced(report: VerifyReport) -> bool:
    """Whether the counts of every table add up to the rows of the source."""
    not_there = ("not_copied", "repeated", "missing", "forgotten")
    return all(
        table.source_rows
        == table.same + table.altered + table.different + sum(getattr(table, name) for name in not_there)
        for table in report.tables.values()
    )
