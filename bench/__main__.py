"""`python -m bench`: measures every bar of the speed, prints one table, and keeps it as JSON and as a chart.

Exit code 1: a copy failed or is not equal to its source. A missed bar is printed and changes nothing: times depend on
what else the machine does.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from bench.chart import chart
from bench.check import CopyFailed
from bench.results import cores, machine, stem, utc_now, write_json
from bench.server import running_server
from bench.session import MEASURABLE, Session, Settings
from bench.table import bars_grid, markdown, print_grid, scaling_grid, scaling_note, scaling_title
from vestige_migrate.errors import MigrationError

RESULTS = Path(__file__).parent / "results"
_PIPE_COLUMNS = 160


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part.replace("_", "")) for part in text.split(","))
    if min(numbers) < 1:
        raise ValueError
    return numbers


def _names(text: str) -> frozenset[str]:
    names = frozenset(text.replace("-", "_").split(","))
    unknown = sorted(names - set(MEASURABLE))
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(MEASURABLE)}")
    return names


def parse(arguments: list[str] | None) -> tuple[Settings, Path | None]:
    """The settings, and where the table goes as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures the copy's speed beside its bars.")
    parser.add_argument("--rows", type=_numbers, help="memories (default 1000,100000; with --smoke 1000)")
    parser.add_argument("--dim", type=int, default=256, help="dimensions of the vectors (default 256)")
    parser.add_argument("--runs", type=int, help="rounds of everything (default: few of the slow, 5 of the fast)")
    parser.add_argument("--workers", type=_numbers, help="numbers of workers for their row (default 1,2,4,8)")
    parser.add_argument(
        "--only", type=_names, default=frozenset(), metavar="NAME,...", help=f"of {', '.join(MEASURABLE)}"
    )
    parser.add_argument("--smoke", action="store_true", help="everything once, and nothing is judged (for CI)")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the tables there too, as Markdown")
    given = parser.parse_args(arguments)
    settings = Settings(
        rows=given.rows or ((1_000,) if given.smoke else (1_000, 100_000)),
        dimension=given.dim,
        runs=given.runs,
        workers=given.workers or ((1, 2) if given.smoke else (1, 2, 4, 8)),
        only=given.only,
        smoke=given.smoke,
        results=RESULTS,
    )
    if not any(settings.wanted(rows) for rows in settings.rows):
        parser.error("--only names nothing that is measured with these --rows (start needs 1000)")
    return settings, given.markdown


def _on_terminate(_signum: int, _frame: FrameType | None) -> NoReturn:
    """As Ctrl-C does, so that a stopped benchmark leaves no server and no database behind."""
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    settings, markdown_path = parse(arguments)
    signal.signal(signal.SIGTERM, _on_terminate)
    # A table that is cut to the 80 columns of a pipe is of no use to anyone.
    console = Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
    progress = Console(stderr=True, style="dim", highlight=False)
    say = partial(progress.print, markup=False, soft_wrap=True)
    try:
        with running_server() as server:
            say(server.name)
            session = Session(server, settings, cores(), say)
            session.measure()
    except (CopyFailed, MigrationError) as error:
        Console(stderr=True, highlight=False).print(f"error: {error}", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    _report(console, session, markdown_path)
    return 0


def _report(console: Console, session: Session, markdown_path: Path | None) -> None:
    settings, now = session.settings, utc_now()
    judge, table = not settings.smoke, session.table()
    title = f"{now:%Y-%m-%d}, {session.server.name}, {session.cores} cores, client and server on one machine"
    print_grid(console, title, bars_grid(table, judge))
    for scaling in session.scalings:
        print_grid(console, scaling_title(scaling), scaling_grid(scaling))
        console.print(scaling_note(scaling), highlight=False)
    copies = sum(len(suite.copies) for suite in session.suites)
    others = [run.others_cpu for suite in session.suites for run in suite.copies if run.others_cpu is not None]
    if others:
        console.print(f"others' CPU during one of our copies: {median(others):.1f} s, at most {max(others):.1f} s")
    console.print(f"every copy is complete and equal to its source ({copies} of ours, and all of the others)")
    path = write_json(settings.results, now, session.server.name, _document(session, judge))
    drawing = settings.results / f"{stem(now)}.svg"
    drawing.write_text(chart(title, table, judge, session.scalings), encoding="utf-8")
    console.print(f"written: {path}, {drawing}", soft_wrap=True, highlight=False)
    if markdown_path is not None:
        text = markdown(title, table, judge, session.scalings, machine())
        markdown_path.write_text(text, encoding="utf-8")


def _document(session: Session, judge: bool) -> dict[str, Any]:
    settings = session.settings
    return {
        "settings": {**asdict(settings), "only": sorted(settings.only), "results": str(settings.results)},
        "table": [row.as_json(judge) for row in session.table()],
        "suites": [
            {
                "rows": suite.rows,
                "dimension": suite.dimension,
                "rounds": suite.rounds,
                "copies": [asdict(run) for run in suite.copies],
            }
            for suite in session.suites
        ],
        "scaling": [asdict(scaling) for scaling in session.scalings],
    }


if __name__ == "__main__":
    sys.exit(main())
