"""A plan says at once what cannot work, with the option's name and what to do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate import plan
from vestige_migrate.errors import MigrationError, PlanError, UnsupportedPair
from vestige_migrate.limits import MAX_DEFAULT_WORKERS, MAX_DIMENSION
from vestige_migrate.model import ModelSignature
from vestige_migrate.plan import SqliteToPostgresPlan, default_workers, embedder_signature, usable_cpus

FILE = Path("vestige.db")
URL = "postgresql://me@host/db"


def make(**options: Any) -> SqliteToPostgresPlan:
    return SqliteToPostgresPlan(FILE, **{"postgres_url": URL, **options})


def test_the_defaults_are_the_documented_ones() -> None:
    made = make()
    assert (made.source_kind, made.destination_kind) == ("sqlite", "postgres")
    assert (made.batch_size, made.max_errors, made.max_connections, made.retries) == (500, None, 4, 5)
    assert (made.allow_source_upgrade, made.snapshot, made.dry_run) == (False, False, False)
    assert made.workers == default_workers()


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().workers = 3  # type: ignore[misc]


def test_a_home_directory_is_expanded() -> None:
    assert SqliteToPostgresPlan(Path("~/vestige.db"), URL).sqlite_path == Path.home() / "vestige.db"


@pytest.mark.parametrize("source", ["sqlite", "postgres", "mysql", "", "SQLite"])
@pytest.mark.parametrize("destination", ["postgres", "sqlite", "duckdb", "", "PostgreSQL"])
def test_every_other_pair_is_refused_with_its_values_and_the_supported_one(source: str, destination: str) -> None:
    if (source, destination) == ("sqlite", "postgres"):
        assert make(source_kind=source, destination_kind=destination)
        return
    with pytest.raises(UnsupportedPair) as caught:
        make(source_kind=source, destination_kind=destination)
    assert caught.value.exit_code == 3
    for words in (repr(source), repr(destination), "--from sqlite --to postgres"):
        assert words in str(caught.value)


@pytest.mark.parametrize("name", ["workers", "batch_size", "max_connections", "retries"])
def test_counts_lie_between_one_and_their_limit(name: str) -> None:
    assert getattr(make(**{name: 1}), name) == 1
    for value in (0, -1, 10**23):
        with pytest.raises(PlanError, match=f"--{name.replace('_', '-')} is {value}: it must lie between 1") as caught:
            make(**{name: value})
        assert caught.value.exit_code == 2


def test_max_errors_may_be_none_or_zero_but_not_less() -> None:
    assert make(max_errors=0).max_errors == 0
    with pytest.raises(PlanError, match="--max-errors is -1: it must be 0 or more"):
        make(max_errors=-1)


def test_upgrade_and_snapshot_exclude_each_other() -> None:
    assert make(allow_source_upgrade=True)
    assert make(snapshot=True)
    with pytest.raises(PlanError, match=r"--allow-source-upgrade and --snapshot exclude each other.*give one"):
        make(allow_source_upgrade=True, snapshot=True)


@pytest.mark.parametrize("url", ["", " ", "\n\t"])
def test_an_empty_url_is_refused(url: str) -> None:
    with pytest.raises(PlanError, match="--postgres-url is empty"):
        make(postgres_url=url)


@pytest.mark.parametrize(("cpus", "workers"), [(1, 1), (2, 2), (8, 8), (9, 8), (128, 8), (0, 1)])
def test_one_worker_a_usable_cpu_and_at_most_eight(cpus: int, workers: int) -> None:
    with patch.object(plan, "usable_cpus", return_value=cpus):
        assert default_workers() == workers
    assert MAX_DEFAULT_WORKERS == 8


def test_the_affinity_mask_counts_and_not_the_machine() -> None:
    with patch("os.sched_getaffinity", return_value={0, 3, 5}, create=True), patch("os.cpu_count", return_value=64):
        assert usable_cpus() == 3


# The embedder's signature.


def test_no_embedding_option_is_no_signature() -> None:
    assert embedder_signature(None, None, None) is None


@pytest.mark.parametrize("hash_", [None, "abcd"])
def test_name_and_dimension_are_a_signature_with_or_without_a_hash(hash_: str | None) -> None:
    assert embedder_signature("m", 256, hash_) == ModelSignature("m", 256, hash_)


@pytest.mark.parametrize(
    ("name", "dimension", "hash_"),
    [("m", None, None), (None, 256, None), (None, None, "h"), ("m", None, "h"), (None, 256, "h")],
)
def test_half_a_signature_is_refused(name: str | None, dimension: int | None, hash_: str | None) -> None:
    with pytest.raises(PlanError, match="--embedding-model and --embedding-dimension belong together") as caught:
        embedder_signature(name, dimension, hash_)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("dimension", [0, -1, MAX_DIMENSION + 1])
def test_a_dimension_that_pgvector_cannot_hold_is_refused(dimension: int) -> None:
    with pytest.raises(PlanError, match=f"--embedding-dimension is {dimension}: it must lie between 1 and 16000"):
        embedder_signature("m", dimension, None)


@pytest.mark.parametrize("dimension", [1, MAX_DIMENSION])
def test_both_ends_of_the_dimensions_are_taken(dimension: int) -> None:
    assert embedder_signature("m", dimension, None) == ModelSignature("m", dimension)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("m", 256, "h"), ("m", 256, "h"), True),
        (("m", 256, "h"), ("m", 256, "H"), False),
        (("m", 256, "h"), ("m", 384, "h"), False),
        (("m", 256, "h"), ("M", 256, "h"), True),
        (("one/m", 256, "h"), ("m", 256, "h"), True),
        (("one/m", 256, "h"), ("two/m", 256, "h"), False),
        (("m", 256, None), ("m", 256, "h"), True),
        (("m", 256, None), ("m", 256, None), True),
        (("m", 256, None), ("m", 384, None), False),
        (("m", 256, None), ("n", 256, "h"), False),
        (("m", 256, ""), ("m", 256, "h"), False),
    ],
)
def test_models_are_compared_whatever_their_names_are_spelt_like_and_an_unknown_hash_fits_any(
    one: tuple[str, int, str | None], other: tuple[str, int, str | None], same: bool
) -> None:
    assert ModelSignature(*one).matches(ModelSignature(*other)) is same
    assert ModelSignature(*other).matches(ModelSignature(*one)) is same


signatures = st.builds(
    ModelSignature, st.sampled_from(["m", "n"]), st.sampled_from([2, 3]), st.sampled_from([None, "h", "i"])
)


@settings(max_examples=60, deadline=None)
@given(signatures, signatures)
def test_matching_is_symmetric_and_every_model_matches_itself(one: ModelSignature, other: ModelSignature) -> None:
    assert one.matches(other) == other.matches(one)
    assert one.matches(one)


def test_a_signature_shows_its_hash_or_that_there_is_none() -> None:
    assert str(ModelSignature("a/b", 256, "abcd")) == "a/b (dim 256, hash abcd)"
    assert str(ModelSignature("a/b", 256)) == "a/b (dim 256, hash unknown)"


def test_every_refusal_of_a_plan_is_a_migration_error() -> None:
    assert issubclass(PlanError, MigrationError)
    assert issubclass(UnsupportedPair, MigrationError)


@pytest.mark.parametrize(
    "name", ["", " \t", "a\nb", "a\0b", "\udcff", "pg_memory", "pg_", "information_schema", "$user", "x" * 64, "é" * 32]
)
def test_a_schema_that_no_database_could_have_is_refused(name: str) -> None:
    with pytest.raises(PlanError, match="--schema"):
        make(schema=name)


@pytest.mark.parametrize("name", ["memory", 'Agent\'s "own" memory.', "$users", "PG_x", "x" * 63, "記憶" * 10])
def test_a_schema_is_taken_as_it_is_given(name: str) -> None:
    assert make(schema=name).schema == name
