"""The copy: one run moves what one or several files hold into one destination.

coordinator ── Range ──▶ worker 1 ── COPY ──▶ PostgreSQL
    ▲   │  └── Range ──▶ worker N ── COPY ──▶ PostgreSQL
    │   └── advisory lock, schema, registry, indexes ──▶ PostgreSQL
    └── ErrorsFound, BatchDone, RangeDone, RangeFault ── workers
"""
