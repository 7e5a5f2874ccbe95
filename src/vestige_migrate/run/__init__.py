"""One run: a coordinator, a pool of writer processes, and what they tell each other.

    coordinator ── Range ──▶ worker 1 ── COPY ──▶ PostgreSQL
        ▲   │  └── Range ──▶ worker N ── COPY ──▶ PostgreSQL
        │   └── advisory lock, schema, registry, indexes ──▶ PostgreSQL
        └── ErrorsFound, BatchDone, RangeDone, RangeFault ── workers

What crosses a process is small, frozen and picklable; rows, connections and files never do.
"""
