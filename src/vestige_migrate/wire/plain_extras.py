"""Columns without a place in the destination as the members of a JSON object, a whole chunk of them at once.

The result is what `wire.metadata_extras` writes for the same row, or None where a value is not plain, and the rows in
question go to that. SQLite's own JSON functions would be no cheaper and no help: what they make of a real number
differs from version to version, and jsonb keeps every digit of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import itemgetter

from vestige_migrate.wire.column import CACHED_CHARS, CACHED_VALUES, SEPARATOR

_encode = json.JSONEncoder(ensure_ascii=False).encode
_ESCAPED = b'"\\' + bytes(set(range(0x20)) - set(SEPARATOR))
"""What JSON does not let stand in a string as it is, but for the separator, which is counted."""
_FEW = 64
"""So many new values in a chunk are no reason to take a column for one of many values."""

ABSENT = b""
Members = bytes | Sequence[bytes]
"""`,"name":value` of every row, `ABSENT` where it is NULL; alone where it is the same in all rows."""


class ExtraColumn:
    """One column, and the members of it that are known already; `is_text`: its type makes texts of numbers."""

    def __init__(self, name: str, is_text: bool) -> None:
        """Raises UnicodeEncodeError where the name is no UTF-8."""
        self._prefix = f",{_encode(name)}:".encode()
        self._plain_kinds = ({bytes},) if is_text else ({int}, {float}, {int, float})
        self._known: dict[type, dict[object, bytes]] = {kind: {None: ABSENT} for kind in (bytes, int, float)}
        self._is_varied = False

    def __call__(self, values: Sequence[object]) -> Members | None:
        """The members of a chunk's rows; None where a value is not plain."""
        kinds = set(map(type, values))
        has_null = type(None) in kinds
        kinds.discard(type(None))
        if not kinds:
            return ABSENT
        if kinds not in self._plain_kinds:
            return None
        # 1 and 1.0 are the same key of a dictionary, and not the same JSON.
        known = self._known[kinds.pop()] if len(kinds) == 1 else None
        if known is None or self._is_varied:
            return self._write(values, has_null)
        if not has_null and values.count(values[0]) == len(values) and values[0] in known:
            return known[values[0]]
        try:
            return list(map(known.__getitem__, values))
        except KeyError:
            pass
        return self._learn(known, values, has_null)

    def _learn(self, known: dict[object, bytes], values: Sequence[object], has_null: bool) -> Members | None:
        new = [value for value in dict.fromkeys(values) if value not in known]
        if len(new) > max(_FEW, len(values) // 4):
            self._is_varied = True
            return self._write(values, has_null)
        members = self._write(new, False)
        if members is None:
            return None
        if len(known) + len(new) > CACHED_VALUES:
            known.clear()
            known[None] = ABSENT
            return self._write(values, has_null)
        known.update(zip(new, members, strict=True))
        found = list(map(known.__getitem__, values))
        for value in new:
            if isinstance(value, bytes) and len(value) > CACHED_CHARS:
                del known[value]
        return found

    def _write(self, values: Sequence[object], has_null: bool) -> list[bytes] | None:
        present = [value for value in values if value is not None] if has_null else values
        members = self._texts(present) if isinstance(present[0], bytes) else self._numbers(present)
        if members is None or not has_null:
            return members
        following = iter(members)
        return [ABSENT if value is None else next(following) for value in values]

    def _numbers(self, values: Sequence[object]) -> list[bytes] | None:
        written = repr(list(values))[1:-1]
        if "n" in written:  # inf, nan: no JSON
            return None
        return self._behind_prefix(written.encode().replace(b", ", SEPARATOR), self._prefix, b"")

    def _texts(self, values: Sequence[object]) -> list[bytes] | None:
        joined = SEPARATOR.join(values)  # type: ignore[arg-type]  # texts all
        if b"\0" in joined:
            return None
        try:
            text = joined.decode()
        except UnicodeDecodeError:
            return None
        if joined.count(SEPARATOR) == len(values) - 1 and len(joined.translate(None, _ESCAPED)) == len(joined):
            return self._behind_prefix(joined, self._prefix + b'"', b'"')
        parts = text.split(SEPARATOR.decode())
        if len(parts) != len(values):
            parts = [value.decode() for value in values]  # type: ignore[attr-defined]
        return [self._prefix + _encode(part).encode() for part in parts]

    def _behind_prefix(self, joined: bytes, before: bytes, after: bytes) -> list[bytes]:
        between = after + SEPARATOR + before
        return (before + joined.replace(SEPARATOR, between) + after).split(SEPARATOR)


def join_members(columns: Iterable[Members], count: int) -> list[bytes]:
    """The members of each row one after the other, each behind a comma."""
    pieces: list[Iterable[bytes]] = []
    same = b""
    for members in columns:
        if isinstance(members, bytes):
            same += members
            continue
        if same:
            pieces.append(repeat(same, count))
            same = b""
        pieces.append(members)
    if same or not pieces:
        pieces.append(repeat(same, count))
    return list(map(b"".join, zip(*pieces, strict=True)))


def may_be_merged(objects: Sequence[bytes]) -> bool:
    """Whether members can be added to these texts, each of which begins like an object, as they stand."""
    joined = SEPARATOR.join(objects)
    if b'"sqlite"' in joined or b"\\u" in joined:
        return False
    # What ends otherwise is no JSON, and must not become any by losing its end.
    return set(map(itemgetter(-1), objects)) == {ord("}")}


def merge_members(objects: Iterable[bytes], members: Sequence[bytes]) -> list[bytes]:
    """The texts of `may_be_merged` with the members of each row under the key `sqlite`."""
    return [_merged(own, found) if found else own for own, found in zip(objects, members, strict=True)]


def _merged(own: bytes, members: bytes) -> bytes:
    if own == b"{}":
        return b'{"sqlite":{%b}}' % members[1:]
    head = own[:-1]
    comma = b"," if head[1:].strip() else b""
    return b'%b%b"sqlite":{%b}}' % (head, comma, members[1:])
