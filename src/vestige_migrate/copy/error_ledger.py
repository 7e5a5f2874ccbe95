"""Which errors hold, although a range may be gone through again: each is logged, counted and reported once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from loguru import logger

from vestige_migrate.report.rows import NIL_UUID, Outcome, RowError
from vestige_migrate.source.read.ranges import Range

_FOREIGN_KEY = "23503"


class Cause(StrEnum):
    """Why rows of a table have errors that belong to none of its ranges."""

    UNREADABLE = "unreadable"
    """A damaged source has lost them."""
    OWNER = "owner"
    """What the source says of the user that --owner names."""
    OTHER_CONTENT = "other content"
    """Another row has their key."""
    DELETED_LATER = "deleted later"
    """They went in, and are not there any more."""
    ARCHIVE = "archive"
    """`--archive` could not keep them."""


@dataclass(frozen=True)
class Apart:
    """What a table has besides its ranges: rows that are dealt with by being named."""

    table: str
    cause: Cause


Part = Range | Apart
"""What errors and counts belong to."""


@dataclass
class _Errors:
    """Of one part. `whole` is the range that it is a half of."""

    held: list[RowError] = field(default_factory=list)
    awaited: Counter[RowError] = field(default_factory=Counter)
    doubted: list[RowError] = field(default_factory=list)
    whole: _Errors | None = None

    def await_again(self) -> None:
        self.awaited = Counter(self.held)

    def take_over(self, error: RowError) -> bool:
        """Takes over an error that the range this one was split from had said already."""
        above = self.whole
        while above is not None:
            if error in above.held:
                above.held.remove(error)
                self.held.append(error)
                return True
            above = above.whole
        return False


class ErrorLedger:
    """The errors of a run, by the part of a table that they were said of.

    An error that was said *holds*. What happens to its part decides what its being said again means:

        the part is tried again (`restart`)   each error that holds is *awaited* once: saying it is nothing new
        the part is split (`split`)           the halves take an error over when they say it; it moves to them
        all is gone through again (`doubt`)   an error for want of another row is *doubted*: the server may have lost
                                              that row, and have it now. Said again it holds; where the part ends
                                              (`finish`) without that, it goes; where it never ends, it stays
    """

    def __init__(self) -> None:
        self._parts: dict[Part, _Errors] = {}
        self._rows: set[tuple[str, str]] = set()
        self._nameless = 0

    @property
    def rows(self) -> int:
        """How many rows have errors; a row without an id of its own counts once for itself."""
        return len(self._rows) + self._nameless

    def add(self, part: Part, errors: Iterable[RowError]) -> None:
        """These were said of the part: what is new among them is logged and counted."""
        known = self._parts.setdefault(part, _Errors())
        for error in errors:
            if known.awaited[error] > 0:
                known.awaited[error] -= 1
            elif not known.take_over(error):
                known.held.append(error)
                if error in known.doubted:
                    known.doubted.remove(error)
                else:
                    self._note(error)

    def _note(self, error: RowError) -> None:
        logger.warning("{}", error)
        if error.id == NIL_UUID:
            self._nameless += not error.further
        else:
            self._rows.add((error.table, error.id))

    def restart(self, part: Part) -> None:
        """The part is tried again, from its first row on."""
        if part in self._parts:
            self._parts[part].await_again()

    def split(self, whole: Part, halves: Iterable[Part]) -> None:
        """The halves are tried in the place of the whole, which keeps the errors of what it had committed."""
        above = self._parts.setdefault(whole, _Errors())
        for half in halves:
            self._parts.setdefault(half, _Errors(whole=above))

    def doubt(self) -> None:
        """Everything is gone through again: rows that were refused for want of another row get a new try."""
        for known in self._parts.values():
            known.doubted += [error for error in known.held if error.sqlstate == _FOREIGN_KEY]
            known.held = [error for error in known.held if error.sqlstate != _FOREIGN_KEY]
            known.await_again()

    def finish(self, part: Part) -> None:
        """The part is done: what was doubted and not said again is not true any more."""
        known = self._parts.get(part)
        if known is not None:
            self._rows.difference_update((error.table, error.id) for error in known.doubted)
            known.doubted.clear()

    def forget(self, part: Part) -> None:
        """What was said of the part is found out anew."""
        self._parts.pop(part, None)

    def errors(self) -> list[RowError]:
        """All that hold, and those that are still doubted."""
        return [error for known in self._parts.values() for error in (*known.held, *known.doubted)]

    def waiting(self) -> list[RowError]:
        """Errors for want of another row, which may come yet."""
        return [error for error in self.errors() if error.sqlstate == _FOREIGN_KEY]

    def put_aside(self, errors: Collection[RowError]) -> None:
        """These are none after all."""
        aside = set(errors)
        for known in self._parts.values():
            known.held = [error for error in known.held if error not in aside]
            known.doubted = [error for error in known.doubted if error not in aside]
        left = {(error.table, error.id) for error in self.errors()}
        self._rows.difference_update({(error.table, error.id) for error in aside} - left)

    def refused(self, table: str) -> Counter[str]:
        """How many errors say of each id of the table that its row was not copied."""
        return Counter(
            error.id
            for part, known in self._parts.items()
            for error in known.held
            if part.table == table and error.outcome is Outcome.NOT_COPIED
        )
