"""A pack is put before the segment that lists it. A thief who lists noise under the names of its frames meanwhile has that moved, by a mark that
names the pack, too: as garbage, since nothing lists it yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event

import pytest
from msgspec.structs import replace
from tests.collections.garden import Garden, noise, open_garden
from tests.collections.interrupted import AfterPutStore

from seedcorn.crypto.keys import new_session_id
from seedcorn.crypto.primitives import object_hash, random_bytes
from seedcorn.format.collection import CheckpointMaintain
from seedcorn.format.names import pack_key, parse_numbered_key
from seedcorn.format.pack import PackEntry, PackKind
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import PackId, SessionId
from seedcorn.ops import access
from seedcorn.repo.index import OpenedSegment, build_segment, open_segment
from seedcorn.repo.roots.checkpoints import build_checkpoint
from seedcorn.repo.roots.needed import SeqSet
from seedcorn.store.api import Buffer, Store
from seedcorn.store.wrappers import WrappedStore

TIMEOUT_SECONDS = 60


@pytest.fixture
def garden() -> Iterator[Garden]:
    with open_garden() as made:
        made.back_up({"a": noise(1)})
        yield made


class BeforeSegmentStore(WrappedStore):
    """Before a host's segment is put, ``work`` is done with it."""

    def __init__(self, inner: Store, work: Callable[[str, bytes], object]) -> None:
        super().__init__(inner)
        self._work = work

    def put(self, key: str, data: Buffer) -> None:
        if key.startswith("index/"):
            self._work(key, bytes(data))
        super().put(key, data)


def opened(garden: Garden, key: str, data: bytes) -> OpenedSegment:
    owner, name = garden.repository.owner(), parse_numbered_key(key)
    assert name is not None
    return open_segment(data, name, owner.repository, owner.key.index_key, access.registry(owner))


def list_noise(garden: Garden, segment: OpenedSegment) -> None:
    """With the host's file: a pack of noise for each that is about to be listed, half of it garbage; and a checkpoint that needs the rest."""
    thief = garden.repository.first
    (row,) = segment.public.key_rows
    lies: list[PackEntry] = []
    seqs = SeqSet()
    for entry in segment.packs:
        seqs |= SeqSet([frame.seq for frame in entry.frames])
        size = max(frame.offset + frame.sealed_bytes for frame in entry.frames)
        data = random_bytes(2 * size)
        more = replace(entry.frames[0], seq=10_000 + len(lies), offset=size, sealed_bytes=size)
        garden.store.put(pack_key(thief.host_file.key.host, PackId(object_hash(data))), data)
        lies.append(PackEntry(object_hash(data), PackKind(entry.kind), (*entry.frames, more)))
    garden.store.put(*build_segment(thief.repository, SessionId(row.session), 0, row, lies))
    needed = (NeededFrames(row.session, seqs.serialize()),)
    session = new_session_id(thief.host_file.key.host)
    garden.store.put(*build_checkpoint(thief.repository, session, 1, CheckpointMaintain(0, bytes(16), needed)))


def list_noise_and_lie_about_the_packs(garden: Garden, segment: OpenedSegment) -> None:
    """As ``list_noise``; and the packs themselves are listed with two frames that nobody has put, one of them needed: they are moved, too."""
    list_noise(garden, segment)
    thief = garden.repository.first
    (row,) = segment.public.key_rows
    lies, needed = [], SeqSet()
    for number, entry in enumerate(segment.packs):
        last = max(entry.frames, key=lambda frame: frame.offset)
        half = last.sealed_bytes // 2
        frames = [replace(last, seq=20_000 + 2 * number + more, offset=last.offset + more * half, sealed_bytes=half) for more in (0, 1)]
        lies.append(PackEntry(entry.pack, entry.kind, tuple(frames)))
        needed.add(20_000 + 2 * number)
    garden.store.put(*build_segment(thief.repository, SessionId(row.session), 1, row, lies))
    session = new_session_id(thief.host_file.key.host)
    wanted = (NeededFrames(row.session, needed.serialize()),)
    garden.store.put(*build_checkpoint(thief.repository, session, 1, CheckpointMaintain(0, bytes(16), wanted)))


def nothing(garden: Garden, segment: OpenedSegment) -> None:
    """Nobody lies."""


Lie = Callable[[Garden, OpenedSegment], None]


def prune_while(garden: Garden, lie: Lie, work: Callable[[Store], object]) -> None:
    """``work`` has put packs, and the lie is told; a collection puts its mark; ``work`` ends, and has found nothing that concerns it; the sweep."""
    begun, go_on = Event(), Event()

    def lie_and_wait(key: str, data: bytes) -> None:
        if not begun.is_set():
            lie(garden, opened(garden, key, data))
            begun.set()
            assert go_on.wait(TIMEOUT_SECONDS)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, BeforeSegmentStore(garden.store, lie_and_wait))
        assert begun.wait(TIMEOUT_SECONDS)

        def let_it_end() -> None:
            go_on.set()
            running.result(TIMEOUT_SECONDS)

        garden.prune(store=AfterPutStore(garden.store, ".mark", let_it_end), state=garden.state())
    assert go_on.is_set()


lies = pytest.mark.parametrize("lie", [nothing, list_noise, list_noise_and_lie_about_the_packs])


@lies
def test_a_backup_that_lists_its_packs_after_the_mark(garden: Garden, lie: Lie) -> None:
    def back_up(store: Store) -> None:
        with closing(garden.repository.machine_again(store)) as host:
            garden.back_up({"new": noise(2)}, machine=host)

    prune_while(garden, lie, back_up)
    assert not [key for key in garden.keys("receipts") if key.endswith(".void")]
    garden.assert_whole()


@lies
def test_a_relocation_that_lists_its_packs_after_the_mark(lie: Lie) -> None:
    """The snapshot is older than the theft."""
    with open_garden() as garden:
        many = {f"f{number}": noise(number) for number in range(10)}
        big = garden.back_up(many)
        garden.back_up({"f1": many["f1"], "new": noise(20)})
        garden.forget(big)
        relocated = []
        prune_while(garden, lie, lambda store: relocated.append(garden.deep(store=store, state=garden.state())[1].frames))
        assert relocated[0]
        garden.assert_whole()
        garden.prune(state=garden.state())
        garden.assert_whole()
