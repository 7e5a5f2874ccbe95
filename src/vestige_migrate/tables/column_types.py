"""The types of column that the tables are made of: what PostgreSQL calls each, and what its plain values are like.

How they are encoded is `encode.encoders`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class PlainForm(Enum):
    """How the values of a column are when there is nothing odd about them (`encode.plain`)."""

    UUID = "36 characters"
    TEXT = "any text"
    FEW = "texts with few distinct values among many rows"
    TIME = "RFC 3339"
    JSON = "a JSON object"
    VECTOR = "float32 of the layout's dimension"
    FLOAT = "a finite real number"
    INT4 = "an integer of 32 bits"
    INT2 = "an integer of 16 bits"


@dataclass(frozen=True)
class ColumnType:
    """`meaning` tells it from the others; `form` None: the values are always read one by one."""

    meaning: str
    pg_type: str
    form: PlainForm | None = None


UUID = ColumnType("an id", "uuid", PlainForm.UUID)
USER_ID = ColumnType("an id with few distinct values", "uuid", PlainForm.FEW)
KEY_TEXT = ColumnType("a text of a key", "text")
TEXT = ColumnType("a text of any content", "text", PlainForm.TEXT)
LABEL = ColumnType("a text with few distinct values", "text", PlainForm.FEW)
TIME = ColumnType("a time", "timestamptz", PlainForm.TIME)
FLOAT8 = ColumnType("a finite number", "float8", PlainForm.FLOAT)
INT4 = ColumnType("an integer of 32 bits", "int4", PlainForm.INT4)
INT2 = ColumnType("an integer of 16 bits", "int2", PlainForm.INT2)
TEXTS = ColumnType("a JSON array of strings", "text[]", PlainForm.FEW)
UUIDS = ColumnType("a JSON array of ids", "uuid[]", PlainForm.FEW)
JSON_OBJECT = ColumnType("a JSON object", "jsonb", PlainForm.JSON)
ANY_VECTOR = ColumnType("a vector of any dimension", "vector")
EMBEDDING = ColumnType("a vector of the layout's dimension", "vector", PlainForm.VECTOR)
