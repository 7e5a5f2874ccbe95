"""The one place that judges PostgreSQL's errors: try again, blame the row, or stop.

Messages are written here from SQLSTATE and constraint name alone: MESSAGE, DETAIL and CONTEXT may quote the row.
"""

from __future__ import annotations

import psycopg
from psycopg import errors
from psycopg_pool import PoolTimeout

from vestige_migrate.destination.connection.refusal import NotConnected
from vestige_migrate.destination.connection.server_identity import WrongServer
from vestige_migrate.destination.connection.watched_connection import NoAnswer

_TRANSIENT_CLASSES = {"08", "40", "53", "57"}
"""Connection, rollback (deadlock, serialization), resources, operator intervention (PostgreSQL manual, appendix A)."""

_LOST_CLASSES = {"08", "57"}
"""Connection, and the operator's ending of sessions or of the server."""

_TRANSIENT_STATES = {"55P03", "55006"}
"""Lock not available, object in use."""

_PERMANENT_STATES = {"57014"}
"""Query cancelled by statement_timeout or by hand. (It is in class 57, but trying again meets it again.)"""

_ROW_CLASSES = {"22", "23", "54", "XX", "0A", "P0", "2F", "38", "39"}
"""Data, integrity, program limits, pgvector's or the server's own objections to a value, and what functions raise
unless they choose a class: PL/pgSQL's own, and those of routines in SQL and in other languages."""

_NO_ROWS_DOING = {"53", "57"}
"""Transient classes that never speak of one row, unless a function raises them."""

_LANGUAGE_SOURCES = {"pl_exec.c", "plperl.c", "plpy_elog.c", "plpy_plpymodule.c", "pltcl.c"}
"""Source files of the server's procedural languages, whence an error comes that a function raises: RAISE, ASSERT,
`plpy.error`. A function may give it any SQLSTATE."""

_STORAGE_SOURCES = {
    "buffile.c", "bufmgr.c", "copydir.c", "fd.c", "logtape.c", "md.c", "sharedfileset.c", "slru.c", "smgr.c", "xlog.c",
}  # fmt: skip
"""Source files of the server that read and write its files. Where the system refuses that for a reason that has no
SQLSTATE (a disk quota, a limit of file size), the error is an "internal error", as if a value was at fault."""


_RIGHTS_SOURCE = "aclchk.c"
"""The server's source file that says which right is missing on which object."""


def is_transient(error: BaseException) -> bool:
    """Whether the same statement may succeed on a new try."""
    if not isinstance(error, psycopg.Error):
        return False
    if isinstance(error, (NotConnected, WrongServer)):
        return error.may_pass
    state = error.sqlstate
    if state is None:
        # libpq lost the connection or never had it: there is no SQLSTATE for that.
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    if _is_of_storage(error):
        return True
    return state not in _PERMANENT_STATES and (state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT_STATES)


def is_session_lost(error: psycopg.Error) -> bool:
    """Whether the session is gone, or was never there: another one may do what this one could not."""
    if isinstance(error, PoolTimeout):
        return False
    if not is_transient(error):
        return False
    return error.sqlstate is None or (error.sqlstate[:2] in _LOST_CLASSES and not _is_raised(error))


def is_row_fault(error: psycopg.Error) -> bool:
    """Whether PostgreSQL objects to a row, and not to the statement or the connection, by what it says."""
    return error.sqlstate is not None and error.sqlstate[:2] in _ROW_CLASSES and not _is_of_storage(error)


def may_be_a_rows(error: psycopg.Error, last_try: bool) -> bool:
    """Whether it may be due to a row: a trigger may run into any error for one row, and raise any SQLSTATE.

    Then the session is alive, and the statement without that row is worth a try. What may pass by itself is not
    looked into before the last try.
    """
    state = error.sqlstate
    if state is None or error.diag.severity_nonlocalized in _ENDINGS or _is_of_storage(error):
        return False
    if is_transient(error):
        return last_try and (_is_raised(error) or state[:2] not in _NO_ROWS_DOING)
    return state not in _PERMANENT_STATES or _is_raised(error)


def stays(error: psycopg.Error) -> bool:
    """Whether the server's objection to what was written would not pass by itself."""
    return is_of_functions(error) or may_be_a_rows(error, last_try=False)


_ENDINGS = {"FATAL", "PANIC"}
"""Severities with which the session ends."""


def is_of_functions(error: psycopg.Error) -> bool:
    """Whether a function of the destination's own wrote the error: then even its names may quote the row."""
    return _is_raised(error) or (error.sqlstate or "")[:2] == "P0"


def _is_missing_right(error: psycopg.Error) -> bool:
    """Whether it is "permission denied for function ...": a kind and a name of our own statement, nothing of a row.

    In a trigger, which has a context, the name may be made of one.
    """
    is_right = error.sqlstate == errors.InsufficientPrivilege.sqlstate and error.diag.source_file == _RIGHTS_SOURCE
    return is_right and not error.diag.context


def _is_raised(error: psycopg.Error) -> bool:
    return error.diag.source_file in _LANGUAGE_SOURCES


def _is_of_storage(error: psycopg.Error) -> bool:
    """Whether the server could not use its own files."""
    return error.sqlstate == errors.InternalError_.sqlstate and error.diag.source_file in _STORAGE_SOURCES


def describe(error: BaseException) -> str:
    """The error in one line without row content."""
    if not isinstance(error, psycopg.Error):
        return type(error).__name__
    if isinstance(error, (NoAnswer, WrongServer)):
        return str(error)
    if isinstance(error, NotConnected):
        return f"{error.reason}. {error.advice}"
    if isinstance(error, PoolTimeout):
        return "the server had no connection free for the coordinator: free some, or lower --max-connections"
    if _is_of_storage(error):
        return f"the server could not write its files (SQLSTATE {error.sqlstate}): {_MAKE_ROOM}"
    if error.sqlstate is None:
        return "the connection was lost" if isinstance(error, psycopg.OperationalError) else type(error).__name__
    if is_of_functions(error):
        return f"{_words(error)} (SQLSTATE {error.sqlstate}): a trigger or function of the destination's own raised it"
    if _is_missing_right(error):
        return server_words(error)
    constraint = error.diag.constraint_name
    if constraint:
        return f'violates {_KINDS.get(error.sqlstate, "constraint")} "{constraint}"'
    advice = _ADVICE.get(error.sqlstate)
    return f"{_words(error)} (SQLSTATE {error.sqlstate})" + (f": {advice}" if advice else "")


def server_words(error: psycopg.Error) -> str:
    """The server's own message and hint, in one line: for commands that make something, which hold no row content."""
    if error.sqlstate is None:
        return describe(error)
    said = [part for part in (error.diag.message_primary, error.diag.message_hint) if part]
    text = ". ".join(" ".join(part.split()).rstrip(".") for part in said)
    return f"{text} (SQLSTATE {error.sqlstate})"


_KINDS = {
    errors.UniqueViolation.sqlstate: "unique constraint",
    errors.ForeignKeyViolation.sqlstate: "foreign key",
    errors.CheckViolation.sqlstate: "check constraint",
    errors.NotNullViolation.sqlstate: "not-null constraint",
}

_MAKE_ROOM = "make room on its disk, or raise the quota or file size limit that it met (its log names the file)"

_ADVICE = {
    errors.DiskFull.sqlstate: _MAKE_ROOM,
    errors.TooManyConnections.sqlstate: "end other sessions, or raise the limit of connections that it met",
    errors.QueryCanceled.sqlstate: "somebody cancelled it, or a timeout was set after the copy began",
}
"""What to do about the ones that an operator meets."""


def _words(error: psycopg.Error) -> str:
    """`StringDataRightTruncation` -> `string data right truncation`."""
    name = type(error).__name__
    return "".join(f" {char.lower()}" if char.isupper() else char for char in name).strip()
