"""The two ends of a run as they were found: the source file and the destination."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

USUAL_SCHEMA = "public"
"""Where search_path leads in a database that nobody has changed."""


@dataclass(frozen=True)
class ScopeInfo:
    """The one scope that was taken from a file, and how many rows of each table were left out for it."""

    name: str
    left_out: dict[str, int]

    def __str__(self) -> str:
        rows = ", ".join(f"{table} {count}" for table, count in self.left_out.items())
        return f"only the scope {self.name!r}; left out, of other scopes: {rows or 'nothing'}"


@dataclass(frozen=True)
class PortableInfo:
    """What the source is where it is a portable archive. `lacks` are tables of a file of its version that no archive
    holds: what is in them comes over from the file itself, or says which model its vectors are of. `lacks_unplaced` are
    others, and `missing` tables that an archive holds and this one does not."""

    vestige_version: str | None
    exported_at: str | None
    lacks: tuple[str, ...]
    lacks_unplaced: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """What a person has to know of it."""
        parts = [", ".join(self.lacks)] if self.lacks else []
        if self.lacks_unplaced:
            parts.append(f"without a place in the destination, {', '.join(self.lacks_unplaced)}")
        lines = []
        if parts:
            lines.append(
                f"not in the source, as a portable archive holds none of it: {'; '.join(parts)} (copy the file itself, "
                "if it is still there, to have what is in them)"
            )
        if self.missing:
            lines.append(f"missing from the source, though a portable archive holds them: {', '.join(self.missing)}")
        return lines


@dataclass(frozen=True)
class SourceInfo:
    """The source file as it was found."""

    path: str
    schema_version: int
    lineage: str
    scope: ScopeInfo | None = None
    portable_archive: PortableInfo | None = None

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report; `scope` only where one was asked for, `portable_archive` where it is one."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class DestinationInfo:
    """The destination; `url` has its password masked, and `schema` has the tables."""

    url: str
    server_version: str
    pgvector_version: str | None
    schema: str = USUAL_SCHEMA

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report; `schema` only where it is another than public."""
        found = asdict(self)
        if self.schema == USUAL_SCHEMA:
            del found["schema"]
        return found
