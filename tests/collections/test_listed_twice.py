"""A thief lists noise under the names of frames that his host has used, beside packs that are worth moving: what is moved of the noise is no copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from msgspec.structs import replace
from tests.collections.garden import Garden, open_garden, plant_poor_pack
from tests.collections.interrupted import AfterPutStore, Crash, crash

from seedcorn.crypto.primitives import object_hash, random_bytes
from seedcorn.format.names import pack_key
from seedcorn.format.pack import FrameEntry, PackEntry, PackKind
from seedcorn.ids import PackId, SessionId
from seedcorn.repo.index import build_segment


@pytest.fixture
def garden() -> Iterator[Garden]:
    with open_garden() as made:
        plant_poor_pack(made)
        yield made


def list_noise(garden: Garden, kinds: tuple[PackKind, ...], names: Callable[[PackEntry], tuple[FrameEntry, ...]]) -> None:
    """For each pack of these kinds that a segment lists, one of noise and of the other kind is listed, with these frames; before it, so that it would
    be moved first."""
    thief = garden.repository.first
    for key in garden.keys("index"):
        opened = garden.open_segment(key)
        (row,) = opened.public.key_rows
        lies = []
        for entry in opened.packs:
            if entry.kind in kinds:
                frames = names(entry)
                data = random_bytes(max(frame.offset + frame.sealed_bytes for frame in frames))
                garden.store.put(pack_key(thief.host_file.key.host, PackId(object_hash(data))), data)
                lies.append(PackEntry(object_hash(data), PackKind(3 - entry.kind), frames))
        if lies:
            garden.store.put(*build_segment(thief.repository, SessionId(row.session), 0, row, lies))


def as_they_are(entry: PackEntry) -> tuple[FrameEntry, ...]:
    return entry.frames


def in_one_byte(entry: PackEntry) -> tuple[FrameEntry, ...]:
    return tuple(replace(frame, offset=0, sealed_bytes=1) for frame in entry.frames)


@pytest.mark.parametrize("part", ["packs/", ".mark", "index/", ".sweep"])
def test_a_prune_that_is_cut_off_while_it_moves(garden: Garden, part: str) -> None:
    """Above all between the segments of its copies: the one that is listed holds noise under the names of frames in the one that is not."""
    list_noise(garden, (PackKind.DATA, PackKind.LISTING), as_they_are)
    with suppress(Crash):
        garden.prune(store=AfterPutStore(garden.store, part, crash), state=garden.state())
    garden.assert_whole()
    for _ in range(3):
        garden.prune(state=garden.state())
        garden.assert_whole()


@pytest.mark.parametrize("part", ["packs/", ".mark", "index/", ".sweep"])
def test_another_prune_while_one_moves(garden: Garden, part: str) -> None:
    list_noise(garden, (PackKind.DATA, PackKind.LISTING), as_they_are)
    garden.prune(store=AfterPutStore(garden.store, part, lambda: garden.prune(state=garden.state())), state=garden.state())
    garden.assert_whole()


@pytest.mark.parametrize("names", [as_they_are, in_one_byte])
def test_nothing_is_moved_for_ever(garden: Garden, names: Callable[[PackEntry], tuple[FrameEntry, ...]]) -> None:
    list_noise(garden, (PackKind.DATA,), names)
    moved = [garden.prune(state=garden.state()).repacked_packs for _ in range(5)]
    garden.assert_whole()
    assert moved[-1] == 0, moved
    garden.repository.revoke("alpha")
    assert garden.prune(state=garden.state()).repacked_packs == 0
