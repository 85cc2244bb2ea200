"""Whatever is killed at any of its store calls can be run again, nothing that was promised is lost, and no garbage is left for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.simulation.scenarios import BACKUPS, MAINTENANCE

from seedcorn.testing.simulation.crash_points import CrashScenario, crash_points

CASES_A_CALL = 6  # three modes, with the state kept and lost
SAMPLE = 17  # coprime to the cases of a call: each mode, with the state kept and lost, comes up


@pytest.mark.parametrize("scenario", BACKUPS, ids=lambda scenario: str(scenario.name))
def test_every_store_call_of_a_backup(scenario: CrashScenario, record_property: Callable[[str, object], None]) -> None:
    cases = crash_points(scenario)
    record_property("crashes", cases)
    assert cases % CASES_A_CALL == 0
    assert cases >= 7 * CASES_A_CALL  # header, host record, index, heads; packs, segment, snapshot


@pytest.mark.parametrize("scenario", MAINTENANCE, ids=lambda scenario: str(scenario.name))
def test_store_calls_of_maintenance(scenario: CrashScenario, record_property: Callable[[str, object], None]) -> None:
    cases = crash_points(scenario, every=SAMPLE)
    record_property("crashes", cases)
    assert cases >= 2


@pytest.mark.slow
@pytest.mark.parametrize("scenario", MAINTENANCE, ids=lambda scenario: str(scenario.name))
def test_every_store_call_of_maintenance(scenario: CrashScenario, record_property: Callable[[str, object], None]) -> None:
    cases = crash_points(scenario)
    record_property("crashes", cases)
    assert cases % CASES_A_CALL == 0
    assert cases >= 8 * CASES_A_CALL  # header, and the rooms of a survey
