"""The few rows that a run writes by itself: refused, dropped or changed by the destination's own triggers, by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from vestige_migrate.destination.connection.faults import describe, stays
from vestige_migrate.errors import WriteNotKept


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Says what could not be written: raises `WriteNotKept` for an error that would not pass by itself."""
    try:
        yield
    except psycopg.Error as error:
        if not stays(error):
            raise
        raise WriteNotKept(f"{what} could not be written: {describe(error)}. {_ADVICE}") from None


def not_kept(what: str) -> WriteNotKept:
    """The error for what is not there, or not as it was written."""
    return WriteNotKept(
        f"{what} was written and is not there as it was written: a trigger of the destination's own dropped or changed "
        f"it. {_ADVICE}"
    )


_ADVICE = "Look at the triggers of that table in the destination, then run again; what was committed stays"
