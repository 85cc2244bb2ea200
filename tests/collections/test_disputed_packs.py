"""A thief lists the true packs of his host once more, as what they are not: ``check`` says so, and says of no file that it is lost which is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.collections.garden import Garden, noise, open_garden
from tests.collections.test_repaired import repair

from seedcorn.events import RecordingMonitor, SystemClock, VoidMonitor
from seedcorn.format.pack import FrameEntry, PackEntry, PackKind
from seedcorn.ids import SessionId
from seedcorn.ops.check.check import CheckOptions, CheckResult, check
from seedcorn.ops.restore.restore import RestoreOptions, restore
from seedcorn.repo.hosts import load_registry
from seedcorn.repo.index import build_segment
from seedcorn.repo.rewriting.segments import fetch_segment

Lie = Callable[[list[PackEntry]], list[PackEntry]]


@pytest.fixture
def garden() -> Iterator[Garden]:
    """A data pack and one of listings."""
    with open_garden() as made:
        made.back_up({"a": noise(1, 3_000_000), "b": noise(2, 2_000_000)})
        yield made


def exchanged(entries: list[PackEntry]) -> list[PackEntry]:
    return [replace(entry, frames=other.frames, kind=other.kind) for entry, other in zip(entries, reversed(entries), strict=True)]


def shifted(entries: list[PackEntry]) -> list[PackEntry]:
    return [replace(entry, frames=tuple(replace(frame, offset=frame.offset + 1) for frame in entry.frames)) for entry in entries]


def beyond(entries: list[PackEntry]) -> list[PackEntry]:
    return [replace(entry, frames=tuple(replace(frame, offset=frame.offset + (1 << 24)) for frame in entry.frames)) for entry in entries]


def of_the_other_kind(entries: list[PackEntry]) -> list[PackEntry]:
    return [replace(entry, kind=PackKind(3 - entry.kind)) for entry in entries]


def with_frames_inside(entries: list[PackEntry]) -> list[PackEntry]:
    def inside(frame: FrameEntry) -> FrameEntry:
        return replace(frame, seq=frame.seq + 10, offset=frame.offset + 1, sealed_bytes=5)

    return [replace(entry, frames=(*entry.frames, *map(inside, entry.frames))) for entry in entries]


LIES = [exchanged, shifted, beyond, of_the_other_kind, with_frames_inside]


def list_once_more(garden: Garden, lie: Lie, number: int) -> None:
    """Under a number before or after that of the true segment, as one or the other is read last."""
    thief, maintainer = garden.repository.first, garden.maintainer()
    (key,) = garden.keys("index")
    opened = fetch_segment(maintainer, load_registry(garden.store, maintainer.repository, maintainer.key.public), key)
    (row,) = opened.public.key_rows
    garden.store.put(*build_segment(thief.repository, SessionId(row.session), number, row, lie(opened.packs)))


def look(garden: Garden, *, read_data: bool) -> CheckResult:
    browser = garden.browser()
    result = check(browser, CheckOptions(read_data=read_data), SystemClock(), VoidMonitor())
    browser.state.close()
    return result


@pytest.mark.parametrize("read_data", [False, True])
@pytest.mark.parametrize("number", [0, 99])
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_damages_nothing_and_is_named(garden: Garden, lie: Lie, number: int, read_data: bool) -> None:
    packs = garden.keys("packs")
    list_once_more(garden, lie, number)
    result = look(garden, read_data=read_data)
    assert {problem.object_name: problem.message[:20] for problem in result.problems} == dict.fromkeys(packs, "is listed in 2 ways,")
    assert not result.damage
    assert result.read_packs == len(packs) * read_data
    garden.assert_whole()
    repair(garden, read_data=read_data)
    assert look(garden, read_data=True).exit_code == 0
    garden.assert_whole()
    assert garden.keys("packs") == packs


@pytest.mark.parametrize("number", [0, 99])
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_keeps_nothing_from_being_restored(garden: Garden, lie: Lie, number: int, tmp_path: Path) -> None:
    list_once_more(garden, lie, number)
    (files,) = garden.expected.values()
    browser, monitor = garden.browser(), RecordingMonitor()
    restored = restore(browser, browser.find("latest"), os.path.dirname(next(iter(files))), RestoreOptions(tmp_path / "restored"), monitor)
    browser.state.close()
    assert (restored.exit_code, monitor.errors) == (0, [])
    found = {path.name: path.read_bytes() for path in (tmp_path / "restored").rglob("*") if path.is_file()}
    assert found == {os.path.basename(path).decode(): content for path, content in files.items()}


@pytest.mark.parametrize("number", [0, 99])
def test_a_lie_hides_no_loss_from_who_reads(garden: Garden, number: int) -> None:
    """The other pack is said to hold what this one held."""
    list_once_more(garden, exchanged, number)
    for pack in garden.keys("packs"):
        kept = garden.store.objects.pop(pack)
        assert look(garden, read_data=True).damage
        garden.store.objects[pack] = kept


@pytest.mark.parametrize("number", [0, 99])
@pytest.mark.parametrize("lie", [exchanged, shifted, beyond])
def test_what_is_left_of_a_damaged_pack_is_found_by_the_true_list(garden: Garden, lie: Lie, number: int) -> None:
    """Neither its bytes nor its own footer are of any use."""
    list_once_more(garden, lie, number)
    for pack in garden.keys("packs"):
        garden.store.objects[pack] = garden.store.objects[pack][:-1]
    assert not look(garden, read_data=True).damage
    repair(garden, read_data=True)
    assert not look(garden, read_data=True).damage
    garden.assert_whole()
