"""tests/conftest.py: under CI nothing is skipped, in one process or in several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RULES = Path(__file__).parents[1] / "conftest.py"

MODULES = {
    "test_skipped.py": "import pytest\n@pytest.mark.skip(reason='no server')\ndef test_it(): pass",
    "test_skips_itself.py": "import pytest\ndef test_it(): pytest.skip('no server')",
    "test_module_skipped.py": "import pytest\npytest.importorskip('no_such_module_anywhere')\ndef test_it(): pass",
    "test_expected_to_fail.py": "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False",
    "test_passes.py": "def test_it(): pass",
}


def summary(folder: Path, *, ci: str, processes: int) -> str:
    """The last line of pytest, run over the modules above under our rules."""
    (folder / "conftest.py").write_text(RULES.read_text())
    for name, text in MODULES.items():
        (folder / name).write_text(text)
    options = ["-q", "-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider", "--continue-on-collection-errors", "-n", str(processes)]
    command = [sys.executable, "-m", "pytest", *options, str(folder)]
    run = subprocess.run(command, env={**os.environ, "CI": ci}, capture_output=True, text=True, check=False)
    return run.stdout.splitlines()[-1]


@pytest.mark.parametrize("processes", [0, 1])
def test_whatever_is_skipped_fails_under_ci(processes: int, tmp_path: Path) -> None:
    assert summary(tmp_path, ci="true", processes=processes).startswith("2 failed, 1 passed, 2 errors")  # a skip before the test begins is an error


def test_a_skip_is_accepted_at_a_desk(tmp_path: Path) -> None:
    assert summary(tmp_path, ci="", processes=0).startswith("1 passed, 3 skipped, 1 xfailed")
