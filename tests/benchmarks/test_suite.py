"""`python -m benchmarks` from end to end, on a small tree with our own program alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.results import Results

CHECKOUT = Path(__file__).parents[2]


def run(*arguments: str | Path, work: Path) -> str:
    command = [sys.executable, "-m", "benchmarks", *arguments, "--only", "seedcorn", "--small", "--no-cold", "--rounds", "1", "--work", work]
    result = subprocess.run(command, cwd=CHECKOUT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_the_main_job_is_measured_and_reported(tmp_path: Path) -> None:
    tree, work = CHECKOUT / "src", tmp_path / "work"
    run("--tree", tree, work=work)
    page = (work / "report" / "benchmarks.md").read_text()
    assert "seedcorn: restore all to disk" in page  # compared, and equal
    results = Results.from_json((work / "report" / "benchmarks" / "main.json").read_text())
    assert {record.section for record in results.records} == {"tree", "s3", "media"}
    assert all(record.wall_seconds > 0 for record in results.records)

    (work / "report" / "benchmarks.md").unlink()
    assert "round" not in run("--tree", tree, "--resume", work=work)  # nothing is left to measure
    assert (work / "report" / "benchmarks.md").read_text() == page
    assert not [path for path in work.iterdir() if path.name in ("programs", "s3", "restored", "saved", "media")]
    assert json.loads((work / "main.jsonl").read_text().splitlines()[0])["head"]["small"] is True
