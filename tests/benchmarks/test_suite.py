"""The suite itself, with our own program alone on a small tree: one round here, all of `python -m benchmarks` in the long tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.benchmarks.runs import head

from benchmarks.main_job import AGAIN, FIRST, RESTORE, RESTORE_SECOND, SECOND, TREE, tree_round
from benchmarks.peers import OURS
from benchmarks.report import render
from benchmarks.results import Record, Results, Run
from benchmarks.runner import COMPARED, Plan, Round
from seedcorn.testing.repositories import make_tree

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """One round over a few files."""
    make_tree(tmp_path / "tree", {f"folder/{number}": b"%d" % number * 5000 for number in range(20)})
    run = Run.begin(tmp_path / "run.jsonl", head())
    plan = Plan(tmp_path, tmp_path / "no peers", (OURS,), rounds=1, tree_bytes=10**6, small=True, cold=False)
    tree_round(Round(plan, run, TREE, 0))
    return run


def test_a_round_measures_every_step_and_leaves_the_tree_as_it_was(run: Run, tmp_path: Path) -> None:
    def only(step: str) -> Record:
        [record] = run.results.select(TREE, OURS, step)
        return record

    assert 0 < (only(FIRST).put_bytes or 0) < (only(FIRST).stored_bytes or 0)  # init has stored something, too
    assert only(FIRST).requests["put"] >= 3
    assert (only(AGAIN).put_bytes or 0) < (only(SECOND).put_bytes or 0)
    assert only(RESTORE).extra[COMPARED] == only(RESTORE_SECOND).extra[COMPARED] == 1
    assert all(record.wall_seconds > 0 and record.peak_bytes > 0 for record in run.results.records)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.jsonl", "tree"]
    assert len(list((tmp_path / "tree").rglob("*"))) == 21
    assert "seedcorn: restore all to disk" in render({"main": run.results})


def benchmark(*arguments: str | Path, work: Path) -> str:
    command = [sys.executable, "-m", "benchmarks", *arguments, "--only", OURS, "--small", "--no-cold", "--rounds", "1", "--work", work]
    result = subprocess.run(command, cwd=CHECKOUT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stderr


@pytest.mark.slow
def test_the_main_job_is_measured_and_reported(tmp_path: Path) -> None:
    tree, work = CHECKOUT / "src", tmp_path / "work"
    benchmark("--tree", tree, work=work)
    page = (work / "report" / "benchmarks.md").read_text()
    results = Results.from_json((work / "report" / "benchmarks" / "main.json").read_text())
    assert {record.section for record in results.records} == {"tree", "s3", "media", "planning"}

    (work / "report" / "benchmarks.md").unlink()
    assert "round" not in benchmark("--tree", tree, "--resume", work=work)  # nothing is left to measure
    assert (work / "report" / "benchmarks.md").read_text() == page
    assert not [path for path in work.iterdir() if path.name in ("programs", "s3", "restored", "saved", "media")]
    assert json.loads((work / "main.jsonl").read_text().splitlines()[0])["head"]["small"] is True
