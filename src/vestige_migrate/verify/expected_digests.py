"""Digests of rows as the server takes them (`verify.row_digests`), from fields that are ready for COPY."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import chain, repeat

from vestige_migrate.verify.row_digests import DIGEST_BYTES, oid_prefix, record_prefix
from vestige_migrate.wire.batch import Fields


class Digester:
    """For rows whose columns have these types."""

    def __init__(self, type_oids: Sequence[int]) -> None:
        self._single = [record_prefix(1) + oid_prefix(oid) for oid in type_oids]
        self._prefixes = [oid_prefix(oid) for oid in type_oids]
        self._prefixes[0] = record_prefix(len(type_oids)) + self._prefixes[0]

    def rows(self, columns: Sequence[Fields]) -> list[bytes]:
        """One digest a row."""
        pairs = zip(map(repeat, self._prefixes), columns, strict=True)
        join = b"".join
        return [sha256(join(row)).digest()[:DIGEST_BYTES] for row in zip(*chain.from_iterable(pairs), strict=False)]

    def value(self, column: int, field: bytes) -> bytes:
        """The digest of one column of a row."""
        return sha256(self._single[column] + field).digest()[:DIGEST_BYTES]
