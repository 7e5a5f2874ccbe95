"""What the name of an embedding model says: which spellings are of one model, and which labels are known to be wrong.

The rules for nomic v1.5 and for `all-MiniLM-L6-v2` are Vestige's own (`crates/vestige-core/src/storage/sqlite.rs`,
`embedding_model_matches_active` and `embedding_vector_for_active_model`, in github.com/samvallad33/vestige).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

NOMIC_DIMENSION, SHORT_DIMENSION = 768, 256
"""Floats that nomic v1.5 gives, and how many of them Vestige keeps since it shortens them."""

MINI, MINI_DIMENSION = "all-MiniLM-L6-v2", 384
_TAG = ":latest"
_NOMIC = "nomic v1.5"


def is_nomic(name: str) -> bool:
    """Whether this is nomic-embed-text v1.5, in whatever case and behind whatever prefix."""
    text = name.casefold()
    return "nomic" in text and "v1.5" in text and "vision" not in text  # nomic-embed-vision is another model


def same_model(one: str, other: str) -> bool:
    """Whether two names are spellings of one model.

    Case, `_` for `-` and a tag `:latest` do not count, nor does an organisation that one of them leaves out; two
    organisations make two models.
    """
    (first, base), (second, other_base) = _parts(one), _parts(other)
    return base == other_base and (not first or not second or first == second)


def spellings(name: str, names: Iterable[str]) -> frozenset[str]:
    """Those of the names that mean this model, as `families` has them."""
    return frozenset(next(iter(families([name, *names])))).intersection(names)


def families(names: Iterable[str]) -> list[list[str]]:
    """The names of one model each, in the order in which they come.

    Where names differ in their organisation alone, one that leaves it out means none of these: which is not said.
    """
    organisations: defaultdict[str, set[str]] = defaultdict(set)
    parts = [(name, *_parts(name)) for name in names]
    for _, organisation, base in parts:
        organisations[base].update({organisation} - {""})
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name, organisation, base in parts:
        found[base, organisation if len(organisations[base]) > 1 else ""].append(name)
    return list(found.values())


def is_mislabelled(name: str, floats: int) -> bool:
    """Whether a vector of so many floats is known not to be of the model that it is labelled with.

    Early versions of Vestige stored vectors of nomic v1.5 as those of `all-MiniLM-L6-v2`, which has 384 dimensions.
    """
    return floats in (NOMIC_DIMENSION, SHORT_DIMENSION) and same_model(name, f"sentence-transformers/{MINI}")


def can_shorten(name: str, floats: int, dimension: int) -> bool:
    """Whether Vestige makes a vector of this dimension of one of so many floats."""
    return dimension == SHORT_DIMENSION and SHORT_DIMENSION < floats <= NOMIC_DIMENSION and is_nomic(name)


def _parts(name: str) -> tuple[str, str]:
    """Organisation and model; the first is empty where there is none."""
    if is_nomic(name):
        return "", _NOMIC
    organisation, _, base = name.strip().casefold().replace("_", "-").removesuffix(_TAG).rpartition("/")
    return organisation.rpartition("/")[2], base
