"""What a source says of memories that were deleted: their tombstones (docs/versions.md)."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator

from vestige_migrate.decode.ids import decode_uuid
from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.read.blake3 import blake3

_OPAQUE = "opaque:"
_MARKER = b"vestige.legacy-tombstone-marker.v1"
_SEPARATORS = (b"\\0", b"\0")
"""What stands between the marker and the id: a backslash and a zero, or the character that these stand for in Rust."""
_QUERIES = (
    ("deletion_tombstones", ("memory_id",), "SELECT memory_id, deleted_at FROM deletion_tombstones NOT INDEXED"),
    (
        "sync_tombstones",
        ("row_id", "table_name"),
        "SELECT row_id, deleted_at FROM sync_tombstones NOT INDEXED WHERE table_name = 'knowledge_nodes'",
    ),
)


class Tombstones:
    """The times at which memories were deleted, as the files write them, by what names the memory."""

    def __init__(self) -> None:
        self._times: dict[str, list[Raw]] = defaultdict(list)
        self._some_are_opaque = False

    def add(self, connection: sqlite3.Connection, layout: Layout) -> None:
        """Takes in those of a file."""
        for name, time in _read(connection, layout):
            self._some_are_opaque = self._some_are_opaque or name.startswith(_OPAQUE)
            self._times[name].append(time)

    def times_of(self, id_: str) -> list[Raw]:
        """When the memory was deleted, once for each of its tombstones; none where no tombstone names it."""
        found = list(self._times.get(id_, ()))
        if self._some_are_opaque:  # half a millisecond an id
            for name in opaque_names(id_):
                found += self._times.get(name, ())
        return found


def count_tombstones(connection: sqlite3.Connection, layout: Layout) -> int:
    """How many the file has."""
    return sum(1 for _ in _read(connection, layout))


def opaque_names(id_: str) -> list[str]:
    """What newer files write in the place of a memory's id (V25 and later)."""
    return [f"{_OPAQUE}{blake3(_MARKER + separator + id_.encode()).hex()}" for separator in _SEPARATORS]


def _read(connection: sqlite3.Connection, layout: Layout) -> Iterator[tuple[str, Raw]]:
    for table, columns, query in _QUERIES:
        if not all(layout.has(table, column) for column in (*columns, "deleted_at")):
            continue
        for name, time in connection.execute(query):
            if isinstance(name, str) and name.startswith(_OPAQUE):
                yield name.lower(), time
                continue
            try:
                id_ = decode_uuid(name)
            except BadValue:
                continue
            if id_ is not None:
                yield str(id_), time
