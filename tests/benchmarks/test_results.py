"""benchmarks.results: statistics, and a run that is interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.benchmarks.runs import head, main_run, record

from benchmarks.main_job import FIRST, SECOND, TREE
from benchmarks.peers import OURS
from benchmarks.results import Results, Run, Spread, spread


def test_the_median_stands_between_the_extremes() -> None:
    assert spread([9.0, 14.0, 10.0]) == Spread(10.0, 9.0, 14.0, 3)
    assert spread([1.0, 2.0]) == Spread(1.5, 1.0, 2.0, 2)
    assert spread([]) is None


def test_a_figure_is_of_one_program_step_and_cache() -> None:
    found = main_run().figure(TREE, "restic", FIRST, lambda record: record.wall_seconds)
    assert found == Spread(40.0, 39.0, 41.0, 3)


def test_what_was_not_measured_is_no_figure() -> None:
    assert main_run().figure(TREE, OURS, SECOND, lambda record: record.stored_bytes) is None


def test_json_gives_the_same_results_back() -> None:
    results = main_run()
    assert Results.from_json(results.to_json()) == results


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """A run whose second round has begun."""
    path = tmp_path / "run.jsonl"
    run = Run.begin(path, head())
    run.append(record(OURS, FIRST, 1, number=0))
    run.finish(TREE, 0)
    run.append(record(OURS, FIRST, 2, number=1))
    return path


def test_an_interrupted_run_can_be_reported_with_all_it_has(interrupted: Path) -> None:
    assert len(Run.read(interrupted).results.records) == 2


def test_a_resumed_run_repeats_the_round_that_was_not_finished(interrupted: Path) -> None:
    run = Run.resume(interrupted, head())
    assert run.is_finished(TREE, 0)
    assert not run.is_finished(TREE, 1)
    assert [record.wall_seconds for record in run.results.records] == [1]
    run.append(record(OURS, FIRST, 3, number=1))
    assert [record.wall_seconds for record in Run.read(interrupted).results.records] == [1, 3]


def test_runs_under_other_conditions_are_not_joined(interrupted: Path) -> None:
    with pytest.raises(ValueError, match="other settings"):
        Run.resume(interrupted, {**head(), "commit": "another"})
    assert len(Run.read(interrupted).results.records) == 2
