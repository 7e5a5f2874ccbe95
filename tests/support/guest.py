"""A role that is no superuser, beside the one that owns the test's database."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo


@dataclass(frozen=True)
class Guest:
    """A role that is not the tables' owner, and the owner's URL."""

    role: str
    owner_url: str

    @property
    def url(self) -> str:
        """The guest's own."""
        return make_conninfo(self.owner_url, user=self.role, password="guest")

    def owner(self, *statements: str) -> None:
        """The owner runs these; {role} stands for the guest and {db} for the database."""
        names = {
            "role": sql.Identifier(self.role),
            "db": sql.Identifier(str(conninfo_to_dict(self.owner_url)["dbname"])),
        }
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(sql.SQL(statement).format(**names))
