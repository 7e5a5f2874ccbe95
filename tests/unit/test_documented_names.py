"""Names that documents, docstrings and comments give are those of the code: a reader who searches for one finds it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from vestige_migrate.report.endpoints import SourceInfo

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "vestige_migrate"
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
SOURCES = sorted(PACKAGE.rglob("*.py"))
OURS = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").is_file()}
NOT_OURS = {"random.py", *(f"source.{name}" for name in SourceInfo.__dataclass_fields__)}
"""What an operator may have lying about; entries of the JSON report."""
VARIABLES = {"report"}
"""A call's result has the package's name."""

_FILE = re.compile(r"(?<![\w/.-])(?:[\w-]+/)*[\w-]+\.py\b")
_DOTTED = re.compile(r"`([a-z_]+(?:\.[A-Za-z_]+)+)(?:\(\))?`")


def test_there_is_something_to_look_at() -> None:
    assert {path.name for path in DOCUMENTS} >= {"README.md", "CONTRIBUTING.md", "architecture.md", "faults.md"}
    assert {"copy", "verify", "workers", "destination", "source"} <= OURS


@pytest.mark.parametrize("path", [*DOCUMENTS, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_and_every_name_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    files = [name for name in _FILE.findall(text) if name not in NOT_OURS and not _is_there(name)]
    names = [name for name in _DOTTED.findall(text) if name not in NOT_OURS and not _resolves(name)]
    assert (files, names) == ([], [])


def _is_there(name: str) -> bool:
    """Whether a file's path ends like that; in a document it may begin at the package, at the tests or at the root."""
    return any(str(found).endswith(f"/{name}") for found in _files())


def _files() -> Iterator[Path]:
    for folder in ("src", "tests", "bench"):
        yield from (ROOT / folder).rglob("*.py")


def _resolves(name: str) -> bool:
    first = name.split(".")[0]
    if first not in OURS - VARIABLES:
        return True
    found: object = import_module(f"vestige_migrate.{first}")
    for part in name.split(".")[1:]:
        try:
            found = getattr(found, part)
        except AttributeError:
            if not isinstance(found, ModuleType):
                return part in getattr(found, "__dataclass_fields__", {})
            try:
                found = import_module(f"{found.__name__}.{part}")
            except ImportError:
                return False
    return True
