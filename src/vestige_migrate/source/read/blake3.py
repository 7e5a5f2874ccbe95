"""BLAKE3 of short inputs: the hash by which newer files name what was deleted. Nothing of Python's own computes it.

https://github.com/BLAKE3-team/BLAKE3-specs, sections 2.1 to 2.5, for an input of one chunk.
"""

from __future__ import annotations

import struct

MOST_BYTES = 1024
"""One chunk."""

_IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_COLUMNS_THEN_DIAGONALS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip
_ROUNDS = 7
_BLOCK_BYTES = 64
_CHUNK_START, _CHUNK_END, _ROOT = 1, 2, 8
_WORD = 0xFFFFFFFF


def blake3(data: bytes) -> bytes:
    """The 32 bytes of the hash. Raises ValueError for more than `MOST_BYTES` bytes."""
    if len(data) > MOST_BYTES:
        raise ValueError(f"{len(data)} bytes are more than one chunk of BLAKE3")
    blocks = [data[at : at + _BLOCK_BYTES] for at in range(0, len(data), _BLOCK_BYTES)] or [b""]
    chaining = list(_IV)
    for at, block in enumerate(blocks):
        flags = (_CHUNK_START if at == 0 else 0) | (_CHUNK_END | _ROOT if at == len(blocks) - 1 else 0)
        words = list(struct.unpack("<16I", block.ljust(_BLOCK_BYTES, b"\0")))
        chaining = _compress(chaining, words, len(block), flags)
    return struct.pack("<8I", *chaining)


def _compress(chaining: list[int], words: list[int], length: int, flags: int) -> list[int]:
    state = [*chaining, *_IV[:4], 0, 0, length, flags]
    for _ in range(_ROUNDS):
        for at, places in enumerate(_COLUMNS_THEN_DIAGONALS):
            _mix(state, *places, words[2 * at], words[2 * at + 1])
        words = [words[at] for at in _ORDER]
    return [state[at] ^ state[at + 8] for at in range(8)]


def _mix(state: list[int], a: int, b: int, c: int, d: int, first: int, second: int) -> None:
    for word, far, near in ((first, 16, 12), (second, 8, 7)):
        state[a] = (state[a] + state[b] + word) & _WORD
        state[d] = _rotated(state[d] ^ state[a], far)
        state[c] = (state[c] + state[d]) & _WORD
        state[b] = _rotated(state[b] ^ state[c], near)


def _rotated(word: int, bits: int) -> int:
    return (word >> bits | word << (32 - bits)) & _WORD
