"""SQL that joins the values of many rows into one; `source.read.chunks` reads it."""

from __future__ import annotations

SEPARATOR = b"\x1e"
"""Stands between the joined values. A value that holds one makes a part too many, which the reader of it counts."""

NULL = b"\xff"
"""Stands for a NULL: neither UTF-8 nor a digit, so nobody takes it for a value. Left out, as `group_concat` does it, a
NULL would hide one separator too many: the count would be right, and the values between the two at the wrong rows."""


def joined(expression: str, null: bytes = NULL) -> str:
    """The SQL that joins a text expression, with `null` in the place of a NULL."""
    return f"group_concat(ifnull({expression}, x'{null.hex()}'), x'{SEPARATOR.hex()}')"


def rowids() -> str:
    """The SQL that joins the rowids of `n`; `split_rowids` reads it."""
    return 'group_concat(n."rowid")'


def split_rowids(value: bytes) -> list[int]:
    """What `rowids` gave, as numbers."""
    return [int(part) for part in value.split(b",")] if value else []


def presence(expression: str) -> str:
    """The SQL that writes a 1 for each value, and a 0 for each NULL."""
    return f"group_concat(({expression}) IS NOT NULL, '')"


def joined_blobs(expression: str) -> str:
    """The SQL that joins blobs without anything between them; NULLs are left out."""
    return f"group_concat({expression}, '')"


def count_of_length(expression: str, size: int) -> str:
    """The SQL that counts the values of this length; bytes of a blob, characters of a text."""
    return f"sum(length({expression}) IS {int(size)})"
