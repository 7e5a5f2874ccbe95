"""`--codebase` and `--owner`: what memories get that have only the default. The one place where it is decided."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.tables import knowledge_nodes
from vestige_migrate.tables.base import BOOTSTRAP_USER, Column, Null, Table
from vestige_migrate.wire import field

if TYPE_CHECKING:
    from vestige_migrate.wire.column import Encoded, Encoder, Values


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
            return replace(column, default=ours, encoder=lambda layout: _instead_of_bootstrap(column, layout, ours))
        return column


def _instead_of_bootstrap(column: Column, layout: Layout, ours: bytes) -> Encoder:
    from vestige_migrate.wire.column import Encoded  # here: it needs numpy, and the coordinator does not (encoders)

    encode = column.encoder(layout)
    bootstrap = field.uuid(UUID(BOOTSTRAP_USER))

    def encode_owners(values: Values) -> Encoded:
        fields, problems = encode(values)
        return Encoded([ours if value == bootstrap else value for value in fields], problems)

    return encode_owners
