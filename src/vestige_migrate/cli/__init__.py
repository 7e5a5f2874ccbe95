"""The command line: options -> plan -> run -> exit code. The only place that imports typer.

Two console scripts run one app, because Vestige's own binary is called `vestige` too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vestige_migrate.process_life import arrange_end, collect_seldom

_INTERRUPTED = 130


def vestige() -> None:
    """Entry point of `vestige`: the commands are under `vestige migrate`."""
    with _loading():
        from vestige_migrate.cli.app import root, run

    run(root)


def vestige_migrate() -> None:
    """Entry point of `vestige-migrate`: the same commands, one level up."""
    with _loading():
        from vestige_migrate.cli.app import migrate, run

    run(migrate)


@contextmanager
def _loading() -> Iterator[None]:
    """Ctrl-C while the modules are loaded, some 0.2 s, prints no traceback either."""
    arrange_end()
    collect_seldom()
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted before anything was done\n")
        sys.exit(_INTERRUPTED)
