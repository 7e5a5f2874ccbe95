"""Spellings of a model's name, labels that are wrong, and long vectors as Vestige shortens them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.model_names import can_shorten, families, is_mislabelled, same_model, spellings
from vestige_migrate.wire.shorten import shorten

NOMIC = "nomic-ai/nomic-embed-text-v1.5"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (NOMIC, "nomic-embed-text-v1.5", True),
        (NOMIC, "NOMIC-AI/Nomic-Embed-Text-V1.5", True),
        (NOMIC, "nomic-v1.5", True),
        (NOMIC, "ollama/nomic-embed-text:v1.5", True),
        (NOMIC, "nomic-embed-text-v1", False),
        (NOMIC, "nomic-ai/nomic-embed-text-v2-moe", False),
        (NOMIC, "nomic-ai/nomic-embed-vision-v1.5", False),
        ("BAAI/bge-base-en-v1.5", "bge-base-en-v1.5", True),
        ("BAAI/bge-base-en-v1.5", "baai/BGE-base-en-v1.5", True),
        ("BAAI/bge-base-en-v1.5", "BAAI/bge-small-en-v1.5", False),
        ("mxbai-embed-large:latest", "mixedbread-ai/mxbai_embed_large", True),
        ("sentence-transformers/all-MiniLM-L6-v2", "all-minilm-l6-v2", True),
        ("all-MiniLM-L6-v2", "all-MiniLM-L12-v2", False),
        ("Qwen/Qwen3-Embedding-0.6B", "Qwen/Qwen3-Embedding-4B", False),
        ("one/model", "two/model", False),
        ("one/model", "https://huggingface.co/one/model", True),
        ("", "model", False),
    ],
)
def test_spellings_of_one_model_are_one_and_other_models_are_not(one: str, other: str, same: bool) -> None:
    assert same_model(one, other) is same
    assert same_model(other, one) is same


def test_a_name_without_an_organisation_does_not_mean_two_models() -> None:
    assert spellings("model", {"model", "one/model", "Model"}) == {"model", "one/model", "Model"}
    assert spellings("model", {"model", "one/model", "two/model", "Model"}) == {"model", "Model"}
    assert spellings("one/model", {"model", "One/model", "two/model"}) == {"One/model"}
    assert spellings("one/model", {"model", "One/model", "other"}) == {"model", "One/model"}
    assert families(["a", "x/a", "b", "y/a"]) == [["a"], ["x/a"], ["b"], ["y/a"]]
    assert families(["a", "b", "X/A"]) == [["a", "X/A"], ["b"]]


def test_many_names_are_no_trouble() -> None:
    assert len(families(f"org{number % 7}/model-{number}" for number in range(20_000))) == 20_000
    assert len(spellings(NOMIC, {f"nomic v1.5 {number}" for number in range(20_000)})) == 20_000


def test_only_the_labels_that_early_versions_wrote_are_known_to_be_wrong() -> None:
    assert is_mislabelled("all-MiniLM-L6-v2", 768)
    assert is_mislabelled("sentence-transformers/ALL-minilm-l6-v2", 256)
    assert not is_mislabelled("all-MiniLM-L6-v2", 384)
    assert not is_mislabelled("all-MiniLM-L6-v2", 8)
    assert not is_mislabelled("BAAI/bge-base-en-v1.5", 768)


def test_only_nomic_is_shortened_and_only_to_what_vestige_keeps() -> None:
    assert can_shorten(NOMIC, 768, 256)
    assert not can_shorten(NOMIC, 256, 256)
    assert not can_shorten(NOMIC, 768, 512)
    assert not can_shorten(NOMIC, 1024, 256)
    assert not can_shorten("BAAI/bge-base-en-v1.5", 768, 256)


def as_vestige(blob: bytes, dimension: int) -> bytes:
    """Float by float, in the order in which Vestige's code goes."""
    numbers = [np.float32(number) for number in struct.unpack(f"<{dimension}f", blob[: 4 * dimension])]
    total = np.float32(0.0)
    for number in numbers:
        total = np.float32(total + np.float32(number * number))
    length = np.sqrt(total)
    if length > 0:
        numbers = [np.float32(number / length) for number in numbers]
    return b"".join(struct.pack("<f", number) for number in numbers)


floats = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**40), max_value=2.0**40),
                  min_size=9, max_size=9)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(floats, min_size=1, max_size=4), st.booleans())
def test_short_vectors_are_bit_for_bit_what_vestiges_code_makes(rows: list[list[float]], others: bool) -> None:
    long = [struct.pack("<9f", *row) for row in rows]
    values = [None, b"\0" * 32, 1] if others else []
    found = shorten([*values, *(blob[:33] for blob in long)], 8)
    assert found[: len(values)] == values
    assert found[len(values) :] == [as_vestige(blob, 8) for blob in long]


def test_vectors_of_real_length_are_too_and_a_pairwise_sum_would_not_do() -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((200, 768)).astype("<f4")
    found = shorten([row.tobytes()[:1025] for row in rows], 256)
    assert found == [as_vestige(row.tobytes(), 256) for row in rows]
    short = rows[:, :256]
    pairwise = [(row / np.sqrt((row * row).sum())).tobytes() for row in short]
    assert found != pairwise


def test_a_vector_of_length_zero_stays_and_one_without_marks_is_not_touched() -> None:
    assert shorten([b"\0" * 1025], 256) == [b"\0" * 1024]
    values = [b"\1" * 1024, None, b"", 2, b"\1" * 3072]
    assert shorten(values, 256) is values
