"""Chunks in new frames: verified ones, once each, found and believed as if the host had written them; and which places of frames are in use."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from seedcorn.events import VoidMonitor
from seedcorn.format.pack import PackKind
from seedcorn.format.tree import content_records
from seedcorn.ids import ChunkId, belongs_to
from seedcorn.repo.content.packer import PackerOptions
from seedcorn.repo.content.reader import Reader
from seedcorn.repo.hosts import load_registry
from seedcorn.repo.index import sync_state
from seedcorn.repo.packs import open_pack
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.rewriting.regrouping import Regrouping
from seedcorn.repo.state.chunk_use import ChunkUse
from seedcorn.repo.state.state import FrameSet, State
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree


@pytest.fixture
def state(repository: SmallRepository, tmp_path: Path) -> State:
    """The owner's, when something has been backed up."""
    noise = random.Random(1)
    make_tree(tmp_path / "tree", {f"f{number}": noise.randbytes(3_000) for number in range(5)})
    repository.backup(tmp_path / "tree")
    return repository.browser().state


def chunks(store: MemoryStore, owner: OwnerRepository) -> Iterator[tuple[PackKind, ChunkId, bytes]]:
    """Every chunk that is stored."""
    for key, data in sorted(store.objects.items()):
        if key.startswith("packs/"):
            host, _ = (bytes.fromhex(part) for part in key.split("/")[1:])
            opened = open_pack(data, host, owner.repository, owner.key)  # type: ignore[arg-type]  # ids, read off a key
            for frame in opened.frames:
                raw, at = bytes(opened.open_frame(frame)), 0
                for chunk_id, length in content_records(frame.records):
                    yield opened.head.kind, chunk_id, raw[at : at + length]
                    at += length


@pytest.mark.parametrize("workers", [0, 2])
def test_chunks_in_new_frames(repository: SmallRepository, store: MemoryStore, state: State, workers: int) -> None:
    owner, host = repository.owner(), repository.first.host_file.key.host
    known = list(chunks(store, owner))
    assert {kind for kind, _, _ in known} == set(PackKind)
    before = dict(store.objects)
    with closing(Regrouping(owner, state, host, 0, PackerOptions(workers=workers), VoidMonitor())) as room:
        seqs = [room.add(kind, chunk_id, data) for kind, chunk_id, data in known]
        assert [room.add(kind, chunk_id, data) for kind, chunk_id, data in known] == seqs
        packs = room.finish()
    assert {pack.kind for pack in packs} == set(PackKind) and len(set(seqs)) == 2
    new = {key: data for key, data in store.objects.items() if key not in before}
    assert sorted(key.split("/")[0] for key in new) == ["index", "packs", "packs"]
    assert all(key.split("/")[1] == host.hex() for key in new)

    for key in before:
        if key.startswith(("packs/", "index/")):
            del store.objects[key]
    assert sorted(chunks(store, owner)) == sorted(known)
    fresh = repository.new_state()
    registry = load_registry(store, owner.repository, owner.key.public)
    assert sync_state(store, fresh, owner.repository, owner.key.index_key, registry, only=None) == []
    reader = Reader(owner, fresh)
    assert all(bytes(reader.chunk(kind, chunk_id, len(data))) == data for kind, chunk_id, data in known)
    fresh.trust_only(host)
    assert all(fresh.find(chunk_id) is not None for _, chunk_id, _ in known)


def test_every_session_has_a_key_of_its_own(repository: SmallRepository, store: MemoryStore, state: State) -> None:
    owner, host = repository.owner(), repository.first.host_file.key.host
    sessions = set()
    for _ in range(2):
        with closing(Regrouping(owner, state, host, 0, PackerOptions(workers=0), VoidMonitor())) as room:
            sessions.add(room.session)
            assert room.finish() == []  # and nothing is put for nothing
    assert len(sessions) == 2
    assert all(belongs_to(session, repository.first.host_file.key.host) for session in sessions)


def test_use_is_noted_in_every_frame_with_a_copy(repository: SmallRepository, store: MemoryStore, state: State) -> None:
    owner, host = repository.owner(), repository.first.host_file.key.host
    known = [(chunk_id, data) for kind, chunk_id, data in chunks(store, owner) if kind is PackKind.DATA]
    with closing(Regrouping(owner, state, host, 0, PackerOptions(workers=0), VoidMonitor())) as room:
        for chunk_id, data in known[:2]:
            room.add(PackKind.DATA, chunk_id, data)
        room.finish()
    frames = FrameSet(ordinal for ordinal, _, _, _ in state.frames())
    use = ChunkUse(state, frames)
    first, length = known[0][0], len(known[0][1])
    use.note(first, length)
    use.note(first, length)
    use.note(known[2][0], length + 1)  # says another length than the index
    use.note(bytes(24), 10)
    copies = state.copies(first)
    assert len(copies) == 2
    assert all(use.is_live(copy.ordinal, copy.offset) and use.live_bytes(copy.ordinal) == length for copy in copies)
    assert sum(use.live_bytes(ordinal) for ordinal in frames) == 2 * length
    (other,) = state.copies(known[2][0])
    assert not use.is_live(other.ordinal, other.offset)
    alone = ChunkUse(state, FrameSet([copies[0].ordinal]))
    alone.note(first, length)
    assert alone.is_live(copies[0].ordinal, copies[0].offset) and not alone.is_live(copies[1].ordinal, copies[1].offset)
    assert alone.live_bytes(copies[1].ordinal) == 0
