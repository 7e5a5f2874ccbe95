"""One JSON key twice: found among many objects at once, wherever it stands and however it is written."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.wire.repeats import any_repeats_a_key

SEPARATOR = b"\x1e"
# Few of them, so that two are often the same; and all that has a meaning in JSON.
CHARS = ["a", "b", ":", '"', "\\", " ", "é", "{", ",", "}"]


class Writer:
    """Writes random JSON, with white space and escapes wherever they may be."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def object(self, depth: int = 0) -> str:
        space = self._space
        pairs = (
            f"{space()}{self._string()}{space()}:{space()}{self._value(depth)}"
            for _ in range(self._chance.randint(0, 3))
        )
        return f"{{{space()}{','.join(pairs)}}}"

    def _space(self) -> str:
        return self._chance.choice(("", "", "", " ", "\n\t"))

    def _string(self) -> str:
        return f'"{"".join(map(self._char, self._chance.choices(CHARS, k=self._chance.randint(0, 3))))}"'

    def _char(self, char: str) -> str:
        return f"\\u{ord(char):04x}" if self._chance.random() < 0.1 else json.dumps(char, ensure_ascii=False)[1:-1]

    def _value(self, depth: int) -> str:
        kind = self._chance.random()
        if depth > 2 or kind < 0.5:
            return self._chance.choice((self._string(), "1", "null", "-1.5e3"))
        if kind < 0.7:
            return f"[{','.join(self._value(depth + 1) for _ in range(self._chance.randint(0, 2)))}]"
        return self.object(depth + 1)


def repeats(text: str) -> bool:
    found: list[bool] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.append(len({key for key, _ in pairs}) < len(pairs))
        return dict(pairs)

    json.loads(text, object_pairs_hook=note)
    return any(found)


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_random_objects_are_judged_as_a_parser_would(seed: int, count: int) -> None:
    writer = Writer(seed)
    texts = [writer.object() for _ in range(count)]
    assert any_repeats_a_key(SEPARATOR.join(text.encode() for text in texts), SEPARATOR) == any(map(repeats, texts))


def neighbours(odd: str) -> Iterator[list[str]]:
    plain = '{"first": 1, "second": {"first": 2}}'
    yield from ([odd], [odd, plain], [plain, odd], [plain, odd, plain])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"first": 1, "first": 1}', True),
        (f'{{"{"k" * 300}": 1, "{"k" * 300}": 2}}', True),
        (f'{{"{"k" * 300}": 1, "{"k" * 299}": 2}}', False),
        ('{"cluster-1": 1, "cluster-2": 2, "clustra-1": 3}', False),
        ('{"a": [{"b": 1}, {"b": 2, "c": {"d": 1, "\\u0064": 2}}]}', True),
        ('{"a": "a", "b": "\\"a\\": 1", "c": ":"}', False),
        ("{}", False),
        ('{"no json": 1, "no json": ', False),
        (":", False),
    ],
)
def test_whatever_stands_beside_it(text: str, expected: bool) -> None:
    for texts in neighbours(text):
        assert any_repeats_a_key(SEPARATOR.join(item.encode() for item in texts), SEPARATOR) == expected


def test_what_is_no_utf8_is_left_to_others() -> None:
    assert not any_repeats_a_key(b'{"a": "\xff", "a": 1}', SEPARATOR)
