"""Values of the size that only a few files have: too large for the suite, copied and compared here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.check import in_database
from tests.fuzz.files import Mutated
from tests.support.sources import SourceSpec, build_source, edit

_SPEC = SourceSpec(memories=20, schedules=20, edges=10, events=10, dimension=16)
Edit = tuple[str, tuple[object, ...]]
Expected = set[tuple[str, str | None, str, str | None]]

_FOREIGN_KEYS = {
    ("scheduling", "memory_id", "not_copied", "23503"),
    ("edges", "source_id", "not_copied", "23503"),
    ("review_events", "memory_id", "not_copied", "23503"),
}
HUGE: dict[str, tuple[list[Edit], Expected]] = {
    "a memory of 200 MB": (
        [("UPDATE knowledge_nodes SET content = hex(zeroblob(100000000)) WHERE rowid = 5", ())],
        set(),
    ),
    "the longest text that SQLite stores, next to 1 GB": (
        [("UPDATE knowledge_nodes SET content = hex(zeroblob(499990000)) WHERE rowid = 5", ())],
        set(),
    ),
    # Each NUL becomes three bytes.
    "a memory past 1 GiB": (
        [("UPDATE knowledge_nodes SET content = CAST(zeroblob(400000000) AS TEXT) WHERE rowid = 5", ())],
        {("knowledge_nodes", None, "not_copied", "54000"), *_FOREIGN_KEYS},
    ),
    "a column beside past 1 GiB": (
        [
            ("ALTER TABLE knowledge_nodes ADD COLUMN more", ()),
            ("UPDATE knowledge_nodes SET more = zeroblob(900000000) WHERE rowid = 5", ()),
        ],
        {("knowledge_nodes", "metadata", "copied_without_value", "54000")},
    ),
}


def huge_files(folder: Path, server_url: str) -> Iterator[str]:
    """Runs them all; yields what is wrong."""
    for seed, (name, (edits, expected)) in enumerate(HUGE.items()):
        made = Mutated(build_source(folder / f"huge-{seed}.db", _SPEC), _SPEC)
        edit(made.path, *edits)
        result = in_database(server_url, seed, made)
        found = {(error.table, error.column, str(error.outcome), error.sqlstate) for error in result.errors}
        yield from (f"{name}: {problem}" for problem in result.problems)
        if found != expected:
            yield f"{name}: errors {found} instead of {expected}"
