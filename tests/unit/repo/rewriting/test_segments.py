"""Segments in the name of a maintainer: how entries are spread over them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seedcorn.format.names import parse_numbered_key
from seedcorn.format.pack import KeyRow, PackEntry
from seedcorn.ids import HostId
from seedcorn.ops import access
from seedcorn.repo.index import OpenedSegment, open_segment
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.repo.rewriting import segments as rewriting
from seedcorn.repo.rewriting.segments import SegmentSeries
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree


@pytest.fixture
def segments(repository: SmallRepository, store: MemoryStore, tmp_path: Path) -> list[OpenedSegment]:
    """Of two sessions of one host."""
    for n in range(2):
        repository.backup(make_tree(tmp_path / "tree", {f"f{n}": os.urandom(5_000)}))
    return [read(repository, key, store.objects[key]) for key in sorted(store.objects) if key.startswith("index/")]


def read(repository: SmallRepository, key: str, data: bytes) -> OpenedSegment:
    owner, name = repository.owner(), parse_numbered_key(key)
    assert name is not None
    return open_segment(data, name, owner.repository, owner.key.index_key, access.registry(owner))


def series(repository: SmallRepository) -> SegmentSeries:
    return SegmentSeries(maintained_by_owner(repository.owner()), HostId(repository.first.host_file.key.host), 7)


def test_several_sessions_in_one_segment(repository: SmallRepository, segments: list[OpenedSegment]) -> None:
    new = series(repository)
    for segment in segments:
        for entry in segment.packs:
            assert list(new.add(0, entry, segment.public.key_rows)) == []
    ((key, data),) = new.finish()
    assert list(new.finish()) == []
    opened = read(repository, key, data)
    assert opened.packs == [entry for segment in segments for entry in segment.packs]
    assert (opened.public.number, opened.public.session) == (7, bytes(16))
    assert set(opened.public.key_rows) == {row for segment in segments for row in segment.public.key_rows}


def test_a_full_segment_is_followed_by_another(repository: SmallRepository, segments: list[OpenedSegment], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "SEGMENT_TARGET_BYTES", 1)
    new = series(repository)
    entries = [(entry, segment.public.key_rows) for segment in segments for entry in segment.packs]
    written = [found for entry, rows in entries for found in new.add(0, entry, rows)] + list(new.finish())
    opened = [read(repository, key, data) for key, data in written]
    assert [segment.packs for segment in opened] == [[entry] for entry, _ in entries]
    assert [segment.public.number for segment in opened] == list(range(7, 7 + len(entries)))


def test_one_session_under_two_keys_never_shares_a_segment(repository: SmallRepository, segments: list[OpenedSegment]) -> None:
    """Of the two in a pack, one has the same key everywhere."""
    (row,), (common,) = (segment.public.key_rows for segment in segments)
    other = KeyRow(row.session, row.host, row.suite, row.sealed_key[::-1])
    one, two = (segment.packs[0] for segment in segments)
    entry = PackEntry(one.pack, one.kind, one.frames + two.frames)
    new = series(repository)
    written = [*new.add(0, entry, [row, common]), *new.add(0, entry, [other, common]), *new.finish()]
    assert [read(repository, key, data).public.key_rows for key, data in written] == [(row, common), (other, common)]
