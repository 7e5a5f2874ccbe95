"""What a copy that followed its source did, as a person reads of it, and how to cut over."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from vestige_migrate.report.migration import MigrationReport

_VERIFY = "vestige migrate verify tells whether both sides are equal"


def print_passes(report: MigrationReport, console: Console) -> None:
    """The sums of all passes but the first, how far the destination is, and what is to be done then."""
    further = report.passes[1:]
    sums = ", ".join(
        f"{sum(getattr(done, name) for done in further)} {name}" for name in ("inserted", "updated", "deleted")
    )
    passes = "1 further pass" if len(further) == 1 else f"{len(further)} further passes"
    console.print(Text(f"followed the source: {passes}, rows: {sums}"), soft_wrap=True)
    last = report.passes[-1]
    named = report.errors or report.kept or report.still_open
    there = f"all of it is there{', but for the rows named above' if named else ''}, as it was at {last.started_at}"
    if report.source_changed:
        said = f"it was written to after the last pass began ({last.started_at}): stop Vestige, then run this once more"
        console.print(Text(f"{said} with --until-idle 2"), soft_wrap=True)
    elif last.whole and further:
        console.print(Text(f"{there}. If Vestige is stopped, you can cut over: {_VERIFY}"), soft_wrap=True)
    else:
        then = f"To cut over, stop Vestige, run this once more with --until-idle 2, and then {_VERIFY}"
        console.print(Text(f"{there}. {then}"), soft_wrap=True)
