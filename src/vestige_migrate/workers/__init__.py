"""A pool of worker processes that deal with ranges of a source, whatever is to be done with them.

    WorkerPool ── Task ──▶ worker 1 ── its two connections
        ▲  └───── Task ──▶ worker N ── its two connections
        └── JobMessage, RangeDone, RangeFault ── workers

What the workers do is a `Job` (`job.py`): to copy, to compare. The pool starts and feeds them, watches them, replaces
those that die, tries their ranges again, and finds the row that kills whoever touches it. How a worker is run is an
`Engine` (`engine.py`): processes, here.

What crosses a process is small, frozen and picklable; rows, connections and files never do.
"""
