"""What a server process waits for, in an operator's terms.

Wait events: https://www.postgresql.org/docs/current/monitoring-stats.html#WAIT-EVENT-TABLE
"""

from __future__ import annotations

from dataclasses import dataclass

_SAID_OF_LONG_STATEMENTS = {"Lock", "BufferPin", "Timeout"}
"""An index build reads its disk and talks to its parallel workers for an hour, and nothing is wrong."""


@dataclass(frozen=True)
class SessionState:
    """What `pg_stat_activity` says of a session, and who holds the lock that it waits for."""

    state: str | None
    wait_type: str | None
    wait_event: str | None
    blockers: str | None
    relation: str | None

    @property
    def is_at_work(self) -> bool:
        """Whether the server owes an answer. In `Client` it waits for us, as it does where it is idle.

        `state` is None where the role may not see it (a session of another role, behind a pooler).
        """
        return self.state is None or self.state == "disabled" or (self.state == "active" and self.wait_type != "Client")

    def describe_wait(self, long_statements: bool = False) -> str | None:
        """What it waits for and what to do; None where it waits for nothing that is worth a word.

        `long_statements`: its statements take long by nature, so only what somebody else keeps from it is.
        """
        if self.blockers is not None:
            where = f" on {self.relation}" if self.relation else ""
            return f"waiting for a lock{where} that is held by {self.blockers}"
        if self.wait_type is None or self.wait_event is None:
            return None
        what, advice = _EVENTS.get(self.wait_event) or _TYPES.get(self.wait_type) or ("something", "")
        if long_statements and self.wait_event not in _EVENTS and self.wait_type not in _SAID_OF_LONG_STATEMENTS:
            return None
        said = f"the server waits for {what} (wait event {self.wait_type}/{self.wait_event})"
        return f"{said}: {advice}" if advice else said


_EVENTS = {
    "SyncRep": (
        "a standby to confirm a commit",
        "synchronous_standby_names asks for a standby that does not confirm. Start that standby, or change the setting "
        "and reload it; what waits is committed on the server itself already",
    ),
    "PgSleep": (
        "a sleep to end",
        "a trigger or a function of the destination's own calls pg_sleep. Wait, or disable that trigger for the copy",
    ),
    "VacuumDelay": (
        "a delay to pass",
        "vacuum_cost_delay of this role or database slows ANALYZE down. Wait, or set it to 0",
    ),
    "SafeSnapshot": ("other transactions to end", "end sessions with serializable transactions that are left open"),
}
"""By the event: what it waits for, and what to do."""

_TYPES = {
    "Lock": ("a lock", "the sessions in pg_locks show who holds it"),
    "IO": ("its disk", "where this stays, the server's disk is slow, overloaded, or hangs"),
    "LWLock": ("another of its processes", "where this stays, the server is overloaded, or one of its processes hangs"),
    "IPC": ("another of its processes", "where this stays, look at that process on the server"),
    "BufferPin": ("another session to let go of a page", "end sessions that keep a cursor open on our tables"),
    "Timeout": ("a delay to pass", ""),
    "Extension": ("an extension of its own", "the extensions that the destination has loaded know why"),
}
"""The same by the type, where the event has no words of its own."""
