"""What the server says of a row and what is computed here are one: digests, sums of keys, jsonb's spelling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Copier
from tests.unit.test_canonical_json import OBJECTS
from vestige_migrate.destination.connection.connect import connect
from vestige_migrate.tables import TABLES
from vestige_migrate.verify.expected_digests import Digester
from vestige_migrate.verify.keys import key_sum
from vestige_migrate.verify.row_digests import TableComparer, count_and_sum, read_keys
from vestige_migrate.wire import field
from vestige_migrate.wire.canonical import jsonb_text

NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(OBJECTS, st.lists(NUMBERS, max_size=5), st.booleans()), min_size=1, max_size=40))
def test_jsonb_writes_what_we_say_it_writes(
    server_url: str, drawn: list[tuple[dict[str, Any], list[str], bool]]
) -> None:
    texts = [
        f'{{"numbers":[{",".join(numbers)}],"value":{json.dumps(value, ensure_ascii=plain)},"value":'
        f"{json.dumps(value, ensure_ascii=not plain)}}}"
        for value, numbers, plain in drawn
    ]
    with psycopg.connect(server_url) as connection:
        rows = connection.execute("SELECT t::jsonb::text FROM unnest(%s::text[]) WITH ORDINALITY AS u(t, at)"
                                  " ORDER BY at", (texts,)).fetchall()  # fmt: skip
    assert [jsonb_text(text) for text in texts] == [written for (written,) in rows]


@pytest.mark.holds("a copy")
def test_every_row_of_every_table_has_our_digest_and_key_sum(source: Path, copy: Copier) -> None:
    with connect(copy.database, "test") as connection:
        for table in TABLES.values():
            comparer = TableComparer(connection, table, table.column_names)
            names = ", ".join(table.column_names)
            rows: list[tuple[bytes, ...]] = []
            with connection.cursor().copy(f"COPY {table.name} ({names}) TO STDOUT (FORMAT BINARY)") as copied:
                stream = b"".join(map(bytes, copied))
            at = 19  # signature, flags, extension
            while stream[at : at + 2] != b"\xff\xff":
                at += 2
                fields = []
                for _ in table.columns:
                    size = max(0, int.from_bytes(stream[at : at + 4], "big", signed=True))
                    fields.append(stream[at : at + 4 + size])
                    at += 4 + size
                rows.append(tuple(fields))
            assert rows
            columns = list(zip(*rows, strict=True))
            keys = [columns[table.index(name)] for name in table.key]
            digester = Digester(comparer.type_oids())
            assert b"".join(digester.rows(columns)) == comparer.row_digests(keys)
            assert [[digester.value(place, value) for place, value in enumerate(row)] for row in rows] == (
                comparer.column_digests(keys)
            )
            assert count_and_sum(connection, table) == (len(rows), key_sum(table.key_types, keys))
            parts = 1 if table.key_types[0] == "text" else 3
            read = [key for part in range(parts) for key in read_keys(connection, table, part, parts)]
            assert sorted(read) == sorted(tuple(value[4:] for value in key) for key in zip(*keys, strict=True))


def test_json_past_the_limit_of_a_message_is_not_sent(
    source: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server closes the connection on a message of 1 GiB (`python -m tests.fuzz --huge` sends one)."""
    copy(source)
    monkeypatch.setattr("vestige_migrate.verify.row_digests.LARGEST_MESSAGE_BYTES", 30)
    with connect(copy.database, "test") as connection:
        ids = connection.execute("UPDATE users SET metadata = '{}' RETURNING id").fetchall()
        keys = [[field.uuid(id_) for (id_,) in ids[:3]]]
        comparer = TableComparer(connection, TABLES["users"], ("id", "metadata"))
        values = [field.jsonb("{}"), field.jsonb(f'{{"a": "{"x" * 50}"}}'), field.jsonb("{ }")]
        assert comparer.equal_json("metadata", keys, values) == [True, False, True]


@pytest.mark.holds("a copy")
def test_an_absent_row_has_no_digest(source: Path, copy: Copier) -> None:
    with connect(copy.database, "test") as connection:
        comparer = TableComparer(connection, TABLES["scheduling"], TABLES["scheduling"].column_names)
        assert comparer.row_digests([[field.with_length(bytes(16))]]) == bytes(16)
        assert comparer.row_digests([[]]) == b""
