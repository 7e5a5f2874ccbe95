"""BLAKE3 against hashes of its authors' own implementation."""

from __future__ import annotations

import pytest

from vestige_migrate.source.read.blake3 import MOST_BYTES, blake3

# https://github.com/BLAKE3-team/BLAKE3/blob/master/test_vectors/test_vectors.json: the input's bytes count 0, 1, ...
# 250, and again; the first 32 bytes of "hash".
VECTORS = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    63: "e9bc37a594daad83be9470df7f7b3798297c3d834ce80ba85d6e207627b7db7b",
    64: "4eed7141ea4a5cd4b788606bd23f46e212af9cacebacdc7d1f4c6dc7f2511b98",
    65: "de1e5fa0be70df6d2be8fffd0e99ceaa8eb6e8c93a63f2d8d1c30ecb6b263dee",
    1023: "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
}


@pytest.mark.parametrize("length", VECTORS)
def test_the_vectors_of_its_authors(length: int) -> None:
    assert blake3(bytes(at % 251 for at in range(length))).hex() == VECTORS[length]


def test_more_than_a_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="1025 bytes"):
        blake3(bytes(MOST_BYTES + 1))
