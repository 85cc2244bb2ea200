"""A thief lists the true packs of his host once more, as what they are not: ``check`` says so, and says of no file that it is lost which is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import copy
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.collections.garden import Garden, noise, open_garden, plant_poor_pack
from tests.collections.test_repaired import repair

from seedcorn.events import RecordingMonitor, SystemClock, VoidMonitor
from seedcorn.format.pack import FrameEntry, PackEntry, PackKind
from seedcorn.format.tree import content_records, pack_content
from seedcorn.ids import SessionId
from seedcorn.ops.browse import Browser
from seedcorn.ops.check.check import CheckOptions, CheckResult, check
from seedcorn.ops.copy.copy import copy_snapshots, plan_copy
from seedcorn.ops.restore.restore import RestoreOptions, restore
from seedcorn.repo.content.writer import WriterOptions
from seedcorn.repo.index import build_segment
from seedcorn.testing.repositories import read_tree

Read = Callable[[Garden, Browser, Path], dict[str, bytes | None]]
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


def turned_round(entries: list[PackEntry]) -> list[PackEntry]:
    """Shifted, with the chunks of each frame in another order: what it says of a frame is false, and so is what it says of a chunk."""

    def turned(frame: FrameEntry) -> FrameEntry:
        return replace(frame, records=pack_content(reversed(list(content_records(frame.records)))))

    return [replace(entry, frames=tuple(map(turned, entry.frames))) for entry in shifted(entries)]


def in_packs_that_are_not_there(entries: list[PackEntry]) -> list[PackEntry]:
    return [replace(entry, pack=bytes([number]) + entry.pack[1:]) for entry in turned_round(entries) for number in range(100)]


LIES = [exchanged, shifted, beyond, of_the_other_kind, with_frames_inside, turned_round]


def list_once_more(garden: Garden, lie: Lie, number: int) -> None:
    """Under a number before or after that of the true segment, as one or the other is read last."""
    thief = garden.repository.first
    key = min(garden.keys("index"))
    opened = garden.open_segment(key)
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


def restored(garden: Garden, browser: Browser, target: Path) -> dict[str, bytes | None]:
    """What comes back from a restore by this process alone."""
    (files,) = garden.expected.values()
    monitor, options = RecordingMonitor(), RestoreOptions(target / "restored", processes=0)
    result = restore(browser, browser.find("latest"), os.path.dirname(next(iter(files))), options, monitor)
    assert (result.exit_code, monitor.errors) == (0, [])
    return {path.name: path.read_bytes() for path in options.target.rglob("*") if path.is_file()}


def copied(garden: Garden, browser: Browser, _: Path) -> dict[str, bytes | None]:
    """What comes back from a copy of everything, made to another repository."""
    with open_garden() as other:
        machine, monitor = other.repository.first, RecordingMonitor()
        plan = plan_copy(browser, browser.snapshots, machine.repository, machine.state)
        result = copy_snapshots(browser, machine.repository, machine.state, plan, WriterOptions(), SystemClock(), monitor)
        assert (result.exit_code, monitor.errors, len(result.copies)) == (0, [], len(garden.expected))
        with closing((copies := other.browser()).state):
            return {os.path.basename(path).decode(): content for path, content in read_tree(copies, "latest").items() if content is not None}


@pytest.mark.parametrize("read", [restored, copied])
@pytest.mark.parametrize("number", [0, 99])
@pytest.mark.parametrize("lie", [*LIES, in_packs_that_are_not_there])
def test_a_lie_keeps_nothing_from_being_read_and_costs_little(garden: Garden, lie: Lie, number: int, read: Read, tmp_path: Path) -> None:
    """A frame is asked for where it is not once, and not once for every chunk in it."""
    list_once_more(garden, lie, number)
    (files,) = garden.expected.values()
    with closing((browser := garden.browser()).state):
        requests = browser.repository.store.requests
        before = copy(requests)
        assert read(garden, browser, tmp_path) == {os.path.basename(path).decode(): content for path, content in files.items()}
        cost = requests.since(before)
        assert cost.get <= 20 and cost.get_bytes <= 4 * 5_000_000


@pytest.mark.parametrize("number", [0, 99])
def test_listings_are_fetched_together_whatever_lies_beside_them(number: int, tmp_path: Path) -> None:
    """Ten lies about each frame, and what was read around one of them serves for all."""
    for link in range(2_000):
        (tmp_path / str(link)).symlink_to(noise(link, 2_000).hex())
    with open_garden() as garden:
        garden.repository.first.backup(tmp_path)
        for shift in range(1, 11):

            def shifted_by(entries: list[PackEntry], shift: int = shift) -> list[PackEntry]:
                return [replace(entry, frames=tuple(replace(frame, offset=frame.offset + shift) for frame in entry.frames)) for entry in entries]

            list_once_more(garden, shifted_by, number)
        with closing((browser := garden.browser()).state):
            requests = browser.repository.store.requests
            before = copy(requests)
            assert sum(1 for _ in browser.walk(browser.entry(browser.find("latest"), os.fsencode(tmp_path)), VoidMonitor())) == 2_000
            assert requests.since(before).get <= 10


@pytest.mark.parametrize("number", [0, 99])
@pytest.mark.parametrize("lie", [*LIES, in_packs_that_are_not_there])
def test_a_lie_stops_no_deep_prune(lie: Lie, number: int) -> None:
    with open_garden() as garden:
        plant_poor_pack(garden)
        list_once_more(garden, lie, number)
        for _ in range(2):
            _, result = garden.deep()
            assert not result.problems
            garden.prune()
            garden.assert_whole()


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
