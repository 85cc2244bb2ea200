"""A host has relied on what another one has stored, since the owner has verified it. A thief of that other one lists noise under the same names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.workshop import SettledClock
from tests.collections.garden import Garden, noise, open_garden
from tests.collections.interrupted import BeforePutStore

from seedcorn.crypto.primitives import object_hash, random_bytes
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.format.names import pack_key
from seedcorn.format.pack import PackEntry
from seedcorn.ids import PackId, SessionId
from seedcorn.ops.check.check import CheckOptions, check
from seedcorn.repo.index import OpenedSegment, build_segment
from seedcorn.testing.repositories import Machine, make_tree


@pytest.fixture
def garden() -> Iterator[Garden]:
    with open_garden() as made:
        yield made


def publish(garden: Garden) -> None:
    browser = garden.browser()
    assert check(browser, CheckOptions(read_data=True, publish=True), SystemClock(), VoidMonitor()).published_packs
    browser.state.close()


def segment_of(garden: Garden, machine: Machine) -> OpenedSegment:
    (key,) = [key for key in garden.keys("index") if machine.host_file.key.host.hex() in key]
    return garden.open_segment(key)


def list_noise(garden: Garden, thief: Machine, segment: OpenedSegment) -> None:
    (row,) = segment.public.key_rows
    lies = []
    for entry in segment.packs:
        data = random_bytes(max(frame.offset + frame.sealed_bytes for frame in entry.frames))
        garden.store.put(pack_key(thief.host_file.key.host, PackId(object_hash(data))), data)
        lies.append(PackEntry(object_hash(data), entry.kind, entry.frames))
    garden.store.put(*build_segment(thief.repository, SessionId(row.session), 0, row, lies))


def test_noise_in_place_of_what_has_been_collected(garden: Garden, tmp_path: Path) -> None:
    """What the host remembers of a directory is not believed for the sake of names that only the thief lists. Its listing is in one frame with that
    of another directory, which is needed."""
    garden.repository.clock = SettledClock()
    thief, other = garden.repository.first, garden.repository.machine("other")
    gone = garden.back_up({"a": noise(1)})
    publish(garden)
    segment = segment_of(garden, thief)
    theirs = {pack_key(thief.host_file.key.host, PackId(entry.pack)) for entry in segment.packs}
    make_tree(tmp_path, {"one/a": noise(1), "two/b": noise(2)})
    also_gone = other.backup(tmp_path)
    kept = other.backup(tmp_path / "two")
    assert also_gone.snapshot and kept.snapshot
    garden.expected[also_gone.snapshot] = {}
    garden.forget(gone, also_gone.snapshot)
    garden.prune(state=garden.state())
    assert not theirs & set(garden.keys("packs"))
    list_noise(garden, thief, segment)
    last = other.backup(tmp_path)
    assert last.snapshot and last.exit_code == 0
    garden.expected[last.snapshot] = {bytes(tmp_path / name): content for name, content in {"one/a": noise(1), "two/b": noise(2)}.items()}
    garden.assert_whole()


def test_noise_that_another_process_of_the_machine_has_loaded_meanwhile(garden: Garden, tmp_path: Path) -> None:
    """A collection takes what the backup relies on, before it has put anything. The thief lists noise in its place, which gets into the state."""
    thief, other = garden.repository.first, garden.repository.machine("other")
    gone = garden.back_up({"a": noise(1)})
    publish(garden)
    segment = segment_of(garden, thief)
    garden.forget(gone)
    make_tree(tmp_path, {"a": noise(1)})
    work = []

    def collect() -> None:
        work.append(garden.prune(state=garden.state()))
        list_noise(garden, thief, segment)
        garden.collector(state=other.state).plan(dry_run=True)

    other.store = BeforePutStore(garden.store, "packs/", collect)
    last = other.backup(tmp_path)
    assert work[0].deleted_packs and last.snapshot and last.exit_code == 0
    garden.expected[last.snapshot] = {bytes(tmp_path / "a"): noise(1)}
    garden.assert_whole()
