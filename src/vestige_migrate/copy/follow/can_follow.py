"""Which sources can be followed."""

from __future__ import annotations

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.prepare.source import PreparedSource


def check_can_be_followed(source: PreparedSource) -> None:
    """Raises `SourceUnusable` where rows are not read from the file that Vestige writes to."""
    info = source.info
    if info.portable_archive is not None:
        raise SourceUnusable(f"{info.path} is a portable archive, which does not change: copy it without --follow")
    if source.original is not None:
        raise SourceUnusable(
            f"{info.path} cannot be followed: its rows are read from a private copy (the warning above says why), in "
            "which nothing is seen of what Vestige writes. Copy it without --follow"
        )
    if source.file.immutable:
        raise SourceUnusable(
            f"{info.path} cannot be followed: it can only be read as if nobody wrote to it (its folder is read-only to "
            "this account). Copy it without --follow, or give this account the right to write to the folder"
        )
