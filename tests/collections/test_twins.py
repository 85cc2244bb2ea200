"""What keeps a pack and its copy both for ever, or a pack from ever being moved."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace as with_options
from threading import Event

import pytest
from msgspec.structs import replace
from tests.collections.garden import NOW, Garden, open_garden, plant_poor_pack
from tests.collections.interrupted import AfterPutStore, BeforePutStore, Crash, crash

from seedcorn.crypto.primitives import random_bytes
from seedcorn.format.names import pack_key
from seedcorn.format.pack import PackEntry
from seedcorn.ids import PackId, SessionId
from seedcorn.ops.gc.plan import MaxUnused
from seedcorn.repo.index import build_segment
from seedcorn.store.api import Store

TIMEOUT_SECONDS = 60


@pytest.fixture
def garden() -> Iterator[Garden]:
    with open_garden() as made:
        plant_poor_pack(made)
        yield made


def test_a_mark_stays_whose_copy_was_swept_and_kept(garden: Garden) -> None:
    """One prune takes the copy of another for garbage, since its segment is on its way, and sees in time that it is needed."""
    has_copied, put_mark, has_put_mark, put_segment = Event(), Event(), Event(), Event()

    def wait(mine: Event, theirs: Event) -> None:
        mine.set()
        assert theirs.wait(TIMEOUT_SECONDS)

    def move() -> None:
        store: Store = AfterPutStore(garden.store, "index/", crash)
        store = BeforePutStore(store, "index/", lambda: wait(has_put_mark, put_segment))
        store = BeforePutStore(store, ".mark", lambda: wait(has_copied, put_mark))
        with suppress(Crash):
            garden.prune(store=store, state=garden.state())

    with ThreadPoolExecutor(1) as pool:
        moving = pool.submit(move)
        assert has_copied.wait(TIMEOUT_SECONDS)

        def let_it_list() -> None:
            put_segment.set()
            moving.result(TIMEOUT_SECONDS)

        store = BeforePutStore(garden.store, ".mark", lambda: wait(put_mark, has_put_mark))
        options = with_options(NOW, max_unused=MaxUnused.parse("unlimited"))
        result = garden.prune(options, store=AfterPutStore(store, ".sweep", let_it_list), state=garden.state())
    assert result.kept_packs
    for _ in range(3):
        garden.prune(state=garden.state())
    garden.assert_whole()
    assert garden.most_copies() == 1


def test_who_sees_the_mark_of_another_lists_no_copy(garden: Garden) -> None:
    """The other one waits for its grace: there is no sweep that would say the same."""
    waits = with_options(NOW, grace_ns=1)
    store = BeforePutStore(garden.store, ".mark", lambda: garden.prune(waits, state=garden.state()))
    assert garden.prune(store=store, state=garden.state()).repacked_packs == 0
    for _ in range(2):
        garden.prune(state=garden.state())
    garden.assert_whole()
    assert garden.most_copies() == 1


def test_a_pack_that_is_not_what_was_put_keeps_no_other_from_being_moved(garden: Garden) -> None:
    """A thief lists frames of a pack in another one, with more garbage beside it, so that this one would be moved first; and what is there has not
    the bytes of its name, so that it is not moved."""
    thief = garden.repository.first
    chosen = garden.plan().repack
    for key in garden.keys("index"):
        opened = garden.open_segment(key)
        (row,) = opened.public.key_rows
        for entry in opened.packs:
            if (thief.host_file.key.host, PackId(entry.pack)) in chosen:
                size = max(frame.offset + frame.sealed_bytes for frame in entry.frames)
                lie = PackEntry(random_bytes(32), entry.kind, (*entry.frames, replace(entry.frames[0], seq=9999, offset=size, sealed_bytes=size)))
                garden.store.put(pack_key(thief.host_file.key.host, PackId(lie.pack)), random_bytes(2 * size))
                garden.store.put(*build_segment(thief.repository, SessionId(row.session), 0, row, [lie]))
    for _ in range(4):
        garden.prune(state=garden.state())
        garden.assert_whole(but=())
    assert not any(pack_key(*name) in garden.store.objects for name in chosen)


def test_who_sees_the_sweep_of_another_lists_no_copy(garden: Garden) -> None:
    """The other one is through with it: its mark is gone."""

    def go_all_the_way() -> None:
        for _ in range(3):
            garden.prune(state=garden.state())
        assert not [key for key in garden.keys("gc") if key.endswith(".mark")]

    store = BeforePutStore(garden.store, ".mark", go_all_the_way)
    assert garden.prune(store=store, state=garden.state()).repacked_packs == 0
    garden.prune(state=garden.state())
    garden.assert_whole()
    assert garden.most_copies() == 1
