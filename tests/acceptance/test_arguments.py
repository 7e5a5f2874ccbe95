"""Bad arguments: one line that says what is wrong and what is right, before anything is touched."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.conftest import CommandLine
from vestige_migrate.plan import usable_cpus

SECRET = "geheim77"


@dataclass(frozen=True)
class Case:
    """Arguments of `vestige-migrate`, the exit code, and words that the one line must have."""

    arguments: tuple[str, ...]
    code: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.arguments)


def copy(*arguments: str, code: int = 2, words: tuple[str, ...]) -> Case:
    return Case(("copy", "--sqlite-path", "no.db", "--postgres-url", "host=127.0.0.1 port=1", *arguments), code, words)


PAIR = "the supported pair is --from sqlite --to postgres"
LIBPQ = ("--postgres-url is no connection string", "postgresql://user@host:5432/database")
INTEGER = "valid integer"
MISPLACED = f"postgresql://me:{SECRET}/@b@host/db"
"""A URL with its password, where something else is expected."""
NO_PATH = "takes a path, and was given the URL of a server"
CASES = [
    *(
        copy("--from", kind, code=3, words=(f"from '{kind}' to 'postgres'", PAIR))
        for kind in ("postgres", "mysql", "")
    ),
    *(
        copy("--to", kind, code=3, words=(f"from 'sqlite' to '{kind}'", PAIR))
        for kind in ("sqlite", "postgresql", "")
    ),
    copy("--from", "postgres", "--to", "sqlite", code=3, words=("from 'postgres' to 'sqlite'", PAIR)),
    *(
        copy(f"--{name}", value, words=(f"--{name} is {value}", "between 1 and"))
        for name, values in {
            "workers": ("0", "-1", "99999999999999999999999"),
            "batch-size": ("0", "99999999999999999999999"),
            "max-connections": ("0",),
            "retries": ("0",),
        }.items()
        for value in values
    ),
    *(
        copy(f"--{name}", "many", words=(f"--{name}", INTEGER))
        for name in ("workers", "max-errors", "embedding-dimension")
    ),
    copy("--workers", "1.5", words=("--workers", INTEGER)),
    copy("--max-errors", "-1", words=("--max-errors is -1", "0 or more")),
    copy("--indexes", "sometimes", words=("--indexes", "'sometimes'", "auto", "now", "later", "none")),
    copy("--log-level", "loud", words=("--log-level is LOUD", "DEBUG", "INFO", "WARNING", "ERROR")),
    copy("--log-file", "missing/x.log", words=("--log-file missing/x.log", "No such file or directory")),
    copy("--log-file", ".", words=("--log-file .", "Is a directory")),
    copy("--report", "missing/x.json", words=("--report missing/x.json", "No such file or directory")),
    copy("--report", ".", words=("--report .", "Is a directory")),
    copy("--embedding-model", "m", words=("--embedding-model and --embedding-dimension belong together",)),
    copy("--embedding-dimension", "5", words=("--embedding-model and --embedding-dimension belong together",)),
    copy("--embedding-hash", "ab", words=("--embedding-model and --embedding-dimension belong together",)),
    copy("--embedding-model", "m", "--embedding-dimension", "0", words=("--embedding-dimension is 0",)),
    copy("--embedding-model", "m", "--embedding-dimension", "16001", words=("is 16001", "between 1 and 16000")),
    copy("--allow-source-upgrade", "--snapshot", words=("--allow-source-upgrade and --snapshot exclude each other",)),
    copy("--postgres-url", "", words=("--postgres-url is empty", "libpq URL")),
    copy("--postgres-url", f"mysql://me:{SECRET}@host/db", words=LIBPQ),
    copy("--postgres-url", f"nonsense-{SECRET}", words=LIBPQ),
    copy("--postgres-url", f"host=h pasword={SECRET}", words=("libpq does not know (pasword)", "meant to be password")),
    copy("--postgres-url", f"postgres://me:{SECRET}@h/db?sslmode=prefer&pool_size=5", words=("(pool_size)",)),
    copy("--postgres-url", f"postgresql://h/db?password={SECRET}&Schema=a&x=1", words=("(Schema, 1 not shown,",)),
    copy("--postgres-url", f"postgresql://me:{SECRET}%zz@host/db", words=LIBPQ),
    copy("--wrokers", "2", words=("--wrokers", "No such option")),
    copy("--workers", words=("--workers", "requires an argument")),
    copy("more", words=("unexpected extra argument", "more")),
    copy(MISPLACED, words=("unexpected extra argument", "//me:***@host/db")),
    copy("--from", MISPLACED, code=3, words=("me:***@host", PAIR)),
    copy("--indexes", MISPLACED, words=("me:***@host", "auto")),
    copy("--sqlite-path", MISPLACED, words=(f"--sqlite-path {NO_PATH}", "--postgres-url")),
    copy("--report", MISPLACED, words=(f"--report {NO_PATH}",)),
    copy("--log-file", MISPLACED, words=(f"--log-file {NO_PATH}",)),
    copy("--postgres-url", f"embedded:{MISPLACED}", words=(f"embedded:DIR {NO_PATH}",)),
    *(Case(("server", name, MISPLACED), 2, (f"DIR {NO_PATH}",)) for name in ("start", "stop", "status")),
    Case(("demo", "--dir", MISPLACED), 2, (f"--dir {NO_PATH}",)),
    Case((MISPLACED,), 2, ("me:***@host", "No such command")),
    Case(("cpoy",), 2, ("cpoy", "No such command")),
    Case(("--verbose",), 2, ("--verbose", "No such option")),
    Case(("server", "restart"), 2, ("restart", "No such command")),
    Case(("server", "status", "one", "two"), 2, ("unexpected extra argument", "two")),
    Case(("demo", "--memories", "9"), 2, ("--memories", "10")),
    Case(("reembed", "--model", "m", "--postgres-url", "host=h schema=x"), 2, ("does not know (schema)",)),
    Case(("verify", "--postgres-url", "postgresql://h/d?pgbouncer=true"), 2, ("does not know (pgbouncer)",)),
    Case(("copy", "--postgres-url", "host=h target=x", "--dry-run"), 2, ("does not know (target)",)),
    Case(("reembed",), 2, ("Missing option", "--model")),
    Case(("reembed", "--model", "m", "--batch-size", "x"), 2, ("--batch-size", INTEGER)),
]  # fmt: skip


@pytest.mark.in_process
def test_a_bad_argument_is_one_line_with_what_is_right(command: CommandLine, process: CommandLine) -> None:
    """Every tenth as a process of its own, and all of them within this one."""
    with ThreadPoolExecutor(usable_cpus()) as threads:
        results = list(threads.map(lambda case: process(*case.arguments), CASES[::10]))
    results += [command(*case.arguments) for case in CASES]
    wrong = [
        problem for case, done in zip(CASES[::10] + CASES, results, strict=True) if (problem := _wrong(case, done))
    ]
    assert wrong == []
    assert list(command.home.iterdir()) == []


def _wrong(case: Case, done: CompletedProcess[str]) -> str:
    lines = done.stderr.splitlines()
    right = (done.returncode, done.stdout, len(lines)) == (case.code, "", 1) and lines[0].startswith("error: ")
    if right and all(word in lines[0] for word in case.words) and SECRET not in lines[0]:
        return ""
    return f"{case}: exit {done.returncode}: {done.stdout}{done.stderr}"


@pytest.mark.in_process
@pytest.mark.parametrize("arguments", [(), ("migrate",), ("migrate", "server")], ids=str)
def test_a_group_without_a_command_shows_its_help(arguments: tuple[str, ...], command: CommandLine) -> None:
    done = command(*arguments, script="vestige")
    assert done.returncode == 2
    assert "Usage: vestige" in done.stdout
    assert "Commands" in done.stdout
    assert done.stderr == ""


@pytest.mark.in_process
def test_reembed_has_its_final_options_and_says_that_it_is_not_available(command: CommandLine, tmp_path: Path) -> None:
    for switch in ("--drop-hnsw-first", "--keep-hnsw"):
        done = command(
            "reembed", "--model", "BAAI/bge-large-en-v1.5", "--dimension", "1024",
            "--postgres-url", "host=127.0.0.1",
            "--batch-size", "64", switch, "--concurrent-index", "--max-connections", "2", "--dry-run",
        )  # fmt: skip
        assert done.returncode == 3
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: reembed is not available yet")
