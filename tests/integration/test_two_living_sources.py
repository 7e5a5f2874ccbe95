"""Two files that were one, each living on and copied by itself: a copy of one takes nothing from the other.

LIVING_EXAMPLES=300 python -m pytest -n 2 tests/integration/test_two_living_sources.py    # to look for more
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import psycopg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from psycopg import sql

from tests.support.living_file import LivingFile
from tests.support.sources import SourceSpec
from vestige_migrate import Indexes, MigrationReport, OnConflict, SqliteToPostgresPlan, run_sqlite_to_postgres
from vestige_migrate.plan import Deletions

EXAMPLES = int(os.environ.get("LIVING_EXAMPLES", "5"))
SPEC = SourceSpec(memories=3, schedules=3, edges=2, events=2, dimension=8)
TABLES = (
    "users", "groups", "group_memberships", "domains", "knowledge_nodes", "scheduling", "edges", "review_events",
    "embedding_model", "vestige_run", "vestige_run_batch", "vestige_run_error", "deletion_tombstones",
)  # fmt: skip

pick = st.integers(0, 30)
sides = st.sampled_from([0, 1])


class TwoSources(RuleBasedStateMachine):
    """`brought` is what a copy of each file found in it last: rows by their names, by table."""

    url: str
    folder: Path

    @initialize()
    def begin(self) -> None:
        for name in self.folder.glob("*.db*"):
            name.unlink()
        one = LivingFile(self.folder / "one.db", SPEC)
        shutil.copyfile(one.path, self.folder / "two.db")
        # Its clock is a year ahead: what it brings has other ids.
        two = LivingFile.existing(self.folder / "two.db", is_plain=True, minutes=1_000_000)
        self.files = (one, two)
        self.brought: list[dict[str, set[str]]] = [{}, {}]
        self.postgres = psycopg.connect(self.url, autocommit=True)
        found = [name for name in TABLES if self.here("SELECT to_regclass(%s)", name) != [(None,)]]
        if found:
            self.postgres.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, found))))
        self.run(0)

    def here(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = self.postgres.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    def memory(self, side: int, which: int) -> str:
        ids = self.files[side].memories()
        return ids[which % len(ids)]

    @rule(side=sides, like=pick)
    def remember(self, side: int, like: int) -> None:
        self.files[side].remember(self.memory(side, like))

    @rule(side=sides, one=pick, other=pick)
    def link(self, side: int, one: int, other: int) -> None:
        source, target = self.memory(side, one), self.memory(side, other)
        if source != target:
            self.files[side].link(source, target)

    @rule(side=sides, which=pick)
    def unlink(self, side: int, which: int) -> None:
        if edges := self.files[side].linked():
            self.files[side].unlink(*edges[which % len(edges)])

    @rule(side=sides, which=pick, kind=st.sampled_from(["causal", "temporal"]))
    def retype(self, side: int, which: int, kind: str) -> None:
        if edges := self.files[side].linked():
            self.files[side].retype(*edges[which % len(edges)], kind)

    @rule(side=sides, label=st.sampled_from(["x", "y", "z"]))
    def name_domain(self, side: int, label: str) -> None:
        self.files[side].name_domain(label)

    @rule(side=sides, which=pick)
    def drop_domain(self, side: int, which: int) -> None:
        ids = [id_ for (id_,) in self.files[side].ask("SELECT id FROM domains ORDER BY id")]
        if ids:
            self.files[side].write(("DELETE FROM domains WHERE id = ?", (ids[which % len(ids)],)))

    @rule(side=sides, which=pick, share=st.sampled_from([0.25, 0.5, 0.75]))
    def decay(self, side: int, which: int, share: float) -> None:
        self.files[side].decay(self.memory(side, which), share)

    @rule(side=sides)
    def run_a_copy(self, side: int) -> None:
        self.run(side)

    def run(self, side: int) -> None:
        values = self.values()
        wrote = {name: self.wrote(name, 1 - side) for name in ("edges", "domains", "scheduling")}
        report = self.copy(side)
        assert report.errors == []
        self.brought[side] = self.names(side)
        there = {name: set(rows) for name, rows in self.values().items()}
        for brought in self.brought:
            for name, rows in brought.items():
                assert rows <= there[name], (name, rows - there[name])
        # What the other one's copy wrote is as it was, and named where this one has it otherwise.
        now, named = self.values(), {(row.table, row.id) for row in report.kept}
        for name, ids in wrote.items():
            for id_ in ids & values[name].keys():
                assert now[name][id_] == values[name][id_], (name, id_)
        mine = self.values_in(side)
        for name, found in mine.items():
            for id_, value in found.items():
                assert now[name][id_] == value or (name, id_) in named, (name, id_, now[name][id_], value)

    def copy(self, side: int) -> MigrationReport:
        plan = SqliteToPostgresPlan(
            self.files[side].path,
            self.url,
            workers=1,
            indexes=Indexes.NONE,
            on_conflict=OnConflict.NEWER,
            deletions=Deletions.APPLY,
        )
        return run_sqlite_to_postgres(plan)

    def names(self, side: int) -> dict[str, set[str]]:
        file = self.files[side]
        return {
            "knowledge_nodes": set(file.memories()),
            "edges": {f"{source} -> {target}" for source, target in file.linked()},
            "domains": {id_ for (id_,) in file.ask("SELECT id FROM domains")},
            "scheduling": {id_ for (id_,) in file.ask("SELECT memory_id FROM scheduling")},
        }

    def values(self) -> dict[str, dict[str, Any]]:
        """What the rules change, in the destination, by the row's name."""
        if self.here("SELECT to_regclass('edges')") == [(None,)]:
            return {"knowledge_nodes": {}, "edges": {}, "domains": {}, "scheduling": {}}
        return {
            "knowledge_nodes": dict(self.here("SELECT id::text, content FROM knowledge_nodes")),
            "edges": dict(self.here("SELECT source_id || ' -> ' || target_id, edge_type FROM edges")),
            "domains": dict(self.here("SELECT id, label FROM domains")),
            "scheduling": dict(self.here("SELECT memory_id::text, retrievability FROM scheduling")),
        }

    def values_in(self, side: int) -> dict[str, dict[str, Any]]:
        """The same in a file."""
        ask = self.files[side].ask
        return {
            "edges": dict(ask("SELECT source_id || ' -> ' || target_id, edge_type FROM edges")),
            "domains": dict(ask("SELECT id, label FROM domains")),
            "scheduling": dict(ask("SELECT memory_id, retrievability FROM scheduling")),
        }

    def wrote(self, name: str, side: int) -> set[str]:
        """The rows that copies of that file wrote, as they are now."""
        if self.here("SELECT to_regclass('vestige_run')") == [(None,)]:
            return set()
        key = {"edges": "source_id || ' -> ' || target_id", "domains": "id", "scheduling": "memory_id::text"}[name]
        written = (
            f"SELECT {key} FROM {name} AS t WHERE EXISTS (SELECT FROM vestige_run_batch AS b JOIN vestige_run AS r"
            " ON r.id = b.run_id WHERE b.row_xmin = t.xmin::text::bigint AND b.table_name = %s AND %s = ANY(r.sources))"
        )
        return {id_ for (id_,) in self.here(written, name, str(self.files[side].path))}

    def teardown(self) -> None:
        if hasattr(self, "postgres"):
            self.postgres.close()


def test_a_copy_of_one_takes_nothing_from_the_other(database: str, tmp_path: Path) -> None:
    run_state_machine_as_test(
        type("TwoSources", (TwoSources,), {"url": database, "folder": tmp_path}),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink) if "LIVING_EXAMPLES" in os.environ else (Phase.generate,),
        ),
    )
