"""Is it all there? Source and destination compared, row by row and bit by bit.

    coordinator ── Range ──▶ worker: reads the range, encodes it as the copy would, asks for the digests of its rows
        ▲                            by key, and looks closer only where one differs
        └── BatchCompared, NeighboursFound ── workers

What the copy would write for a row is what the destination must hold: the encoder of the copy itself says it, with
every rule for bad rows. A row that is missing is one that PostgreSQL would take; the rest is named as not copied.
"""
