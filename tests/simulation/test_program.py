"""``python -m seedcorn.testing.simulate``: its figures, its last line, and what it leaves of a seed that fails."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from seedcorn.repo.content.writer import Writer
from seedcorn.testing import simulate
from seedcorn.testing.simulation.faults import FaultKind
from seedcorn.testing.simulation.scenario import SimulationOptions


def run(*arguments: str) -> tuple[int, str]:
    """Exit status and output, in this process."""
    out = io.StringIO()
    return simulate.main(["--processes", "1", *arguments], out), out.getvalue()


def figures(out: str) -> dict[str, object]:
    """All that are the same each time."""
    return {name: value for name, value in json.loads(out).items() if name != "seconds"}


def test_several_processes_and_the_last_line() -> None:
    command = [sys.executable, "-m", "seedcorn.testing.simulate", "--seeds", "0-29", "--steps", "3", "--processes", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "30 passed, 0 failed"
    assert "30 of 30 runs" in done.stdout


def test_figures_as_json() -> None:
    code, out = run("--seeds", "7-9", "--weak", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["runs"], found["failed"], found["failures"]) == (3, 0, [])
    assert found["operations"] > 100
    assert found["virtual_hours"] > 0
    assert found["seconds"] > 0
    assert found["faults"].keys() | {"crash"} == {kind.value for kind in FaultKind}


def test_a_long_run_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    record = str(tmp_path / "record.jsonl")
    _, at_once = run("--seeds", "0-5", "--steps", "3", "--json")
    _, part = run("--seeds", "0-3", "--steps", "3", "--json", "--resume", record)
    assert json.loads(part)["runs"] == 4
    _, whole = run("--seeds", "0-5", "--steps", "3", "--resume", record)
    assert whole.startswith("6 of 6 runs")
    _, again = run("--seeds", "0-5", "--steps", "3", "--json", "--resume", record)
    assert figures(again) == figures(at_once)


def test_a_seed_that_fails_says_how_to_see_it_again_and_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Writer, "put", lambda self, key, data: None)
    code, out = run("--seeds", "5", "--steps", "4", "--keep", str(tmp_path))
    assert code == 1
    assert "seed 5: I2: " in out
    assert "again: python -m seedcorn.testing.simulate --seeds 5 --steps 4\n" in out
    assert out.splitlines()[-1] == "0 passed, 1 failed"
    corpus = (tmp_path / "corpus.txt").read_text()
    assert simulate.parse_corpus(corpus) == [(5, SimulationOptions(steps=4))]


def test_a_corpus_keeps_seeds_and_options() -> None:
    text = "# why\n\n3 --steps 20 --weak  # because\n4 --rollback\n"
    assert simulate.parse_corpus(text) == [(3, SimulationOptions(steps=20, weak=True)), (4, SimulationOptions(rollback=True))]
