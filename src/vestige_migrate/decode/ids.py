"""UUID columns."""

from __future__ import annotations

import re
from uuid import UUID

from vestige_migrate.decode.problem import BadValue, Raw, storage_class

_HEX = r"[0-9a-fA-F]"
_PLAIN = re.compile(rf"{_HEX}{{8}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{12}}", re.ASCII)

QUOTED_ID_CHARS = 80
"""How much of an id that is no UUID a message quotes."""


def decode_uuid(raw: Raw) -> UUID | None:
    """The UUID, or None for NULL. Upper case, braces and missing hyphens are accepted, as PostgreSQL does."""
    if raw is None:
        return None
    if isinstance(raw, bytes):
        raw = raw.decode("ascii", "replace")
    if not isinstance(raw, str):
        raise BadValue(f"is {storage_class(raw)}, not a UUID")
    text = raw[1:-1] if raw[:1] == "{" and raw[-1:] == "}" else raw
    if not _PLAIN.fullmatch(text):
        raise BadValue("is no UUID")
    return UUID(text)


def spellings(id_: str) -> tuple[str, ...]:
    """The usual ways in which a source may write a UUID, given in the first of them."""
    return id_, id_.upper(), f"{{{id_}}}", id_.replace("-", "")


def quote_id(raw: Raw) -> str:
    """An id for a message: printable, bounded, and clearly an id and not prose."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    if raw is None:
        return "NULL"
    short = text if len(text) <= QUOTED_ID_CHARS else text[:QUOTED_ID_CHARS] + "…"
    return ascii(short) if not short.isprintable() else repr(short)
