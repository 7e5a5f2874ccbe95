"""Progress bars: one a table, advanced by the committed batches of all workers."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import Progress as RichProgress
from rich.progress import ProgressColumn, Task, TaskID
from rich.text import Text

from vestige_migrate.progress import Progress

_NAME_WIDTH = 17
_BAR_WIDTH = 24
_SMALLEST_BAR = 4
_NUMBERS_WIDTH = 46
"""Room that the counts, the rate and the time take on a line at the most."""


def render_line(name: str, done: int, total: int, speed: float | None, bar_width: int, detail: str = "") -> str:
    """`{table:>17} ######----- 1200/5000 (3400/s, eta 0:00:01)`; then `detail`, which the bar makes room for.

    Where there is nothing to be counted (`total` is 0), the detail alone.
    """
    if not total and detail:  # nothing is counted
        return f"{name:>{_NAME_WIDTH}} {detail}"
    bar_width = max(_SMALLEST_BAR, bar_width - len(detail) - 1) if detail else bar_width
    share = done / total if total else 1.0
    filled = round(bar_width * min(1.0, share))
    bar = "#" * filled + "-" * (bar_width - filled)
    left = timedelta(seconds=round((total - done) / speed)) if speed and total > done else timedelta(0)
    eta = str(left) if speed or done >= total else "-:--:--"
    return f"{name:>{_NAME_WIDTH}} {bar} {done}/{total} ({speed or 0:.0f}/s, eta {eta})" + (
        f" {detail}" if detail else ""
    )


class _Line(ProgressColumn):
    def __init__(self, bar_width: int) -> None:
        super().__init__()
        self._bar_width = bar_width

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(
            render_line(
                task.description,
                int(task.completed),
                int(task.total or 0),
                speed,
                self._bar_width,
                task.fields.get("detail", ""),
            ),
            no_wrap=True,
            overflow="ellipsis",
        )


class ProgressBars:
    """Shows progress on a console; as a context manager. Does nothing where `enabled` is False."""

    def __init__(self, console: Console, enabled: bool) -> None:
        room = console.width - _NAME_WIDTH - _NUMBERS_WIDTH
        bar_width = max(_SMALLEST_BAR, min(_BAR_WIDTH, room))
        self._bars = RichProgress(_Line(bar_width), console=console, disable=not enabled)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, progress: Progress) -> None:
        """Takes one `Progress`."""
        if progress.table not in self._tasks:
            self._tasks[progress.table] = self._bars.add_task(progress.table, total=progress.total)
        task = self._tasks[progress.table]
        self._bars.update(task, completed=progress.done, total=progress.total, detail=progress.detail)
