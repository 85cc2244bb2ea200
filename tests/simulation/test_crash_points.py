"""A backup that is killed at any of its store calls can be run again, and nothing that was promised is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.simulation.scenarios import FIRST_BACKUP, SECOND_BACKUP, TRUSTING_BACKUP

from seedcorn.testing.simulation.crash_points import CrashScenario, crash_points

CASES_A_CALL = 6  # three modes, with the state kept and lost


@pytest.mark.parametrize("scenario", [FIRST_BACKUP, SECOND_BACKUP, TRUSTING_BACKUP], ids=lambda scenario: str(scenario.name))
def test_every_store_call_of_a_backup(scenario: CrashScenario, record_property: Callable[[str, object], None]) -> None:
    cases = crash_points(scenario)
    record_property("crashes", cases)
    assert cases % CASES_A_CALL == 0
    assert cases >= 7 * CASES_A_CALL  # header, host record, index, heads; packs, segment, snapshot
