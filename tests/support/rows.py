"""Rows for a fixture, as dictionaries by column name; `sources.py` writes those columns that the table has.

Every topic has a random generator of its own, seeded with the fixture's seed and the topic's name: more edges do not
change the memories, and two files with one seed share their memories.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from tests.support import prose
from tests.support.vestige_schemas import BOOTSTRAP_USER_ID

Row = dict[str, object]

VECTORS_AT_ONCE = 4096


@dataclass(frozen=True)
class World:
    """The ids that the rows of one file refer to."""

    seed: int
    memory_ids: Sequence[str]
    user_ids: Sequence[str]  # with the bootstrap user, if the file has it
    group_ids: Sequence[str]
    domain_ids: Sequence[str]

    def rng(self, topic: str) -> random.Random:
        return topic_rng(self.seed, topic)


def topic_rng(seed: int, topic: str) -> random.Random:
    return random.Random(f"{seed}:{topic}")


def ids(seed: int, topic: str, count: int) -> list[str]:
    rng = topic_rng(seed, f"{topic} ids")
    return [prose.new_id(rng) for _ in range(count)]


def domain_ids(count: int) -> list[str]:
    """Readable ids, as Vestige's clustering gives them; they are no UUIDs."""
    names = prose.DOMAIN_NAMES
    return [names[n] if n < len(names) else f"cluster-{n}" for n in range(count)]


def vectors(seed: int, topic: str, count: int, dimension: int) -> Iterator[bytes]:
    """Unit vectors as little-endian float32, made in blocks because one at a time is fifty times slower."""
    rng = np.random.default_rng([seed, *topic.encode()])
    for start in range(0, count, VECTORS_AT_ONCE):
        block = rng.standard_normal((min(VECTORS_AT_ONCE, count - start), dimension), dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        yield from (row.tobytes() for row in block.astype("<f4"))


def memories(world: World) -> Iterator[Row]:
    """What every memory has in every form of the file, and where it is owned and shared in those that know of it."""
    rng = world.rng("memories")
    created, created_at = 0, ""
    for number, memory_id in enumerate(world.memory_ids):
        if number % 40 != 1:  # some memories came in one batch and share their time to the last digit
            created = prose.moment(rng)
            created_at = prose.written(rng, created)
        chosen = rng.sample(world.domain_ids, k=min(rng.randint(0, 2), len(world.domain_ids)))
        yield {
            "id": memory_id,
            "content": prose.content(rng, number),
            "node_type": rng.choice(prose.NODE_TYPES),
            "tags": prose.tags(rng),
            "metadata": prose.metadata(rng, number),
            "domains": json.dumps(chosen, ensure_ascii=False),
            "domain_scores": json.dumps({name: rng.random() for name in chosen}),
            "codebase": rng.choice(prose.CODEBASES) if rng.random() < 0.6 else None,
            "created_at": created_at,
            "updated_at": prose.written(rng, created + int(rng.random() * 60 * prose.DAY_SECONDS)),
            **_ownership(world, rng),
        }


def _ownership(world: World, rng: random.Random) -> Row:
    owner = rng.choice(world.user_ids) if world.user_ids else BOOTSTRAP_USER_ID
    visibility = rng.choices(("private", "group", "public"), weights=(7, 2, 1))[0]
    wanted = rng.randint(1, 2) if visibility == "group" else 0
    groups = rng.sample(world.group_ids, k=min(wanted, len(world.group_ids)))
    return {"owner_user_id": owner, "visibility": visibility, "shared_with_groups": json.dumps(groups)}


def vestige_columns(world: World, model: str | None) -> Iterator[Row]:
    """The columns of `knowledge_nodes` in Vestige's own storage, V1 to V39, that `memories` does not give.

    Most have no place in the destination, and most are NULL or at their default in most rows, as in real files.
    """
    rng = world.rng("vestige columns")
    for number, memory_id in enumerate(world.memory_ids):
        row = _review_state(rng)
        row |= _experience(rng, number, model)
        row |= _lineage(rng, number, world.memory_ids)
        row |= _origin(rng, number, memory_id)
        yield row


def _review_state(rng: random.Random) -> Row:
    reviewed, reps = prose.moment(rng), rng.choice((0, 0, 1, 2, 5, 17))
    days = rng.randint(1, 300)
    return {
        "last_accessed": prose.written(rng, reviewed),
        "stability": rng.uniform(0.1, 365.0),
        "difficulty": rng.uniform(1.0, 10.0),
        "reps": reps,
        "lapses": rng.randint(0, reps),
        "learning_state": "review" if reps else "new",
        "storage_strength": rng.uniform(1.0, 10.0),
        "retrieval_strength": rng.random(),
        "retention_strength": rng.random(),
        "next_review": prose.written(rng, reviewed + days * prose.DAY_SECONDS) if reps else None,
        "scheduled_days": days if reps else 0,
    }


def _experience(rng: random.Random, number: int, model: str | None) -> Row:
    retrieved, waking, suppressed = rng.randint(0, 30), number % 11 == 0, number % 23 == 7
    return {
        "embedding_model": model,
        "sentiment_score": rng.choice((0.0, 0.0, rng.uniform(-1, 1))),
        "sentiment_magnitude": rng.random(),
        "source": rng.choice((None, None, "conversation", "import: Übersicht.md")),
        "scope": rng.choice(("user", "user", "agent", "session")),
        "memory_system": rng.choice(("semantic", "episodic", "procedural")),
        "activation": rng.uniform(-3, 3) if number % 2 else None,
        "waking_tag": int(waking),
        "waking_tag_at": prose.some_time(rng) if waking else None,
        "utility_score": rng.random(),
        "times_retrieved": retrieved,
        "times_useful": rng.randint(0, retrieved),
        "emotional_valence": rng.uniform(-1, 1),
        "flashbulb": int(number % 31 == 0),
        "suppression_count": int(suppressed),
        "suppressed_at": prose.some_time(rng) if suppressed else None,
        "protected": int(number % 19 == 0),
        "author_actor_did": f"did:key:z6Mk{number:04}" if number % 6 == 5 else None,
    }


def _lineage(rng: random.Random, number: int, memory_ids: Sequence[str]) -> Row:
    summarised, superseded = number % 13 == 5, number % 29 == 11
    earlier = memory_ids[rng.randrange(number)] if number else None
    return {
        "valid_from": prose.some_time(rng) if number % 7 == 3 else None,
        "valid_until": prose.some_time(rng) if superseded else None,
        "temporal_level": rng.choice(("daily", "weekly", "monthly")) if number % 17 == 2 else None,
        "summary_parent_id": earlier if summarised else None,
        "superseded_by": earlier if superseded else None,
    }


def _origin(rng: random.Random, number: int, memory_id: str) -> Row:
    """The envelope of memories that a connector fetched: one in ten, the rest NULL throughout."""
    fetched = {
        "source_system": "github",
        "source_id": str(number),
        "source_url": f"https://example.org/issues/{number}?a=1#c",
        "source_updated_at": prose.some_time(rng),
        "content_hash": sha256(memory_id.encode()).hexdigest(),
        "synced_at": prose.some_time(rng),
        "source_project": "example/рrоject",
        "source_type": "issue",
        "source_author": "zoë",
    }
    return {column: value if number % 10 == 4 else None for column, value in fetched.items()}


def schedules(world: World, count: int) -> Iterator[Row]:
    """One schedule for each of the first `count` memories."""
    rng = world.rng("schedules")
    for memory_id in world.memory_ids[:count]:
        state = _review_state(rng)
        yield {
            **state,
            "memory_id": memory_id,
            "retrievability": state["retention_strength"],
            "last_review": state["last_accessed"] if state["reps"] else None,
        }


def edges(world: World, count: int) -> Iterator[Row]:
    """`count` different pairs, no memory to itself; with the columns of `edges` and of `memory_connections`."""
    rng, seen = world.rng("edges"), set[tuple[int, int]]()
    while len(seen) < count:
        pair = (rng.randrange(len(world.memory_ids)), rng.randrange(len(world.memory_ids)))
        if pair[0] == pair[1] or pair in seen:
            continue
        seen.add(pair)
        kind, weight = rng.choice(prose.EDGE_TYPES), rng.random()
        yield {
            "source_id": world.memory_ids[pair[0]],
            "target_id": world.memory_ids[pair[1]],
            "edge_type": kind,
            "link_type": kind,
            "weight": weight,
            "strength": weight,
            "created_at": prose.some_time(rng),
            "last_activated": prose.some_time(rng),
            "activation_count": rng.randint(0, 50),
        }


def review_events(world: World, count: int) -> Iterator[Row]:
    rng = world.rng("events")
    for number in range(count):
        yield {
            "id": prose.new_id(rng),
            "memory_id": rng.choice(world.memory_ids),
            "occurred_at": prose.some_time(rng),
            "retrievability_before": rng.random() if number % 6 else None,
            "retrievability_after": rng.random() if number % 7 else None,
            "rating": rng.randint(1, 4),
            "kind": rng.choice(prose.EVENT_KINDS),
            "metadata": prose.metadata(rng, number),
        }


def people(world: World, topic: str, wanted: Sequence[str]) -> Iterator[Row]:
    """Users or groups: a handle each, different from all others; every third has no display name."""
    rng = world.rng(topic)
    for number, person_id in enumerate(wanted):
        handle = prose.HANDLES[number % len(prose.HANDLES)]
        yield {
            "id": person_id,
            "handle": f"{handle}-{topic}-{number}",
            "display_name": f"{handle.title()} the {number}th" if number % 3 else None,
            "created_at": prose.some_time(rng),
            "metadata": prose.metadata(rng, number),
        }


def memberships(world: World, count: int) -> Iterator[Row]:
    """The first `count` pairs of user and group, walked so that every user gets a group before any gets a second."""
    rng = world.rng("memberships")
    for number in range(count):
        turn, user = divmod(number, len(world.user_ids))
        yield {
            "user_id": world.user_ids[user],
            "group_id": world.group_ids[(turn + user) % len(world.group_ids)],
            "role": rng.choice(("member", "member", "admin")),
            "joined_at": prose.some_time(rng),
        }


def domains(world: World, dimension: int) -> Iterator[Row]:
    """Every fourth domain has no centroid yet."""
    rng = world.rng("domains")
    centroids = vectors(world.seed, "centroids", len(world.domain_ids), dimension)
    for number, (domain_id, centroid) in enumerate(zip(world.domain_ids, centroids, strict=True)):
        yield {
            "id": domain_id,
            "label": f"{domain_id} – “label”",
            "centroid": None if number % 4 == 3 else centroid,
            "top_terms": prose.tags(rng),
            "memory_count": rng.randint(0, 5000),
            "created_at": prose.some_time(rng),
        }
