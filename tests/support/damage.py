"""Damaged pages of a SQLite file (https://www.sqlite.org/fileformat2.html, section 1.6)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

SCHEMA = "sqlite_schema"
GARBAGE, ZEROS = b"\xff" * 512, b"\0" * 512


def page_size(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[16:18], "big")


def damage(path: Path, page: int, what: bytes = GARBAGE) -> None:
    """Overwrites the beginning of a page, where SQLite keeps what kind of page it is. Pages count from 1."""
    size = page_size(path)
    with path.open("r+b") as file:
        file.seek((page - 1) * size + (100 if page == 1 else 0))
        file.write(what)


def pages_of(path: Path, name: str, kind: str = "leaf") -> list[int]:
    """Pages of a table or an index, in its order. The page type is the first byte of a page (fileformat2, 1.6)."""
    types = {"leaf": (0x0D, 0x0A), "interior": (0x05, 0x02)}[kind]
    data, size = path.read_bytes(), page_size(path)
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    root = 1 if name == SCHEMA else found[0]

    def walk(page: int) -> Iterator[int]:
        start = (page - 1) * size + (100 if page == 1 else 0)
        if data[start] in types:
            yield page
        if data[start] in (0x05, 0x02):
            cells = int.from_bytes(data[start + 3 : start + 5], "big")
            for cell in range(cells):
                pointer = start + 12 + 2 * cell
                at = (page - 1) * size + int.from_bytes(data[pointer : pointer + 2], "big")
                yield from walk(int.from_bytes(data[at : at + 4], "big"))
            yield from walk(int.from_bytes(data[start + 8 : start + 12], "big"))

    return list(walk(root))
