"""docs/versions.md says what the program does, version by version."""

from __future__ import annotations

import re

from tests.support.versions_page import PAGE, every_version, page
from tests.support.vestige_schemas import EVERY_VERSION
from vestige_migrate.source.layout.lineage import OLDEST_UPGRADABLE, READABLE_VERSION
from vestige_migrate.source.layout.models import LEGACY_PROFILE
from vestige_migrate.source.read.counts import CACHES
from vestige_migrate.tables.scheduling import NODE_COLUMNS


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    """Where this fails: python -m tests.support.versions_page"""
    text = PAGE.read_text(encoding="utf-8")
    made = re.findall(r"<!-- made: (\w+) -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert {name for name, _ in made} == {"treatments", "marks", "places", "columns", "left"}
    assert all(table.count("\n") > 3 for _, table in made)
    assert page(text) == text


def test_every_version_is_asked_about() -> None:
    names = [name for name, _ in every_version()]
    assert len(names) == len(set(names)) == len(EVERY_VERSION) + 1


def test_every_table_of_every_version_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    tables = {table for _, layout in every_version() for table in layout.tables}
    unnamed = {table for table in tables if f"`{table}`" not in text}
    assert {table for table in unnamed if not table.startswith(("sqlite_", "knowledge_fts_"))} == set()


def test_every_column_of_a_memory_in_every_version_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    columns = {column for _, layout in every_version() for column in layout.tables["knowledge_nodes"]}
    copied_as_they_are = {"id", "content", "node_type", "tags", "created_at", "updated_at", "embedding"}
    named_in_the_prose = set(NODE_COLUMNS.values())
    assert {name for name in columns - copied_as_they_are - named_in_the_prose if f"`{name}`" not in text} == set()
    assert all(name in text for name in named_in_the_prose)


def test_the_prose_names_what_the_code_has() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"`{LEGACY_PROFILE}`" in text
    assert f"Below V{OLDEST_UPGRADABLE} an upgrade would skip" in text
    assert f"sets the version to {READABLE_VERSION} in `schema_version`" in text
    assert all(f"`{table}` (a cache: not in the archive)" in text for table in CACHES)
