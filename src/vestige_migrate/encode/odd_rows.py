"""Which rows of a chunk are odd, so that the others need not go with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vestige_migrate.wire.block import Block, Prefixed


def most_odd(count: int) -> int:
    """More odd rows than these among so many are not looked for one by one: it would cost more than it spares."""
    return count // 50 + 1


def find_odd(is_plain: Callable[[Sequence[Any]], bool], values: Sequence[Any]) -> list[int] | None:
    """Where the values are that are not plain, one of which there is; None where there are too many of them.

    Halves are tried, and of those that are not plain their halves.
    """
    most, odd = most_odd(len(values)), []
    pending = [(0, len(values))]
    while pending:
        start, stop = pending.pop()
        if (start or stop < len(values)) and is_plain(values[start:stop]):
            continue
        if stop - start > 1:
            middle = (start + stop) // 2
            pending += [(middle, stop), (start, middle)]
            continue
        odd.append(start)
        if len(odd) > most:
            return None
    return odd


class Kept:
    """What is left of a chunk of `count` rows without the odd ones."""

    def __init__(self, count: int, odd: Collection[int]) -> None:
        is_kept = np.ones(count, dtype=bool)
        is_kept[list(odd)] = False
        self._rows = np.flatnonzero(is_kept)
        self._numbers: list[int] = self._rows.tolist()

    def __len__(self) -> int:
        return len(self._numbers)

    def values(self, values: Sequence[Any]) -> list[Any]:
        """Those of the rows that are kept."""
        return [values[at] for at in self._numbers]

    def fields(self, fields: Any) -> Any:
        """The same of fields, in the form that they have; `bytes` stand for every row."""
        if isinstance(fields, bytes):
            return fields
        if isinstance(fields, Block):
            return Block(fields.rows[self._rows])
        if isinstance(fields, Prefixed):
            return Prefixed(Block(fields.prefixes.rows[self._rows]), self.values(fields.contents))
        return self.values(fields)


@dataclass(frozen=True)
class Written:
    """What a chunk's values of a column became; None where one of them is not plain.

    `listed` gives them one a row, as `write` takes them, and None where it cannot.
    """

    write: Callable[[Sequence[Any]], Any]
    fields: Any
    listed: Callable[[], Sequence[Any] | None]

    def keep(self, kept: Kept) -> Written:
        """The same of the rows that are kept."""
        if self.fields is not None:
            return replace(self, fields=kept.fields(self.fields))
        listed = self.listed()
        return self if listed is None else replace(self, fields=self.write(kept.values(listed)))


def find_all_odd(columns: Sequence[Written], count: int) -> set[int] | None:
    """Which of so many rows are odd for one of the columns; None where that cannot be told, or they are too many."""
    odd: set[int] = set()
    for column in columns:
        if column.fields is not None:
            continue
        listed = column.listed()
        found = None if listed is None else find_odd(lambda some: column.write(some) is not None, listed)  # noqa: B023
        if found is None:
            return None
        odd.update(found)
    return odd
