"""The first 100 bytes of an SQLite file (https://sqlite.org/fileformat2.html, section 1.3)."""

from __future__ import annotations

HEADER_BYTES = 100
_LARGEST_PAGE = 65_536
"""Written as 1, because the header has two bytes for it."""


def whole_bytes(header: bytes) -> int:
    """The size of the file that the header says."""
    page = int.from_bytes(header[16:18], "big")
    return (_LARGEST_PAGE if page == 1 else page) * int.from_bytes(header[28:32], "big")


def change_counter(header: bytes) -> int:
    """How often the file was written, which is only ever more."""
    return int.from_bytes(header[24:28], "big")


def size_is_current(header: bytes) -> bool:
    """Whether the size is to be believed: the change counter beside it is the one it was written with."""
    return header[24:28] == header[92:96]
