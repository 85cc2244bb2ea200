"""A thief lists noise by a session that goes by two keys: by which of them a pack is known depends on which of two segments was loaded first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from msgspec.structs import replace
from tests.collections.garden import Garden, open_garden, plant_poor_pack
from tests.collections.interrupted import AfterPutStore, Crash, crash

from seedcorn.crypto.primitives import object_hash, random_bytes
from seedcorn.format.names import pack_key
from seedcorn.format.pack import KeyRow, PackEntry, PackKind, SegmentPublic
from seedcorn.ids import PackId
from seedcorn.repo.index import seal_segment


@pytest.fixture
def garden() -> Iterator[Garden]:
    with open_garden() as made:
        plant_poor_pack(made)
        yield made


def list_noise(garden: Garden, number: int, *, own_key_last: bool, lies: list[PackEntry]) -> str:
    """List these packs; if there are none yet, one of noise and of the other kind for each that is listed, with its frames."""
    thief = garden.repository.first
    host = thief.host_file.key.host
    segments = [garden.open_segment(key) for key in garden.keys("index")]
    opened = max((one for one in segments if len(one.public.key_rows) == 1), key=lambda one: sum(len(entry.frames) for entry in one.packs))
    (row,) = opened.public.key_rows
    if not lies:
        for entry in opened.packs:
            data = random_bytes(max(frame.offset + frame.sealed_bytes for frame in entry.frames))
            garden.store.put(pack_key(host, PackId(object_hash(data))), data)
            lies.append(PackEntry(object_hash(data), PackKind(3 - entry.kind), entry.frames))
    other = replace(row, sealed_key=bytes(len(row.sealed_key)))
    rows: tuple[KeyRow, ...] = (other, row) if own_key_last else (row, other)
    secrets = thief.repository.key.secrets
    public = SegmentPublic(thief.repository.repository, host, row.session, number, secrets.domain, tuple(lie.pack for lie in lies), rows)
    name, data = seal_segment(public, lies, secrets.index_key, thief.repository.key.sign)
    garden.store.put(name, data)
    return name


@pytest.mark.parametrize("part", ["packs/", ".mark", "index/", ".sweep"])
def test_noise_that_is_known_by_one_key_and_moved_by_another(garden: Garden, part: str) -> None:
    state, lies = garden.state(), list[PackEntry]()
    first = list_noise(garden, 1, own_key_last=False, lies=lies)
    garden.collector(state=state).plan(dry_run=True)  # as the prune of the day before
    second = list_noise(garden, 0, own_key_last=True, lies=lies)
    assert second < first, "it is read first where frames are moved"
    with suppress(Crash):
        garden.prune(store=AfterPutStore(garden.store, part, crash), state=state)
    garden.assert_whole()
    for _ in range(3):
        garden.prune(state=garden.state())
        garden.assert_whole()
