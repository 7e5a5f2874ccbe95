"""What a command loads before it begins: start-up is a good part of a second run with nothing to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADS_WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None  # importing it raises ImportError
import vestige_migrate.cli.app, vestige_migrate.copy.coordinator
"""
ENDS_AT_ONCE = """
import atexit, sys
from vestige_migrate.process_life import arrange_end, leave
arrange_end()
class Late:
    def __del__(self):
        print("taken apart")
late = Late()
atexit.register(lambda: print("handlers run"))
print("written", end="")
leave({code})
"""


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_the_coordinator_of_a_copy_does_without_numpy() -> None:
    done = _python(LOADS_WITHOUT_NUMPY)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_ends_with_its_code_after_its_exit_handlers_and_nothing_else(code: int) -> None:
    done = _python(ENDS_AT_ONCE.format(code=code))
    assert (done.returncode, done.stdout, done.stderr) == (code, "writtenhandlers run\n", "")


def test_an_end_that_was_not_chosen_goes_its_usual_way() -> None:
    done = _python("from vestige_migrate.process_life import arrange_end\narrange_end()\nraise SystemExit(5)")
    assert done.returncode == 5
