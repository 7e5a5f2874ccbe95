"""A role that owns nothing and may do nothing, as a hardened server gives one out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo


@dataclass(frozen=True)
class Guest:
    """A role, and the URL of the superuser who made it."""

    role: str
    owner_url: str

    @property
    def url(self) -> str:
        """The guest's own."""
        return make_conninfo(self.owner_url, user=self.role, password="guest")

    def owner(self, *statements: str) -> None:
        """The superuser runs these; {role} stands for the guest and {db} for the database."""
        names = {
            "role": sql.Identifier(self.role),
            "db": sql.Identifier(str(conninfo_to_dict(self.owner_url)["dbname"])),
        }
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(sql.SQL(statement).format(**names))

    def follow(self, message: str, before: str = "run: ") -> None:
        """The superuser does what a message asks for."""
        self.owner(*message.partition(before)[2].split("; "))


@contextmanager
def made_guest(owner_url: str) -> Iterator[Guest]:
    """A new guest; gone in the end with all that it has."""
    guest = Guest(f"guest_{uuid4().hex[:8]}", owner_url)
    # Anybody may make tables there in PostgreSQL 14.
    guest.owner("REVOKE CREATE ON SCHEMA public FROM PUBLIC", "CREATE ROLE {role} LOGIN PASSWORD 'guest'")
    try:
        yield guest
    finally:
        guest.owner("ALTER DATABASE {db} OWNER TO CURRENT_USER", "DROP OWNED BY {role}", "DROP ROLE {role}")
