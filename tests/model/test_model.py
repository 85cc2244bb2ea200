"""No order of steps loses a frame that was promised, and each rule that is taken away loses one.

The reduced configurations are searched whole; the full ones by ``python -m tests.model``.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.model.configurations import CONFIGURATIONS, mutated
from tests.model.rules import MUTANTS, PROTOCOL, VARIATIONS
from tests.model.search import I1, search
from tests.model.story import tell

MOST_STATES_TO_KILL = 200_000


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_nothing_is_lost(name: str) -> None:
    configuration = CONFIGURATIONS[name]
    outcome = search(configuration.reduced)
    assert outcome.violation is None, "\n".join(tell(outcome))
    assert outcome.states > configuration.floor


@pytest.mark.parametrize("name", MUTANTS)
def test_a_missing_rule_loses_a_promised_frame(name: str) -> None:
    outcome = search(mutated(MUTANTS[name]), I1)
    assert outcome.violation is not None and outcome.violation.startswith("I1")
    assert outcome.states < MOST_STATES_TO_KILL


def test_the_settings_of_the_mutants_lose_nothing_by_all_rules() -> None:
    settings = {replace(mutated(mutant), rules=PROTOCOL) for mutant in MUTANTS.values()}
    for setting in settings - {configuration.reduced for configuration in CONFIGURATIONS.values()}:
        assert search(setting).violation is None


def test_of_the_two_switches_of_h1_before_h0_it_is_the_order_that_matters() -> None:
    mutant = MUTANTS["index-before-gc"]
    assert search(mutated(replace(mutant, rules=replace(mutant.rules, list_gc_before_index=True)))).violation is None


@pytest.mark.parametrize("name", VARIATIONS)
def test_a_freedom_loses_nothing(name: str) -> None:
    outcome = search(mutated(VARIATIONS[name]))
    assert outcome.violation is None, "\n".join(tell(outcome))


def test_a_collector_that_does_not_read_the_roots_again_breaks_i4_at_once() -> None:
    outcome = search(mutated(MUTANTS["no-g6"]))
    assert outcome.violation is not None and outcome.violation.startswith("I4")


def test_a_pack_that_all_its_collectors_will_delete_breaks_i6_before_it_is_gone() -> None:
    outcome = search(mutated(MUTANTS["unfinished-survive"]))
    assert outcome.violation is not None and outcome.violation.startswith("I6")


def test_a_counterexample_is_told_step_by_step() -> None:
    outcome = search(mutated(MUTANTS["no-g6"]), I1)
    story = list(tell(outcome))
    assert [line for line in story if "collector 1 G5 puts the sweep" in line]
    assert any("+ confirmed: A1" in line for line in story) and any("- packs: old 1 (x of old)" in line for line in story)
    assert len(outcome.trace) == outcome.length and story[-1].strip() == outcome.violation


def test_the_program_tells_and_tabulates() -> None:
    root = Path(__file__).parents[2]
    run = [sys.executable, "-m", "tests.model"]
    told = subprocess.run([*run, "--trace", "no-check"], cwd=root, check=True, capture_output=True, text=True).stdout
    assert told.startswith("  1 ") and "I1: a confirmed snapshot has lost x of old" in told
    table = subprocess.run([*run, "--json", "--only", "no-check"], cwd=root, check=True, capture_output=True, text=True).stdout
    assert '"kind": "mutant"' in table and '"violation": "I1' in table
