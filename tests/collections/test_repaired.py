"""A segment is damaged, and a thief has listed its packs with frames that lie elsewhere: the lie must not be left alone with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from msgspec.structs import replace
from tests.collections.garden import Garden, noise, open_garden

from seedcorn.errors import IntegrityError
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.format.pack import PackEntry
from seedcorn.ids import SessionId
from seedcorn.ops.check.check import CheckOptions, examine
from seedcorn.ops.check.repair import execute_repair
from seedcorn.ops.check.repair_plan import RepairOptions, plan_repair
from seedcorn.repo.index import build_segment
from seedcorn.testing.damage import flip_byte


def elsewhere(entry: PackEntry) -> PackEntry:
    *others, last = sorted(entry.frames, key=lambda frame: frame.offset)
    return replace(entry, frames=(*(replace(frame, offset=frame.offset + 1) for frame in others), last))


@pytest.fixture
def garden() -> Iterator[Garden]:
    """Of a pack less than half is needed."""
    with open_garden() as made:
        big = made.back_up({"a": noise(1, 3_000_000), "b": noise(2, 2_000_000)})
        thief = made.repository.first
        (key,) = made.keys("index")
        opened = made.open_segment(key)
        (row,) = opened.public.key_rows
        made.back_up({"b": noise(2, 2_000_000)})
        made.forget(big)
        made.store.put(*build_segment(thief.repository, SessionId(row.session), 9, row, [elsewhere(entry) for entry in opened.packs]))
        made.store.objects[key] = flip_byte(made.store.objects[key], len(made.store.objects[key]) // 2)
        yield made


def repair(garden: Garden, *, read_data: bool) -> None:
    browser = garden.browser()
    examination = examine(browser, CheckOptions(read_data=read_data), SystemClock(), VoidMonitor())
    execute_repair(browser, examination, plan_repair(browser, examination, RepairOptions()), VoidMonitor())
    browser.state.close()


def assert_whole_after_all(garden: Garden) -> None:
    """By whatever means."""
    for _ in range(2):
        with suppress(IntegrityError):
            garden.prune(state=garden.state())
    repair(garden, read_data=True)
    garden.assert_whole()


@pytest.mark.parametrize("read_data", [False, True])
def test_a_repair_that_takes_a_damaged_segment_away(garden: Garden, read_data: bool) -> None:
    repair(garden, read_data=read_data)
    assert_whole_after_all(garden)


def test_a_host_that_is_revoked(garden: Garden) -> None:
    """Its damaged segments stop nobody."""
    garden.repository.revoke("alpha")
    assert_whole_after_all(garden)
