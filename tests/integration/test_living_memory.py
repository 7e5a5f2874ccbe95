"""A memory that lives on while it is copied, against a model: whatever happens in the source arrives, and whatever is
written in the destination later stays, or is named.

    LIVING_EXAMPLES=300 python -m pytest -n 2 tests/integration/test_living_memory.py    # to look for more
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from psycopg import sql

from tests.support.compare import assert_same
from tests.support.living_file import SCORES, LivingFile
from tests.support.sources import SourceSpec
from vestige_migrate import (
    Indexes,
    Interrupted,
    MigrationReport,
    SqliteToPostgresPlan,
    TooManyErrors,
    VerifyReport,
    run_sqlite_to_postgres,
    verify_several_to_postgres,
)
from vestige_migrate.report.verification import Kind

EXAMPLES = int(os.environ.get("LIVING_EXAMPLES", "5"))
STEPS = int(os.environ.get("LIVING_STEPS", "14"))
FORMS = {
    "plain": SourceSpec(memories=3, schedules=3, edges=2, events=2, dimension=8),
    "vestige": SourceSpec(form="vestige", memories=3, schedules=3, edges=2, events=2, dimension=8),
    "released": SourceSpec(line="released", version=35, form="vestige", memories=3, edges=2, dimension=8),
}
TABLES = (
    "users", "groups", "group_memberships", "domains", "knowledge_nodes", "scheduling", "edges", "review_events",
    "embedding_model", "vestige_run", "vestige_run_batch", "vestige_run_error", "deletion_tombstones",
)  # fmt: skip

pick = st.integers(0, 30)
"""Which of the memories or edges that there are."""
sizes = st.sampled_from([1000, 1, 2])
"""Rows of a batch."""


class LivingSource(RuleBasedStateMachine):
    """The source changes, and runs of the copy in between."""

    url: str
    folder: Path
    spec: SourceSpec

    @initialize()
    def begin(self) -> None:
        for name in self.folder.glob("vestige.db*"):
            name.unlink()
        self.file = LivingFile(self.folder / "vestige.db", self.spec)
        self.purged: set[str] = set()
        self.postgres = psycopg.connect(self.url, autocommit=True)
        found = [name for name in TABLES if self.here("SELECT to_regclass(%s)", name) != [(None,)]]
        if found:
            self.postgres.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, found))))
        self.copy()

    def here(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = self.postgres.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    def memory(self, which: int) -> str:
        ids = self.file.memories()
        return ids[which % len(ids)]

    def edge(self, which: int) -> tuple[str, str] | None:
        edges = self.file.linked()
        return edges[which % len(edges)] if edges else None

    @rule(like=pick)
    def remember(self, like: int) -> None:
        self.file.remember(self.memory(like))

    @rule(which=pick)
    def edit(self, which: int) -> None:
        id_ = self.memory(which)
        self.file.edit(id_)
        self.on_edit(id_)

    def on_edit(self, id_: str) -> None:
        """The whole row of the source is later now."""

    @rule(which=pick)
    def recall(self, which: int) -> None:
        id_ = self.memory(which)
        self.file.recall(id_)
        self.on_recall(id_)

    def on_recall(self, id_: str) -> None:
        """The source's schedule is later now."""

    @rule(which=pick, share=st.sampled_from([0.25, 0.5, 0.75]))
    def decay(self, which: int, share: float) -> None:
        self.file.decay(self.memory(which), share)

    @rule(which=pick, like=pick)
    def embed_anew(self, which: int, like: int) -> None:
        self.file.embed_anew(self.memory(which), self.memory(like))

    @rule(which=pick, domains=st.sampled_from(sorted(SCORES)))
    def assign_domains(self, which: int, domains: str) -> None:
        self.file.assign(self.memory(which), domains)

    @rule(which=pick, times=st.integers(0, 3))
    def suppress(self, which: int, times: int) -> None:
        self.file.suppress(self.memory(which), times)

    @rule(label=st.sampled_from(["x", "y", "z"]))
    def name_domain(self, label: str) -> None:
        self.file.name_domain(label)

    @rule(one=pick, other=pick)
    def link(self, one: int, other: int) -> None:
        source, target = self.memory(one), self.memory(other)
        if source != target:
            self.file.link(source, target)

    @rule(which=pick)
    def unlink(self, which: int) -> None:
        if edge := self.edge(which):
            self.file.unlink(*edge)

    @rule(which=pick, kind=st.sampled_from(["causal", "temporal"]))
    def retype(self, which: int, kind: str) -> None:
        if edge := self.edge(which):
            self.file.retype(*edge, kind)

    @precondition(lambda self: len(self.file.memories()) > 1)
    @rule(which=pick)
    def forget(self, which: int) -> None:
        id_ = self.memory(which)
        self.file.take_away(id_, tombstone=True)
        self.on_forget(id_)

    def on_forget(self, id_: str) -> None:
        """The source has it no more, and says since when."""

    @precondition(lambda self: len(self.file.memories()) > 1)
    @rule(which=pick)
    def purge(self, which: int) -> None:
        id_ = self.memory(which)
        self.file.take_away(id_, tombstone=False)
        self.purged.add(id_)

    # Runs of the copy.

    def plan(self, **options: Any) -> SqliteToPostgresPlan:
        usual: dict[str, Any] = {"workers": 1, "indexes": Indexes.NONE, "on_conflict": "newer", "deletions": "apply"}
        return SqliteToPostgresPlan(self.file.path, self.url, **{**usual, **options})

    def copy(self, **options: Any) -> MigrationReport:
        return run_sqlite_to_postgres(self.plan(**options))

    def verify(self) -> VerifyReport:
        return verify_several_to_postgres([self.plan()])

    def after_a_run(self) -> None:
        """Whatever is to be there after any run, a stopped one too."""

    @rule(batch_size=sizes)
    def run(self, batch_size: int) -> None:
        report = self.copy(batch_size=batch_size)
        assert report.errors == []
        self.after_a_run()
        self.after_a_whole_run(report)

    def after_a_whole_run(self, report: MigrationReport) -> None:
        """All that was changed in the source has been brought, where it is to be."""

    @rule(batch_size=sizes)
    def say_first_what_a_run_would_do(self, batch_size: int) -> None:
        said = self.copy(dry_run=True, batch_size=batch_size)
        report = self.copy()
        for name, table in report.tables.items():
            assert (said.tables[name].inserted, said.tables[name].updated) == (table.inserted, table.updated), name
        assert sorted((row.table, row.id) for row in said.kept) == sorted((row.table, row.id) for row in report.kept)
        assert sorted(row.id for row in said.replaced_vectors) == sorted(row.id for row in report.replaced_vectors)
        assert said.deletions is not None
        assert report.deletions is not None
        assert sorted(said.deletions.to_delete) == sorted(report.deletions.deleted)
        assert said.deletions.not_in_source == report.deletions.not_in_source
        self.after_a_run()
        self.after_a_whole_run(report)

    @rule(after=st.integers(1, 12))
    def stop_in_the_middle(self, after: int) -> None:
        calls = iter(range(after))

        def interrupt(_: object) -> None:
            if next(calls, None) is None:
                raise KeyboardInterrupt

        with suppress(Interrupted):
            run_sqlite_to_postgres(self.plan(batch_size=1), on_progress=interrupt)
        self.after_a_run()

    @rule(which=pick)
    def stop_at_a_bad_row(self, which: int) -> None:
        """Its tags cannot be read for as long as the run takes, which ends at the first error."""
        id_ = self.memory(which)
        tags = self.file.tags(id_)
        self.file.set_tags(id_, "not JSON")
        with suppress(TooManyErrors):
            self.copy(max_errors=0, batch_size=1)
        self.file.set_tags(id_, tags)
        self.after_a_run()

    def teardown(self) -> None:
        if not hasattr(self, "postgres"):
            return
        with self.postgres:
            report = self.copy()
            assert report.errors == []
            self.after_a_run()
            self.check_the_end(report)

    def check_the_end(self, report: MigrationReport) -> None:
        assert report.kept == []
        assert report.deletions is not None
        assert set(report.deletions.not_in_source) <= self.purged
        self.postgres.execute("DELETE FROM knowledge_nodes WHERE id = ANY(%s::uuid[])", (list(self.purged),))
        assert_same(self.file.path, self.url)
        assert self.verify().same
        again = self.copy()
        assert again.nothing_new, again.as_json()


Place = tuple[str, str, str]
"""Table, id and column."""
_KEY = {
    "edges": "source_id || ' -> ' || target_id",
    "scheduling": "memory_id::text",
    "knowledge_nodes": "id::text",
    "domains": "id",
}
_HAVE_A_TIME = {("knowledge_nodes", "content"), ("scheduling", "stability")}
"""What the rules below change with a time: a row that is later by it stays without a word."""


class LivingOnBothSides(LivingSource):
    """Somebody writes to the destination meanwhile. `held` is what has to be there still."""

    @initialize()
    def begin(self) -> None:
        self.held: dict[Place, Any] = {}
        self.added: set[str] = set()
        self.edited: set[str] = set()
        """Memories whose row of the source is later and was not copied yet: what is written here without a time is
        written into a row that gives way, with its schedule."""
        self.recalled: set[str] = set()
        self.forgotten: set[str] = set()
        self.away: set[str] = set()
        """Memories that were deleted here."""
        super().begin()

    def after_a_whole_run(self, report: MigrationReport) -> None:
        self.edited.clear()
        self.recalled.clear()
        self.what_differs_is_named(report)

    def let_go(self, id_: str, *places: tuple[str, str]) -> None:
        """These columns of the memory need not stay; all of it and its edges where none are given."""
        self.held = {
            place: value
            for place, value in self.held.items()
            if id_ not in place[1] or (places and (place[0], place[2]) not in places)
        }

    def on_edit(self, id_: str) -> None:
        self.let_go(
            id_, ("knowledge_nodes", "content"), ("knowledge_nodes", "node_type"), ("scheduling", "retrievability")
        )
        self.edited.add(id_)

    def on_recall(self, id_: str) -> None:
        self.let_go(id_, ("scheduling", "stability"), ("scheduling", "retrievability"))
        self.recalled.add(id_)

    def on_forget(self, id_: str) -> None:
        self.let_go(id_)
        self.forgotten.add(id_)

    def memory_here(self, which: int) -> str:
        ids = [str(id_) for (id_,) in self.here("SELECT id FROM knowledge_nodes ORDER BY id")]
        return ids[which % len(ids)]

    def write_here(self, held: tuple[Place, Any] | None, statement: str, *parameters: Any) -> bool:
        done = self.postgres.execute(statement, parameters).rowcount > 0
        if done and held is not None:
            self.held[held[0]] = held[1]
        return done

    @rule(which=pick)
    def edit_here(self, which: int) -> None:
        id_, at = self.memory_here(which), self.file.now()
        held = ("knowledge_nodes", id_, "content"), f"edited here {at}"
        self.write_here(
            held, "UPDATE knowledge_nodes SET content = %s, updated_at = %s WHERE id = %s", held[1], at, id_
        )
        self.edited.discard(id_)

    @rule(which=pick, kind=st.sampled_from(["note", "task"]))
    def retype_here(self, which: int, kind: str) -> None:
        id_ = self.memory_here(which)
        stays = id_ not in self.edited | self.forgotten
        held = (("knowledge_nodes", id_, "node_type"), kind) if stays else None
        self.write_here(held, "UPDATE knowledge_nodes SET node_type = %s WHERE id = %s", kind, id_)

    @rule(which=pick)
    def recall_here(self, which: int) -> None:
        id_, at = self.memory_here(which), self.file.now()
        stability = float(self.file.now()[14:16]) + 0.5
        change = "UPDATE scheduling SET stability = %s, reps = reps + 1, last_review = %s WHERE memory_id = %s"
        self.write_here((("scheduling", id_, "stability"), stability), change, stability, at, id_)
        self.recalled.discard(id_)

    @rule(which=pick, share=st.sampled_from([0.125, 0.375]))
    def decay_here(self, which: int, share: float) -> None:
        id_ = self.memory_here(which)
        stays = id_ not in self.edited | self.recalled | self.forgotten
        held = (("scheduling", id_, "retrievability"), share) if stays else None
        self.write_here(held, "UPDATE scheduling SET retrievability = %s WHERE memory_id = %s", share, id_)

    @rule(label=st.sampled_from(["here", "there"]))
    def name_domain_here(self, label: str) -> None:
        [(id_,)] = self.here("SELECT min(id) FROM domains")
        self.write_here((("domains", id_, "label"), label), "UPDATE domains SET label = %s WHERE id = %s", label, id_)

    @rule(which=pick, weight=st.sampled_from([0.125, 0.375]))
    def weigh_here(self, which: int, weight: float) -> None:
        edges = self.here("SELECT source_id::text, target_id::text FROM edges ORDER BY 1, 2")
        if edges:
            edge = edges[which % len(edges)]
            held = None if self.forgotten.intersection(edge) else (("edges", " -> ".join(edge), "weight"), weight)
            self.write_here(held, "UPDATE edges SET weight = %s WHERE source_id = %s AND target_id = %s", weight, *edge)

    @rule(one=pick, other=pick)
    def link_here(self, one: int, other: int) -> None:
        edge = self.memory_here(one), self.memory_here(other)
        if edge[0] != edge[1]:
            into = "INSERT INTO edges (source_id, target_id, weight, created_at) VALUES (%s, %s, 0.625, %s)"
            held = ("edges", " -> ".join(edge), "weight"), 0.625
            self.write_here(held, into + " ON CONFLICT DO NOTHING", *edge, self.file.now())

    @rule()
    def remember_here(self) -> None:
        id_ = self.file.new_id()
        into = "INSERT INTO knowledge_nodes (id, content) VALUES (%s, 'here')"
        self.write_here((("knowledge_nodes", id_, "content"), "here"), into, id_)
        self.added.add(id_)

    @precondition(lambda self: len(self.here("SELECT 1 FROM knowledge_nodes")) > 2)
    @rule(which=pick)
    def forget_here(self, which: int) -> None:
        id_ = self.memory_here(which)
        self.away.add(id_)
        self.write_here(None, "DELETE FROM knowledge_nodes WHERE id = %s", id_)
        self.let_go(id_)
        self.added.discard(id_)

    def after_a_run(self) -> None:
        assert self.here("SELECT id FROM knowledge_nodes WHERE id = ANY(%s::uuid[])", list(self.away)) == []
        for (table, id_, column), value in self.held.items():
            found = self.here(f"SELECT {column} FROM {table} WHERE {_KEY[table]} = %s", id_)
            assert found == [(value,)], (table, id_, column, found, value)

    def what_differs_is_named(self, report: MigrationReport) -> None:
        """Or is later here, or was only ever here."""
        assert report.deletions is not None
        of_memories = {*report.deletions.not_in_source, *report.deletions.changed_since}
        assert self.added <= of_memories
        named = {(row.table, row.id) for row in report.kept}
        later = {place[:2] for place in self.held if (place[0], place[2]) in _HAVE_A_TIME}
        for item in self.verify().differences:
            if item.kind is Kind.EXTRA:
                assert item.table != "knowledge_nodes" or item.id in of_memories, item
            elif item.kind is Kind.FORGOTTEN:
                of_forgotten = self.away.intersection(item.id.split(" -> "), report.forgotten)
                assert of_forgotten or item.table == "review_events", item
            else:
                assert item.kind is Kind.DIFFERENT, item
                assert (item.table, item.id) in named | later, item

    def check_the_end(self, report: MigrationReport) -> None:
        self.what_differs_is_named(report)
        again = self.copy()
        assert not any(table.updated or table.inserted for table in again.tables.values()), again.as_json()
        self.after_a_run()


@pytest.mark.parametrize("form", FORMS)
def test_whatever_happens_in_the_source_arrives(form: str, database: str, tmp_path: Path) -> None:
    _try(LivingSource, form, database, tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_in_the_destination_later_stays_or_is_named(form: str, database: str, tmp_path: Path) -> None:
    _try(LivingOnBothSides, form, database, tmp_path)


def _try(machine: type[LivingSource], form: str, url: str, folder: Path) -> None:
    run_state_machine_as_test(
        type(machine.__name__, (machine,), {"url": url, "folder": folder, "spec": FORMS[form]}),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # To make what is found as short as can be takes minutes.
            phases=(Phase.generate, Phase.shrink) if "LIVING_EXAMPLES" in os.environ else (Phase.generate,),
        ),
    )
