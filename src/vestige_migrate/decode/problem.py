"""How a decoder says that a value cannot come over as it is."""

from __future__ import annotations

from typing import Final

from vestige_migrate.report.rows import Outcome

Raw = str | bytes | int | float | None
"""What `sqlite3` hands out: the five storage classes."""


class _Unset:
    """Marks that the decoder has no better value than the column's default."""


UNSET: Final = _Unset()


class BadValue(ValueError):
    """A value that cannot be stored as it is.

    `reason` is for the report and never quotes the value. `instead` is the repaired value where there is one,
    else the column's default is stored. `outcome` is the row's when this is its only problem.
    """

    def __init__(self, reason: str, instead: object = UNSET, outcome: Outcome | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.instead = instead
        usual = Outcome.COPIED_WITHOUT_VALUE if instead is UNSET else Outcome.COPIED_WITH_REPLACEMENT
        self.outcome = usual if outcome is None else outcome


def storage_class(value: Raw) -> str:
    """The SQLite storage class, in words for a message."""
    names = {str: "a text", bytes: "a BLOB", int: "an integer", float: "a real number", type(None): "NULL"}
    return names[type(value)]
