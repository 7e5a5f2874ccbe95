"""How a row is named in an error."""

from __future__ import annotations

from collections.abc import Sequence

from vestige_migrate.decode.ids import decode_uuid
from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.decode.text import decode_text
from vestige_migrate.report.rows import NIL_UUID
from vestige_migrate.tables.base import Null, Table

_LENGTH_BYTES = 4


def name_key(table: Table, key: Sequence[Raw]) -> str:
    """A row's key as the destination has it; the nil UUID where a part of it is no UUID."""
    parts = []
    for name, value, pg_type in zip(table.key, key, table.key_types, strict=True):
        if not table.names_rows_by(name):
            continue
        part = _uuid_or_none(value) if pg_type == "uuid" else _text_or_none(value)
        if part is None and value is None:
            part = _default_text(table, name)
        if part is None:
            return NIL_UUID
        parts.append(part)
    return " -> ".join(parts)


def _default_text(table: Table, name: str) -> str | None:
    """What a text of the key is where the source has none; None where it has to have one."""
    column = table.columns[table.index(name)]
    if column.pg_type != "text" or column.null is not Null.DEFAULT or not isinstance(column.default, bytes):
        return None
    return column.default[_LENGTH_BYTES:].decode()


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
