"""A program that lives with a source: `python -m tests.support.living_writer FILE FORM CHANGES A_SECOND SEED`.

So many changes in all, so many of them a second, by the statements that Vestige uses for them (`living_file`): half of
them are recalls; the others edits, links, memories that come, are forgotten with a tombstone, embedded anew or moved to
other domains. Prints what it did as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tests.support.living_file import SCORES, LivingFile

_KINDS = ("recall",) * 10 + (
    "edit",
    "remember",
    "remember",
    "link",
    "link",
    "decay",
    "assign",
    "embed",
    "unlink",
    "forget",
)


def live(file: LivingFile, changes: int, per_second: float, seed: int) -> Counter[str]:
    """Makes the changes, each a transaction; how many of each kind."""
    rng = random.Random(seed)
    done: Counter[str] = Counter()
    memories = file.memories()
    started = time.monotonic()
    for number in range(changes):
        kind = rng.choice(_KINDS)
        one, other = rng.choice(memories), rng.choice(memories)
        if kind == "recall":
            file.recall(one)
        elif kind == "edit":
            file.edit(one)
        elif kind == "remember":
            memories.append(file.remember(one))
        elif kind == "link" and one != other:
            file.link(one, other)
        elif kind == "decay":
            file.decay(one, rng.choice((0.25, 0.5, 0.75)))
        elif kind == "assign":
            file.assign(one, rng.choice(sorted(SCORES)))
        elif kind == "embed":
            file.embed_anew(one, other)
        elif kind == "unlink":
            edges = file.some_edges(one)
            if edges:
                file.unlink(*rng.choice(edges))
        elif kind == "forget" and len(memories) > 10:
            memories.remove(one)
            file.take_away(one, tombstone=True)
        done[kind] += 1
        time.sleep(max(0.0, started + number / per_second - time.monotonic()))
    return done


def main() -> None:
    path, form, changes, per_second, seed = sys.argv[1:]
    file = LivingFile.existing(Path(path), is_plain=form == "plain", minutes=int(seed) * 1_000_000)
    sys.stdout.write(json.dumps(live(file, int(changes), float(per_second), int(seed))) + "\n")


if __name__ == "__main__":
    main()
