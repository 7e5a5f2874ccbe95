"""How workers are run: what a pool asks of whatever runs them.

Here they are processes of this machine (`process_engine.py`). Whoever can start a worker, take an order to it, bring
its messages and end it can stand in for that: a test, for one, that decides what a worker says and when it dies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from vestige_migrate.workers.job import WorkerConfig
from vestige_migrate.workers.messages import Message, Ping, Sign, Task


class NotStarted(Exception):
    """A worker could not be started; the message says why, and what to do."""


class WorkerHandle(Protocol):
    """One worker, for the pool. A worker that has ended says no more once `receive` has raised."""

    @property
    def pid(self) -> int:
        """Its process on this machine."""

    def is_alive(self) -> bool: ...

    def send(self, order: Task | Ping | None) -> None:
        """Gives it something to do; None: to end. Does nothing where it is gone: its end is told by `Engine.wait`."""

    def has_message(self) -> bool: ...

    def receive(self) -> Message | Sign:
        """Its next message. Raises EOFError where it is gone."""

    def join(self, seconds: float) -> None:
        """Waits for its end, at most so long."""

    def kill(self) -> None:
        """Ends it at once, whatever it is doing."""

    def let_go(self, seconds: float) -> None:
        """Waits for the end of one that was killed, at most so long; nobody waits for it afterwards."""

    def close(self) -> None:
        """Nothing more is said in either direction."""

    def ending(self) -> str:
        """How it ended, after "the worker"."""


class Waitable(Protocol):
    """Something besides the workers that may want attention: a connection."""

    def fileno(self) -> int: ...


@dataclass(frozen=True)
class Ready:
    """Who has something: a message (or the end of all messages), an end, or, of the others, anything at all."""

    speaking: Collection[WorkerHandle]
    ended: Collection[WorkerHandle]
    others: Collection[Waitable]


class Engine(Protocol):
    """Starts workers, and waits for the first of them that has something."""

    def start(self, config: WorkerConfig, count: int) -> Iterator[WorkerHandle]:
        """Workers, one by one as they are started. Raises `NotStarted` at the first one that cannot be."""

    def wait(self, workers: Sequence[WorkerHandle], others: Sequence[Waitable], seconds: float) -> Ready:
        """Waits until one of them has something, at most so long."""
