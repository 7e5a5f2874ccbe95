"""The kinds of column that the tables are made of."""

from __future__ import annotations

from vestige_migrate.tables import column_types as types
from vestige_migrate.tables.base import Column, Null, Special
from vestige_migrate.wire import field


def uuid_key(name: str) -> Column:
    """A UUID without which the row cannot be placed."""
    return Column(name, types.UUID, field.NULL, Null.ERROR, required=True)


def text_key(name: str) -> Column:
    """A text without which the row cannot be placed."""
    return Column(name, types.KEY_TEXT, field.NULL, Null.ERROR, required=True)


def text(name: str, default: str, null: Null = Null.DEFAULT) -> Column:
    """A text of any content."""
    return Column(name, types.TEXT, field.text(default), null)


def label(name: str, default: str) -> Column:
    """A text with few distinct values."""
    return Column(name, types.LABEL, field.text(default), Null.DEFAULT)


def optional_text(name: str) -> Column:
    """A text that may be NULL."""
    return Column(name, types.LABEL, field.NULL)


def time(name: str, twin: str | None = None) -> Column:
    """A time that must be there: an unreadable one becomes its twin's, else the run's start."""
    return Column(name, types.TIME, Special.RUN_START, Null.ERROR, twin=twin)


def optional_time(name: str) -> Column:
    """A time that may be NULL."""
    return Column(name, types.TIME, field.NULL)


def float8(name: str, default: float) -> Column:
    """A finite double."""
    return Column(name, types.FLOAT8, field.float8(default), Null.DEFAULT)


def optional_float8(name: str) -> Column:
    """A finite double that may be NULL."""
    return Column(name, types.FLOAT8, field.NULL)


def int4(name: str, default: int) -> Column:
    """A 32-bit integer."""
    return Column(name, types.INT4, field.int4(default), Null.DEFAULT)


def int2(name: str, default: int) -> Column:
    """A 16-bit integer."""
    return Column(name, types.INT2, field.int2(default), Null.DEFAULT)


def strings(name: str) -> Column:
    """A JSON array of strings as text[]."""
    return Column(
        name,
        types.TEXTS,
        field.text_array(()),
        Null.DEFAULT,
        droppable=True,
    )


def uuids(name: str) -> Column:
    """A JSON array of UUIDs as uuid[]."""
    return Column(
        name,
        types.UUIDS,
        field.uuid_array(()),
        Null.DEFAULT,
        droppable=True,
    )


def json_object(name: str) -> Column:
    """A JSON object as jsonb."""
    return Column(name, types.JSON_OBJECT, field.jsonb("{}"), Null.DEFAULT, droppable=True)
