"""Event triggers of the destination: somebody's rules for what may be made there, judged by their source.

A dry run makes nothing, so what such a trigger would do can only be read. What is not plain from its source stays open.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from vestige_migrate.destination.connection.faults import is_of_functions

# evtenabled: D is disabled, R fires on a replica alone. The setting is of PostgreSQL 17.
_FIND = sql.SQL(
    "SELECT e.evtname::text, e.evttags IS NULL, p.prosrc FROM pg_event_trigger AS e JOIN pg_proc AS p ON"
    " p.oid = e.evtfoid WHERE e.evtenabled IN ('O', 'A') AND e.evtevent::text = ANY(%s)"
    " AND (e.evttags IS NULL OR e.evttags && %s::text[])"
    " AND coalesce(current_setting('event_triggers', true), 'on') = 'on' ORDER BY e.evtname"
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_RAISES = re.compile(r"\braise\b(?!\s+(?:notice|warning|log|info|debug)\b)", re.IGNORECASE)
_DEPENDS = re.compile(
    r"\b(current_user|session_user|current_role|rolsuper|pg_has_role|current_setting|is_superuser|current_query)\b",
    re.IGNORECASE,
)
"""Words of a source that lets some through."""
_FORCES = re.compile(r"(?<!\bno )\bforce\s+row\s+level\s+security\b", re.IGNORECASE)
_CHOOSES = re.compile(r"\b(schema_name|object_identity|current_schema|in_extension)\b", re.IGNORECASE)


@dataclass(frozen=True)
class EventTrigger:
    """An enabled event trigger. `of_all` says that it fires for every command; `source` is without comments."""

    name: str
    of_all: bool
    source: str

    def refuses(self, command: str, what: str | None = None) -> bool | None:
        """Whether it refuses this command (of `what`); None where its source leaves that open."""
        if not _RAISES.search(self.source):
            return False
        words = _has(self.source, what) if what else _CHOOSES.search(self.source)
        if words or _DEPENDS.search(self.source) or (self.of_all and not _has(self.source, command)):
            return None
        return True

    def forces_row_security(self) -> bool | None:
        """Whether it forces row-level security on every new table; None where only on some, or that is left open."""
        if not _FORCES.search(self.source):
            return False
        return None if _CHOOSES.search(self.source) or _DEPENDS.search(self.source) else True


def _has(source: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words)}\b", source, re.IGNORECASE) is not None


def on(connection: psycopg.Connection[TupleRow], events: Sequence[str], tags: Sequence[str]) -> list[EventTrigger]:
    """The event triggers that fire for any of these commands."""
    rows = connection.execute(_FIND, (list(events), list(tags)))
    return [EventTrigger(name, of_all, _COMMENT.sub(" ", source or "")) for name, of_all, source in rows]


def is_raised(error: psycopg.Error) -> bool:
    """Whether a function raised it, with whatever SQLSTATE: while something is made, that is an event trigger's."""
    return error.sqlstate is not None and is_of_functions(error)
