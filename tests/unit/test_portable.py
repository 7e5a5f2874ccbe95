"""Portable archives made into SQLite files: every value exact, what is odd copied, named by row, or refused."""

from __future__ import annotations

import io
import json
import os
import random
import sqlite3
import stat
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.portable_archives import Document, cell
from vestige_migrate.errors import SourceUnusable
from vestige_migrate.source.file.salvage import LostRow
from vestige_migrate.source.portable import archive as portable
from vestige_migrate.source.portable.archive import is_json, unpacked
from vestige_migrate.source.portable.json_stream import JsonReader
from vestige_migrate.source.portable.rows import RowReader, TableWriter

VALUES = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary()
)
SECRET = "content that no message may hold"


def archive(*tables: Document, **more: object) -> Document:
    """A small one, of V20; `None` takes a member away."""
    nodes: Document = {"name": "knowledge_nodes", "columns": ["id", "content"], "rows": [[cell("a"), cell(SECRET)]]}
    members: Document = {
        "archiveFormat": "vestige.portable.v1",
        "vestigeVersion": "3.0.0",
        "schemaVersion": 20,
        "exportedAt": "2026-09-29T06:00:00Z",
        "mode": "exact",
        "tables": [nodes, *tables],
        **more,
    }
    return {name: value for name, value in members.items() if value is not None}


def table(rows: object, name: object = "insights", columns: object = ("id", "content")) -> Document:
    return {"name": name, "columns": columns, "rows": rows}


def read(path: Path, name: str) -> tuple[list[Any], tuple[LostRow, ...]]:
    """The rows of a table after an archive was unpacked, and what could not be read."""
    with unpacked(path) as found, closing(sqlite3.connect(found.file)) as connection:
        return connection.execute(f'SELECT * FROM "{name}" ORDER BY rowid').fetchall(), found.lost


@given(st.lists(st.lists(VALUES, min_size=2, max_size=2), max_size=30), st.integers(4, 300), st.sampled_from([None, 2]))
def test_every_cell_comes_over_exactly_wherever_the_file_is_cut_into_parts(
    rows: list[list[Any]], chunk: int, indent: int | None
) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        text = json.dumps([[cell(value) for value in row] for row in rows], indent=indent, ensure_ascii=chunk % 2 == 0)
        reader = JsonReader(io.BytesIO(text.encode("utf-8", "surrogatepass")), chunk)
        source, writer = RowReader("insights", ("id", "x")), TableWriter(connection, "insights", ("id", "x"))
        for number, _ in enumerate(reader.items(), 1):
            values = source.read(reader, number)
            assert values is not None
            writer.add(values, len(text))  # each row is written by itself
        writer.finish()
        connection.text_factory = bytes
        found = connection.execute("SELECT id, typeof(id), x, typeof(x) FROM insights ORDER BY rowid").fetchall()
    assert [[(row[0], row[1]), (row[2], row[3])] for row in found] == [
        [_stored(value) for value in row] for row in rows
    ]


def _stored(value: Any) -> tuple[Any, bytes]:
    match value:
        case None:
            return None, b"null"
        case str():
            return value.encode("utf-8", "surrogatepass"), b"text"
        case bytes():
            return value, b"blob"
        case int():
            return value, b"integer"
    return value, b"real"


@given(st.text("0123456789abcdefABCDEF", max_size=20), st.text(max_size=3))
def test_hex_digits_in_either_case_are_a_blob_and_nothing_else_is(digits: str, more: str) -> None:
    row = f'[{{"type": "blob", "value": {json.dumps(digits + more)}}}]'
    source = RowReader("insights", ("x",))
    values = source.read(JsonReader(io.BytesIO(row.encode())), 1)
    if len(digits + more) % 2 or set(more) - set("0123456789abcdefABCDEF"):
        assert values is None
        assert source.lost[0].reason.startswith("column x: its blob has")
    else:
        assert values == [bytes.fromhex(digits + more)]


BAD_CELLS: list[tuple[object, str]] = [
    ({"type": "integer", "value": 2**63}, "has more than 64 bits"),
    ({"type": "integer", "value": 1.0}, "its integer is none"),
    ({"type": "integer", "value": True}, "its integer is none"),
    ({"type": "integer", "value": "5"}, "its integer is none"),
    ({"type": "real", "value": None}, "its real is infinite"),
    ({"type": "real", "value": "1"}, "its real is none"),
    ({"type": "real", "value": 10**400}, "its real is too large"),
    ({"type": "text", "value": None}, "its text is none"),
    ({"type": "text", "value": {"type": "null"}}, "one of its cells is none"),
    ({"type": "text"}, "other members"),
    ({"type": "blob", "value": 5}, "no text of hex digits"),
    ({"type": "blob", "value": "ab c"}, "no hex digit"),
    ({"type": "date", "value": SECRET}, "its type is none of"),
    ({"type": "null", "value": 5}, "its type is none of"),
    ({"kind": "text", "value": SECRET}, "other members"),
    ({"type": "text", "value": SECRET, "more": 1}, "other members"),
    (SECRET, "one of its cells is none"),
    (None, "one of its cells is none"),
]


def test_a_row_with_a_cell_that_is_none_is_named_by_its_number_and_the_others_are_there(tmp_path: Path) -> None:
    good = [[cell(f"{at}"), cell(SECRET)] for at in range(3)]
    bad = [[cell("x"), wrong] for wrong, _ in BAD_CELLS]
    counts = [[], [cell(1)], [cell(1), cell(2), cell(3)], SECRET, {"type": "text", "value": SECRET}, None]
    path = tmp_path / "archive"
    path.write_text(json.dumps(archive(table([*good, *bad, *counts, *good[:1]]))))
    rows, lost = read(path, "insights")
    assert rows == [("0", SECRET), ("1", SECRET), ("2", SECRET), ("0", SECRET)]
    assert [row.rowid for row in lost] == list(range(4, 4 + len(bad) + len(counts)))
    for row, (_, said) in zip(lost, BAD_CELLS, strict=False):
        assert said in row.reason
    assert all(SECRET not in row.reason for row in lost)
    assert lost[-6].reason == "it has 0 cells for 2 columns"


def test_a_memory_without_one_of_its_values_is_there_and_a_vector_without_one_is_lost(tmp_path: Path) -> None:
    bad = {"type": "real", "value": None}
    nodes = table([[cell("a"), cell("x"), bad], [bad, cell("y"), cell(1.5)]], "knowledge_nodes", ["id", "content", "s"])
    vectors = table([[cell("a"), {"type": "blob", "value": "abc"}]], "node_embeddings", ["node_id", "embedding"])
    path = tmp_path / "archive"
    path.write_text(json.dumps(archive(tables=[nodes, vectors])))
    rows, lost = read(path, "knowledge_nodes")
    assert rows == [("a", "x", None)]
    assert [(row.table, row.rowid, row.column, dict(row.known)) for row in lost] == [
        ("knowledge_nodes", 1, "s", {"id": "a"}),
        ("knowledge_nodes", 2, None, {}),
        ("node_embeddings", 1, None, {"node_id": "a"}),
    ]


def _shuffled(document: Any, order: random.Random) -> Any:
    """The same with its members in another order."""
    if isinstance(document, dict):
        members = list(document.items())
        order.shuffle(members)
        return {name: _shuffled(value, order) for name, value in members}
    return [_shuffled(value, order) for value in document] if isinstance(document, list) else document


@pytest.mark.parametrize("seed", range(12))
def test_members_come_in_any_order_with_others_among_them(tmp_path: Path, seed: int) -> None:
    order = random.Random(seed)
    rows = [[cell(f"{at}"), cell("é")] for at in range(40)]
    content = archive({**table(rows), "note": [1, {"deep": []}]}, table([], "x y", ["a"]), owner={"name": ["me"]})
    path = tmp_path / "archive"
    text = json.dumps(_shuffled(content, order), ensure_ascii=False, indent=order.choice([None, 1]))
    path.write_bytes(order.choice(["\n \t", ""]).encode() + text.encode("utf-8-sig" if seed % 3 == 0 else "utf-8"))
    if seed % 3 == 0:
        path.write_bytes(text.encode(order.choice(["utf-8-sig", "utf-16", "utf-32"])))
    assert is_json(path)
    found, lost = read(path, "insights")
    assert (found, lost) == ([(f"{at}", "é") for at in range(40)], ())
    assert read(path, "x y") == ([], ())


def test_rows_of_one_key_are_all_there_and_a_number_that_is_none_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    twice = [[cell("a"), cell(at)] for at in range(3)] + [[cell("\ud800"), cell(3)]] * 2
    numbers = [[cell(5), cell("x")], [cell(None), cell("y")], [cell("7"), cell("z")]]
    path.write_text(json.dumps(archive(table(twice), table(numbers, "dream_history"))))
    with unpacked(path) as found, closing(sqlite3.connect(found.file)) as connection:
        ids = connection.execute("SELECT hex(id), content FROM insights ORDER BY rowid").fetchall()
        assert ids == [("61", 0), ("61", 1), ("61", 2), ("EDA080", 3), ("EDA080", 3)]
        found_numbers = connection.execute("SELECT id, content FROM dream_history ORDER BY rowid").fetchall()
        assert found_numbers == [(5, "x"), (None, "y"), ("7", "z")]
        assert connection.execute("PRAGMA user_version").fetchone() == (20,)
        assert stat.S_IMODE(found.file.stat().st_mode) == 0o600
        assert stat.S_IMODE(found.file.parent.stat().st_mode) == 0o700
    assert not found.file.parent.exists()


def _text(change: Callable[[str], str]) -> Callable[[], bytes]:
    return lambda: change(json.dumps(archive())).encode()


def _json(*tables: Document, **more: object) -> Callable[[], bytes]:
    return lambda: json.dumps(archive(*tables, **more)).encode()


REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("another format", _json(archiveFormat="vestige.portable.v2"), r"another format \(vestige.portable.v2\)"),
    ("a format that is none", _json(archiveFormat=SECRET), "another format, and this program reads vestige.portable"),
    ("no format", _json(archiveFormat=None), "JSON without archiveFormat"),
    ("another mode", _json(mode="merge"), r"another mode \(merge\)"),
    ("no mode", _json(mode=None), "has no mode"),
    ("no version", _json(schemaVersion=None), "has no schemaVersion"),
    ("a version that is none", _json(schemaVersion="39"), "schemaVersion is no version"),
    ("a version beyond all", _json(schemaVersion=2**40), "schemaVersion is no version"),
    ("no tables", _json(tables=None), "has no tables"),
    ("tables that are none", _json(tables={"a": 1}), "is damaged at character"),
    ("no memories", _json(tables=[table([])]), "without the table knowledge_nodes"),
    ("memories without content", _json(tables=[table([], "Knowledge_Nodes", ["id"])]), "no id or no content"),
    ("a table twice", _json(table([]), table([], "Insights")), "has the table Insights twice"),
    ("a column twice", _json(table([], columns=["a", "A"])), "a table insights that SQLite does not take"),
    ("no columns", _json(table([], columns=[])), "the columns of its table 2"),
    ("columns that are none", _json(table([], columns=[1])), "the columns of its table 2"),
    ("a name that is none", _json(table([], name=None)), "the name of its table 2 is none"),
    ("a name of SQLite's", _json(table([], name="sqlite_x")), "the name of its table 2 is none"),
    ("a table without rows", _json({"name": "a", "columns": ["b"]}), "its table 2 has no name, columns or rows"),
    ("rows without columns", _json({"rows": [[]], "name": "a"}), "its table 2 has no name or columns"),
    ("a member twice", _text(lambda text: text.replace('"mode"', '"schemaVersion": 1, "mode"')), "one member twice"),
    ("cut short", _text(lambda text: text[: text.index("}, {") + 2]), "cut short: it ends, in row 1 of knowledge_nod"),
    ("cut at the end", _text(lambda text: text[:-1]), "cut short"),
    ("broken", _text(lambda text: text.replace('"content"]', '"content"]]')), "damaged at character"),
    ("two archives", _text(lambda text: text + text), "goes on after the end"),
    ("NULs after it", _text(lambda text: text + " " * 5000 + "\0"), "goes on after the end"),
    ("not a number", _text(lambda text: text.replace("20,", "NaN,")), "damaged at character"),
    ("other JSON", lambda: b'{"memories": [{"content": "x"}]}', "JSON without archiveFormat"),
    ("no JSON", lambda: b'{"memories": [{"content": ', "begins as JSON does and is none"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), [pytest.param(make, said, id=name) for name, make, said in REFUSED])
def test_what_is_no_whole_portable_archive_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], bytes], message: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = tmp_path / "archive.db"
    path.write_bytes(make())
    assert is_json(path)
    with pytest.raises(SourceUnusable, match=message) as caught, unpacked(path):
        pass
    assert str(caught.value).startswith(f"{path} ")
    assert SECRET not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_json_object_is_left_to_others(tmp_path: Path) -> None:
    for at, content in enumerate(
        [b"", b"   ", b"[1]", b"{" + os.urandom(5000), b'{"\0', b"{ x }", b"SQLite format 3\0"]
    ):
        (tmp_path / str(at)).write_bytes(content)
        assert not is_json(tmp_path / str(at))
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "nothing", ""):
        assert not is_json(tmp_path / name)


def test_a_file_that_is_written_to_meanwhile_and_a_full_disk_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "archive"
    path.write_text(json.dumps(archive()))
    index = portable._index

    def written_to(connection: sqlite3.Connection, names: dict[str, str]) -> None:
        index(connection, names)
        path.write_text(json.dumps(archive()) + " ")

    with monkeypatch.context() as during:
        during.setattr(portable, "_index", written_to)
        with pytest.raises(SourceUnusable, match="was written to while it was being read"), unpacked(path):
            pass

    def is_full(connection: sqlite3.Connection, names: dict[str, str]) -> None:
        connection.execute("PRAGMA max_page_count = 1")
        connection.execute("CREATE TABLE more AS SELECT zeroblob(1000000)")

    monkeypatch.setattr(portable, "_index", is_full)
    with pytest.raises(SourceUnusable, match=r"SQLITE_FULL.*: free space there, or set TMPDIR"), unpacked(path):
        pass
