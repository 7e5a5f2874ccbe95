"""JSON objects with one key twice. jsonb keeps the last value of it, so the others must not go without a word.

To parse every object for that costs 1 to 4 us each, which 100,000 memories would notice. So numpy looks at all keys of
many objects at once, by their length and a few of their bytes: objects whose keys all differ by that have none twice
for certain (under 0.1 us a key), and only the others are parsed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vestige_migrate.decode.json import repeats_a_key

_QUOTE, _COLON, _BACKSLASH = map(ord, '":\\')
_SPACE = ord(" ")
"""No byte below it but the ones of white space may stand behind a quote."""
_LOOK_BITS = 40
_LONGEST = 0xFF

_Bytes = NDArray[np.uint8]
_Positions = NDArray[np.int64]


def any_repeats_a_key(joined: bytes, separator: bytes) -> bool:
    """Whether one of the JSON objects, which are joined by a control character, has a key twice.

    What is no JSON does not count: PostgreSQL refuses it.
    """
    if b":" not in joined:
        return False
    chars = np.frombuffer(joined + separator, dtype=np.uint8)
    ends = np.flatnonzero(chars == separator[0])
    doubtful = _in_doubt(chars, ends, b"\\" in joined)
    return any(_is_repeating(joined[ends[at - 1] + 1 if at else 0 : ends[at]]) for at in doubtful)


def _in_doubt(chars: _Bytes, text_ends: _Positions, with_escapes: bool) -> list[int]:
    """The texts that may have a key twice.

    A key begins behind the quote before the one that it ends with. A string that begins with a colon is taken for a
    key, too: that adds a doubt, and takes none away.
    """
    quotes = np.flatnonzero(chars == _QUOTE)
    following = chars[quotes + 1]
    at = np.flatnonzero(following == _COLON)
    at = at[1:] if len(at) and not at[0] else at
    starts, key_ends = quotes[at - 1] + 1, quotes[at]
    looks = _looks(chars, starts, key_ends)
    counts = np.diff(np.searchsorted(key_ends, text_ends), prepend=0)
    looks |= np.repeat(np.arange(len(text_ends), dtype=np.int64) << _LOOK_BITS, counts)
    looks.sort()
    found = set((looks[1:][looks[1:] == looks[:-1]] >> _LOOK_BITS).tolist())
    odd = [quotes[(following <= _SPACE) & (following != chars[-1])]]  # a colon may follow behind the white space
    if with_escapes:
        escapes = np.flatnonzero(chars == _BACKSLASH)
        odd.append(escapes[chars[escapes + 1] == _QUOTE])  # no end of a string, or a backslash at its end
        behind = np.searchsorted(key_ends, escapes)
        within = behind < len(key_ends)
        odd.append(escapes[within][starts[behind[within]] <= escapes[within]])  # a key that may read like another
    places = np.concatenate(odd)
    if len(places):
        found.update(np.searchsorted(text_ends, places).tolist())
    return sorted(found)


def _looks(chars: _Bytes, starts: _Positions, ends: _Positions) -> NDArray[np.int64]:
    """What tells most keys apart: the length, the first byte, one of the middle, and the last two."""
    looks: NDArray[np.int64] = np.minimum(ends - starts, _LONGEST)
    for place in (starts, (starts + ends) >> 1, np.maximum(ends - 2, starts - 1), ends - 1):
        looks = looks << 8 | chars[place]
    return looks


def _is_repeating(text: bytes) -> bool:
    try:
        return repeats_a_key(text.decode())
    except UnicodeDecodeError:
        return False
