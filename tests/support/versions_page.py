"""The tables of docs/versions.md, made by asking the program what it does with the schema of every version.

    python -m tests.support.versions_page      writes them into the page; test_versions_page.py fails where they differ

Nothing here knows a version: lines, treatments, places and leftovers are what `source/` and `tables/` answer for the
schemas of vestige_schemas.py.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path

from tests.support.vestige_schemas import EVERY_VERSION, create_plain_v15, create_schema
from vestige_migrate.source.layout.inspect import inspect_source
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.lineage import PLAN, REGISTRY, RELEASED, Marks, treatment
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.layout.vectors import VECTOR_TABLES, vector_places
from vestige_migrate.source.read.counts import CACHES, leftover_tables
from vestige_migrate.tables import TABLES

PAGE = Path(__file__).parents[2] / "docs" / "versions.md"
_BLOCK = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_OWN_COLUMNS = ("codebase", "owner_user_id", "visibility", "shared_with_groups", "domains", "domain_scores", "metadata")

Named = tuple[str, Layout]
"""A version's name, and what a file of it holds."""


def every_version() -> list[Named]:
    """The layouts of all versions, oldest first within each line; the plain form of plan V15 last."""
    found = []
    for line, version in EVERY_VERSION:
        with closing(sqlite3.connect(":memory:")) as connection:
            create_schema(connection, line, version)
            layout = inspect_source(connection, Path("vestige.db"))
        found.append((f"{layout.lineage} V{version}", layout))
    with closing(sqlite3.connect(":memory:")) as connection:
        create_plain_v15(connection)
        found.append(("plan V15, plain tables", inspect_source(connection, Path("vestige.db"))))
    return found


def page(text: str) -> str:
    """The page with its tables made anew."""
    versions = every_version()
    blocks: dict[str, Callable[[list[Named]], list[str]]] = {
        "treatments": _treatments,
        "marks": lambda _: _marks(),
        "places": _places,
        "columns": _columns,
        "left": _left,
    }
    return _BLOCK.sub(lambda found: found[1] + "\n".join(blocks[found[2]](versions)) + "\n" + found[3], text)


def _grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _spans(versions: Sequence[Named], key: Callable[[Layout], object]) -> list[tuple[str, Layout]]:
    """Neighbouring versions of one line for which `key` is the same, as one name."""
    found = []
    for _, group in groupby(versions, lambda item: (item[0].split()[0], item[1].version, "plain" in item[0])[::2]):
        for _, same in groupby(group, lambda item: key(item[1])):
            members = list(same)
            first, last = members[0][0], members[-1][0]
            found.append((first if first == last else f"{first} to V{members[-1][1].version}", members[0][1]))
    return found


def _treatments(versions: list[Named]) -> list[str]:
    rows = [
        [name, f"`{layout.lineage}`", treatment(layout.lineage, layout.version).value]
        for name, layout in _spans(versions, lambda it: treatment(it.lineage, it.version))
    ]
    return _grid(["version", "`lineage` in the report", "copied"], rows)


def _marks() -> list[str]:
    def row(line: str, version: str, marks: Marks) -> list[str]:
        return [line, version, _code(sorted(marks.tables)), _code(sorted(marks.columns))]

    rows = [row("released", f"V{version}", marks) for version, marks in RELEASED.items()]
    rows += [row("plan", f"V{version}", marks) for version, marks in PLAN.items()]
    rows.append(row("plan, where none of the released line's is there", "V14", REGISTRY))
    return _grid(["line", "from", "tables", "columns of `knowledge_nodes`"], rows)


def _sources(layout: Layout) -> dict[str, TableSource]:
    return {name: found for name, table in TABLES.items() if (found := table.source_in(layout))}


def _place(layout: Layout) -> list[str]:
    """Where each thing is read from: cells of a row."""
    sources = _sources(layout)

    def base(name: str) -> str:
        return f"`{sources[name].base}`" if name in sources else "–"

    nodes, columns = sources["knowledge_nodes"], TABLES["knowledge_nodes"].column_names
    own = [name for name in _OWN_COLUMNS if nodes.values[columns.index(name)] is not None]
    people = [name for name in ("users", "groups", "group_memberships") if name in sources]
    vectors = " else ".join(
        "`knowledge_nodes.embedding`" if name == "knowledge_nodes" else f"`{name}`" for name in vector_places(layout)
    )
    schedule = "columns of `knowledge_nodes`" if base("scheduling") == "`knowledge_nodes`" else base("scheduling")
    return [
        vectors,
        schedule,
        base("edges"),
        base("review_events"),
        base("domains"),
        _code(people) if people else "–",
        _code(own) if own else "–",
    ]


def _places(versions: list[Named]) -> list[str]:
    spans = _spans(versions, lambda it: (treatment(it.lineage, it.version), _place(it)))
    headings = ["version", "vectors", "schedule", "edges", "review events", "domains", "people", "own columns for"]
    return _grid(headings, [[name, *_place(layout)] for name, layout in spans])


def _since(versions: list[Named], names: Callable[[Layout], Sequence[str]]) -> dict[str, list[str]]:
    """Each name with the versions that have it: `released V14 to V35`."""
    every = sorted({name for _, layout in versions for name in names(layout)})

    def has(name: str) -> Callable[[Layout], bool]:
        return lambda layout: name in names(layout)

    return {name: [span for span, layout in _spans(versions, has(name)) if name in names(layout)] for name in every}


def _grouped(found: dict[str, list[str]]) -> list[list[str]]:
    """Names with the same versions in one row, in the order in which they appear in the file's history."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, spans in found.items():
        rows.setdefault(tuple(spans), []).append(name)
    ordered = sorted(rows.items(), key=lambda row: (_first(row[0][0]), row[0]))
    return [["; ".join(spans), _code(names)] for spans, names in ordered]


def _first(span: str) -> tuple[int, int]:
    line, version = span.replace(",", "").split()[:2]
    return ("shared", "plan", "released").index(line), int(version[1:])


def _columns(versions: list[Named]) -> list[str]:
    found = _since(versions, lambda layout: _sources(layout)["knowledge_nodes"].extras)
    return _grid(["versions", "columns of `knowledge_nodes`"], _grouped(found))


def _left(versions: list[Named]) -> list[str]:
    def names(layout: Layout) -> list[str]:
        used = {source.base for source in _sources(layout).values()}
        return [name for name in leftover_tables(layout, used) if name not in VECTOR_TABLES]

    rows = [
        [spans, tables.replace("`vector_journal`", "`vector_journal` (a cache: not in the archive)")]
        for spans, tables in _grouped(_since(versions, names))
    ]
    assert set(CACHES) == {"vector_journal"}
    return _grid(["versions", "tables"], rows)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
