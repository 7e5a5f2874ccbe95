"""PostgreSQL's errors: what is tried again, what is a row's fault, and what is said about them."""

from __future__ import annotations

import inspect

import psycopg
import pytest
from psycopg import errors
from psycopg.errors import Error
from psycopg.pq import DiagnosticField
from psycopg_pool import PoolTimeout

from vestige_migrate.destination.connection.faults import (
    describe,
    is_row_fault,
    is_session_lost,
    is_transient,
    may_be_a_rows,
)

MARKER = "QXZJ"
EVERY_CLASS = sorted(
    {item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, Error)},
    key=lambda item: item.__name__,
)


def made(kind: type[Error], **fields: str) -> Error:
    """An error as the server sends it: message, detail and context quote the row."""
    quoted = (
        f"duplicate key\nDETAIL:  Key (content)=({MARKER}) exists.\nCONTEXT:  COPY knowledge_nodes, line 1: {MARKER}"
    )
    info: dict[DiagnosticField, bytes | None] = {item: MARKER.encode() for item in DiagnosticField}
    info[DiagnosticField.SQLSTATE] = (kind.sqlstate or "").encode()
    info[DiagnosticField.CONSTRAINT_NAME] = None
    for name, value in fields.items():
        info[DiagnosticField[name]] = value.encode()
    return kind(quoted, info=info)  # type: ignore[arg-type]  # psycopg itself fills it with a dict when it unpickles


def test_the_made_errors_carry_what_must_not_be_shown() -> None:
    error = made(errors.UniqueViolation)
    assert MARKER in str(error)
    assert error.diag.message_detail == MARKER


@pytest.mark.parametrize(
    "kind",
    [
        errors.AdminShutdown,
        errors.CrashShutdown,
        errors.CannotConnectNow,
        errors.ConnectionFailure,
        errors.ConnectionException,
        errors.SqlclientUnableToEstablishSqlconnection,
        errors.SerializationFailure,
        errors.DeadlockDetected,
        errors.StatementCompletionUnknown,
        errors.TooManyConnections,
        errors.OutOfMemory,
        errors.DiskFull,
        errors.LockNotAvailable,
        errors.ObjectInUse,
        psycopg.OperationalError,
        psycopg.InterfaceError,
    ],
)
def test_a_lost_connection_a_restart_and_a_deadlock_are_tried_again(kind: type[Error]) -> None:
    error = kind("text")
    assert is_transient(error)
    assert not is_row_fault(error)


@pytest.mark.parametrize(
    "kind",
    [
        errors.UniqueViolation,
        errors.ForeignKeyViolation,
        errors.CheckViolation,
        errors.NotNullViolation,
        errors.ExclusionViolation,
        errors.StringDataRightTruncation,
        errors.NumericValueOutOfRange,
        errors.InvalidTextRepresentation,
        errors.UntranslatableCharacter,
        errors.CharacterNotInRepertoire,
        errors.BadCopyFileFormat,
        errors.DataException,
        errors.ProgramLimitExceeded,
        errors.StatementTooComplex,
        errors.FeatureNotSupported,
        errors.InternalError_,
        errors.DataCorrupted,
    ],
)
def test_an_objection_to_a_value_is_a_rows_fault_and_not_tried_again(kind: type[Error]) -> None:
    error = kind("text")
    assert is_row_fault(error)
    assert not is_transient(error)


@pytest.mark.parametrize(
    "kind",
    [
        errors.QueryCanceled,
        errors.UndefinedTable,
        errors.UndefinedColumn,
        errors.InsufficientPrivilege,
        errors.SyntaxError,
        errors.InvalidPassword,
        errors.InvalidCatalogName,
        errors.ReadOnlySqlTransaction,
        errors.InFailedSqlTransaction,
        psycopg.ProgrammingError,
        psycopg.DataError,
        psycopg.Error,
    ],
)
def test_what_no_new_try_and_no_other_row_would_change_stops_the_run(kind: type[Error]) -> None:
    error = kind("text")
    assert not is_transient(error)
    assert not is_row_fault(error)


@pytest.mark.parametrize("error", [ValueError(MARKER), KeyError(MARKER), OSError(MARKER), KeyboardInterrupt()])
def test_other_exceptions_are_never_tried_again(error: BaseException) -> None:
    assert not is_transient(error)
    assert describe(error) == type(error).__name__


@pytest.mark.parametrize("kind", EVERY_CLASS, ids=lambda kind: kind.__name__)
def test_no_description_shows_a_servers_text(kind: type[Error]) -> None:
    for error in (kind(MARKER), made(kind)):
        said = describe(error)
        assert MARKER not in said
        assert "\n" not in said
        assert said


@pytest.mark.parametrize("kind", EVERY_CLASS, ids=lambda kind: kind.__name__)
def test_nothing_is_both_transient_and_a_rows_fault(kind: type[Error]) -> None:
    assert not (is_transient(kind()) and is_row_fault(kind()))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (errors.UniqueViolation, "unique constraint"),
        (errors.ForeignKeyViolation, "foreign key"),
        (errors.CheckViolation, "check constraint"),
        (errors.NotNullViolation, "not-null constraint"),
        (errors.ExclusionViolation, "constraint"),
    ],
)
def test_a_violation_names_its_constraint(kind: type[Error], words: str) -> None:
    assert describe(made(kind, CONSTRAINT_NAME="edges_source_id_fkey")) == f'violates {words} "edges_source_id_fkey"'


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (errors.StringDataRightTruncation, "string data right truncation (SQLSTATE 22001)"),
        (errors.NotNullViolation, "not null violation (SQLSTATE 23502)"),
        (errors.ProgramLimitExceeded, "program limit exceeded (SQLSTATE 54000)"),
        (errors.AdminShutdown, "admin shutdown (SQLSTATE 57P01)"),
    ],
)
def test_any_other_error_is_named_with_its_sqlstate(kind: type[Error], said: str) -> None:
    assert describe(made(kind)) == said


def test_a_lost_connection_is_called_that() -> None:
    assert describe(psycopg.OperationalError(f"consuming input failed: {MARKER}")) == "the connection was lost"


@pytest.mark.parametrize(
    ("state", "transient", "row"), [("53ABC", True, False), ("22XYZ", False, True), ("58030", False, False)]
)
def test_an_unknown_sqlstate_is_judged_by_its_class(state: str, transient: bool, row: bool) -> None:
    error = made(psycopg.DatabaseError, SQLSTATE=state)
    assert (is_transient(error), is_row_fault(error)) == (transient, row)
    assert state in describe(error)


@pytest.mark.parametrize("source_file", ["md.c", "fd.c", "buffile.c", "xlog.c"])
def test_a_server_that_cannot_write_its_files_blames_no_row(source_file: str) -> None:
    """A quota or a file size limit has no SQLSTATE of its own: the server calls it an internal error."""
    error = made(errors.InternalError_, SOURCE_FILE=source_file)
    assert is_transient(error)
    assert not is_row_fault(error)
    assert "quota" in describe(error)
    assert is_row_fault(made(errors.InternalError_, SOURCE_FILE="hnswutils.c"))


@pytest.mark.parametrize("source_file", ["pl_exec.c", "plpy_elog.c", "plperl.c"])
@pytest.mark.parametrize("state", ["P0001", "42501", "U0001", "57014", "57P01", "08006", "40001", "53100"])
def test_whatever_a_function_raises_may_be_due_to_a_row_and_its_names_are_not_shown(
    state: str, source_file: str
) -> None:
    error = made(psycopg.DatabaseError, SQLSTATE=state, SOURCE_FILE=source_file, CONSTRAINT_NAME=MARKER)
    assert may_be_a_rows(error, last_try=True)
    assert may_be_a_rows(error, last_try=False) is not is_transient(error)
    assert not is_session_lost(error)
    assert MARKER not in describe(error)
    assert state in describe(error)


@pytest.mark.parametrize("kind", [errors.DiskFull, errors.OutOfMemory, errors.AdminShutdown, errors.QueryCanceled])
def test_what_the_server_itself_lacks_is_never_blamed_on_a_row(kind: type[Error]) -> None:
    assert not may_be_a_rows(made(kind), last_try=True)
    assert not may_be_a_rows(psycopg.OperationalError("consuming input failed"), last_try=True)
    assert not may_be_a_rows(made(errors.InsufficientPrivilege, SEVERITY_NONLOCALIZED="FATAL"), last_try=True)


def test_what_an_operator_can_do_is_said() -> None:
    assert describe(made(errors.DiskFull)).startswith("disk full (SQLSTATE 53100): make room on its disk")
    assert "--max-connections" in describe(PoolTimeout("timed out"))


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (made(errors.AdminShutdown), True),
        (made(errors.CrashShutdown), True),
        (made(errors.ConnectionFailure), True),
        (psycopg.OperationalError("server closed the connection unexpectedly"), True),
        (made(errors.QueryCanceled), False),
        (made(errors.DiskFull), False),
        (made(errors.DeadlockDetected), False),
        (made(errors.LockNotAvailable), False),
        (PoolTimeout("no connection"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_run_begins_again_only_where_its_session_is_gone(error: psycopg.Error, lost: bool) -> None:
    """A full disk stays full: to go through everything again would only fail again."""
    assert is_session_lost(error) is lost
