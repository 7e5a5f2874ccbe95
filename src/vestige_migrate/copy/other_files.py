"""Earlier runs of a file of the same name that was another one: two hosts have their file at the same place.

What such a run brought is none of this file's to replace or to take away. Nothing in Vestige's file says which one it
is, so its memories do: where a run brought some and the file has none of them, it was another file.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from loguru import logger
from psycopg import sql

from vestige_migrate.decode.ids import spellings
from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.schema.run_tables import BATCHES, RUNS, Run
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.source.read.rows import read_value_by_key
from vestige_migrate.tables import TABLES

_MEMORIES = "knowledge_nodes"
_FEWEST = 10
"""Of fewer memories all may have been deleted since."""
_MOST = 100
_BATCHES = 20


def find_other_files(postgres: Connection, sources: Sequence[PreparedSource], run: Run) -> tuple[UUID, ...]:
    """The earlier runs of these names that copied another file; those that brought few memories are taken for this
    one's."""
    found = [
        run_id for run_id, ids in _samples(postgres, run) if len(ids) >= _FEWEST and not _any_has_one(sources, ids)
    ]
    if found:
        logger.warning(
            "{} earlier copies of {} brought memories of which it has none: they are taken for copies of another file "
            "of that name, whose rows are neither replaced nor deleted",
            len(found),
            ", ".join(run.sources),
        )
    return tuple(found)


def _samples(postgres: Connection, run: Run) -> list[tuple[UUID, list[str]]]:
    """For each run the ids of some of the memories that are as it wrote them, of several of its batches: the memories
    of one are of one time, and may all have been deleted since."""
    batches = sql.SQL(
        "SELECT run_id, row_xmin, row_number() OVER (PARTITION BY run_id ORDER BY hashint8(row_xmin)) AS at"
        " FROM {} AS b JOIN {} AS r ON r.id = b.run_id"
        " WHERE table_name = {} AND inserted > 0 AND {} AND b.xmin::text::bigint = b.row_xmin"
    ).format(ours(postgres, BATCHES), ours(postgres, RUNS), sql.Literal(_MEMORIES), run.is_of_these("r"))
    query = sql.SQL(
        "SELECT b.run_id, (array_agg(t.id::text ORDER BY hashtext(t.id::text)))[1:%s] FROM ({}) AS b"
        " JOIN {} AS t ON t.xmin::text::bigint = b.row_xmin WHERE b.at <= %s GROUP BY b.run_id"
    ).format(batches, ours(postgres, _MEMORIES))
    return postgres.execute(query, (_MOST, _BATCHES)).fetchall()


def _any_has_one(sources: Sequence[PreparedSource], ids: Sequence[str]) -> bool:
    spelt = [way for id_ in ids for way in spellings(id_)]
    for source in sources:
        table = TABLES[_MEMORIES].source_in(source.layout)
        if table is None or read_value_by_key(source.connection, table, "1", spelt):
            return True  # a file without memories may be this one, emptied
    return False
