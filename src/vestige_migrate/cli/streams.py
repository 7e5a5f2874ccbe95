"""Standard streams that are closed, whose reader is gone, or that know only ASCII: none of that may end a copy."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import IO, Any, cast

from rich.console import Console
from rich.text import Text

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
"""In the order of their descriptors."""


class SteadyConsole(Console):
    """A console that falls silent where the reader of its stream is gone (rich's own ends the process with 1).

    On standard error it falls silent where that cannot be written at all (a full disk): what it says is no result.
    """

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(file=cast(IO[str], _Steady(sys.stderr)) if stderr else None)

    def on_broken_pipe(self) -> None:
        silence(self.file)

    def print_line(self, line: str) -> None:
        """As `print_line` does."""
        print_line(self, line)


def print_line(console: Console, line: str) -> None:
    """One line, whatever the width, with nothing in it taken for markup."""
    console.print(Text(line), soft_wrap=True)


class _Steady:
    """A stream whose failures end nothing."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            silence(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            silence(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard() -> None:
    """Makes the three streams usable.

    A stream that the caller closed (`>&-`) is opened on the null device, so that no database file or socket takes
    its descriptor. A character that the terminal's encoding lacks is written as an escape.
    """
    for name, mode in _STREAMS:
        if getattr(sys, name) is None:
            # The system gives out the lowest free descriptor, which is the stream's own; workers inherit it.
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)
            setattr(sys, name, os.fdopen(null, mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silence(stream: IO[str]) -> None:
    """Sends what is still written to the stream to the null device."""
    with suppress(OSError, ValueError):
        silence_descriptor(stream.fileno())


def silence_descriptor(descriptor: int, inheritable: bool = True) -> None:
    """The same for an open file."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor, inheritable=inheritable)
        os.close(null)


def flush() -> OSError | None:
    """Flushes both outputs, which are silent afterwards where that fails; the failure of standard output, if any.

    A reader that is gone is no failure: it had what it wanted.
    """
    failure: OSError | None = None
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except BrokenPipeError:
            silence(stream)
        except OSError as error:
            silence(stream)
            failure = error if stream is sys.stdout else None
    return failure
