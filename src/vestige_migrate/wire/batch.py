"""A batch of rows as columns of COPY fields."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from vestige_migrate.report.rows import RowError
from vestige_migrate.wire.block import Block, Bytes, Prefixed, cut

_SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)

Fields = Sequence[bytes]


def copy_payload(columns: Sequence[Fields]) -> bytes:
    """The whole binary COPY stream for these columns, of which there is one at the least."""
    return next(copy_payloads(columns, max(1, len(columns[0]))))


def copy_payloads(columns: Sequence[Fields], rows: int) -> Iterator[bytes]:
    """The same as several streams, of so many rows each; one without rows where there are none."""
    pieces = _pieces(columns)
    for start in range(0, len(columns[0]) or 1, rows):
        some = (piece[start : start + rows] for piece in pieces)
        yield b"".join(chain((_SIGNATURE,), chain.from_iterable(zip(*some, strict=True)), (_TRAILER,)))


def _pieces(columns: Sequence[Fields]) -> list[Sequence[bytes]]:
    """What a row is joined from: neighbouring columns of one size are one piece."""
    header = np.frombuffer(struct.pack(">h", len(columns)), dtype=np.uint8)
    neighbours: list[Bytes] = [np.broadcast_to(header, (len(columns[0]), len(header)))]
    pieces: list[Sequence[bytes]] = []
    for column in columns:
        if isinstance(column, Block):
            neighbours.append(column.rows)
            continue
        if isinstance(column, Prefixed):
            neighbours.append(column.prefixes.rows)
        if neighbours:
            pieces.append(cut(np.concatenate(neighbours, axis=1)))
            neighbours = []
        pieces.append(column.contents if isinstance(column, Prefixed) else column)
    if neighbours:
        pieces.append(cut(np.concatenate(neighbours, axis=1)))
    return pieces


@dataclass
class Batch:
    """Rows ready to be written: `columns[c][r]` is the field of row r, `id_of(r)` names it in an error.

    `errors` holds (row, error) for what was found while encoding. `unplaced` are errors of rows that cannot be
    stored at all and are no longer among the columns.
    """

    columns: list[Fields]
    id_of: Callable[[int], str]
    errors: list[tuple[int, RowError]] = field(default_factory=list)
    unplaced: list[RowError] = field(default_factory=list)
    unplaced_rows: int = 0

    def __len__(self) -> int:
        return len(self.columns[0])

    def rows(self) -> list[tuple[bytes, ...]]:
        """The same, row by row."""
        return list(zip(*self.columns, strict=True))

    def errors_of_stored(self, refused: Collection[int]) -> list[RowError]:
        """Encoding errors of the rows that PostgreSQL did not refuse."""
        return [error for row, error in self.errors if row not in refused]
