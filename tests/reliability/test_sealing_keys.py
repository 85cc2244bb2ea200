"""tests/sealing_keys.py: a key that seals twice fails the session, in one process or in several."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.sealing_keys import Ledger

RULES = Path(__file__).parents[1] / "conftest.py"
ROOT = RULES.parents[1]
SEALS = """
import pytest
from seedcorn.crypto import primitives
from seedcorn.crypto.frames import Sealer
def test_fresh(): [Sealer(bytes(32), "frame").seal(b"x", b"") for _ in range(5)]
"""
ONCE = "\ndef test_{0}(): primitives.seal_once(b'k' * 32, b'x', b'', bytearray(17))\n"
MARKED = "\n@pytest.mark.made_up_keys" + ONCE


def session(folder: Path, *modules: str, processes: int) -> tuple[int, dict[str, Any]]:
    """Exit status of pytest over ``modules`` under our rules, and the report."""
    (folder / "conftest.py").write_text(RULES.read_text())
    for number, text in enumerate(modules):
        (folder / f"test_{number}.py").write_text(text)
    report = folder / "report.json"
    options = ["-q", "-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider", "--dist=loadfile", "-n", str(processes)]
    command = [sys.executable, "-m", "pytest", *options, f"--sealing-keys={report}", str(folder)]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    return run.returncode, json.loads(report.read_text())


@pytest.mark.parametrize("processes", [0, 2])
def test_a_key_that_seals_in_two_tests(processes: int, tmp_path: Path) -> None:
    code, report = session(tmp_path, SEALS + ONCE.format("a"), SEALS + ONCE.format("b"), processes=processes)
    assert (code, report["seals"], report["repeated"]) == (1, 12, 1)


def test_fresh_keys_and_keys_that_are_made_up(tmp_path: Path) -> None:
    code, report = session(tmp_path, SEALS + MARKED.format("a") + MARKED.format("b"), processes=0)
    assert (code, report) == (0, {"seals": 5, "repeated": 0, "where": {}})


def test_seeded_keys_are_compared_within_their_run() -> None:
    ledger = Ledger()
    for generator in (SimpleNamespace(), SimpleNamespace()):
        ledger.record(b"k", generator, "t")
    assert ledger.repeats.total() == 0
    generator = SimpleNamespace()
    ledger.record(b"k", generator, "t")
    ledger.record(b"k", generator, "t")
    assert dict(ledger.repeats) == {"t": 1}
