"""What a person reads of a dry run's estimate: a line for each thing that a copy moves, needs and takes."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from vestige_migrate.report.estimate import Estimate, HnswEstimate, Span

_FORMS = {"vector": "", "halfvec": " in half precision (halfvec)", "bit": " in single bits"}
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024
_MINUTE, _HOUR = 60, 3600
_MINUTES_FROM, _HOURS_FROM = 2 * _MINUTE, 2 * _HOUR


def print_estimate(estimate: Estimate, console: Console) -> None:
    """The lines, each whole whatever the terminal's width."""
    for line in describe(estimate):
        console.print(Text(line), soft_wrap=True)


def describe(estimate: Estimate) -> list[str]:
    """The estimate's lines."""
    return [
        _move(estimate),
        *([_disk(estimate)] if estimate.rows else []),
        *([_hnsw(estimate.hnsw)] if estimate.hnsw else []),
        f"time: {span(estimate.seconds)} ({span(estimate.load)} to load, {span(estimate.indexes)} for indexes), if "
        + "; ".join(estimate.basis),
    ]


def _move(estimate: Estimate) -> str:
    if not estimate.rows:
        return "to move: nothing, every row is there already"
    about = "" if estimate.exact else "about "
    how = (
        "every row measured" if estimate.exact else f"by samples; the source has {size(estimate.bytes_at_most)} in all"
    )
    return (
        f"to move: {estimate.rows:,} rows, {about}{size(estimate.bytes)}: content {size(estimate.content_bytes)}, "
        f"vectors {size(estimate.vector_bytes)}, the rest {size(estimate.other_bytes)} ({how})"
    )


def _disk(estimate: Estimate) -> str:
    return (
        f"disk in the destination: about {size(estimate.table_bytes + estimate.index_bytes)}: tables "
        f"{size(estimate.table_bytes)}, indexes {size(estimate.index_bytes)}; and for its log up to max_wal_size, "
        f"{size(estimate.wal_bytes)}"
    )


def _hnsw(hnsw: HnswEstimate) -> str:
    fits = "" if hnsw.fits else "; it does not fit, and the build takes several times as long"
    return (
        f"memory of the HNSW build: the graph of {hnsw.vectors:,} x {hnsw.dimension}{_FORMS[hnsw.form]} wants "
        f"{hnsw.memory_wanted_mib:,} MiB; maintenance_work_mem is {hnsw.memory_set_mib:,} MiB "
        f"and would be set to {hnsw.memory_given_mib:,} MiB ({hnsw.reason}){fits}"
    )


def size(count: float) -> str:
    """`12 bytes`, `3.4 MiB`."""
    at = 0
    while count >= _STEP and at < len(_UNITS) - 1:
        count, at = count / _STEP, at + 1
    return f"{count:.1f} {_UNITS[at]}" if at else f"{count:.0f} {_UNITS[at]}"


def span(seconds: Span) -> str:
    """`1 to 3 s`, `2 to 9 min`, in the unit of the higher end, its lower end rounded down and its higher end up."""
    low, high = seconds
    unit, step = ("h", _HOUR) if high >= _HOURS_FROM else ("min", _MINUTE) if high >= _MINUTES_FROM else ("s", 1)
    if high < 1:
        return "under 1 s"
    return f"{int(low / step)} to {-int(-high // step)} {unit}"
