"""Whether rows of other tables refer to a row: deleting it would take them along, or what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours, qualified, relation
from vestige_migrate.destination.load.named_rows import key_parameters, named_rows
from vestige_migrate.tables.base import Table

# Of every schema: whoever made a table of their own may have let it refer to ours. That of a partition's parent counts.
_FOREIGN_KEYS = sql.SQL(
    "SELECT o.oid = {memberships}, s.nspname::text, o.relname::text,"
    " ARRAY(SELECT ARRAY[b.attname::text, a.attname::text] FROM unnest(f.conkey, f.confkey) AS k(theirs, ours)"
    "   JOIN pg_attribute AS b ON b.attrelid = f.conrelid AND b.attnum = k.theirs"
    "   JOIN pg_attribute AS a ON a.attrelid = f.confrelid AND a.attnum = k.ours),"
    " has_schema_privilege(s.oid, 'USAGE') AND has_table_privilege(o.oid, 'SELECT')"
    " FROM pg_constraint AS f JOIN pg_class AS o ON o.oid = f.conrelid JOIN pg_namespace AS s ON s.oid = o.relnamespace"
    " WHERE f.contype = 'f' AND f.conparentid = 0 AND f.confrelid = {table} ORDER BY f.oid"
).format(memberships=relation("%s"), table=relation("%s"))


@dataclass(frozen=True)
class Referred:
    """`condition`: whether something refers to the row `t`, an expression in SQL with the `parameters`."""

    condition: sql.Composable
    _memberships: Table
    _has_memberships: bool

    def parameters(self, memberships: Sequence[str] = ()) -> list[list[str]]:
        """For rows of the memberships of these names, which count for nothing."""
        return key_parameters(self._memberships, memberships) if self._has_memberships else []


def is_referred_to(connection: Connection, table: Table, memberships: Table) -> Referred:
    """By a foreign key, or, a group, by a memory that is shared with it, for which there is no foreign key.

    A table that this role may not read is taken to refer to all of them.
    """
    conditions: list[sql.Composable] = []
    has_memberships = False
    found = connection.execute(_FOREIGN_KEYS, (memberships.name, table.name)).fetchall()
    # The memberships' first: they have the parameters, which so come once.
    for is_membership, schema, name, columns, may_read in sorted(found, key=lambda row: not row[0]):
        if not may_read:
            conditions.append(sql.SQL("true"))
            continue
        same: list[sql.Composable] = [
            sql.SQL("o.{} = t.{}").format(qualified(theirs), qualified(own)) for theirs, own in columns
        ]
        if is_membership and not has_memberships:
            has_memberships = True
            key = sql.SQL(", ").join(sql.SQL("o.{0}").format(sql.Identifier(part)) for part in memberships.key)
            parts = sql.SQL(", ").join(map(sql.Identifier, memberships.key))
            gone = sql.SQL("({}) NOT IN (SELECT {} FROM {} AS g)").format(key, parts, named_rows(memberships))
            same.append(gone)
        exists = sql.SQL("EXISTS (SELECT FROM {} AS o WHERE {})")
        conditions.append(exists.format(qualified(schema, name), sql.SQL(" AND ").join(same)))
    if table.name == "groups":
        shared = sql.SQL("EXISTS (SELECT FROM {} AS o WHERE o.shared_with_groups @> ARRAY[t.id])")
        conditions.append(shared.format(ours(connection, "knowledge_nodes")))
    any_of = sql.SQL("({})").format(sql.SQL(" OR ").join(conditions or [sql.SQL("false")]))
    return Referred(any_of, memberships, has_memberships)
