"""`vestige_search`: against brute force, through both indexes, and in databases that have rules of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector
from psycopg import sql

from tests.conftest import Copier
from tests.support.databases import LOST
from tests.support.guest import Guest
from tests.support.logged import log_lines
from tests.support.verifying import Verifier
from vestige_migrate.destination.indexes.build import HNSW_INDEX

pytestmark = pytest.mark.indexed

GIN_INDEX = "idx_knowledge_nodes_search_vec"
Row = tuple[UUID, float, int | None, int | None]


@contextmanager
def opened(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(url, autocommit=True) as connection:
        register_vector(connection)
        yield connection


def search(connection: psycopg.Connection[tuple[object, ...]], *arguments: object) -> list[Row]:
    marks = ", ".join(["%s"] * len(arguments))
    query = f"SELECT id, score, text_rank, vector_rank FROM vestige_search({marks})"
    return connection.execute(query.encode(), arguments).fetchall()  # type: ignore[return-value]


class Reference:
    """Every memory ranked by hand."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self._connection = connection
        found = connection.execute("SELECT id, embedding FROM knowledge_nodes WHERE embedding IS NOT NULL").fetchall()
        self.ids = [row[0] for row in found]
        self.vectors = np.array([row[1].to_numpy() for row in found], dtype=np.float64)  # type: ignore[attr-defined]

    def answer(self, words: str | None, vector: object, k: int) -> list[Row]:
        depth = max(3 * k, 40)
        by_words: dict[object, int] = {}
        if words:
            rows = self._connection.execute(
                "SELECT id FROM knowledge_nodes, websearch_to_tsquery('english', %s) AS q WHERE search_vec @@ q"
                " ORDER BY ts_rank_cd(search_vec, q) DESC, id",
                (words,),
            )
            by_words = {id_: place for place, (id_,) in enumerate(rows, 1) if place <= depth}
        by_nearness: dict[object, int] = {}
        if vector is not None:
            asked = np.asarray(vector, dtype=np.float64)
            lengths = np.linalg.norm(self.vectors, axis=1) * np.linalg.norm(asked)
            order = np.argsort(-(self.vectors @ asked) / lengths)[:depth]
            by_nearness = {self.ids[at]: place for place, at in enumerate(order, 1)}
        rows_ = [
            (
                id_,
                sum(1 / (60 + places[id_]) for places in (by_words, by_nearness) if id_ in places),
                by_words.get(id_),
                by_nearness.get(id_),
            )
            for id_ in {*by_words, *by_nearness}
        ]
        return sorted(rows_, key=lambda row: (-row[1], row[0]))[: max(k, 0)]  # type: ignore[return-value]


def assert_equal(found: list[Row], wanted: list[Row]) -> None:
    assert [(row[0], row[2], row[3]) for row in found] == [(row[0], row[2], row[3]) for row in wanted]
    assert [row[1] for row in found] == pytest.approx([row[1] for row in wanted])


@pytest.mark.old_server
def test_it_finds_what_brute_force_finds_and_then_through_both_indexes(plain_source: Path, copy: Copier) -> None:
    copy(plain_source, indexes="none")
    with opened(copy.database) as connection:
        reference = Reference(connection)
        row = connection.execute("SELECT content FROM knowledge_nodes ORDER BY id LIMIT 1").fetchone()
        assert row is not None
        words = str(row[0]).split()
        texts = [words[0], " or ".join(words[:6]), f"{words[0]} -{words[1]}", f'"{words[0]} {words[1]}"', "", None]
        texts += ["the of and", "'; DROP TABLE users; --"]
        vectors = [reference.vectors[3].astype(np.float32), -reference.vectors[8].astype(np.float32), None]
        for text in texts:
            for vector in vectors:
                for k in (1, 5, 10, 400):
                    assert_equal(search(connection, text, vector, k), reference.answer(text, vector, k))
        text, vector = texts[1], vectors[0]
        assert search(connection, text, vector, 0) == search(connection, text, vector, -3) == []
        assert_equal(search(connection, text, vector, None), reference.answer(text, vector, 10))
        assert_equal(search(connection, text, vector), reference.answer(text, vector, 10))
        assert_equal(search(connection, text), reference.answer(text, None, 10))
        zero = np.zeros(256, dtype=np.float32)  # has no direction: nothing is near
        assert_equal(search(connection, text, zero, 10), reference.answer(text, None, 10))
        with pytest.raises(psycopg.errors.DataException, match="different vector dimensions 256 and 3"):
            search(connection, None, np.ones(3, dtype=np.float32), 10)
        copy(plain_source)
        wanted = {k: reference.answer(text, vector, k) for k in (1, 10, 100)}
        with connection.transaction():
            connection.execute("SET LOCAL hnsw.ef_search = 55")
            before = scans(connection)
            for k, rows in wanted.items():
                found = search(connection, text, vector, k)
                assert found[0] == pytest.approx(rows[0])
                assert len({row[0] for row in found} & {row[0] for row in rows}) >= 0.9 * len(rows)
            assert [now - then for now, then in zip(scans(connection), before, strict=True)] == [0, 3, 3]
            assert connection.execute("SELECT current_setting('hnsw.ef_search')").fetchone() == ("55",)


def scans(connection: psycopg.Connection[tuple[object, ...]]) -> list[int]:
    """How often this transaction has read all memories, and each of the two indexes."""
    rows = connection.execute(
        "SELECT pg_stat_get_xact_numscans(n.name::regclass) FROM unnest(%s::text[]) WITH ORDINALITY AS n(name, at)"
        " ORDER BY at",
        (["knowledge_nodes", HNSW_INDEX, GIN_INDEX],),
    )
    return [int(str(count)) for (count,) in rows]


def test_it_is_made_once_and_works_whatever_schema_and_path(plain_source: Path, copy: Copier) -> None:
    """Also where somebody puts functions of their own before the server's."""
    name = 'my "own" 100% schema'
    made = sql.SQL("SELECT oid, xmin::text, prosecdef FROM pg_proc WHERE proname = 'vestige_search'")
    copy(plain_source, schema=name)
    with opened(copy.database) as connection:
        before = connection.execute(made).fetchall()
        assert [row[2] for row in before] == [False]
        copy(plain_source, schema=name)
        assert connection.execute(made).fetchall() == before
        connection.execute(
            "CREATE SCHEMA evil; CREATE FUNCTION evil.websearch_to_tsquery(regconfig, text) RETURNS tsquery"
            " LANGUAGE sql AS $$ SELECT 'nothing'::tsquery $$; CREATE TABLE evil.knowledge_nodes (id int)"
        )
        query = sql.SQL(
            "SELECT count(*) FROM {nodes} AS n, {schema}.vestige_search(NULL, n.embedding, 1) AS f"
            " WHERE f.id = n.id AND n.embedding IS NOT NULL"
        ).format(nodes=sql.Identifier(name, "knowledge_nodes"), schema=sql.Identifier(name))
        counts = []
        for path in ("public", "evil, pg_catalog", ""):
            connection.execute("SELECT set_config('search_path', %s, false)", (path,))
            counts += connection.execute(query).fetchall()
        assert counts == [counts[0]] * 3
        assert counts[0][0] >= 230  # type: ignore[operator]


@pytest.mark.parametrize("taken", ["text, vector, integer", "text"])
def test_one_of_that_name_that_somebody_else_made_stays(source: Path, copy: Copier, taken: str) -> None:
    with opened_with_vector(copy.database) as connection:
        connection.execute(
            f"CREATE FUNCTION vestige_search({taken}) RETURNS text LANGUAGE sql AS $$ SELECT 'mine' $$".encode()
        )
        with log_lines() as lines:
            assert copy(source, verify=taken == "text").exit_code == 0
        [said] = [line for line in lines if "vestige_search" in line]
        assert "another one of that name" in said
        call = "SELECT vestige_search('x'::text)" if taken == "text" else "SELECT vestige_search('', NULL, 1)"
        assert connection.execute(call.encode()).fetchall() == [("mine",)]
        connection.execute(b"DROP FUNCTION vestige_search")
        copy(source)
        assert connection.execute("SELECT count(*) FROM vestige_search('', NULL, 1)").fetchone() == (0,)


@contextmanager
def opened_with_vector(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        yield connection


def test_a_role_that_may_make_none_copies_without_and_is_told(source: Path, copy: Copier, guest: Guest) -> None:
    copy(source)
    guest.owner(
        "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role}", LOST, "DELETE FROM knowledge_nodes",
        "DROP FUNCTION vestige_search",
    )  # fmt: skip
    with log_lines() as lines:
        assert Copier(guest.url)(source).tables["knowledge_nodes"].inserted == 40
        guest.owner("GRANT CREATE ON SCHEMA public TO {role}", "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC")
        assert Copier(guest.url)(source).exit_code == 0
        guest.owner("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC")
    said = [line for line in lines if "vestige_search" in line]
    assert ["this role may not CREATE" in said[0], "permission denied for language" in said[1]] == [True, True]
    copy(source)
    with log_lines() as lines:
        Copier(guest.url)(source)  # the owner has made it: nothing to say
    assert [line for line in lines if "vestige_search" in line] == []
    with psycopg.connect(guest.url) as connection:
        assert connection.execute("SELECT count(*) FROM vestige_search('memory or the', NULL, 5)").fetchone()


@pytest.mark.holds("a copy")
def test_rows_that_come_after_the_copy_need_no_ids(source: Path, copy: Copier, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO users (handle) VALUES ('new')")
        connection.execute("INSERT INTO groups (handle) VALUES ('new')")
        connection.execute("INSERT INTO domains (id, label, metadata) VALUES ('new', 'new', '{\"kept\": 1}')")
        connection.execute(
            "WITH made AS (INSERT INTO knowledge_nodes (content) VALUES ('a zebra') RETURNING id)"
            " INSERT INTO review_events (memory_id, occurred_at) SELECT id, now() FROM made"
        )
        assert connection.execute("SELECT count(*) FROM vestige_search('zebras')").fetchone() == (1,)
        assert copy(source).nothing_new
        found = connection.execute("SELECT DISTINCT metadata::text FROM domains").fetchall()
        assert set(found) == {("{}",), ('{"kept": 1}',)}
    report = Verifier(database)(source)
    assert {str(item.kind) for item in report.differences} == {"extra"}
