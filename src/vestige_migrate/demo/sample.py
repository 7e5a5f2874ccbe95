"""A small but realistic V15 source: prose by topic, vectors that lie near their topic's centre, a graph, reviews.

Deterministic: the same file every time, so that a second demo copies nothing new.
"""

from __future__ import annotations

import errno
import json
import os
import random
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from vestige_migrate.errors import PlanError
from vestige_migrate.paths import shown
from vestige_migrate.tables.base import BOOTSTRAP_USER

MODEL = (
    "nomic-ai/nomic-embed-text-v1.5",
    256,
    "0f1d2c3b4a5968778695a4b3c2d1e0f00112233445566778899aabbccddeeff0",
)
_DIMENSION = MODEL[1]
_SEED = 20260527
_START = datetime(2026, 1, 5, 8, 0, 0, 123456, tzinfo=UTC)
_SPREAD = 0.35
"""How far vectors lie from their topic's centre; the centres are about 1.4 apart."""


@dataclass(frozen=True)
class Topic:
    """One subject that the sample agent remembers things about."""

    name: str
    codebase: str | None
    subjects: tuple[str, ...]
    facts: tuple[str, ...]


TOPICS = (
    Topic(
        "database",
        "ledger-api",
        ("the orders table", "the nightly vacuum", "the read replica", "the migration lock"),
        (
            "grew past the size where a sequential scan is cheap",
            "needs its statistics refreshed after every bulk load",
            "lags by a few seconds when the batch job runs",
            "must never be changed without the owner's review",
        ),
    ),
    Topic(
        "deployment",
        "ledger-api",
        ("the canary release", "the staging cluster", "the rollback script", "the health check"),
        (
            "waits ten minutes before it takes all the traffic",
            "shares its secrets with nobody, not even the build server",
            "was rewritten after the outage in March",
            "answers with the version that it runs",
        ),
    ),
    Topic(
        "cooking",
        None,
        ("the rye starter", "the fish soup", "the Sunday bread", "the pickled plums"),
        (
            "wants a warmer place in winter",
            "tastes better on the second day",
            "takes half the salt that the book says",
            "came from a neighbour who measures nothing",
        ),
    ),
    Topic(
        "astronomy",
        "star-atlas",
        ("the old refractor", "the comet of this autumn", "the ring nebula", "the dew heater"),
        (
            "needs an hour outside before it shows a steady image",
            "stands lowest just before the morning",
            "is easier to find with the widest eyepiece",
            "draws more current than the battery likes",
        ),
    ),
    Topic(
        "preferences",
        None,
        ("the user", "the whole team", "the designer", "the night shift"),
        (
            "prefers short answers with the reason first",
            "reads mail before nine and never after six",
            "wants every change explained in one sentence",
            "asks for examples rather than definitions",
        ),
    ),
)
_CONNECTIVES = (
    "We noticed that",
    "Remember:",
    "In the last review it was agreed that",
    "Once more it turned out that",
    "Note that",
)


def build_sample(path: Path, memories: int = 1000) -> Path:
    """Writes the sample to `path`, in place of an earlier sample; returns the path.

    It has its name only once it is whole. Raises `PlanError` where what is there is no sample of ours, and OSError.
    """
    if not _is_free(path):
        raise PlanError(
            f"{shown(path)} is there already, and is no sample of the demo, or is in use: it is left alone. Give "
            "another folder with --dir"
        )
    with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        made = Path(folder) / path.name
        try:
            _make(made, memories)
        except sqlite3.Error as error:
            raise OSError(errno.EIO, f"the sample cannot be written ({error})", shown(path)) from None
        for name in _beside(path):  # empty, or there is no database that they belong to
            name.unlink(missing_ok=True)
        made.replace(path)
    return path


def _make(path: Path, memories: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_schema())
        _fill(connection, memories)
        connection.commit()


def _beside(path: Path) -> tuple[Path, ...]:
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _is_free(path: Path) -> bool:
    """Whether nothing has the name, or an earlier sample that holds nothing else and that nobody is writing to."""
    wal, _ = _beside(path)
    try:
        found = path.lstat()
    except FileNotFoundError:
        return not wal.exists()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or (wal.exists() and wal.stat().st_size):
        return False
    try:
        # Immutable: looking makes no file beside it.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            models = connection.execute("SELECT name, dimension, hash FROM embedding_model").fetchall()
            (others,) = connection.execute(
                "SELECT count(*) FROM knowledge_nodes WHERE json_extract(metadata, '$.source') IS NOT 'demo'"
            ).fetchone()
    except sqlite3.Error:
        return False
    return models == [MODEL] and others == 0


def _schema() -> str:
    return resources.files("vestige_migrate.demo").joinpath("sql", "sample_v15.sql").read_text(encoding="utf-8")


def _fill(connection: sqlite3.Connection, memories: int) -> None:
    random_ = random.Random(_SEED)
    created = _time(0)
    alice, group = _uuid(random_), _uuid(random_)
    connection.execute("INSERT INTO embedding_model VALUES (1, ?, ?, ?, ?)", (*MODEL, created))
    users = [
        (BOOTSTRAP_USER, "local", None, created, "{}"),
        (alice, "alice", "Alice Ørsted", created, '{"role": "lead"}'),
    ]
    connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?)", users)
    connection.execute("INSERT INTO groups VALUES (?, 'platform', 'Platform team', ?, '{}')", (group, created))
    memberships = [(BOOTSTRAP_USER, group, "admin", created), (alice, group, "member", created)]
    connection.executemany("INSERT INTO group_memberships VALUES (?, ?, ?, ?)", memberships)
    centres = _centres()
    connection.executemany("INSERT INTO domains VALUES (?, ?, ?, ?, ?, ?)", _domains(centres, memories))
    ids = [_uuid(random_) for _ in range(memories)]
    nodes = _memories(random_, ids, centres, (BOOTSTRAP_USER, alice), group)
    connection.executemany(f"INSERT INTO knowledge_nodes VALUES ({', '.join('?' * 14)})", nodes)  # noqa: S608
    connection.executemany(f"INSERT INTO scheduling VALUES ({', '.join('?' * 8)})", _schedules(random_, ids))  # noqa: S608
    edges = [
        (
            ids[at],
            ids[at - len(TOPICS)],
            random_.choice(("semantic", "temporal", "causal")),
            random_.random(),
            _time(at),
        )
        for at in range(len(TOPICS), memories, 2)
    ]
    connection.executemany("INSERT INTO edges VALUES (?, ?, ?, ?, ?)", edges)
    events = [
        (
            _uuid(random_),
            ids[at],
            _time(at + 60),
            random_.random(),
            random_.random(),
            random_.randint(1, 4),
            "review",
            "{}",
        )
        for at in range(0, memories, 2)
    ]
    connection.executemany(f"INSERT INTO review_events VALUES ({', '.join('?' * 8)})", events)  # noqa: S608


def _uuid(random_: random.Random) -> str:
    return str(UUID(int=random_.getrandbits(128), version=4))


def _time(minutes: int) -> str:
    return (_START + timedelta(minutes=minutes)).isoformat()


def _centres() -> NDArray[np.float32]:
    centres = np.random.default_rng(_SEED).standard_normal((len(TOPICS), _DIMENSION))
    unit: NDArray[np.float32] = (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype("<f4")
    return unit


def _domains(centres: NDArray[np.float32], memories: int) -> Iterator[tuple[object, ...]]:
    for at, topic in enumerate(TOPICS):
        terms = json.dumps([subject.split()[-1] for subject in topic.subjects])
        yield topic.name, topic.name.title(), centres[at].tobytes(), terms, memories // len(TOPICS), _time(0)


def _memories(
    random_: random.Random, ids: list[str], centres: NDArray[np.float32], owners: tuple[str, str], group: str
) -> Iterator[tuple[object, ...]]:
    noise = np.random.default_rng(_SEED + 1).standard_normal((len(ids), _DIMENSION)) * _SPREAD / _DIMENSION**0.5
    for at, memory in enumerate(ids):
        number = at % len(TOPICS)
        topic = TOPICS[number]
        vector = (centres[number] + noise[at]).astype("<f4")
        shared = random_.random() < 0.1
        yield (
            memory,
            _prose(random_, topic),
            random_.choice(("fact", "concept", "event", "decision")),
            json.dumps([topic.name, random_.choice(("work", "home", "later"))]),
            json.dumps({"confidence": round(random_.random(), 3), "source": "demo"}),
            json.dumps([topic.name]),
            json.dumps({topic.name: round(random_.random(), 4)}),
            vector.tobytes(),
            topic.codebase,
            owners[random_.random() < 0.3],
            "group" if shared else "private",
            json.dumps([group] if shared else []),
            _time(at),
            _time(at + random_.randrange(10_000)),
        )


def _prose(random_: random.Random, topic: Topic) -> str:
    sentences = []
    for _ in range(random_.randint(2, 4)):
        opening, subject, fact = (random_.choice(part) for part in (_CONNECTIVES, topic.subjects, topic.facts))
        sentences.append(f"{opening} {subject} {fact}.")
    return " ".join(sentences)


def _schedules(random_: random.Random, ids: list[str]) -> Iterator[tuple[object, ...]]:
    for at, memory in enumerate(ids):
        reps = random_.randrange(8)
        last = _time(at) if reps else None
        stability = random_.uniform(0.5, 90.0)
        yield (
            memory,
            stability,
            random_.uniform(1, 10),
            random_.random(),
            last,
            _time(at + int(stability * 1440)),
            reps,
            reps // 4,
        )
