"""A table's entry in the JSON report."""

from __future__ import annotations

COUNTS = ("source_rows", "inserted", "updated", "skipped", "forgotten", "failed", "kept", "deleted")


def table_counts(**given: int) -> dict[str, int]:
    """All counts of a table in the documented order: 0 but for those given."""
    assert set(given) <= set(COUNTS)
    return {name: given.get(name, 0) for name in COUNTS}
