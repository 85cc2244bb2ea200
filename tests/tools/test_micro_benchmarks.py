"""benchmarks/micro: that they run. What they measure is for `make benchmark-micro` on a quiet machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def test_each_runs_once_on_little() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--benchmark-disable", "benchmarks/micro"]
    finished = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert " passed" in finished.stdout
