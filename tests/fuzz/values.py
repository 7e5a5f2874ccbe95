"""Hostile values for any column of a source, all from one seeded generator.

A value is what `sqlite3` binds, or `RawText`: text with any bytes in it, which has to be written as a cast BLOB.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MARKER = "quetzalcoatl"
"""Stands in every text and BLOB but those for keys: no message may quote it."""
KEY_MARKER = "huitzilopochtli"
"""The same for keys, which messages do quote."""

LONGEST_INDEXED = 2600


@dataclass(frozen=True)
class RawText:
    """A text of these bytes, valid UTF-8 or not."""

    stored: bytes


Hostile = str | bytes | int | float | None | RawText
Maker = Callable[[], Hostile]


def placeholder(value: Hostile) -> str:
    """How the value stands in a statement; its parameter is `bound(value)`."""
    return "CAST(? AS TEXT)" if isinstance(value, RawText) else "?"


def bound(value: Hostile) -> str | bytes | int | float | None:
    """The parameter."""
    return value.stored if isinstance(value, RawText) else value


def kind_of(column: str) -> str:
    """What a column is meant to hold, by its name."""
    if column == "id" or column.endswith("_id"):
        return "key"
    if column.endswith("_at") or column.startswith(("last_", "next_review", "valid_")):
        return "time"
    if column in {"tags", "domains", "shared_with_groups", "top_terms", "metadata", "domain_scores"}:
        return "json"
    if column in {"embedding", "centroid"}:
        return "vector"
    return "text" if column in {"content", "node_type", "visibility", "role", "handle", "codebase", "kind"} else "any"


class Values:
    """Draws values; `dimension` is what the file's vectors have, `ids` are ids that exist in it."""

    def __init__(self, chance: random.Random, dimension: int, ids: Sequence[str]) -> None:
        self._chance = chance
        self._dimension = dimension
        self._ids = ids
        self._makers: dict[str, Sequence[Maker]] = {
            "key": (self._spelt_id, self._spelt_id, self._no_id),
            "time": (self._time, self._epoch),
            "json": (self._json, self._json_shape, self._deep_json),
            "vector": (self._vector, self._blob),
            "text": (self._text, self._text, self._long_text, self._choice),
            "number": (self._number, self._number_text),
            "bytes": (self._blob, self._raw_text),
            "null": (lambda: None,),
        }

    def draw(self, kind: str) -> Hostile:
        """A value for a column of this kind: of its own kind as often as of any other."""
        chosen = kind if kind in self._makers and self._chance.random() < 0.5 else self._chance.choice([*self._makers])
        maker = self._chance.choice(self._makers[chosen])
        value = maker()
        return _marked_as_key(value) if kind == "key" else value

    def _spelt_id(self) -> Hostile:
        known = self._chance.choice(self._ids)
        plain = known.replace("-", "")
        return self._chance.choice((
            known, known.upper(), f"{{{known}}}", f"{{{known.upper()}}}", plain, f"{{{plain}}}", known.encode(),
            known.swapcase(), f"{plain[:8]}-{plain[8:]}", RawText(known.encode()),
        ))  # fmt: skip

    def _no_id(self) -> Hostile:
        known = self._chance.choice(self._ids)
        return self._chance.choice((
            None, "", f" {known}", f"{known}\n", f"{known}\0", f"urn:uuid:{known}", known[:-1], known + "0",
            bytes.fromhex(known.replace("-", "")), 0, -1, 2**63 - 1, 1.5, float("inf"), MARKER, "{" * 38,
            known.translate({ord("0") + at: 0xFF10 + at for at in range(10)}), RawText(known.encode()[:-2] + b"\xff"),
            "z" * 5000, f"{{{known}", "00000000-0000-0000-0000-000000000000", RawText(b"\xed\xa0\x80" * 12), "\u202e",
        ))  # fmt: skip

    def _time(self) -> Hostile:
        return self._chance.choice((
            "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
            "9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00Z", "+10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z",
            "2024-02-30T00:00:00Z", "2023-02-29 00:00:00", "2024-02-29 24:00:00", "2024-06-30T23:59:60Z",
            "2024-05-27T09:35:58.123456789+00:00", "2024-05-27T09:35:58.1234567891234+05:45", "2024-05-27T09:35:58,5Z",
            "2024-05-27", "20240527T093558Z", "2024-W22-1", "2024-148", "2024-05-27T09:35",
            "2024-05-27T09:35:58 +00:00",
            "２０２４-05-27T09:35:58Z", "2024-05-27\t09:35:58", "2024-05-27T09:35:58.Z", " 2024-05-27 09:35:58 ", "",
            "2024-05-27T09:35:58+25:00", "2024-05-27T09:35:58+00:00:01", f"{MARKER} yesterday", "now", "infinity",
            b"2024-05-27T09:35:58Z", b"\xff2024", "2024-05-27T09:35:58.000000001Z", "2024-05-27t09:35:58z",
            "2024-05-27T09:35:58−05:00", "1716800000", "1716800000.5", "1e400", "-1e400", "9" * 50, "9" * 5000, "+1",
        ))  # fmt: skip

    def _epoch(self) -> Hostile:
        return self._chance.choice((
            0, -1, 1, 1716800000, 1716800000123, 1716800000.123456, 9_999_999_999, 10_000_000_000, -62_135_596_800,
            -62_135_596_801, 253_402_300_799_999, 253_402_300_800_000, 2**63 - 1, -(2**63), 1e300, -1e300, 1e-300,
            float("inf"), float("-inf"), -0.0, 1716800000.9999999,
        ))  # fmt: skip

    def _json(self) -> Hostile:
        return self._chance.choice((
            "", " ", "null", "true", "[]", "{}", "[ ]", "{ }", "[", "{", "[]]", "{}{}", f'"{MARKER}"', f"{{{MARKER}}}",
            "NaN", "[NaN]", '{"x": Infinity}', '{"x": -Infinity}', f'["{MARKER}\\u0000"]', f'{{"{MARKER}\\u0000": 1}}',
            f'["{MARKER}", 1]', f'["{MARKER}", null]', f'[["{MARKER}"]]', f'{{"{MARKER}": "\\ud800"}}', '["\\udfff"]',
            '["\\ud83d\\ude00"]', '{"a": 1, "a": 2, "a": {"b": 1, "b": 2}}', '{"sqlite": 1}', '{"sqlite": {"x": []}}',
            '{"\\u0073qlite": "\\u0041"}', '{"sqlite": 1, "sqlite": 2}', '{"metadata.sqlite": 1}', f'["{MARKER}",]',
            '{"n": 123456789012345678901234567890}', '{"n": 1e400000}', '{"n": 1e-400000}', '{"n": 1.0000000000000001}',
            '{"n": -0}', '{"n": 01}', '{"n": +1}', '{"n": .5}', '{"n": 1e99999}', f'{{"n": {"9" * 5000}}}',
            f'{{"n": 0.{"3" * 20000}}}', "[\"'; DROP TABLE users; --\"]", f'["{MARKER}\x00"]', f'["{MARKER}\x01"]',
            '{"a":1}\n', '\ufeff{"a":1}', '[1e400000]', '{"": ""}', '[""]', '[" "]', f'["{"t" * LONGEST_INDEXED}"]',
            f'["{"t" * (LONGEST_INDEXED + 1)}"]', f'["{"語" * 900}"]', '["\u202eabc", "a\u200bb", "\u2066x\u2069"]',
            b"[]", b'{"a": 1}', b'{"a": "\xff"}', RawText(b'["\xff"]'), RawText(b'{"a": "\xed\xa0\x80"}'),
            RawText(b'["a\x00b"]'), '{"codebase": "x"}', '{"codebase": "\\u0000"}', f'{{"codebase": "{"c" * 3000}"}}',
            "{'a': 1}", '{"a": 1 /* c */}', '["\\q"]', '["\t"]', f'{{"{"k" * 70000}": 1}}', '{"\x1e": "\x1e"}', "\x1e",
            '{"a": 1}\x1e{"b": 2}', '["a", "a", "a"]', f'["{{{self._ids[0]}}}"]', f'["{self._ids[0].upper()}"]',
        ))  # fmt: skip

    def _json_shape(self) -> Hostile:
        """Valid JSON of a random shape."""
        return json.dumps(self._tree(4), ensure_ascii=self._chance.random() < 0.5)

    def _tree(self, depth: int) -> object:
        chance = self._chance
        if depth == 0 or chance.random() < 0.3:
            return chance.choice((None, True, 0, -1.5, 2**70, 1e-12, MARKER, "語", "\u200f", "a\\u0041", '"', "sqlite"))
        size = chance.randrange(4)
        if chance.random() < 0.5:
            return [self._tree(depth - 1) for _ in range(size)]
        return {chance.choice(("a", "b", "sqlite", "", "é")): self._tree(depth - 1) for _ in range(size)}

    def _deep_json(self) -> Hostile:
        depth = self._chance.choice((100, *range(798, 803), *range(900, 1001, 5), 5000, 20_000))
        closed = self._chance.choice((depth, depth, depth - 1))
        start, end = self._chance.choice((("[", "]"), ('{"a":', "}"), ('{"sqlite":', "}"), ('["\\u0041",', "]")))
        inner = self._chance.choice(("1", "[]", f'"{MARKER}"', '"\\u0073"', '"[[[["'))
        return f"{start * depth}{inner}{end * closed}"

    def _vector(self) -> Hostile:
        chance = self._chance
        size = chance.choice((self._dimension,) * 6 + (0, 1, self._dimension - 1, self._dimension + 1, 384, 16_001))
        numbers = [chance.uniform(-1, 1) for _ in range(size)]
        special = (float("nan"), float("inf"), float("-inf"), -0.0, 1e-45, 3.4e38, -3.4e38, 0.0)
        if numbers and chance.random() < 0.7:
            numbers[chance.randrange(size)] = chance.choice(special)
        if chance.random() < 0.1:
            numbers = [0.0] * size
        packed = struct.pack(f"<{size}f", *numbers)
        return packed + (b"\0" if chance.random() < 0.1 else b"")

    def _text(self) -> Hostile:
        return self._chance.choice((
            "", " ", "\0", f"{MARKER}\0", f"\0{MARKER}\0\0", f"\u202e{MARKER}\u202c \u2066שלום\u2069",
            "a\u200bb\u200d\ufeff",
            f"{MARKER} مرحبا \u061c", "👩‍👩‍👧‍👦🇦🇶", "e\u0301" * 50, "Z" + "\u0335" * 300, "\\x00 \\N \\. \\",
            f"{MARKER}\r\n\t\v\f",
            "\uffff\ufffe\U0010ffff", "\ud7ff\ue000", "NULL", "null", "%s %(x)s {} $1 :a ?", "'; DROP TABLE users; --",
            f'"{MARKER}"', "\x7f\x80\x9f\x1e\x1f", RawText(MARKER.encode() + b"\xff"),
            RawText(b"\xc0\x80" + MARKER.encode()), RawText(b"\xed\xa0\x80\xed\xb0\x80"), RawText(b"\xf4\x90\x80\x80"),
            RawText(b"\xe4\xbd"), RawText(b"\0\xff\0"), RawText(b"\xff" * 300), MARKER.encode(),
            b"\xff\xfe" + MARKER.encode(), b"", "1", "1.0", "1e5", "0x10", "-0",
        ))  # fmt: skip

    def _long_text(self) -> Hostile:
        size = self._chance.choice((256, 257, LONGEST_INDEXED, LONGEST_INDEXED + 1, 8192, 70_000))
        return self._chance.choice(("x", "語", f"{MARKER} ", "ab ", "\0", "a-b", "😀")) * size

    def _choice(self) -> Hostile:
        return self._chance.choice((
            "private", "group", "public", "PRIVATE", "private ", "secret", "member", "admin", "owner", "local", "fact",
        ))  # fmt: skip

    def _number(self) -> Hostile:
        return self._chance.choice((
            0, 1, -1, 2**15 - 1, 2**15, -(2**15), -(2**15) - 1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**53 + 1,
            2**63 - 1, -(2**63), 0.5, -0.0, 1.0, 2.5e10, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), 3.0000001,
        ))  # fmt: skip

    def _number_text(self) -> Hostile:
        return self._chance.choice((
            "9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "1e999", "NaN", "nan", "inf", "٣", "1_000",
            "0x7f", "3.5", " 7 ", f"7{MARKER}", "--1", "1,5", b"7", b"\x00\x01",
        ))  # fmt: skip

    def _blob(self) -> Hostile:
        chance = self._chance
        blobs = (b"", b"\0", chance.randbytes(chance.randrange(1, 200)), MARKER.encode() + b"\xff\0")
        return chance.choice(blobs)

    def _raw_text(self) -> Hostile:
        return RawText(self._chance.randbytes(self._chance.randrange(1, 60)))


def _marked_as_key(value: Hostile) -> Hostile:
    if isinstance(value, str):
        return value.replace(MARKER, KEY_MARKER)
    if isinstance(value, bytes):
        return value.replace(MARKER.encode(), KEY_MARKER.encode())
    if isinstance(value, RawText):
        return RawText(value.stored.replace(MARKER.encode(), KEY_MARKER.encode()))
    return value
