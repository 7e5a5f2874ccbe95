"""A program on a pseudo-terminal, and what a person then sees on the screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

_TOKEN = re.compile(r"\x1b\[\??[\d;]*[A-Za-z]|[\r\n]|.", re.DOTALL)
_UP = re.compile(r"\x1b\[(\d*)A$")
_ERASE_LINE = "\x1b[2K"
_INVISIBLE = re.compile(r"\x1b\[(\?25[lh]|[\d;]*m)$")
"""Cursor shown and hidden; colours."""

_ROWS = 50
_SECONDS = 60


@dataclass
class Screen:
    """A terminal that knows what a progress display needs, and refuses every other control character."""

    columns: int
    lines: list[list[str]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0

    def feed(self, text: str) -> None:
        """Writes the text. Raises AssertionError at a control sequence that has no place in it."""
        for token in _TOKEN.findall(text):
            up = _UP.match(token)
            if token == "\n":
                self._to_row(self.row + 1)
            elif token == "\r":
                self.column = 0
            elif up:
                self.row = max(0, self.row - int(up[1] or 1))
            elif token == _ERASE_LINE:
                self.lines[self.row] = []
            elif not _INVISIBLE.match(token):
                assert token.isprintable(), f"the program wrote {token!r} to the terminal"
                self._put(token)

    def _to_row(self, row: int) -> None:
        self.row = row
        while len(self.lines) <= row:
            self.lines.append([])

    def _put(self, char: str) -> None:
        if self.column == self.columns:  # the terminal wraps
            self._to_row(self.row + 1)
            self.column = 0
        line = self.lines[self.row]
        line += " " * (self.column + 1 - len(line))
        line[self.column] = char
        self.column += 1

    def text(self) -> list[str]:
        """The lines, without spaces at the end."""
        return ["".join(line).rstrip() for line in self.lines]


@dataclass(frozen=True)
class Shown:
    """What a program wrote to its terminal, and the code it ended with."""

    code: int
    raw: str
    columns: int

    def screen(self) -> list[str]:
        """The lines that a person sees at the end."""
        screen = Screen(self.columns)
        screen.feed(self.raw)
        return screen.text()


def run_on_terminal(
    command: list[str | Path], environment: dict[str, str], cwd: Path, columns: int, term: str = "xterm-256color"
) -> Shown:
    """Runs the command with its three streams on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
    kept = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**kept, "TERM": term}, cwd=cwd, start_new_session=True
    )
    os.close(theirs)
    found: list[bytes] = []
    reader = Thread(target=_read_all, args=(ours, found))
    reader.start()
    try:
        code = process.wait(_SECONDS)
    finally:
        process.kill()
        process.wait()
        reader.join(_SECONDS)
        os.close(ours)
    return Shown(code, b"".join(found).decode(), columns)


def _read_all(descriptor: int, found: list[bytes]) -> None:
    while True:
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            return
        if not data:
            return
        found.append(data)
