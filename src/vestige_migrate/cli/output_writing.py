"""Writing to an accepted place: a report at once and whole, a log line by line."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from vestige_migrate.cli.output_files import Identity, InUse, Place, check, identity, is_input
from vestige_migrate.cli.streams import silence, silence_descriptor
from vestige_migrate.errors import PlanError
from vestige_migrate.paths import shown

_OWNER_ONLY = 0o600
_CLOSED_TO_LINKS = os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class ReportFile:
    """Where a report goes. A file is replaced in one step, so that it is the old report or the whole new one."""

    place: Place
    in_use: InUse
    folder: Identity | None
    descriptor: int | None
    """Of a device, a pipe or an open file of ours, which are written to directly."""

    @classmethod
    def open(cls, place: Place, in_use: InUse) -> ReportFile:
        """For a place that was accepted. Raises `PlanError` where no report could be written there."""
        try:
            descriptor = _open_direct(place)
            if descriptor is None:
                with _new_file(place.folder):
                    pass
        except OSError as error:
            raise place.refused(_cannot(error, place)) from None
        return cls(place, in_use, identity(place.folder) if descriptor is None else None, descriptor)

    def write(self, content: bytes) -> None:
        """Writes all of it. Raises OSError, which names the file; what was there before is whole then."""
        try:
            if self.descriptor is not None:
                _write_direct(self.descriptor, content)
            else:
                self._replace(content)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(error.errno or errno.EIO, reason, shown(Path(self.place.given))) from None

    def _replace(self, content: bytes) -> None:
        if identity(self.place.folder) != self.folder:
            raise OSError(errno.ESTALE, f"the folder {shown(self.place.folder)} is gone, or another has its name")
        try:
            check(self.place, self.in_use)  # again: what has the name now may not be what had it at the start
        except PlanError as error:
            raise OSError(errno.EPERM, str(error)) from None
        with _new_file(self.place.folder) as new:
            _write_all(new.descriptor, content)
            os.fsync(new.descriptor)
            new.keep(self.place.path)


@dataclass
class _NewFile:
    """A file that nobody knows yet; gone when the context ends unless it was kept."""

    path: Path
    descriptor: int
    kept: bool = False

    def keep(self, path: Path) -> None:
        """Gives it its name. Where that cannot be done it stays under the name it has: the run is not repeatable."""
        self.kept = True
        try:
            self.path.replace(path)
        except OSError as error:
            said = f"{error.strerror}; the report is in {shown(self.path)}"
            raise OSError(error.errno, said, str(path)) from None
        _flush_folder(path.parent)


@contextmanager
def _new_file(folder: Path) -> Iterator[_NewFile]:
    path = folder / f".vestige-migrate-{token_hex(8)}.tmp"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOSED_TO_LINKS, _OWNER_ONLY)
    new = _NewFile(path, descriptor)
    try:
        os.fchmod(descriptor, _OWNER_ONLY)  # a umask may have taken the owner's own rights
        yield new
    finally:
        os.close(descriptor)
        if not new.kept:
            path.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Makes a new name last through a power cut, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _cannot(error: OSError, place: Place) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and place.descriptor is None:
        return f"cannot be written: no file can be made in {shown(place.folder)} ({error.strerror})"
    return f"cannot be written: {error.strerror}"


def _open_direct(place: Place) -> int | None:
    """A descriptor of what is no file of a folder; None for a file, also one that is still to be made.

    A named pipe is opened now, which waits for its reader, and stays open: it would see an end of its input otherwise.
    """
    if place.descriptor is not None:
        return os.dup(place.descriptor)
    found = place.look()
    if found is None or stat.S_ISREG(found.st_mode):
        return None
    return os.open(place.path, os.O_WRONLY | _CLOSED_TO_LINKS)


def _write_direct(descriptor: int, content: bytes) -> None:
    with suppress(OSError):
        sys.stdout.flush()  # it may be the same stream
    with suppress(BrokenPipeError):  # the reader is gone; it had what it wanted
        _write_all(descriptor, content)


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


@dataclass
class LogFile:
    """A log that is added to, line by line. One that cannot be written any more is said once, and ends nothing."""

    given: str
    descriptor: int
    say: Callable[[str], None]
    failed: bool = field(default=False)
    _cut: bool = field(default=False)

    @classmethod
    def open(cls, place: Place, in_use: InUse, say: Callable[[str], None]) -> LogFile:
        """For a place that was accepted; `say` tells the operator. Raises `PlanError` where it cannot be opened.

        One that is there already and that others may read is closed to them first: it names ids and paths, and who
        wants to share it can open it again, which is easier than to call it back. A device keeps its mode.
        """
        try:
            descriptor = _open_direct(place)
            if descriptor is None:
                descriptor = _open_to_add(place, in_use)
        except OSError as error:
            raise place.refused(f"cannot be written: {error.strerror}") from None
        return cls(place.given, descriptor, say)

    def write(self, text: str) -> None:
        """Adds a line."""
        content = text.encode(errors="backslashreplace")
        try:
            _write_all(self.descriptor, b"\n" + content if self._cut else content)
            self._cut = False
        except BrokenPipeError:
            silence_descriptor(self.descriptor, inheritable=False)
        except OSError as error:
            self._cut = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            if not self.failed:
                self.failed = True
                self.say(
                    f"the log {shown(Path(self.given))} cannot be written any more ({error.strerror}): the run goes "
                    "on, and lines are missing from the log"
                )


def _open_to_add(place: Place, in_use: InUse) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | _CLOSED_TO_LINKS
    descriptor = os.open(place.path, flags, _OWNER_ONLY)
    try:
        # What was opened counts, not what was there when it was asked about.
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise place.refused("cannot be written: another file has its name by now")
        used = is_input(found, in_use)
        if used is not None:
            raise place.refused(f"is {used.what}: writing there would destroy it. Give another path")
        os.fchmod(descriptor, _OWNER_ONLY)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write_standard_output(content: bytes) -> None:
    """A report for `-`. Raises OSError, but not where the reader is gone."""
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    except BrokenPipeError:  # the copy is made all the same
        silence(sys.stdout)
