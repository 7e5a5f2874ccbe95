"""The kinds of column that the tables are made of."""

from __future__ import annotations

from vestige_migrate.tables import encoders
from vestige_migrate.tables.base import Column, Form, Null, Special
from vestige_migrate.wire import field


def uuid_key(name: str) -> Column:
    """A UUID without which the row cannot be placed."""
    return Column(name, "uuid", encoders.uuids, field.NULL, Null.ERROR, required=True, form=Form.UUID)


def text_key(name: str) -> Column:
    """A text without which the row cannot be placed."""
    return Column(name, "text", encoders.texts, field.NULL, Null.ERROR, required=True)


def text(name: str, default: str, null: Null = Null.DEFAULT) -> Column:
    """A text of any content."""
    return Column(name, "text", encoders.texts, field.text(default), null, form=Form.TEXT)


def label(name: str, default: str) -> Column:
    """A text with few distinct values."""
    return Column(name, "text", encoders.labels, field.text(default), Null.DEFAULT, form=Form.FEW)


def optional_text(name: str) -> Column:
    """A text that may be NULL."""
    return Column(name, "text", encoders.labels, field.NULL, form=Form.FEW)


def time(name: str, twin: str | None = None) -> Column:
    """A time that must be there: an unreadable one becomes its twin's, else the run's start."""
    return Column(name, "timestamptz", encoders.times, Special.RUN_START, Null.ERROR, twin=twin, form=Form.TIME)


def optional_time(name: str) -> Column:
    """A time that may be NULL."""
    return Column(name, "timestamptz", encoders.times, field.NULL, form=Form.TIME)


def float8(name: str, default: float) -> Column:
    """A finite double."""
    return Column(name, "float8", encoders.floats, field.float8(default), Null.DEFAULT, form=Form.FLOAT)


def optional_float8(name: str) -> Column:
    """A finite double that may be NULL."""
    return Column(name, "float8", encoders.floats, field.NULL, form=Form.FLOAT)


def int4(name: str, default: int) -> Column:
    """A 32-bit integer."""
    return Column(name, "int4", encoders.int4s, field.int4(default), Null.DEFAULT, form=Form.INT4)


def int2(name: str, default: int) -> Column:
    """A 16-bit integer."""
    return Column(name, "int2", encoders.int2s, field.int2(default), Null.DEFAULT, form=Form.INT2)


def strings(name: str) -> Column:
    """A JSON array of strings as text[]."""
    return Column(
        name,
        "text[]",
        encoders.string_arrays,
        field.text_array(()),
        Null.DEFAULT,
        droppable=True,
        form=Form.FEW,
    )


def uuids(name: str) -> Column:
    """A JSON array of UUIDs as uuid[]."""
    return Column(
        name,
        "uuid[]",
        encoders.uuid_arrays,
        field.uuid_array(()),
        Null.DEFAULT,
        droppable=True,
        form=Form.FEW,
    )


def json_object(name: str) -> Column:
    """A JSON object as jsonb."""
    return Column(name, "jsonb", encoders.objects, field.jsonb("{}"), Null.DEFAULT, droppable=True, form=Form.JSON)
