"""Bounds on what is asked for and carried: of options, of batches, of a vector and a name in PostgreSQL."""

from __future__ import annotations

BATCH_BYTES = 8 * 1024 * 1024
"""A batch ends here even when it has fewer than `batch_size` rows, so that wide rows cannot exhaust memory."""

DEFAULT_BATCH_SIZE = 500
DEFAULT_CONNECTIONS = 4
DEFAULT_RETRIES = 5
DEFAULT_ANSWER_TIMEOUT_SECONDS = 30
MAX_DEFAULT_WORKERS = 8
MAX_WORKERS = 256
MAX_CONNECTIONS = 256
MAX_BATCH_SIZE = 1_000_000
MAX_RETRIES = 100
MAX_ANSWER_TIMEOUT_SECONDS = 3600
MAX_IDLE_SECONDS = 86_400
"""Past these a value is a slip of the hand: it would only cost processes, memory or days."""
MIN_IDLE_SECONDS = 1
MAX_DIMENSION = 16_000
"""pgvector's limit of a `vector` (https://github.com/pgvector/pgvector#vector-type)."""

MAX_SCHEMA_BYTES = 63
"""Of a name in PostgreSQL (https://www.postgresql.org/docs/current/limits.html)."""
MAX_LABEL_CHARS = 255
"""A codebase or handle given on the command line: both columns are indexed, so a bound has to be."""
