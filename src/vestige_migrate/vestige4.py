"""What Vestige 4 leaves in a data directory: a log of its own instead of an SQLite database.

Its first start imports `vestige.db` into `log/` (`strata/` before its release), makes a copy of it that is called a
backup, and never touches it again; the log has no vectors. There is a log where a folder has its key or a segment: so
Vestige itself tells. Facts from the repository samvallad33/vestige: `docs/MIGRATING-TO-4.0.md`, `docs/MIGRATING-v4.md`,
and the programs that import and start.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from vestige_migrate.paths import shown

DATABASE_NAME = "vestige.db"
_LOGS = ("log", "strata")
_KEY, _SEGMENT = "strata.key", ".seg"
_BACKUP = re.compile(r"(?P<database>.+?)(?P<companion>-wal|-shm)?\.v3-backup-(?P<stamp>\d+-\d+)")
"""A half-written one ends in `.partial`."""


def find_log(folder: Path) -> Path | None:
    """The log of Vestige 4 in this data directory, or the folder itself where it is one; None where there is none."""
    return next((place for place in (*(folder / name for name in _LOGS), folder) if _is_log(place)), None)


def _is_log(folder: Path) -> bool:
    try:
        return any(_is_of_log(entry) for entry in folder.iterdir())
    except OSError:
        return False


def _is_of_log(file: Path) -> bool:
    return file.name == _KEY or file.suffix == _SEGMENT


def explain(path: Path) -> str | None:
    """What to say of a path that leads to no database: None unless Vestige 4 has to do with it."""
    own = find_log(path)
    if own is not None:
        return no_database(own)
    beside = find_log(path.parent)
    if beside is None or (path.exists() and not _is_of_log(path)):
        return None
    return no_database(beside)


def no_database(log: Path) -> str:
    """What to say where this log was found instead of a database, with the way to go on."""
    folder = log.parent
    return (
        f"{shown(log)} is the log of Vestige 4, which keeps no SQLite database, and this program does not read it. "
        f"Vestige 4 imported the old file, {DATABASE_NAME}, and left it where it was; that file still has the vectors, "
        f"which Vestige 4 drops. {_way_on(folder)}"
    )


def _way_on(folder: Path) -> str:
    database = folder / DATABASE_NAME
    if database.exists():
        return f"Give it with --sqlite-path {_quoted(database)}"
    backup = _newest_backup(folder)
    if backup is None:
        return f"It is not in {shown(folder)} any more: give it, or a backup of it, with --sqlite-path"
    return (
        f"It is not in {shown(folder)} any more, but the copy that the import made of it is: give --sqlite-path "
        f"{_quoted(backup)}"
    )


def _newest_backup(folder: Path) -> Path | None:
    try:
        names = [(found, entry) for entry in folder.iterdir() if (found := _BACKUP.fullmatch(entry.name))]
    except OSError:
        return None
    whole = [entry for found, entry in names if found["companion"] is None]
    return max(whole, key=lambda entry: entry.name, default=None)


def detached_wal(path: Path) -> str | None:
    """What to say of a backup by Vestige 4 whose newest rows are in a WAL that SQLite would not look for.

    The import copies `vestige.db-wal` to `vestige.db-wal.v3-backup-…`; SQLite looks for `vestige.db.v3-backup-…-wal`.
    None where there is no such thing.
    """
    found = _BACKUP.fullmatch(path.name)
    if found is None or found["companion"] is not None:
        return None
    wal = path.with_name(f"{found['database']}-wal.v3-backup-{found['stamp']}")
    expected = path.with_name(f"{path.name}-wal")
    try:
        is_needed = wal.stat().st_size > 0 and not expected.exists()
    except OSError:
        return None
    if not is_needed:
        return None
    return (
        f"{shown(path)} is a copy that Vestige 4 made, and what was written last is in {shown(wal)}, where SQLite does "
        "not look for it. Put it beside the copy under the name that it looks for, then run again: "
        f"cp {_quoted(wal)} {_quoted(expected)}"
    )


def lives_on(database: Path) -> str | None:
    """What to say of a database that has such a log beside it; None where it has none."""
    for folder in dict.fromkeys((database.parent, database.resolve().parent)):
        log = find_log(folder)
        if log is not None:
            return (
                f"Vestige 4 has a log of its own beside it, {shown(log)}: what Vestige has remembered since it "
                "imported this file is only there, and does not come over. The file has what was there before, with "
                "the vectors that Vestige 4 drops"
            )
    return None


def _quoted(path: Path) -> str:
    return shlex.quote(shown(path))
