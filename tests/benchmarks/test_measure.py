"""benchmarks.measure and benchmarks.runner: what a run costs, whoever of its processes it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measure import CommandError, measured, stored_bytes
from benchmarks.peers import Seedcorn
from benchmarks.runner import WrongRestoreError, check_equal, rotated

TOP = Path(__file__).parents[2]
BURN = "import time\nwhile time.process_time() < 0.3: pass"
HOLD = "kept = bytes(range(256)) * 400_000; print(flush=True); input()"  # until it is told to end
TWO_AT_ONCE = f"""
import subprocess, sys, time
processes = [subprocess.Popen([sys.executable, "-c", {HOLD!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
for process in processes:
    process.stdout.readline()
time.sleep(1)  # several samples
for process in processes:
    process.communicate(b"end\\n")
"""


def test_children_count() -> None:
    cost = measured([sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])"], os.environ)
    assert cost.cpu_seconds >= 0.3
    assert cost.wall_seconds >= 0.3


def test_the_memory_of_processes_at_the_same_time_is_added_up() -> None:
    # From a process as small as the one that measures: until a child runs its program, its memory is that of its parent.
    measuring = (
        f"import os, sys; from benchmarks.measure import measured; print(measured([sys.executable, '-c', {TWO_AT_ONCE!r}], os.environ).peak_bytes)"
    )
    peak_bytes = int(subprocess.run([sys.executable, "-c", measuring], check=True, capture_output=True, text=True, cwd=TOP).stdout)
    assert 200e6 < peak_bytes < 300e6


def test_a_failure_is_told_with_what_the_program_said() -> None:
    with pytest.raises(CommandError, match="no room"):
        measured([sys.executable, "-c", "raise SystemExit('no room')"], os.environ)


def test_an_interrupt_ends_the_program_too(monkeypatch: pytest.MonkeyPatch) -> None:
    waited_for = []

    def interrupted(process: int, _options: int) -> None:
        waited_for.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "wait4", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measured(["sleep", "600"], os.environ)
    with pytest.raises(ProcessLookupError):
        os.kill(waited_for[0], 0)


def test_every_size_below_a_place_counts(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(10))
    (tmp_path / "c").write_bytes(bytes(5))
    assert stored_bytes(tmp_path) == 15
    assert stored_bytes(tmp_path / "nowhere") == 0


def test_everybody_is_first_in_turn() -> None:
    assert [rotated("abc", number) for number in range(4)] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_a_wrong_restore_is_found(tmp_path: Path) -> None:
    for name in ("tree", "restored"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"same")
        os.utime(tmp_path / name / "file", ns=(0, 10**18))
    program = Seedcorn(tmp_path / "home")
    check_equal(tmp_path / "tree", tmp_path / "restored", program)
    (tmp_path / "restored" / "file").write_bytes(b"else")
    os.utime(tmp_path / "restored" / "file", ns=(0, 10**18))
    with pytest.raises(WrongRestoreError, match="file"):
        check_equal(tmp_path / "tree", tmp_path / "restored", program)
