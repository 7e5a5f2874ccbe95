"""What a run that replaces rows could take away by a slip of its options: refused before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.schema import run_tables, schema
from vestige_migrate.destination.schema.run_tables import BATCHES, RUNS
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.paths import shown
from vestige_migrate.plan import OnConflict, SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.base import BOOTSTRAP_USER

_OF_EVERY_MEMORY = ("codebase", "owner")
"""Options that give each memory a value."""


def check_second_run(plans: Sequence[SqliteToPostgresPlan], destination: ReadyDestination) -> None:
    """Raises `DestinationUnusable` where rows would be replaced that are not to be, unless the plans say `yes`."""
    plan = plans[0]
    if plan.on_conflict is OnConflict.SKIP or plan.yes or not destination.made:
        return
    if run_tables.is_there(destination.main):
        for each in plans:
            _check_same_options(each, destination)
    if plan.on_conflict is OnConflict.SOURCE:
        _check_only_copies(destination)


def _check_same_options(plan: SqliteToPostgresPlan, destination: ReadyDestination) -> None:
    """What the last copy of the file that wrote memories gave them, this one is not to take away."""
    main = destination.main
    row = main.execute(
        sql.SQL(
            "SELECT options FROM {} AS r WHERE %s = ANY(sources)"
            " AND EXISTS (SELECT FROM {} AS b WHERE b.run_id = r.id AND b.table_name = 'knowledge_nodes')"
            " ORDER BY started_at DESC LIMIT 1"
        ).format(ours(main, RUNS), ours(main, BATCHES)),
        (shown(plan.sqlite_path),),
    ).fetchone()
    options = row[0] if row is not None else {}
    dropped = [name for name in _OF_EVERY_MEMORY if options.get(name) not in (None, getattr(plan, name))]
    if dropped:
        given = " and ".join(f"--{name} {options[name]}" for name in dropped)
        raise DestinationUnusable(
            f"the last copy of {shown(plan.sqlite_path)} was made with {given}, and --on-conflict {plan.on_conflict} "
            "without it would take that from every memory that nobody changed here: give it again, or --yes"
        )


def _check_only_copies(destination: ReadyDestination) -> None:
    """Raises `DestinationUnusable` where the destination has rows that are not as a copy wrote them."""
    main = destination.main
    is_kept = run_tables.is_there(main)
    here = [name for name in TABLES if name not in schema.missing_tables(main)]
    others: dict[str, int] = {}
    for name in here:
        written = run_tables.as_copied(main, name) if is_kept else sql.SQL("false")
        condition = sql.SQL("t.id <> {}").format(sql.Literal(BOOTSTRAP_USER)) if name == "users" else sql.SQL("true")
        query = sql.SQL("SELECT count(*) FROM {} AS t WHERE NOT {} AND {}").format(ours(main, name), written, condition)
        [(rows,)] = main.execute(query).fetchall()
        if rows:
            others[name] = rows
    if others:
        named = ", ".join(f"{rows} of {name}" for name, rows in others.items())
        raise DestinationUnusable(
            "--on-conflict source puts the source's rows in the place of all that differ, and the destination has "
            f"rows that are not as a copy wrote them ({named}): give --yes if they may be lost, or --on-conflict "
            "newer, which keeps them"
        )
