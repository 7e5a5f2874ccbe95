"""A newcomer's first command, and the commands of the bundled server that it leaves running."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import psycopg
import pytest

from tests.conftest import CommandLine, InProcess
from tests.support.in_process import refusal
from tests.support.server_folder import server_folder
from vestige_migrate.demo.queries import KEYWORDS
from vestige_migrate.destination import embedded

pytestmark = pytest.mark.in_process


@dataclass(frozen=True)
class Demo:
    """Two runs of the demo, with Vestige's data in a folder of the test's own."""

    directory: Path
    first: CompletedProcess[str]
    second: CompletedProcess[str]

    @property
    def server(self) -> Path:
        return self.directory / "postgres"


@pytest.fixture(scope="module")
def demo(module_command: CommandLine) -> Iterator[Demo]:
    with server_folder() as data:
        directory = data / "migrate-demo"
        try:
            yield Demo(
                directory,
                module_command("migrate", "demo", script="vestige", VESTIGE_DATA_DIR=str(data)),
                InProcess(module_command.home)("demo", VESTIGE_DATA_DIR=str(data)),
            )
        finally:
            embedded.stop(directory / "postgres")


def rows(done: CompletedProcess[str]) -> dict[str, list[int]]:
    """Table -> in the source, inserted, already there, failed."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    return {name: [int(number) for number in numbers] for name, *numbers in cells}


def test_the_sample_is_copied_whole(demo: Demo) -> None:
    assert demo.first.returncode == 0, demo.first.stderr
    found = rows(demo.first)
    assert found["knowledge_nodes"] == [1000, 1000, 0, 0]
    assert found["scheduling"] == [1000, 1000, 0, 0]
    assert found["users"] == [2, 1, 1, 0]
    assert found["groups"] == [1, 1, 0, 0]
    for name in ("edges", "review_events"):
        count = found[name][0]
        assert found[name] == [count, count, 0, 0]
        assert count > 0
    assert "1000 of 1000 memories" in demo.first.stderr


def test_the_second_demo_inserts_nothing(demo: Demo) -> None:
    assert demo.second.returncode == 0, demo.second.stderr
    found = rows(demo.second)
    assert {name: counts[0] for name, counts in found.items()} == {
        name: counts[0] for name, counts in rows(demo.first).items()
    }
    for name, counts in found.items():
        assert counts == [counts[0], 0, counts[0], 0], name


def test_both_questions_are_answered_from_the_copied_data(demo: Demo) -> None:
    text = demo.first.stdout
    words, nearest = text.split(f"by words ({KEYWORDS!r}):")[1].split("nearest to: ")
    ranked = re.findall(r"^  (\d\.\d{3})  (.+)", words, re.MULTILINE)
    assert len(ranked) == 3
    with closing(sqlite3.connect(demo.directory / "sample.db")) as connection:
        memories = [content for (content,) in connection.execute("SELECT content FROM knowledge_nodes")]
    for _, line in ranked:
        whole = [content for content in memories if " ".join(content.split()).startswith(line.removesuffix(" …"))]
        assert any(word in content for content in whole for word in KEYWORDS.split())
    distances = [float(number) for number in re.findall(r"^  (\d\.\d{3})  \S", nearest, re.MULTILINE)]
    assert len(distances) == 3
    assert distances == sorted(distances)
    assert all(0 <= distance < 1 for distance in distances)


def test_the_psql_line_that_is_printed_works(demo: Demo) -> None:
    lines = demo.first.stdout.splitlines()
    line = shlex.split(lines[lines.index("look around with psql:") + 1])
    done = subprocess.run(
        [*line, "-X", "-A", "-t", "-c", "SELECT count(*) FROM knowledge_nodes"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "1000"), done.stderr
    assert any("--sqlite-path" in line and "--postgres-url embedded" in line for line in lines)


def test_the_server_is_shown_stopped_and_started_again_with_its_data(
    demo: Demo, command: CommandLine, process: CommandLine
) -> None:
    """A process of its own starts it, which the server outlives."""
    shown = command("server", "status", demo.server)
    assert shown.returncode == 0, shown.stderr
    state, url, psql = shown.stdout.splitlines()
    assert state == f"running on {demo.server}"
    assert psql.startswith("psql: ")
    assert psql.split(": ", 1)[1] in demo.first.stdout

    stop = demo.first.stdout.splitlines()[-1].strip()
    assert stop.endswith(f"vestige-migrate server stop {demo.server}")
    stopped = command(*shlex.split(stop)[1:])
    assert (stopped.returncode, stopped.stdout) == (0, f"stopped {demo.server}\n")
    gone = command("server", "status", demo.server)
    assert (gone.returncode, gone.stdout) == (1, f"no server runs on {demo.server}\n")
    again = command("server", "stop", demo.server)
    assert (again.returncode, again.stdout) == (0, f"no server runs on {demo.server}\n")

    started = process("migrate", "server", "start", demo.server, script="vestige")
    assert started.returncode == 0, started.stderr
    assert started.stdout == shown.stdout
    with psycopg.connect(url.split(":", 1)[1].strip()) as connection:
        assert connection.execute("SELECT count(*) FROM knowledge_nodes").fetchone() == (1000,)


def test_a_copy_into_the_bundled_server_says_how_to_connect(demo: Demo, command: CommandLine) -> None:
    sample = demo.directory / "sample.db"
    done = command("copy", "--sqlite-path", sample, "--postgres-url", f"embedded:{demo.server}", "--dry-run")
    assert done.returncode == 0, done.stderr
    server = embedded.status(demo.server)
    assert server is not None
    assert f"the bundled PostgreSQL runs on {demo.server} and stays running; connect with: {server.psql}" in done.stderr


def test_a_folder_that_cannot_be_made_is_refused(command: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command("demo", "--dir", tmp_path / "file" / "demo")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [f"error: --dir {tmp_path / 'file' / 'demo'} cannot be made: Not a directory"]


@pytest.mark.parametrize("arguments", [("stop",), ("status",)], ids=str)
def test_a_server_that_was_never_there(arguments: tuple[str, ...], command: CommandLine, tmp_path: Path) -> None:
    done = command("server", *arguments, VESTIGE_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == (1 if arguments == ("status",) else 0)
    assert done.stdout == f"no server runs on {tmp_path / 'data' / 'postgres'}\n"
    assert not (tmp_path / "data").exists()


def test_a_data_directory_takes_no_sample(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("18\n")
    error = refusal("demo", "--dir", tmp_path)
    assert error.exit_code == 2
    assert "is the data directory of a server" in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["PG_VERSION"]
