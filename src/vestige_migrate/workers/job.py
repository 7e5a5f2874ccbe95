"""What a pool of workers is there for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from vestige_migrate.destination.connection.server_identity import Home
from vestige_migrate.source.sqlite.connect import SourceFile
from vestige_migrate.workers.messages import Message, Sign

if TYPE_CHECKING:
    from vestige_migrate.workers.worker import RangeWorker

Send = Callable[[Message | Sign], None]


class Job(ABC):
    """What is done with each range, and the words for it. Pickled: every worker gets it when it starts.

    A job's module is loaded by the coordinator too, and that of a copy does without NumPy: what needs it is imported
    in `make_worker`.
    """

    done: ClassVar[str]
    """After "a range cannot be" and after "whenever it": a verb whose participle and past tense are one (copied)."""
    after_stop: ClassVar[str]
    """What an operator is told at the end of each message that stops the run, without a full stop."""

    @abstractmethod
    def make_worker(self, config: WorkerConfig, send: Send) -> RangeWorker:
        """The worker's side, made in its process. `send` takes its messages to the coordinator."""


@dataclass(frozen=True)
class WorkerConfig:
    """All a worker needs to know; sent once, when it starts."""

    source: SourceFile
    postgres_url: str = field(repr=False)
    application_name: str
    answer_timeout: float
    job: Job
    home: Home | None = None
    """Where its sessions have to be; None: wherever the URL leads."""
