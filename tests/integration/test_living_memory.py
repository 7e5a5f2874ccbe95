"""A memory that lives on while it is copied, against a model: whatever happens in the source arrives, and whatever is
written in the destination later stays, or is named."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import sql

from tests.support.compare import assert_same
from tests.support.sources import SourceSpec, build_source
from vestige_migrate import (
    Indexes,
    Interrupted,
    MigrationReport,
    SqliteToPostgresPlan,
    run_sqlite_to_postgres,
    verify_several_to_postgres,
)
from vestige_migrate.report.verification import Kind

EXAMPLES = int(os.environ.get("VESTIGE_LIVING_EXAMPLES", "10"))
STEPS = int(os.environ.get("VESTIGE_LIVING_STEPS", "14"))
STOPS: list[int] = []
FORMS = {
    "plain": SourceSpec(memories=5, schedules=5, edges=3, events=2),
    "vestige": SourceSpec(form="vestige", memories=5, schedules=5, edges=3, events=2),
    "released": SourceSpec(line="released", version=35, form="vestige", memories=5, schedules=5, edges=3, events=0),
}
START = datetime(2031, 1, 1, tzinfo=UTC)
_IDS = UUID("0c0c0c0c-0000-4000-8000-000000000000")
TABLES = (
    "users", "groups", "group_memberships", "domains", "knowledge_nodes", "scheduling", "edges", "review_events",
    "embedding_model", "vestige_run", "vestige_run_batch", "vestige_run_error",
)  # fmt: skip

pick = st.integers(0, 30)


class LivingSource(RuleBasedStateMachine):
    """What Vestige does to its file, by the statements it uses for that, and runs of the copy in between."""

    url: str
    folder: Path
    spec: SourceSpec

    def __init__(self) -> None:
        super().__init__()
        self.minutes = 0
        self.made = 0
        self.purged: set[str] = set()
        self.path = self.folder / "vestige.db"
        self.begun = False

    @initialize()
    def begin(self) -> None:
        for name in self.folder.glob("vestige.db*"):
            name.unlink()
        build_source(self.path, self.spec)
        with psycopg.connect(self.url, autocommit=True) as postgres:
            found = [
                name for name in TABLES if postgres.execute("SELECT to_regclass(%s)", (name,)).fetchone() != (None,)
            ]
            if found:
                names = sql.SQL(", ").join(map(sql.Identifier, found))
                postgres.execute(sql.SQL("TRUNCATE {}").format(names))
        self.tables = {"edges": "edges"} if self.spec.form == "plain" else {"edges": "memory_connections"}
        self.edge_type = "edge_type" if self.spec.form == "plain" else "link_type"
        self.weight = "weight" if self.spec.form == "plain" else "strength"
        self.copy()
        self.begun = True

    # The clock, the file and its rows.

    def now(self) -> str:
        self.minutes += 1
        return (START + timedelta(minutes=self.minutes)).isoformat()

    def run_sql(self, *statements: tuple[str, tuple[Any, ...]]) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            with connection:
                for statement, parameters in statements:
                    connection.execute(statement, parameters)

    def ask(self, statement: str, *parameters: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(statement, parameters).fetchall()

    def memory(self, which: int) -> str | None:
        ids = [id_ for (id_,) in self.ask("SELECT id FROM knowledge_nodes ORDER BY id")]
        return ids[which % len(ids)] if ids else None

    def edge(self, which: int) -> tuple[str, str] | None:
        rows = self.ask(f"SELECT source_id, target_id FROM {self.tables['edges']} ORDER BY 1, 2")
        return tuple(rows[which % len(rows)]) if rows else None

    # What Vestige does.

    @rule(like=pick)
    def remember(self, like: int) -> None:
        found = self.memory(like)
        if found is None:
            return
        self.made += 1
        id_, at = str(uuid5(_IDS, str(self.made))), self.now()
        names = [row[1] for row in self.ask("PRAGMA table_info(knowledge_nodes)")]
        of_connectors = {name: None for name in names if name in ("source_system", "source_id")}  # unique together
        given = {**of_connectors, "id": id_, "created_at": at, "updated_at": at, "content": f"memory {self.made}"}
        values = ", ".join("?" if name in given else f'"{name}"' for name in names)
        columns = ", ".join(f'"{name}"' for name in names)
        parameters = tuple(given[name] for name in names if name in given)
        self.run_sql(
            (
                f"INSERT INTO knowledge_nodes ({columns}) SELECT {values} FROM knowledge_nodes WHERE id = ?",
                (*parameters, found),
            )
        )
        if self.spec.form == "plain":
            self.run_sql(("INSERT INTO scheduling (memory_id, stability, difficulty, retrievability, reps, lapses)"
                          " VALUES (?, 1.5, 5, 1, 0, 0)", (id_,)))  # fmt: skip

    @rule(which=pick)
    def edit(self, which: int) -> None:
        id_ = self.memory(which)
        if id_ is not None:
            at = self.now()
            self.run_sql(
                ("UPDATE knowledge_nodes SET content = ?, updated_at = ? WHERE id = ?", (f"edited {at}", at, id_))
            )
            self.on_edit(id_)

    def on_edit(self, id_: str) -> None:
        """The whole row of the source is later now."""

    @rule(which=pick)
    def recall(self, which: int) -> None:
        id_ = self.memory(which)
        if id_ is None:
            return
        at = self.now()
        if self.spec.form == "plain":
            self.run_sql(("UPDATE scheduling SET stability = stability + 1, reps = reps + 1, last_review = ?"
                          " WHERE memory_id = ?", (at, id_)))  # fmt: skip
        else:
            self.run_sql(("UPDATE knowledge_nodes SET stability = stability + 1, reps = reps + 1, last_accessed = ?"
                          " WHERE id = ?", (at, id_)))  # fmt: skip
        self.on_recall(id_)

    def on_recall(self, id_: str) -> None:
        """The source's schedule is later now."""

    @rule(which=pick, share=st.sampled_from([0.25, 0.5, 0.75]))
    def decay(self, which: int, share: float) -> None:
        id_ = self.memory(which)
        table, key, column = (
            ("scheduling", "memory_id", "retrievability")
            if self.spec.form == "plain"
            else ("knowledge_nodes", "id", "retention_strength")
        )
        self.run_sql((f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (share, id_)))

    @rule(which=pick, of=pick)
    def embed_anew(self, which: int, of: int) -> None:
        one, other = self.memory(which), self.memory(of)
        if one is None:
            return
        tables = {name for (name,) in self.ask("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if self.spec.form == "plain":
            self.run_sql(("UPDATE knowledge_nodes SET embedding = (SELECT embedding FROM knowledge_nodes WHERE id = ?)"
                          " WHERE id = ? AND EXISTS (SELECT 1 FROM knowledge_nodes WHERE id = ? AND embedding IS NOT NULL)",
                          (other, one, other)))  # fmt: skip
        elif "embedding_profile_vectors" in tables:
            self.run_sql(("INSERT OR REPLACE INTO embedding_profile_vectors (profile_id, node_id, embedding, dimensions,"
                          " model, created_at) SELECT profile_id, ?, embedding, dimensions, model, ?"
                          " FROM embedding_profile_vectors WHERE node_id = ?", (one, self.now(), other)))  # fmt: skip
        else:
            self.run_sql(("INSERT OR REPLACE INTO node_embeddings (node_id, embedding, dimensions, model, created_at,"
                          " version) SELECT ?, embedding, dimensions, model, ?, version"
                          " FROM node_embeddings WHERE node_id = ?", (one, self.now(), other)))  # fmt: skip

    @rule(which=pick, domains=st.sampled_from(['["a"]', '["a", "b"]', "[]"]))
    def assign_domains(self, which: int, domains: str) -> None:
        if any(row[1] == "domains" for row in self.ask("PRAGMA table_info(knowledge_nodes)")):
            scores = {'["a"]': '{"a": 0.5}', '["a", "b"]': '{"a": 0.25, "b": 0.75}', "[]": "{}"}[domains]
            self.run_sql(("UPDATE knowledge_nodes SET domains = ?, domain_scores = ? WHERE id = ?",
                          (domains, scores, self.memory(which))))  # fmt: skip

    @rule(times=st.integers(0, 3), which=pick)
    def suppress(self, times: int, which: int) -> None:
        if any(row[1] == "suppression_count" for row in self.ask("PRAGMA table_info(knowledge_nodes)")):
            self.run_sql(("UPDATE knowledge_nodes SET suppression_count = ? WHERE id = ?", (times, self.memory(which))))

    @rule(label=st.sampled_from(["x", "y", "z"]))
    def name_domain(self, label: str) -> None:
        self.run_sql(("UPDATE domains SET label = ? WHERE id = (SELECT min(id) FROM domains)", (label,)))

    @rule(one=pick, other=pick)
    def link(self, one: int, other: int) -> None:
        source, target = self.memory(one), self.memory(other)
        if source is None or source == target:
            return
        table = self.tables["edges"]
        if self.ask(f"SELECT 1 FROM {table} WHERE source_id = ? AND target_id = ?", source, target):
            return
        self.run_sql((f"INSERT INTO {table} (source_id, target_id, {self.edge_type}, {self.weight}, created_at)"
                      " VALUES (?, ?, 'semantic', 0.5, ?)", (source, target, self.now()))
                     if self.spec.form == "plain" else
                     (f"INSERT INTO {table} (source_id, target_id, {self.edge_type}, {self.weight}, created_at,"
                      " last_activated) VALUES (?, ?, 'semantic', 0.5, ?, ?)",
                      (source, target, at := self.now(), at)))  # fmt: skip

    @rule(which=pick)
    def unlink(self, which: int) -> None:
        edge = self.edge(which)
        if edge is not None:
            self.run_sql((f"DELETE FROM {self.tables['edges']} WHERE source_id = ? AND target_id = ?", edge))

    @rule(which=pick, kind=st.sampled_from(["causal", "temporal"]))
    def retype(self, which: int, kind: str) -> None:
        edge = self.edge(which)
        if edge is not None:
            change = f"UPDATE {self.tables['edges']} SET {self.edge_type} = ? WHERE source_id = ? AND target_id = ?"
            self.run_sql((change, (kind, *edge)))

    def _take_away(self, id_: str) -> None:
        dependents = [(self.tables["edges"], "source_id"), (self.tables["edges"], "target_id")]
        if self.spec.form == "plain":
            dependents += [("scheduling", "memory_id")]
        names = {name for (name,) in self.ask("SELECT name FROM sqlite_master WHERE type = 'table'")}
        further = {"review_events": "memory_id", "node_embeddings": "node_id", "embedding_profile_vectors": "node_id"}
        dependents += [(name, key) for name, key in further.items() if name in names]
        self.run_sql(*((f"DELETE FROM {table} WHERE {column} = ?", (id_,)) for table, column in dependents))
        self.run_sql(("DELETE FROM knowledge_nodes WHERE id = ?", (id_,)))

    @precondition(lambda self: len(self.ask("SELECT 1 FROM knowledge_nodes")) > 2)
    @rule(which=pick)
    def forget(self, which: int) -> None:
        id_ = self.memory(which)
        assert id_ is not None
        self._take_away(id_)
        at = self.now()
        self.run_sql(
            ("CREATE TABLE IF NOT EXISTS sync_tombstones (table_name TEXT, row_id TEXT, deleted_at TEXT)", ()),
            (
                "INSERT INTO sync_tombstones (table_name, row_id, deleted_at) VALUES ('knowledge_nodes', ?, ?)",
                (id_, at),
            ),
        )
        self.on_forget(id_)

    def on_forget(self, id_: str) -> None:
        """The source has it no more, and says so."""

    @precondition(lambda self: len(self.ask("SELECT 1 FROM knowledge_nodes")) > 2)
    @rule(which=pick)
    def purge(self, which: int) -> None:
        id_ = self.memory(which)
        assert id_ is not None
        self._take_away(id_)
        self.purged.add(id_)
        self.on_forget(id_)

    # Runs.

    def plan(self, **options: Any) -> SqliteToPostgresPlan:
        usual: dict[str, Any] = {
            "workers": 1,
            "indexes": Indexes.NONE,
            "on_conflict": "newer",
            "deletions": "apply",
        }
        return SqliteToPostgresPlan(self.path, self.url, **{**usual, **options})

    def copy(self, **options: Any) -> MigrationReport:
        return run_sqlite_to_postgres(self.plan(**options))

    @rule(dry=st.booleans())
    def run_copy(self, dry: bool) -> None:
        looked = self.copy(dry_run=True) if dry else None
        report = self.copy()
        assert report.errors == []
        if looked is not None:
            assert {name: table.updated for name, table in looked.tables.items()} == {
                name: table.updated for name, table in report.tables.items()
            }
            assert {row.id for row in looked.kept} == {row.id for row in report.kept}
        self.on_run()

    def on_run(self) -> None:
        """All that was changed in the source has been brought, where it is to be."""

    @rule(after=st.integers(1, 12))
    def stop_in_the_middle(self, after: int) -> None:
        calls = iter(range(after))

        def interrupt(_: object) -> None:
            if next(calls, None) is None:
                raise KeyboardInterrupt

        with suppress(Interrupted):
            STOPS.append(after)
            run_sqlite_to_postgres(self.plan(batch_size=1), on_progress=interrupt)

    def teardown(self) -> None:
        if not self.begun:
            return
        report = self.copy()
        assert report.errors == []
        self.check_the_end(report)

    def check_the_end(self, report: MigrationReport) -> None:
        assert report.kept == []
        assert report.deletions is not None
        assert set(report.deletions.not_in_source) <= self.purged
        with psycopg.connect(self.url, autocommit=True) as postgres:
            postgres.execute("DELETE FROM knowledge_nodes WHERE id = ANY(%s::uuid[])", (list(self.purged),))
        assert_same(self.path, self.url)
        [plan] = [SqliteToPostgresPlan(self.path, self.url, workers=1)]
        assert verify_several_to_postgres([plan]).same
        again = self.copy()
        assert again.nothing_new, again.as_json()


class LivingOnBothSides(LivingSource):
    """Somebody writes to the destination meanwhile. `here` is what has to be there still, by table, id and column."""

    def __init__(self) -> None:
        super().__init__()
        self.here: dict[tuple[str, str, str], Any] = {}
        self.added: set[str] = set()
        self.edited: set[str] = set()
        """Memories whose row of the source is later, and was not copied yet: what is written here without a time is
        written into a row that gives way."""

    def on_run(self) -> None:
        self.edited.clear()

    def ask_here(self, statement: str, *parameters: Any) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as postgres:
            return postgres.execute(statement, parameters).fetchall()

    def write_here(self, statement: str, *parameters: Any) -> bool:
        with psycopg.connect(self.url, autocommit=True) as postgres:
            return postgres.execute(statement, parameters).rowcount > 0

    def drop(self, table: str, id_: str) -> None:
        self.here = {place: value for place, value in self.here.items() if place[:2] != (table, id_)}

    def on_edit(self, id_: str) -> None:
        self.drop("knowledge_nodes", id_)
        self.edited.add(id_)

    def on_recall(self, id_: str) -> None:
        self.drop("scheduling", id_)

    def on_forget(self, id_: str) -> None:
        # What was written here before the tombstone goes with it, if its time is not later than that.
        self.drop("knowledge_nodes", id_)
        self.drop("scheduling", id_)
        self.here = {place: value for place, value in self.here.items() if place[0] != "edges" or id_ not in place[1]}

    @rule(which=pick)
    def edit_here(self, which: int) -> None:
        id_, at = self.memory(which), self.now()
        content = f"edited here {at}"
        if self.write_here("UPDATE knowledge_nodes SET content = %s, updated_at = %s WHERE id = %s", content, at, id_):
            self.here["knowledge_nodes", str(id_), "content"] = content
            self.edited.discard(str(id_))

    @rule(which=pick, kind=st.sampled_from(["note", "task"]))
    def retype_here(self, which: int, kind: str) -> None:
        id_ = self.memory(which)
        written = self.write_here("UPDATE knowledge_nodes SET node_type = %s WHERE id = %s", kind, id_)
        if written and id_ not in self.edited:
            self.here["knowledge_nodes", str(id_), "node_type"] = kind

    @rule(which=pick)
    def recall_here(self, which: int) -> None:
        id_, at = self.memory(which), self.now()
        stability = float(self.minutes) + 0.5
        if self.write_here(
            "UPDATE scheduling SET stability = %s, reps = reps + 1, last_review = %s WHERE memory_id = %s",
            stability, at, id_,
        ):  # fmt: skip
            self.here["scheduling", str(id_), "stability"] = stability

    @rule(label=st.sampled_from(["here", "there"]))
    def name_domain_here(self, label: str) -> None:
        found = self.ask_here(
            "UPDATE domains SET label = %s WHERE id = (SELECT min(id) FROM domains) RETURNING id", label
        )
        for (id_,) in found:
            self.here["domains", id_, "label"] = label

    @rule(which=pick, weight=st.sampled_from([0.125, 0.375]))
    def weigh_here(self, which: int, weight: float) -> None:
        edge = self.edge(which)
        if edge is not None and self.write_here(
            "UPDATE edges SET weight = %s WHERE source_id = %s AND target_id = %s", weight, *edge
        ):
            self.here["edges", " -> ".join(edge), "weight"] = weight

    @rule()
    def remember_here(self) -> None:
        self.made += 1
        id_ = str(uuid5(_IDS, f"here {self.made}"))
        self.write_here("INSERT INTO knowledge_nodes (id, content) VALUES (%s, 'here')", id_)
        self.added.add(id_)
        self.here["knowledge_nodes", id_, "content"] = "here"

    @invariant()
    def what_was_written_here_is_there(self) -> None:
        for (table, id_, column), value in self.here.items():
            key = {"edges": "source_id || ' -> ' || target_id", "scheduling": "memory_id"}.get(table, "id")
            found = self.ask_here(f"SELECT {column} FROM {table} WHERE ({key})::text = %s", id_)
            assert found == [(value,)], (table, id_, column, found, value)

    def check_the_end(self, report: MigrationReport) -> None:
        """What differs was named, or is later here, or was only ever here."""
        self.what_was_written_here_is_there()
        assert report.deletions is not None
        assert self.added <= set(report.deletions.not_in_source)
        named = {(row.table, row.id) for row in report.kept}
        written = {place[:2] for place in self.here}
        [plan] = [SqliteToPostgresPlan(self.path, self.url, workers=1)]
        for item in verify_several_to_postgres([plan]).differences:
            only_here = item.kind is Kind.EXTRA
            assert only_here or (item.table, item.id) in named | written, item
        again = self.copy()
        assert not any(table.updated or table.inserted for table in again.tables.values())


@pytest.mark.parametrize("form", FORMS)
def test_whatever_happens_in_the_source_arrives(form: str, database: str, tmp_path: Path) -> None:
    machine = type("Living", (LivingSource,), {"url": database, "folder": tmp_path, "spec": FORMS[form]})
    _try(machine)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_in_the_destination_later_stays_or_is_named(form: str, database: str, tmp_path: Path) -> None:
    _try(type("Living", (LivingOnBothSides,), {"url": database, "folder": tmp_path, "spec": FORMS[form]}))


def _try(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        ),
    )
