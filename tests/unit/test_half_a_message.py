"""A worker that is killed in the middle of a message is a lost worker like any other."""

from __future__ import annotations

import os
import pickle
import struct

from multiprocess import Pipe

from vestige_migrate.run.backlog import Backlog
from vestige_migrate.run.messages import ErrorsFound
from vestige_migrate.run.pool import WriterPool, _Worker
from vestige_migrate.run.standstill import Vigil
from vestige_migrate.source.ranges import Range


def test_half_a_message_is_a_lost_worker() -> None:
    ours, theirs = Pipe()
    range_ = Range("edges", 0)
    whole = pickle.dumps(ErrorsFound(range_, ()))
    os.write(theirs.fileno(), struct.pack("!i", len(whole) + 100_000) + whole)
    theirs.close()
    buried: list[object] = []
    pool = WriterPool.__new__(WriterPool)
    pool._bury = lambda item, backlog, handle: buried.append(item)  # type: ignore[method-assign]
    worker = _Worker(None, ours, Vigil(0.0, 0.0), range_)
    pool._receive(worker, Backlog([], 1), lambda message: None)
    assert buried == [worker]
