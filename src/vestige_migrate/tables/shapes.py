"""The shapes that a destination's tables may have: ours, or those of the database that Vestige's own plan makes.

A shape is data: reading, encoding and writing go by the `Table` that it chooses (and so ask `Shapes.table`, not
`TABLES`, for what may have several). A run finds it out once,
before anything is written (`destination.schema.schema_check`), and tells its workers.
"""

from __future__ import annotations

from dataclasses import dataclass

from vestige_migrate.tables import TABLES, edges, review_events
from vestige_migrate.tables.base import Table


@dataclass(frozen=True)
class Shapes:
    """For each table with several shapes, which one it has.

    `edges_by_type`: two memories may have an edge of each type. `events_as_states`: `review_events.AS_STATES`.
    """

    edges_by_type: bool = False
    events_as_states: bool = False

    def table(self, name: str) -> Table:
        """The table as the destination has it. Raises KeyError for a name that is none of ours."""
        if self.edges_by_type and name == edges.TABLE.name:
            return edges.BY_TYPE
        if self.events_as_states and name == review_events.TABLE.name:
            return review_events.AS_STATES
        return TABLES[name]

    def tables(self) -> dict[str, Table]:
        """All of them, in foreign-key order."""
        return {name: self.table(name) for name in TABLES}


OURS = Shapes()
"""Tables as this program makes them."""
