"""A check runs while others forget and collect: what they take from under it is no damage, and what is damaged still is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.collections.garden import Garden, noise, open_garden

from seedcorn.events import RecordingMonitor
from seedcorn.ops.check.check import CheckOptions, CheckResult, check

READ = CheckOptions(read_data=True)


def check_meanwhile(garden: Garden, monkeypatch: pytest.MonkeyPatch, room: str, happens: Callable[[], None]) -> tuple[CheckResult, RecordingMonitor]:
    """Check everything; when the check comes to the first object of a room, something ``happens``."""
    browser, real_get, monitor = garden.browser(), garden.store.get, RecordingMonitor()

    def get(key: str) -> bytes:
        if key.startswith(room):
            monkeypatch.setattr(garden.store, "get", real_get)
            happens()
        return real_get(key)

    monkeypatch.setattr(garden.store, "get", get)
    result = check(browser, READ, garden.repository.clock, monitor)
    assert [str(error) for error in monitor.errors] == [str(problem) for problem in result.problems]
    return result, monitor


@pytest.mark.parametrize("room", ["snapshots/", "index/", "receipts/", "packs/"])
def test_what_is_forgotten_and_collected_meanwhile_is_no_damage(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_garden() as garden:
        snapshots = [garden.back_up({"file": noise(number), "kept": noise(99)}) for number in range(4)]

        def forget_and_collect() -> None:
            garden.forget(*snapshots[:2])
            assert garden.prune().deleted_packs
            garden.prune()

        result, monitor = check_meanwhile(garden, monkeypatch, room, forget_and_collect)
        assert result.problems == ()
        assert monitor.notes
        assert result.snapshots == 2
        assert result.read_packs >= result.packs


def test_what_is_damaged_is_found_beside_a_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_garden() as garden:
        snapshots = [garden.back_up({"file": noise(number)}) for number in range(3)]

        def collect_and_lose() -> None:
            garden.forget(snapshots[0])
            assert garden.prune().deleted_packs
            del garden.store.objects[garden.keys("packs")[0]]

        result, _ = check_meanwhile(garden, monkeypatch, "packs/", collect_and_lose)
        assert result.problems


def test_without_a_collection_nothing_is_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_garden() as garden:
        garden.back_up({"file": noise(1)})

        def lose() -> None:
            del garden.store.objects[garden.keys("packs")[0]]

        result, monitor = check_meanwhile(garden, monkeypatch, "packs/", lose)
        assert result.problems
        assert not monitor.notes
