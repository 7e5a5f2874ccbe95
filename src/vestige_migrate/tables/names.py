"""How a row is named in an error."""

from __future__ import annotations

from collections.abc import Sequence

from vestige_migrate.decode.ids import decode_uuid
from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.decode.text import decode_text
from vestige_migrate.report import NIL_UUID
from vestige_migrate.tables.base import Table


def name_key(table: Table, key: Sequence[Raw]) -> str:
    """A row's key as the destination has it; the nil UUID where a part of it is no UUID."""
    parts = []
    for value, pg_type in zip(key, table.key_types, strict=True):
        part = _uuid_or_none(value) if pg_type == "uuid" else _text_or_none(value)
        if part is None:
            return NIL_UUID
        parts.append(part)
    return " -> ".join(parts)


def _uuid_or_none(raw: Raw) -> str | None:
    try:
        value = decode_uuid(raw)
    except BadValue:
        return None
    return None if value is None else str(value)


def _text_or_none(raw: Raw) -> str | None:
    try:
        return decode_text(raw)
    except BadValue as problem:
        return str(problem.instead)
