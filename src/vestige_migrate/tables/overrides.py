"""`--codebase` and `--owner`: what memories get that have only the default. The one place where it is decided."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from vestige_migrate.tables import knowledge_nodes
from vestige_migrate.tables.base import BOOTSTRAP_USER, Column, Null, Table
from vestige_migrate.wire import field


@dataclass(frozen=True)
class Overrides:
    """`codebase` is for memories without one, `owner` for those that belong to nobody or to the bootstrap user."""

    codebase: str | None = None
    owner: UUID | None = None

    def apply(self, table: Table) -> Table:
        """The table whose columns have these defaults; any table but knowledge_nodes as it is."""
        if table.name != knowledge_nodes.TABLE.name:
            return table
        return replace(table, columns=tuple(self._override(column) for column in table.columns))

    def _override(self, column: Column) -> Column:
        if column.name == "codebase" and self.codebase is not None:
            return replace(column, default=field.text(self.codebase), null=Null.DEFAULT)
        if column.name == "owner_user_id" and self.owner is not None:
            ours = field.uuid(self.owner)
            return replace(column, default=ours, instead=(field.uuid(UUID(BOOTSTRAP_USER)), ours))
        return column
