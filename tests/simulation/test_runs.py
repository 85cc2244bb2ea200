"""Runs of every kind of store without a violation, the same run for the same seed, and no result that depends on a wall clock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seedcorn.testing.simulate import parse_corpus
from seedcorn.testing.simulation.faults import FaultKind
from seedcorn.testing.simulation.scenario import SimulationOptions, simulate

CORPUS = Path(__file__).with_name("corpus.txt")
BATCHES, BATCH = 20, 100
KINDS = set(FaultKind) - {FaultKind.IGNORED_CONDITION}  # that one needs somebody who overwrites, and nobody does


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_confirmed_snapshot_is_lost(batch: int) -> None:
    assert violations(range(batch * BATCH, (batch + 1) * BATCH), SimulationOptions()) == {}


@pytest.mark.parametrize(
    "options",
    [SimulationOptions(weak=True), SimulationOptions(rollback=True), SimulationOptions(copies=True), SimulationOptions(rollback=True, copies=True)],
    ids=["weak", "rollback", "copied", "rollback, copied"],
)
def test_nor_on_worse_stores_or_while_it_is_copied(options: SimulationOptions) -> None:
    assert violations(range(BATCH // 2), options) == {}


@pytest.mark.parametrize("weak", [False, True], ids=["strong", "weak"])
def test_nor_with_hosts_in_two_domains(weak: bool) -> None:
    assert violations(range(BATCH // 2), SimulationOptions(domains=True, weak=weak)) == {}


def test_nor_while_many_collect_at_once() -> None:
    assert violations(range(BATCH), SimulationOptions(crowd=True)) == {}


def violations(seeds: range, options: SimulationOptions) -> dict[int, str]:
    """By seed."""
    return {report.seed: report.violation for seed in seeds if (report := simulate(seed, options)).violation}


def test_the_corpus() -> None:
    runs = parse_corpus(CORPUS.read_text())
    assert {seed: violation for seed, options in runs if (violation := simulate(seed, options).violation)} == {}


def test_every_kind_of_fault_occurs() -> None:
    seen: set[FaultKind] = set()
    for seed in range(1000, 1060):
        seen |= simulate(seed, SimulationOptions(weak=seed % 3 == 0, rollback=seed % 3 == 1)).faults.keys()
        if seen >= KINDS:
            return
    assert seen == KINDS


def test_the_same_seed_gives_the_same_run() -> None:
    for seed in range(5):
        options = SimulationOptions(weak=seed == 3, rollback=seed == 4, copies=seed == 2)
        first, second = simulate(seed, options), simulate(seed, options)
        assert first.log == second.log
        assert first == second
    assert simulate(1).digest != simulate(2).digest


def test_the_same_seed_gives_the_same_run_in_another_process() -> None:
    code = "from seedcorn.testing.simulation.scenario import simulate; print(*[simulate(seed).digest for seed in range(4)])"
    digests = [
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": hashing}, capture_output=True, text=True, check=True).stdout
        for hashing in ("1", "2")
    ]
    assert digests[0] == digests[1]
    assert len(set(digests[0].split())) == 4


def test_no_result_depends_on_a_wall_clock() -> None:
    """I9. The order in which a reader looks at things may follow the times that people are shown."""
    for seed in range(10):
        first, second = (simulate(seed, SimulationOptions(wall=wall)) for wall in range(2))
        assert (first.outcomes, first.confirmed, first.operations) == (second.outcomes, second.confirmed, second.operations)
