"""A thief lists so much that what a maintainer would make of it is more than anybody reads: a prune goes on all the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from tests.collections.garden import NOW, Garden, noise, open_garden

from seedcorn.crypto.keys import new_session_id
from seedcorn.crypto.primitives import object_hash, random_bytes
from seedcorn.format.collection import CheckpointMaintain
from seedcorn.format.names import pack_key
from seedcorn.format.pack import FrameEntry, PackEntry, PackKind
from seedcorn.format.snapshot import NeededFrames
from seedcorn.format.tree import pack_content
from seedcorn.ids import ChunkId, PackId, SessionId
from seedcorn.ops.gc.plan import MaxUnused
from seedcorn.repo import index
from seedcorn.repo.index import build_segment
from seedcorn.repo.rewriting import repacking, segments
from seedcorn.repo.roots.checkpoints import build_checkpoint
from seedcorn.repo.roots.needed import SeqSet

RAW_LIMIT_BYTES = 1 << 20  # instead of 128 MiB


@pytest.fixture
def garden(monkeypatch: pytest.MonkeyPatch) -> Iterator[Garden]:
    monkeypatch.setattr(index, "SEGMENT_RAW_LIMIT_BYTES", RAW_LIMIT_BYTES)
    monkeypatch.setattr(segments, "SEGMENT_RAW_LIMIT_BYTES", RAW_LIMIT_BYTES, raising=False)
    monkeypatch.setattr(repacking, "LISTED_TARGET_BYTES", RAW_LIMIT_BYTES // 16, raising=False)
    monkeypatch.setattr(repacking, "FOOTER_RAW_LIMIT_BYTES", RAW_LIMIT_BYTES // 2, raising=False)
    monkeypatch.setattr(segments, "SEGMENT_TARGET_BYTES", RAW_LIMIT_BYTES // 16)  # all as they are to each other
    with open_garden() as made:
        made.back_up({"a": noise(1)})
        yield made


def a_pack(garden: Garden, session: bytes, seqs: Sequence[int], chunks: int) -> PackEntry:
    """Of frames of one byte that are said to be of so many chunks."""
    thief = garden.repository.first
    data = random_bytes(100)
    garden.store.put(pack_key(thief.host_file.key.host, PackId(object_hash(data))), data)
    records = pack_content([(ChunkId(bytes(24)), 1)] * chunks)
    return PackEntry(object_hash(data), PackKind.DATA, tuple(FrameEntry(session, seq, at, 1, chunks, records) for at, seq in enumerate(seqs)))


def list_packs(garden: Garden, number: int, entries: Sequence[PackEntry]) -> None:
    thief = garden.repository.first
    opened = garden.open_segment(garden.keys("index")[0])
    (row, *_) = opened.public.key_rows
    garden.store.put(*build_segment(thief.repository, SessionId(row.session), number, row, entries))


def session_of(garden: Garden) -> bytes:
    opened = garden.open_segment(garden.keys("index")[0])
    return bytes(opened.public.key_rows[0].session)


def need(garden: Garden, session: bytes, seqs: Sequence[int]) -> None:
    thief = garden.repository.first
    needed = (NeededFrames(session, SeqSet(seqs).serialize()),)
    own = new_session_id(thief.host_file.key.host)
    garden.store.put(*build_checkpoint(thief.repository, own, 1, CheckpointMaintain(0, bytes(16), needed)))


def test_segments_that_are_merged(garden: Garden) -> None:
    """One lists little, the other nearly as much as a segment may."""
    session = session_of(garden)
    need(garden, session, range(1000, 3000))
    small, large = a_pack(garden, session, [1000], 2200), a_pack(garden, session, range(2000, 2019), 1900)
    for _ in range(2):  # packs that two segments list in one way have their segments merged
        list_packs(garden, 1, [small])
        list_packs(garden, 2, [large])
    garden.prune(state=garden.state())
    garden.assert_whole()
    gone = garden.back_up({"b": noise(2)})
    garden.forget(gone)
    garden.repository.revoke("alpha")
    garden.prune(state=garden.state())
    garden.assert_whole()


def test_packs_that_are_moved(garden: Garden) -> None:
    """Each is small, and what is listed of all of them together is too much."""
    session = session_of(garden)
    need(garden, session, range(1000, 9000, 2))
    for number in range(4):
        seqs = range(1000 * (number + 1), 1000 * (number + 1) + 20)
        list_packs(garden, number, [a_pack(garden, session, seqs, 1800)])  # 500,000 bytes of what is needed
    all_of_it = replace(NOW, max_unused=MaxUnused(0.0))
    assert garden.prune(all_of_it, state=garden.state()).repacked_packs == 4
    garden.assert_whole()


def test_a_pack_whose_frames_overlap(garden: Garden) -> None:
    """One after the other, what is needed of them is more than a pack may have, and the segment that lists it would stop everybody."""
    thief, session, part = garden.repository.first, session_of(garden), 8 << 20
    data = random_bytes(part)
    garden.store.put(pack_key(thief.host_file.key.host, PackId(object_hash(data))), data)
    records = pack_content([(ChunkId(bytes(24)), 1)])
    sizes = [part] * 9 + [part - 1, 1]
    frames = tuple(FrameEntry(session, 1000 + at, 0, size, 1, records) for at, size in enumerate(sizes))
    list_packs(garden, 1, [PackEntry(object_hash(data), PackKind.DATA, frames)])
    need(garden, session, range(1000, 1010))
    all_of_it = replace(NOW, max_unused=MaxUnused(0.0))
    for _ in range(2):
        garden.prune(all_of_it, state=garden.state())
        garden.assert_whole()
