"""SQL that joins the values of many rows into one; `source.read.chunks` reads it."""

from __future__ import annotations

SEPARATOR = b"\x1e"
"""Stands between the joined values. A value that holds one makes a part too many, which the reader of it counts."""

NULL = b"\xff"
"""Stands for a NULL: neither UTF-8 nor a digit, so nobody takes it for a value. Left out, as `group_concat` does it, a
NULL would hide one separator too many: the count would be right, and the values between the two at the wrong rows."""


_EXTRA_CHARS = 1000
"""Longer texts are not plain, so that a chunk of rows has a bound."""


def joined(expression: str, null: bytes = NULL) -> str:
    """The SQL that joins a text expression, with `null` in the place of a NULL."""
    return f"group_concat(ifnull({expression}, x'{null.hex()}'), x'{SEPARATOR.hex()}')"


def rowids() -> str:
    """The SQL that joins the rowids of `n`; `split_rowids` reads it."""
    return 'group_concat(n."rowid")'


def split_rowids(value: bytes) -> list[int]:
    """What `rowids` gave, as numbers."""
    return [int(part) for part in value.split(b",")] if value else []


def joined_blobs(expression: str, size: int) -> str:
    """The SQL that joins the blobs of this length without anything between them; all else is left out."""
    return f"group_concat(CASE length({expression}) WHEN {int(size)} THEN {expression} END, '')"


def lengths_marked(expression: str, size: int) -> str:
    """The SQL that writes a 1 for each value of this length, a 2 for each other, and a 0 for each NULL.

    Bytes of a blob, characters of a text.
    """
    return f"group_concat(ifnull(2 - (length({expression}) = {int(size)}), 0), '')"


def extra_expression(expression: str, is_text: bool) -> str:
    """The SQL for a value that is read by itself. One that is not plain is not handed out, but a value of a type that
    is not plain either.

    `is_text`: the column has TEXT affinity, and with that no numbers. Texts are handed out as bytes, so a BLOB has to
    be told from them here: no text is greater than an empty one.
    """
    if is_text:
        return f"CASE WHEN {expression} >= x'' OR length({expression}) > {_EXTRA_CHARS} THEN 0 ELSE {expression} END"
    return f"CASE WHEN {expression} >= '' THEN x'' ELSE {expression} END"
