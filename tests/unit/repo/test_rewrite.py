"""What a maintainer writes in the room of a host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seedcorn.format.names import pack_key, parse_numbered_key
from seedcorn.format.pack import KeyRow, PackEntry
from seedcorn.ids import HostId, PackId
from seedcorn.ops import access
from seedcorn.repo import rewrite
from seedcorn.repo.index import OpenedSegment, open_segment
from seedcorn.repo.packs import open_pack
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.rewrite import SegmentRewriter, build_moved_pack
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree


@pytest.fixture
def segments(repository: SmallRepository, store: MemoryStore, tmp_path: Path) -> list[OpenedSegment]:
    """Of two sessions of one host."""
    for n in range(2):
        repository.backup(make_tree(tmp_path / "tree", {f"f{n}": os.urandom(1_200_000)}))
    owner = repository.owner()
    return [read(owner, store, key) for key in sorted(store.objects) if key.startswith("index/")]


def read(owner: OwnerRepository, store: MemoryStore, key: str) -> OpenedSegment:
    name = parse_numbered_key(key)
    assert name is not None
    return open_segment(store.objects[key], name, owner.repository, owner.key.index_key, access.registry(owner))


def rewriter(repository: SmallRepository, store: MemoryStore, number: int = 7) -> SegmentRewriter:
    key = repository.owner().key
    return SegmentRewriter(store, key.maintain_key(), repository.first.host_file.key.host, 0, key.domain(0).index_key, number)


def test_several_sessions_in_one_segment(repository: SmallRepository, store: MemoryStore, segments: list[OpenedSegment]) -> None:
    new = rewriter(repository, store)
    for segment in segments:
        for entry in segment.packs:
            new.add(entry, segment.public.key_rows)
    assert new.segments == []
    new.finish()
    new.finish()
    (key,) = new.segments
    opened = read(repository.owner(), store, key)
    assert opened.packs == [entry for segment in segments for entry in segment.packs]
    assert (opened.public.number, opened.public.session) == (7, bytes(16))
    assert set(opened.public.key_rows) == {row for segment in segments for row in segment.public.key_rows}


def test_a_segment_is_put_before_it_grows_too_large(
    repository: SmallRepository, store: MemoryStore, segments: list[OpenedSegment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrite, "_SEGMENT_BYTES", 1)
    new = rewriter(repository, store)
    entries = [(entry, segment.public.key_rows) for segment in segments for entry in segment.packs]
    for entry, rows in entries:
        new.add(entry, rows)
    new.finish()
    opened = [read(repository.owner(), store, key) for key in new.segments]
    assert [segment.packs for segment in opened] == [[entry] for entry, _ in entries]
    assert [segment.public.number for segment in opened] == list(range(7, 7 + len(entries)))


def test_one_session_under_two_keys_never_shares_a_segment(repository: SmallRepository, store: MemoryStore, segments: list[OpenedSegment]) -> None:
    (row,) = segments[0].public.key_rows
    other = KeyRow(row.session, row.host, row.suite, row.sealed_key[::-1])
    new = rewriter(repository, store)
    new.add(segments[0].packs[0], [row])
    new.add(PackEntry(b"x" * 32, segments[0].packs[0].kind, segments[0].packs[0].frames), [other])
    new.finish()
    assert [read(repository.owner(), store, key).public.key_rows for key in new.segments] == [(row,), (other,)]


def test_frames_open_in_another_pack(repository: SmallRepository, store: MemoryStore, segments: list[OpenedSegment]) -> None:
    owner = repository.owner()
    host = HostId(segments[0].public.host)
    listed = max(segments[0].packs, key=lambda entry: len(entry.frames))
    old = open_pack(store.objects[pack_key(host, PackId(listed.pack))], host, owner.repository, owner.key)
    assert len(old.frames) > 1
    frames = [(entry, old.data[entry.offset : entry.offset + entry.sealed_bytes]) for entry in old.frames[1:]]
    entry, _, data = build_moved_pack(old.head, owner.key.domain(0).index_key, frames)
    new = open_pack(data, host, owner.repository, owner.key)
    assert new.frames == entry.frames
    assert [bytes(new.open_frame(frame)) for frame in new.frames] == [bytes(old.open_frame(frame)) for frame in old.frames[1:]]
