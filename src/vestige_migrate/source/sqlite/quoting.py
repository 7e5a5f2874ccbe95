"""Names and texts as they are written in a statement for SQLite."""

from __future__ import annotations


def quote_identifier(name: str) -> str:
    """An SQLite identifier, quoted. Names come from the source file, so they are never trusted."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def quote_text(value: str) -> str:
    """An SQLite string literal."""
    escaped = value.replace("'", "''")
    return f"'{escaped}'"


def column(name: str, alias: str = "n") -> str:
    """A column as an expression."""
    return f"{alias}.{quote_identifier(name)}"
