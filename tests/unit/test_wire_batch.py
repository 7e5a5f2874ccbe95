"""The COPY stream of a batch, read back by a reader of its own."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.wire import field
from vestige_migrate.wire.batch import Batch, copy_payload
from vestige_migrate.wire.block import Block

SEVERAL = settings(max_examples=100, deadline=None)
Cell = bytes | None


def read_stream(stream: bytes) -> list[tuple[Cell, ...]]:
    """Rows of payloads, by the documented format; fails at the first byte that does not belong there."""
    assert stream[:11] == b"PGCOPY\n\xff\r\n\0"
    flags, extension = struct.unpack_from(">II", stream, 11)
    assert (flags, extension) == (0, 0)
    at = 19
    rows: list[tuple[Cell, ...]] = []
    while True:
        (count,) = struct.unpack_from(">h", stream, at)
        at += 2
        if count == -1:
            assert at == len(stream)
            return rows
        row: list[Cell] = []
        for _ in range(count):
            (length,) = struct.unpack_from(">i", stream, at)
            at += 4
            if length == -1:
                row.append(None)
                continue
            assert length >= 0
            row.append(stream[at : at + length])
            at += length
        rows.append(tuple(row))


def write(cell: Cell) -> bytes:
    return field.NULL if cell is None else field.with_length(cell)


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[Cell, ...]]:
    """Rows of one width, of any bytes, such that look like headers among them."""
    width = draw(st.integers(1, 15))
    cells = st.none() | st.binary(max_size=12) | st.sampled_from([b"\xff\xff", b"PGCOPY\n\xff\r\n\0", b"\0" * 4])
    return draw(st.lists(st.tuples(*[cells] * width), max_size=8)) or [tuple([b"x"] * width)]


@SEVERAL
@given(tables())
def test_a_batch_reads_back_row_by_row(rows: list[tuple[Cell, ...]]) -> None:
    columns = [[write(cell) for cell in column] for column in zip(*rows, strict=True)]
    assert read_stream(copy_payload(columns)) == rows


def test_no_rows_are_a_stream_without_rows() -> None:
    assert read_stream(copy_payload([[], []])) == []


@SEVERAL
@given(tables())
def test_rows_and_columns_of_a_batch_are_the_same_fields(rows: list[tuple[Cell, ...]]) -> None:
    fields = [tuple(write(cell) for cell in row) for row in rows]
    batch = Batch([list(column) for column in zip(*fields, strict=True)], str)
    assert len(batch) == len(rows)
    assert batch.rows() == fields


def test_errors_of_refused_rows_are_left_out() -> None:
    errors = [(at, RowError("edges", str(at), None, "m", Outcome.COPIED_WITHOUT_VALUE)) for at in (0, 1, 1, 3)]
    batch = Batch([[b""] * 4], str, errors)
    assert [error.id for error in batch.errors_of_stored({1})] == ["0", "3"]
    assert [error.id for error in batch.errors_of_stored(())] == ["0", "1", "1", "3"]


@SEVERAL
@given(st.integers(1, 6), st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=6))
def test_columns_of_one_size_are_written_like_any_other(count: int, kinds: list[tuple[bool, int]]) -> None:
    """A `Block` beside others, at either end, alone, several in a row."""
    columns = [
        [field.with_length(bytes([row, at] * size)) for row in range(count)] for at, (_, size) in enumerate(kinds)
    ]
    blocks: list[list[bytes] | Block] = [
        Block(np.frombuffer(b"".join(column), dtype=np.uint8).reshape(count, -1)) if as_block else column
        for column, (as_block, _) in zip(columns, kinds, strict=True)
    ]
    assert copy_payload(blocks) == copy_payload(columns)
    for block, column in zip(blocks, columns, strict=True):
        assert list(block) == column
        assert (len(block), block[0], block[-1], block[:1]) == (count, column[0], column[-1], column[:1])
