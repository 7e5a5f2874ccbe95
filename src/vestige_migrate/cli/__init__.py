"""The command line: options -> plan -> run -> exit code. The only place that imports typer.

Two console scripts run one app, because Vestige's own binary is called `vestige` too.
"""

from __future__ import annotations


def vestige() -> None:
    """Entry point of `vestige`: the commands are under `vestige migrate`."""
    from vestige_migrate.cli.app import root, run

    run(root)


def vestige_migrate() -> None:
    """Entry point of `vestige-migrate`: the same commands, one level up."""
    from vestige_migrate.cli.app import migrate, run

    run(migrate)
