"""Workers as processes of this machine.

`multiprocess.Pool` hangs for ever when a worker is killed (the task is simply gone), so each worker has a pipe and a
sentinel of its own here, and one `wait` watches them all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from multiprocess.connection import wait

from vestige_migrate.workers import channel, processes, worker_process
from vestige_migrate.workers.engine import Ready, Waitable, WorkerHandle
from vestige_migrate.workers.job import WorkerConfig
from vestige_migrate.workers.messages import Message, Ping, Sign, Task


class WorkerProcess:
    """A worker process and the pipe to it."""

    def __init__(self, process: Any, pipe: Any) -> None:
        self.process = process
        self.pipe = pipe

    @property
    def pid(self) -> int:
        """Its process id."""
        pid: int = self.process.pid
        return pid

    def is_alive(self) -> bool:
        """Whether it runs."""
        return bool(self.process.is_alive())

    def send(self, order: Task | Ping | None) -> None:
        """Gives it something to do; None: to end."""
        with suppress(BrokenPipeError, ConnectionResetError):  # its sentinel tells next
            channel.send(self.pipe, order)

    def has_message(self) -> bool:
        """Whether `receive` would have something at once."""
        try:
            return bool(self.pipe.poll())
        except (OSError, EOFError):
            return False

    def receive(self) -> Message | Sign:
        """Its next message. Raises EOFError where it is gone, in the middle of a message too."""
        message: Message | Sign = channel.receive(self.pipe)
        return message

    def join(self, seconds: float) -> None:
        """Waits for its end, at most so long."""
        self.process.join(seconds)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def let_go(self, seconds: float) -> None:
        """Waits for the end of one that was killed, at most so long."""
        processes.let_go(self.process, seconds)

    def close(self) -> None:
        """Closes our end of the pipe."""
        self.pipe.close()

    def ending(self) -> str:
        """How it ended, after "the worker"."""
        code = self.process.exitcode
        why = processes.why_ended(self.process) if code else None
        if why is not None:
            return f"ended: {why}"
        if code is not None and code < 0:
            return f"was killed by signal {-code}"
        if code is None or code == processes.UNKNOWN_CODE:
            return "ended, and nobody knows how"
        return f"ended with exit code {code}"


class ProcessEngine:
    """Starts worker processes from the fork server."""

    def __init__(self) -> None:
        self._context = processes.context()

    def start(self, config: WorkerConfig, count: int) -> Iterator[WorkerHandle]:
        """Worker processes, one by one as they are started. Raises `NotStarted`."""
        with processes.starting():
            for _ in range(count):
                yield self._start(config)

    def _start(self, config: WorkerConfig) -> WorkerProcess:
        ours, theirs = processes.pipe(self._context)
        process = self._context.Process(
            target=worker_process.main, args=(theirs, config), name="vestige-migrate worker", daemon=True
        )
        try:
            processes.start(process)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return WorkerProcess(process, ours)

    def wait(self, workers: Sequence[WorkerHandle], others: Sequence[Waitable], seconds: float) -> Ready:
        """Waits until a pipe, a sentinel or one of the others is ready."""
        ours = [each for each in workers if isinstance(each, WorkerProcess)]
        # On Windows `wait` takes no socket of libpq's: there the loss of a session shows at the barrier.
        others = () if sys.platform == "win32" else others
        watched = [thing for each in ours for thing in (each.pipe, each.process.sentinel)]
        ready = wait([*watched, *others], timeout=seconds)
        return Ready(
            speaking=[each for each in ours if each.pipe in ready],
            ended=[each for each in ours if each.process.sentinel in ready],
            others=[each for each in others if each in ready],
        )
