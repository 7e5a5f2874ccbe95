"""The report of a command line that could not even be read: its `--report` is looked for by hand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vestige_migrate.cli.failures import BAD_ARGUMENTS, Failure
from vestige_migrate.cli.outputs import Outputs, RunFacts
from vestige_migrate.cli.streams import SteadyConsole
from vestige_migrate.errors import PlanError

_COMMANDS = ("copy", "verify")
_WITH_VALUE = ("--report", "--sqlite-path", "--postgres-url")


def report_refused_arguments(arguments: Sequence[str], message: str) -> None:
    """Leaves a report with this refusal where a copy or a comparison was to write one, and may.

    An older report would be taken for this run's. Where a value is missing, or looks like an option, it cannot be told
    what the operator meant, and nothing is written.
    """
    words = [word for word in arguments if word != "migrate"]
    if not words or words[0] not in _COMMANDS:
        return
    found: dict[str, list[str]] = {name: [] for name in _WITH_VALUE}
    at = 1
    while at < len(words):
        name, has_value, value = words[at].partition("=")
        at += 1
        if name not in found:
            continue
        if not has_value:
            if at == len(words) or (words[at].startswith("-") and words[at] != "-"):
                return
            value = words[at]
            at += 1
        found[name].append(value)
    if not found["--report"]:
        return
    from vestige_migrate.cli.options import POSTGRES_URL_VARIABLE

    url = (found["--postgres-url"] or [os.environ.get(POSTGRES_URL_VARIABLE, "")])[-1]
    facts = RunFacts.of(words[0], "--dry-run" in words, [Path(path) for path in found["--sqlite-path"]], url)
    try:
        Outputs(facts, found["--report"][-1], None, SteadyConsole(stderr=True)).refuse(
            Failure("UsageError", message, BAD_ARGUMENTS)
        )
    except PlanError:
        return  # no path to write to; the message that is on its way says what to do first
