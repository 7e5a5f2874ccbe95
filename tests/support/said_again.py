"""Errors that a later run says again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from vestige_migrate.report.rows import RowError


def as_first_said(errors: Iterable[RowError]) -> set[RowError]:
    """Without what a run says of when it was said first."""
    return {replace(error, known_since=None, further=False) for error in errors}
